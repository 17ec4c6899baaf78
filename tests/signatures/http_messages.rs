//! HTTP Message Signatures (RFC 9421): every expected signature is computed here anew, from what arrived.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{ED25519, UnparsedPublicKey};
use ring::{digest, hmac};

use crate::support::upstream::Seen;
use crate::support::{Running, Setup, Upstream};

const KEY: &str = "a shared key";
/// `test-key-ed25519` of RFC 9421 appendix B.1.4.
const ED25519_KEY: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIJ+DYvh6SEqVTm50DFtMDoQikTmiCqirVv9mWG9qfSnF\n-----END PRIVATE KEY-----\n";

async fn proxy(upstream: &Upstream, keys: &str) -> Running {
    let url = upstream.url();
    let hmac = "key = \"key\"\nalgorithm = \"hmac-sha256\"\n";
    let keys = if keys.contains("algorithm") { keys.to_owned() } else { format!("{hmac}{keys}") };
    Setup::new(format!(
        r#"
        [credential.token]
        bearer = {{ secret = "token" }}
        [credential.s.http_signature]
        {keys}
        [[route]]
        name = "bank"
        host = "bank.test"
        upstream = "{url}"
        credential = ["token", "s"]
        limits = {{ signed_body = "1KiB" }}
        "#
    ))
    .secret("key", KEY)
    .secret("token", "t1")
    .secret("jwe", "eyJ6aXAiOiJERUYi.JWE-0")
    .secret("ed25519", ED25519_KEY)
    .start()
    .await
}

/// The one line of this header.
fn one<'s>(seen: &'s Seen, name: &str) -> &'s str {
    let lines = seen.head.all(name);
    assert_eq!(lines.len(), 1, "{name}: {}", seen.head.raw);
    lines[0]
}

/// The signature over these lines of the base, as it must stand in `Signature`.
fn signature(label: &str, lines: &[String], input: &str) -> String {
    let parameters = input.strip_prefix(&format!("{label}=")).unwrap();
    let base =
        format!("{}\"@signature-params\": {parameters}", lines.iter().map(|l| format!("{l}\n")).collect::<String>());
    let key = hmac::Key::new(hmac::HMAC_SHA256, KEY.as_bytes());
    format!("{label}=:{}:", STANDARD.encode(hmac::sign(&key, base.as_bytes())))
}

fn digest_of(body: &[u8]) -> String {
    format!("sha-256=:{}:", STANDARD.encode(digest::digest(&digest::SHA256, body)))
}

#[tokio::test]
async fn what_arrives_is_signed_and_nothing_of_the_workers_own_signature_is_left() {
    let upstream = Upstream::ok().await;
    let keys = "key_id = \"shop\"\nexpires = \"5m\"\n\
        components = [\"@method\", \"@target-uri\", \"@authority\", \"content-digest\", \"content-type\", \"authorization\"]";
    let proxy = proxy(&upstream, keys).await;
    let body = "{\"a\":1}";
    let answer = proxy
        .raw(format!(
            "POST /v1/a%2Fb?x=1&x=%20 HTTP/1.1\r\nHost: bank.test\r\nContent-Type: application/json\r\n\
             Signature: mine=:AAAA:\r\nsignature: sig1=:AAAA:\r\nSignature-Input: mine=();created=1\r\nSIGNATURE_INPUT: x=()\r\n\
             Content-Digest: sha-256=:AAAA:\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ))
        .await;
    assert_eq!(answer.status, 200);
    let seen = &upstream.seen()[0];
    let input = one(seen, "signature-input");
    let covered = "sig1=(\"@method\" \"@target-uri\" \"@authority\" \"content-digest\" \"content-type\" \"authorization\");created=";
    let times = input.strip_prefix(covered).unwrap_or_else(|| panic!("{input}"));
    let (created, rest) = times.split_once(";expires=").unwrap();
    let (expires, rest) = rest.split_once(';').unwrap();
    assert_eq!(rest, "keyid=\"shop\"");
    assert_eq!(expires.parse::<u64>().unwrap() - created.parse::<u64>().unwrap(), 300);
    assert_eq!(one(seen, "content-digest"), digest_of(body.as_bytes()));
    let host = one(seen, "host");
    let lines = [
        "\"@method\": POST".to_owned(),
        format!("\"@target-uri\": http://{host}/v1/a%2Fb?x=1&x=%20"),
        format!("\"@authority\": {host}"),
        format!("\"content-digest\": {}", digest_of(body.as_bytes())),
        "\"content-type\": application/json".to_owned(),
        "\"authorization\": Bearer t1".to_owned(),
    ];
    assert_eq!(one(seen, "signature"), signature("sig1", &lines, input));
    assert!(!seen.head.raw.to_lowercase().contains("signature_input"));
    assert_eq!(seen.body, body.as_bytes());
}

#[tokio::test]
async fn a_body_in_chunks_is_signed_as_it_leaves_and_one_that_is_too_large_is_not_sent() {
    let upstream = Upstream::ok().await;
    let proxy = proxy(&upstream, "").await;
    let chunked =
        "POST /c HTTP/1.1\r\nHost: bank.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
    assert_eq!(proxy.raw(chunked).await.status, 200);
    assert_eq!(proxy.get("bank.test", "/none").await.status, 200);
    let seen = upstream.seen();
    assert_eq!((one(&seen[0], "content-digest"), &*seen[0].body), (&*digest_of(b"abcde"), &b"abcde"[..]));
    assert_eq!(one(&seen[1], "content-digest"), digest_of(b""));
    for seen in &seen {
        let input = one(seen, "signature-input");
        let (method, target) = (seen.head.method(), seen.head.target());
        let lines = [
            format!("\"@method\": {method}"),
            format!("\"@target-uri\": http://{}{target}", one(seen, "host")),
            format!("\"content-digest\": {}", one(seen, "content-digest")),
        ];
        assert_eq!(one(seen, "signature"), signature("sig1", &lines, input));
    }
    let answer = proxy.post("bank.test", "/", &"x".repeat(1025)).await;
    assert_eq!((answer.status, answer.error()), (413, Some("body_too_large_to_sign")));
    assert_eq!(upstream.seen().len(), 2);
}

#[tokio::test]
async fn a_covered_header_that_is_not_there_is_the_workers_mistake() {
    let upstream = Upstream::ok().await;
    let proxy = proxy(&upstream, "components = [\"x-order\", \"@path\"]").await;
    let answer = proxy.get("bank.test", "/").await;
    assert_eq!((answer.status, answer.error()), (400, Some("bad_request")));
    assert_eq!(answer.json()["detail"], "the request has no header x-order, which the signature covers");
    assert!(upstream.seen().is_empty());
    let with = "GET / HTTP/1.1\r\nHost: bank.test\r\nX-Order:  a \r\nx-order: b\r\n\r\n";
    assert_eq!(proxy.raw(with).await.status, 200);
    let seen = &upstream.seen()[0];
    let lines = ["\"x-order\": a, b".to_owned(), "\"@path\": /".to_owned()];
    assert_eq!(one(seen, "signature"), signature("sig1", &lines, one(seen, "signature-input")));
}

#[tokio::test]
async fn nonces_are_new_for_every_request() {
    let upstream = Upstream::ok().await;
    let proxy = proxy(&upstream, "components = [\"@path\"]\nparameters = [\"nonce\"]").await;
    for _ in 0..2 {
        assert_eq!(proxy.get("bank.test", "/").await.status, 200);
    }
    let seen = upstream.seen();
    let nonce = |nth: usize| {
        one(&seen[nth], "signature-input").split("nonce=\"").nth(1).unwrap().trim_end_matches('"').to_owned()
    };
    assert_eq!((nonce(0).len(), nonce(1).len()), (32, 32));
    assert_ne!(nonce(0), nonce(1));
}

#[tokio::test]
async fn ebay_gets_the_headers_that_its_own_libraries_send() {
    let vector: serde_json::Value =
        serde_json::from_str(include_str!("../vectors/ebay/digital_signature.json")).unwrap();
    let case = &vector["cases"][0];
    let upstream = Upstream::ok().await;
    let keys = "key = \"ed25519\"\nalgorithm = \"ed25519\"\nkey_id = { secret = \"jwe\" }\nprofile = \"ebay\"";
    let proxy = proxy(&upstream, keys).await;
    let own = "X-EBAY-Signature-Key: mine\r\nX-EBAY-Enforce-Signature: false\r\n";
    let target = "/sell/finances/v1/payout?limit=1";
    assert_eq!(proxy.raw(format!("GET {target} HTTP/1.1\r\nHost: bank.test\r\n{own}\r\n")).await.status, 200);
    assert_eq!(proxy.post("bank.test", "/refund", "{}").await.status, 200);
    let seen = upstream.seen();
    assert!(seen[0].head.all("content-digest").is_empty());
    assert_eq!(one(&seen[1], "content-digest"), digest_of(b"{}"));
    let public = STANDARD.decode(case["public_pem"].as_str().unwrap().lines().nth(1).unwrap()).unwrap();
    for (seen, path) in seen.iter().zip(["/sell/finances/v1/payout", "/refund"]) {
        let digest = seen.head.header("content-digest").map(|digest| format!("\"content-digest\": {digest}\n"));
        let parameters = one(seen, "signature-input").strip_prefix("sig1=").unwrap();
        let base = format!(
            "{}\"x-ebay-signature-key\": eyJ6aXAiOiJERUYi.JWE-0\n\"@method\": {}\n\"@path\": {path}\n\"@authority\": bank.test\n\"@signature-params\": {parameters}",
            digest.unwrap_or_default(),
            seen.head.method()
        );
        let signature = one(seen, "signature").strip_prefix("sig1=:").unwrap().trim_end_matches(':');
        // The key itself is the end of its SubjectPublicKeyInfo.
        let key = UnparsedPublicKey::new(&ED25519, &public[public.len() - 32..]);
        key.verify(base.as_bytes(), &STANDARD.decode(signature).unwrap()).unwrap();
        assert_eq!(one(seen, "x-ebay-enforce-signature"), "true");
        assert_eq!(one(seen, "x-ebay-signature-key"), "eyJ6aXAiOiJERUYi.JWE-0");
    }
}
