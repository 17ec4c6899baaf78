//! What a route's credentials put in, and what of the worker's never leaves because of it.

use crate::support::{Running, Setup, Upstream};

async fn with(upstream: &Upstream, credentials: &str, names: &str) -> Running {
    let url = upstream.url();
    Setup::new(format!(
        "{credentials}\n[[route]]\nname = \"api\"\nhost = \"api.test\"\nupstream = \"{url}\"\ncredential = {names}\n"
    ))
    .secret("key", "s3cret\n")
    .secret("user", "shop")
    .secret("password", "p:w")
    .start()
    .await
}

fn get(target: &str, headers: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: api.test\r\n{headers}\r\n")
}

#[tokio::test]
async fn a_header_slot_holds_the_credential_alone_in_any_spelling() {
    let upstream = Upstream::ok().await;
    let credential = "[credential.k]\napi_key = { secret = \"key\", header = \"X-Api-Key\", prefix = \"Token \" }";
    let proxy = with(&upstream, credential, "\"k\"").await;
    let worker = "x-api-key: mine\r\nX-API-KEY: mine\r\nX_Api_Key: mine\r\nx_api-key: mine\r\nHTTP_X_API_KEY: mine\r\n\
                  X-Other: 1\r\n";
    assert_eq!(proxy.raw(get("/", worker)).await.status, 200);
    let head = upstream.only().head;
    assert_eq!(head.header("x-api-key"), Some("Token s3cret"));
    assert!(!head.raw.contains("mine"), "{head:?}");
    assert_eq!(head.header("x-other"), Some("1"));
}

#[tokio::test]
async fn a_query_slot_replaces_every_parameter_of_that_decoded_name_and_no_other_byte() {
    let upstream = Upstream::ok().await;
    let proxy = with(&upstream, "[credential.k]\napi_key = { secret = \"key\", query = \"api key\" }", "\"k\"").await;
    for (sent, left) in [
        ("/x?a=%2F&api+key=mine&b=+%20", "/x?a=%2F&b=+%20&api%20key=s3cret"),
        ("/x?api%20key=mine&%61pi%20key=mine&API%20KEY=stays", "/x?API%20KEY=stays&api%20key=s3cret"),
        ("/x?api%20key", "/x?api%20key=s3cret"),
        ("/x", "/x?api%20key=s3cret"),
        ("/x?", "/x?api%20key=s3cret"),
        ("/x?a&&b=", "/x?a&&b=&api%20key=s3cret"),
    ] {
        proxy.raw(get(sent, "")).await;
        assert_eq!(upstream.last().head.target(), left, "{sent}");
    }
}

#[tokio::test]
async fn a_cookie_slot_replaces_the_cookie_of_that_name_only() {
    let upstream = Upstream::ok().await;
    let proxy = with(&upstream, "[credential.k]\napi_key = { secret = \"key\", cookie = \"sid\" }", "\"k\"").await;
    proxy.raw(get("/", "Cookie: a=1; sid=mine; b=\"2\"\r\nCookie: sid=mine; SID=other\r\n")).await;
    let head = upstream.last().head;
    let cookies = head.all("cookie").join("; ");
    assert!(!cookies.contains("mine"), "{cookies}");
    for part in ["a=1", "b=\"2\"", "SID=other", "sid=s3cret"] {
        assert!(cookies.split("; ").any(|cookie| cookie == part), "{part} in {cookies}");
    }
    proxy.raw(get("/", "")).await;
    assert_eq!(upstream.last().head.header("cookie"), Some("sid=s3cret"));
}

#[tokio::test]
async fn bearer_and_basic_replace_the_workers_authorization() {
    let upstream = Upstream::ok().await;
    let proxy = with(&upstream, "[credential.b]\nbearer = { secret = \"key\" }", "\"b\"").await;
    proxy.raw(get("/", "authorization: Basic bWluZQ==\r\nAuthorization: Bearer mine\r\n")).await;
    assert_eq!(upstream.last().head.header("authorization"), Some("Bearer s3cret"));

    let basic = "[credential.b]\nbasic = { username = { secret = \"user\" }, password = { secret = \"password\" } }";
    let proxy = with(&upstream, basic, "\"b\"").await;
    proxy.raw(get("/", "Authorization: Bearer mine\r\n")).await;
    // printf 'shop:p:w' | base64
    assert_eq!(upstream.last().head.header("authorization"), Some("Basic c2hvcDpwOnc="));
}

#[tokio::test]
async fn several_credentials_are_applied_in_order_and_a_later_one_signs_what_an_earlier_one_set() {
    let upstream = Upstream::ok().await;
    let credentials = r#"
        [credential.first]
        api_key = { secret = "key", header = "X-Key" }
        [credential.second.hmac]
        secret = "key"
        sign = "{method} {target} {header.X-Key}"
        set = { "X-Sig" = "{signature}" }
    "#;
    let proxy = with(&upstream, credentials, "[\"first\", \"second\"]").await;
    let answer = proxy.raw(get("/a?b=1", "X-Key: mine\r\nX-Sig: mine\r\n")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let head = upstream.only().head;
    assert_eq!(head.header("x-key"), Some("s3cret"));
    // printf 'GET /a?b=1 s3cret' | openssl dgst -sha256 -hmac s3cret
    assert_eq!(head.header("x-sig"), Some("8400d13da0877c4943bf973fa32db69a45c3b6761f0107b41fadb9b6f35c1a29"));
}

#[tokio::test]
async fn what_is_signed_is_what_leaves_behind_a_prefix() {
    let upstream = Upstream::ok().await;
    let url = upstream.url();
    let proxy = Setup::new(format!(
        r#"
        [credential.sig.hmac]
        secret = "key"
        sign = "{{method}}\n{{host}}\n{{target}}\n{{body|sha256|hex}}"
        set = {{ "X-Sig" = "{{signature}}" }}
        [[route]]
        name = "api"
        host = "api.test"
        prefix = "/example"
        upstream = "{url}"
        credential = "sig"
        "#
    ))
    .secret("key", "s3cret")
    .start()
    .await;
    assert_eq!(proxy.post("localhost", "/example/a%2Fb?q=+1", "{}").await.status, 200);
    let seen = upstream.only();
    assert_eq!(seen.head.target(), "/a%2Fb?q=+1");
    // printf 'POST\napi.test\n/a%%2Fb?q=+1\n%s' $(printf '{}' | sha256sum | cut -d' ' -f1) | openssl dgst -sha256 -hmac s3cret
    assert_eq!(seen.head.header("x-sig"), Some("c65b1fabd38653b5d34ebae9084754d515a915641eac10b8e6613a8eb6f3214a"));
}

#[tokio::test]
async fn every_request_has_a_nonce_of_its_own() {
    let upstream = Upstream::ok().await;
    let credential = "[credential.sig.hmac]\nsecret = \"key\"\nsign = \"{nonce}\"\n\
                      set = { \"X-Nonce\" = \"{nonce}\", \"X-Sig\" = \"{signature}\" }";
    let proxy = with(&upstream, credential, "\"sig\"").await;
    let mut worker = proxy.worker().await;
    for _ in 0..20 {
        assert_eq!(worker.exchange(get("/", "")).await.status, 200);
    }
    let nonces: std::collections::HashSet<String> =
        upstream.seen().iter().map(|seen| seen.head.header("x-nonce").unwrap().to_owned()).collect();
    assert_eq!(nonces.len(), 20);
    assert!(nonces.iter().all(|nonce| nonce.len() >= 16));
}
