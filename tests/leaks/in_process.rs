//! `Debug` of what the library shows.

use super::canary::{Public, canary};
use crate::support::{Setup, Upstream, pki};

/// An Ed25519 key in base64, that of RFC 8037 appendix A.
const SEED: &str = "nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=";

#[tokio::test]
async fn debug_of_a_running_proxy_shows_no_secret() {
    let upstream = Upstream::ok().await;
    let url = upstream.url();
    let asked = "HTTP/1.1 401 No\r\nWWW-Authenticate: Digest realm=\"r\", nonce=\"n\"\r\nContent-Length: 0\r\n\r\n";
    let refusing = Upstream::answering(asked).await;
    let asking = refusing.url();
    let clients = pki::authority("clients");
    let pair = clients.client("worker").unwrap();
    let key_text = pair.key.lines().nth(2).unwrap().as_bytes()[8..32].to_vec();
    let setup = Setup::new(format!(
        r#"
        [credential.k]
        bearer = {{ secret = "key" }}
        [credential.b]
        basic = {{ username = "shop", password = {{ secret = "password" }} }}
        [credential.d]
        digest = {{ username = "shop", password = {{ secret = "digest" }} }}
        [credential.s.hmac]
        secret = "hmac"
        sign = "{{body}}{{secret:salt}}"
        set = {{ "X-Sig" = "{{signature}}" }}
        [credential.m.hmac]
        key = "{{secret:hmac}}&{{secret:salt}}"
        values = {{ all = "{{params(query)|with(k,secret:key)|sorted|pairs('{{k}}{{v}}','')}}" }}
        sign = "{{value.all}}"
        set_query = {{ token = "{{secret:salt}}", sig = "{{signature}}" }}
        [credential.message.http_signature]
        key = "ed25519"
        key_id = {{ secret = "id" }}
        algorithm = "ed25519"
        [[route]]
        name = "message"
        host = "message.test"
        upstream = "{url}"
        credential = "message"
        [[route]]
        name = "api"
        host = "api.test"
        upstream = "{url}"
        credential = ["k", "s"]
        [[route]]
        name = "basic"
        host = "basic.test"
        upstream = "{url}"
        credential = ["b", "m"]
        [[route]]
        name = "digest"
        host = "digest.test"
        upstream = "{asking}"
        credential = "d"
        [[route]]
        name = "tls"
        host = "tls.test"
        upstream = "https://127.0.0.1:1"
        credential = "none"
        tls = {{ client_cert = "tls.crt", client_key = "tls.key", ca = "ca.crt" }}
        "#
    ))
    .secret("key", canary("key"))
    .secret("password", canary("password"))
    .secret("digest", canary("digest"))
    .secret("hmac", canary("hmac"))
    .secret("salt", canary("salt"))
    .secret("ed25519", SEED)
    .secret("id", canary("id"))
    .secret("tls.crt", &pair.certificate)
    .secret("tls.key", &pair.key)
    .secret("ca.crt", clients.certificate());
    let proxy = setup.start().await;
    assert_eq!(proxy.get("api.test", "/").await.status, 200);
    assert_eq!(proxy.get("basic.test", "/").await.status, 200);
    assert_eq!(proxy.get("digest.test", "/").await.status, 401);
    assert_eq!(refusing.seen().len(), 2);
    assert_eq!(proxy.get("message.test", "/").await.status, 200);
    assert_eq!(proxy.get("tls.test", "/").await.error(), Some("upstream_unreachable"));

    let mut public = Public::default();
    let inner = &proxy.server.proxy;
    let live = inner.live.load_full();
    public.add("the proxy", format!("{inner:?} {inner:#?}"));
    public.add("what a request loads", format!("{live:?} {live:#?}"));
    public.add("the pool", format!("{:?}", inner.pool));
    public.add("the configuration", format!("{:?}", live.snapshot.plan.config));
    for credential in &live.snapshot.credentials {
        public.add("a credential", format!("{credential:?}"));
        for (_, instance) in credential.instances() {
            let value = instance.current.as_ref().unwrap();
            public.add("a value", format!("{value:?} {:?}", value.keys));
        }
    }
    for identity in &live.snapshot.identities {
        public.add("an identity", format!("{identity:?}"));
    }
    let mut secrets: Vec<Vec<u8>> =
        ["key", "password", "digest", "hmac", "salt", "id"].map(|name| canary(name).into_bytes()).into();
    secrets.push(key_text);
    secrets.push(SEED.as_bytes().to_vec());
    public.holds_none_of(&secrets);
}
