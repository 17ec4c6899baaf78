//! Callers that prove themselves by a token or by their user.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{get, guarded};
use crate::support::http2_worker::Client;
use crate::support::worker::Worker;
use crate::support::{Setup, Upstream, files, wait};

fn basic(pair: &str) -> String {
    format!("Proxy-Authorization: Basic {}\r\n", STANDARD.encode(pair))
}

#[tokio::test]
async fn a_token_opens_the_routes_of_its_client_and_never_leaves() {
    let upstream = Upstream::ok().await;
    let proxy = guarded(&upstream, "prefix = \"/api\"").start().await;
    for proof in [
        "Proxy-Authorization: Bearer token-one\r\n".to_owned(),
        "proxy-authorization: bearer token-one\r\n".to_owned(),
        basic("anyone:token-one"),
        basic(":token-one"),
    ] {
        for request in [
            get("api.test", &proof),
            format!("GET http://api.test/x HTTP/1.1\r\nHost: api.test\r\n{proof}\r\n"),
            format!("GET /api/x HTTP/1.1\r\nHost: localhost\r\n{proof}\r\n"),
        ] {
            let answer = proxy.raw(&request).await;
            assert_eq!(answer.status, 200, "{request}: {answer:?}");
            let names = upstream.last().head.names();
            assert!(!names.iter().any(|name| name.contains("authorization")), "{names:?}");
        }
    }
    assert_eq!(proxy.raw(get("open.test", "Proxy-Authorization: Bearer wrong\r\n")).await.status, 200, "open is open");
    assert_eq!(upstream.last().head.header("proxy-authorization"), None);
    assert_eq!(proxy.raw(get("open.test", "")).await.status, 200);
}

#[tokio::test]
async fn no_wrong_and_unknown_proofs_get_one_answer() {
    let upstream = Upstream::ok().await;
    let proxy = guarded(&upstream, "").start().await;
    let mut bodies = Vec::new();
    for proof in [
        String::new(),
        "Proxy-Authorization: Bearer wrong\r\n".to_owned(),
        "Proxy-Authorization: Bearer token-one-and-more\r\n".to_owned(),
        "Proxy-Authorization: Bearer token-of-the-other\r\n".to_owned(),
        "Proxy-Authorization: Bearer token-one\r\nProxy-Authorization: Bearer token-one\r\n".to_owned(),
        "Proxy-Authorization: token-one\r\n".to_owned(),
        "Proxy-Authorization: Digest token-one\r\n".to_owned(),
        "Authorization: Bearer token-one\r\n".to_owned(),
        "Proxy_Authorization: Bearer token-one\r\n".to_owned(),
        basic("token-one:"),
        basic("token-one"),
    ] {
        let answer = proxy.raw(get("api.test", &proof)).await;
        assert_eq!((answer.status, answer.error()), (403, Some("client_denied")), "{proof}");
        assert_eq!(answer.header("proxy-authenticate"), None);
        bodies.push(answer.json());
    }
    bodies.dedup();
    assert_eq!(bodies.len(), 1, "{bodies:?}");
    assert_eq!(bodies[0]["route"], "api");
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn a_client_of_a_forward_proxy_is_asked_for_its_token_once() {
    let upstream = Upstream::ok().await;
    let proxy = guarded(&upstream, "").start().await;
    let mut worker = proxy.worker().await;
    let absolute = |proof: &str| format!("GET http://api.test/x HTTP/1.1\r\nHost: api.test\r\n{proof}\r\n");
    let answer = worker.exchange(absolute("")).await;
    assert_eq!((answer.status, answer.error()), (407, Some("client_denied")));
    assert_eq!(answer.header("proxy-authenticate"), Some("Basic realm=\"countersign\""));
    assert_eq!(answer.json()["status"], 407);
    let answer = worker.exchange(absolute(&basic("x:wrong"))).await;
    assert_eq!((answer.status, answer.error()), (403, Some("client_denied")), "a wrong one is not asked again");
    assert_eq!(worker.exchange(absolute(&basic("x:token-one"))).await.status, 200, "on the same connection");
}

#[tokio::test]
async fn after_a_rotation_both_tokens_count_until_the_overlap_ends() {
    let upstream = Upstream::ok().await;
    let proxy = guarded(&upstream, "").start().await;
    let with = async |token: &str| {
        proxy.raw(get("api.test", &format!("Proxy-Authorization: Bearer {token}\r\n"))).await.status
    };
    let file = proxy.secret("clients/importer");
    for (old, new) in [("token-one", "token-two"), ("token-two", "token-three")] {
        files::rename_over(&file, new);
        wait::until("the new token", async || with(new).await == 200).await;
        assert_eq!(with(old).await, 200, "the previous one, although no upstream has ever accepted anything");
    }
    assert_eq!(with("token-one").await, 403);
    files::rename_over(&file, "");
    wait::until("a bad value", async || proxy.health("client:importer").await == "stale").await;
    assert_eq!(with("token-three").await, 200, "the last good one stays");
    let row = proxy.credential("client:importer").await;
    assert_eq!((&row["scheme"], &row["routes"][0]), (&"client".into(), &"api".into()));

    let strict = guarded(&upstream, "").secrets("overlap = \"0s\"\non_missing = \"fail\"").start().await;
    let with = async |token: &str| {
        strict.raw(get("api.test", &format!("Proxy-Authorization: Bearer {token}\r\n"))).await.status
    };
    let file = strict.secret("clients/importer");
    files::rename_over(&file, "token-two");
    wait::until("the new token", async || with("token-two").await == 200).await;
    assert_eq!(with("token-one").await, 403);
    std::fs::remove_file(&file).unwrap();
    wait::until("no token", async || with("token-two").await == 403).await;
    assert_eq!(strict.raw(get("others.test", "Proxy-Authorization: Bearer token-of-the-other\r\n")).await.status, 200);
}

#[tokio::test]
async fn a_missing_token_refuses_the_start() {
    let upstream = Upstream::ok().await;
    let setup = guarded(&upstream, "");
    std::fs::remove_file(setup.secrets_dir().join("clients/importer")).unwrap();
    let error = setup.try_start().await.err().unwrap().to_string();
    assert!(error.contains("secret clients/importer of credential client:importer: missing"), "{error}");
}

#[tokio::test]
async fn a_process_behind_a_unix_socket_is_known_by_its_user() {
    let upstream = Upstream::ok().await;
    let (url, uid) = (upstream.url(), rustix::process::getuid().as_raw());
    let setup = Setup::new(format!(
        r#"
        [client.me]
        uid = {uid}
        tenants = ["m1"]
        [client.stranger]
        uid = {}
        [client.carrier]
        token = "clients/carrier"
        [[route]]
        name = "mine"
        host = "mine.test"
        upstream = "{url}"
        credential = "none"
        clients = ["me", "carrier"]
        [[route]]
        name = "tenants"
        host = "{{t}}.mine.test"
        upstream = "{url}"
        credential = "none"
        tenant = "{{t}}"
        clients = ["me"]
        [[route]]
        name = "strange"
        host = "strange.test"
        upstream = "{url}"
        credential = "none"
        clients = ["stranger", "carrier"]
        "#,
        uid + 1
    ))
    .listen("proxy = [\"127.0.0.1:0\", \"unix:proxy.sock\"]")
    .secret("clients/carrier", "token-one");
    let path = setup.scratch.path("proxy.sock");
    let proxy = setup.start().await;
    let mut worker = Worker::unix(&path).await;
    let streams = Client::over(tokio::net::UnixStream::connect(&path).await.unwrap()).await;
    let proof = "Proxy-Authorization: Bearer token-one\r\n";
    for (host, lines, status) in [
        ("mine.test", "", 200),
        ("mine.test", "Proxy-Authorization: Bearer wrong\r\n", 200),
        ("strange.test", "", 403),
        ("strange.test", proof, 200),
        ("m1.mine.test", "", 200),
        ("m2.mine.test", "", 403),
    ] {
        let answer = worker.exchange(get(host, lines)).await;
        assert_eq!(answer.status, status, "{host} {lines}");
        // Over HTTP/2 the streams of a connection have the proofs of the same process.
        let mut request = http::Request::get(format!("http://{host}/x"));
        if let Some((name, value)) = lines.trim_end().split_once(": ") {
            request = request.header(name, value);
        }
        let answer = streams.send(request.body(Default::default()).unwrap()).await;
        assert_eq!(answer.status(), status, "{host} {lines} over HTTP/2");
    }
    assert_eq!(proxy.raw(get("mine.test", "")).await.status, 403, "TCP tells nobody's user");
    assert_eq!(proxy.raw(get("mine.test", proof)).await.status, 200);
}

#[tokio::test]
async fn a_client_asks_for_its_own_tenants_alone() {
    let upstream = Upstream::ok().await;
    let url = upstream.url();
    let proxy = Setup::new(format!(
        r#"
        [client.importer]
        token = "clients/importer"
        tenants = ["m1", "acme-*"]
        [credential.shop]
        bearer = {{ secret = "shop/{{tenant}}/key" }}
        [[route]]
        name = "api"
        host = "api.test"
        upstream = "{url}"
        credential = "shop"
        tenant = {{ header = "Countersign-Tenant" }}
        clients = ["importer"]
        [[route]]
        name = "open"
        host = "open.test"
        upstream = "{url}"
        credential = "shop"
        tenant = {{ header = "Countersign-Tenant" }}
        "#
    ))
    .secret("clients/importer", "token-one")
    .secret("shop/m1/key", "key-1")
    .secret("shop/acme-eu/key", "key-eu")
    .secret("shop/m2/key", "key-2")
    .start()
    .await;
    let proof = "Proxy-Authorization: Bearer token-one\r\n";
    for (host, tenant, expected) in [
        ("api.test", "m1", (200, None)),
        ("api.test", "acme-eu", (200, None)),
        ("api.test", "m2", (403, Some("client_denied"))),
        ("api.test", "m9", (403, Some("client_denied"))),
        ("api.test", "acme", (403, Some("client_denied"))),
        ("api.test", "acme-us", (503, Some("credential_unavailable"))),
        ("api.test", "", (400, Some("tenant_unknown"))),
        ("open.test", "m2", (403, Some("client_denied"))),
    ] {
        let answer = proxy.raw(get(host, &format!("{proof}Countersign-Tenant: {tenant}\r\n"))).await;
        assert_eq!((answer.status, answer.error()), expected, "{host} {tenant}");
    }
    let answer = proxy.raw(get("open.test", "Countersign-Tenant: m2\r\n")).await;
    assert_eq!(answer.status, 200, "an open route takes anyone");
    let answer = proxy.raw(get("api.test", "Countersign-Tenant: m9\r\n")).await;
    assert_eq!(answer.error(), Some("client_denied"), "who is not let in learns nothing of tenants");
}
