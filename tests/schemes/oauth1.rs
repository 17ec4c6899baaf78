//! `oauth1` through the proxy. Signatures are made here once more, by RFC 5849 and RFC 2104, of what arrived.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};

use crate::support::upstream::Seen;
use crate::support::{Running, Scratch, Setup, Upstream, countersign};

const CREDENTIALS: &str = r#"
[credential.header.oauth1]
consumer_key = "ck"
consumer_secret = { secret = "cs" }
token = { secret = "{tenant}/token" }
token_secret = { secret = "{tenant}/token-secret" }
realm = "shop"
[credential.query.oauth1]
consumer_key = { secret = "ck" }
consumer_secret = { secret = "cs" }
placement = "query"
[credential.form.oauth1]
consumer_key = "ck"
consumer_secret = { secret = "cs" }
placement = "form"
[credential.front]
basic = { username = "staging", password = { secret = "cs" } }
"#;

async fn with(upstream: &Upstream, credential: &str, more: &str) -> Running {
    let url = upstream.url();
    Setup::new(format!(
        "{CREDENTIALS}\n[[route]]\nname = \"api\"\nhost = \"api.test\"\nupstream = \"{url}\"\ncredential = {credential}\n{more}\n"
    ))
    .secret("ck", "ck_REAL")
    .secret("cs", "c&s")
    .secret("m1/token", "t 1")
    .secret("m1/token-secret", "ts1")
    .secret("m2/token", "t2")
    .secret("m2/token-secret", "ts2")
    .start()
    .await
}

fn encode(text: &str) -> String {
    let one = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(one).collect()
}

fn decode(text: &str) -> String {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'%' => {
                let pair = [bytes.next().unwrap(), bytes.next().unwrap()];
                u8::from_str_radix(std::str::from_utf8(&pair).unwrap(), 16).unwrap()
            }
            b'+' => b' ',
            other => other,
        });
    }
    String::from_utf8(out).unwrap()
}

/// Parameters of a query or form, decoded.
fn pairs(text: &str) -> Vec<(String, String)> {
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    pairs.map(|pair| pair.split_once('=').unwrap_or((pair, ""))).map(|(n, v)| (decode(n), decode(v))).collect()
}

/// Every parameter of what arrived, and whether its signature is the one of this key.
fn judged(seen: &Seen, key: &str) -> Vec<(String, String)> {
    let target = seen.head.target();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut all = pairs(query);
    if seen.head.header("content-type").is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded")) {
        all.extend(pairs(std::str::from_utf8(&seen.body).unwrap()));
    }
    if let Some(list) = seen.head.header("authorization").and_then(|line| line.strip_prefix("OAuth ")) {
        let list = list.split(", ").map(|pair| pair.split_once('=').unwrap());
        all.extend(list.map(|(n, v)| (decode(n), decode(v.trim_matches('"')))).filter(|(n, _)| n != "realm"));
    }
    let at = all.iter().position(|(name, _)| name == "oauth_signature").expect("a signature");
    let signature = all.remove(at).1;
    let mut sorted: Vec<(String, String)> = all.iter().map(|(n, v)| (encode(n), encode(v))).collect();
    sorted.sort();
    let sorted: Vec<String> = sorted.into_iter().map(|(n, v)| format!("{n}={v}")).collect();
    let uri = format!("http://{}{path}", seen.head.header("host").unwrap());
    let method = seen.head.raw.split(' ').next().unwrap();
    let base = format!("{method}&{}&{}", encode(&uri), encode(&sorted.join("&")));
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(key.as_bytes()).unwrap();
    mac.update(base.as_bytes());
    assert_eq!(signature, STANDARD.encode(mac.finalize().into_bytes()), "{base}\n{}", seen.head.raw);
    all
}

fn value<'a>(all: &'a [(String, String)], name: &str) -> Vec<&'a str> {
    all.iter().filter(|(n, _)| n == name).map(|(_, v)| v.as_str()).collect()
}

#[tokio::test]
async fn each_tenant_s_request_is_signed_in_the_header_and_the_worker_s_signing_is_gone() {
    let upstream = Upstream::ok().await;
    let proxy = with(&upstream, "\"header\"", "tenant = { header = \"Countersign-Tenant\" }").await;
    for (tenant, token, key) in [("m1", "t 1", "c%26s&ts1"), ("m2", "t2", "c%26s&ts2")] {
        let request = format!(
            "GET /r%2Fs/ü?x=1&x=1&f%5Ba%5D=+&oauth_token=mine&oauth_signature=mine HTTP/1.1\r\nHost: api.test\r\n\
             Countersign-Tenant: {tenant}\r\nAuthorization: OAuth oauth_token=\"mine\"\r\nAuthorization: Basic bWluZQ==\r\n\r\n"
        )
        .replace('ü', "%C3%BC");
        assert_eq!(proxy.raw(request).await.status, 200);
        let seen = upstream.last();
        assert_eq!(seen.head.target(), "/r%2Fs/%C3%BC?x=1&x=1&f%5Ba%5D=+");
        assert!(!seen.head.raw.contains("mine") && seen.head.all("authorization").len() == 1, "{}", seen.head.raw);
        assert!(seen.head.header("authorization").unwrap().starts_with("OAuth realm=\"shop\", oauth_consumer_key="));
        let all = judged(&seen, key);
        assert_eq!((value(&all, "oauth_consumer_key"), value(&all, "oauth_token")), (vec!["ck"], vec![token]));
        assert_eq!(value(&all, "oauth_signature_method"), ["HMAC-SHA256"]);
    }
    let nonces: Vec<_> =
        upstream.seen().iter().map(|seen| seen.head.header("authorization").map(str::to_owned)).collect();
    assert_ne!(nonces[0], nonces[1]);
}

#[tokio::test]
async fn a_form_is_signed_with_its_fields_and_any_other_body_streams() {
    let upstream = Upstream::ok().await;
    let more = "tenant = { header = \"Countersign-Tenant\" }\nlimits = { signed_body = \"40B\" }";
    let proxy = with(&upstream, "\"header\"", more).await;
    let post = |kind: &str, body: &str| {
        format!(
            "POST /p?b=1 HTTP/1.1\r\nHost: api.test\r\nCountersign-Tenant: m2\r\nContent-Type: {kind}\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let form = "application/x-www-form-urlencoded";
    assert_eq!(proxy.raw(post(form, "a=%20+&oauth_nonce=mine&a=1&c")).await.status, 200);
    let seen = upstream.last();
    assert_eq!(seen.body, b"a=%20+&a=1&c");
    assert_eq!(seen.head.header("content-length"), Some("12"));
    judged(&seen, "c%26s&ts2");
    let long = "x".repeat(100);
    assert_eq!(proxy.raw(post("application/json", &long)).await.status, 200);
    assert_eq!(upstream.last().body.len(), 100);
    judged(&upstream.last(), "c%26s&ts2");
    let refused = proxy.raw(post(form, &long)).await;
    assert_eq!((refused.status, refused.error()), (413, Some("body_too_large_to_sign")));
}

#[tokio::test]
async fn a_query_that_was_signed_and_sent_twice_is_sent_and_signed_once() {
    let upstream = Upstream::ok().await;
    let proxy = with(&upstream, "[\"front\", \"query\"]", "").await;
    let target = "/wp-json/wc/v3/products?per_page=2&search=a+b&oauth_consumer_key=ck_DUMMY&oauth_timestamp=1\
                  &oauth_nonce=n&oauth_signature_method=HMAC-SHA256&oauth_signature=x%3D&per_page=2&search=a+b";
    assert_eq!(proxy.get("api.test", target).await.status, 200);
    let seen = upstream.last();
    assert!(
        seen.head.target().starts_with("/wp-json/wc/v3/products?per_page=2&search=a+b&oauth_consumer_key=ck_REAL&")
    );
    assert!(!seen.head.raw.contains("DUMMY"));
    let all = judged(&seen, "c%26s&");
    assert_eq!((value(&all, "per_page"), value(&all, "oauth_token")), (vec!["2"], vec![]));
    assert!(seen.head.header("authorization").unwrap().starts_with("Basic "));
}

#[tokio::test]
async fn the_parameters_go_into_a_form_where_there_is_one() {
    let upstream = Upstream::ok().await;
    let proxy = with(&upstream, "\"form\"", "").await;
    let request = "POST /p HTTP/1.1\r\nHost: api.test\r\nContent-Type: application/x-www-form-urlencoded\r\n\
                   Transfer-Encoding: chunked\r\nAuthorization: OAuth x\r\n\r\n3\r\na=1\r\n0\r\n\r\n";
    assert_eq!(proxy.raw(request).await.status, 200);
    let seen = upstream.last();
    assert!(seen.body.starts_with(b"a=1&oauth_consumer_key=ck&"));
    assert_eq!(seen.head.header("authorization"), None);
    judged(&seen, "c%26s&");
    let refused = proxy.get("api.test", "/p").await;
    assert_eq!((refused.status, refused.error()), (400, Some("bad_request")));
    assert_eq!(upstream.seen().len(), 1);
}

#[tokio::test]
async fn a_tenant_stands_where_the_worker_s_sdk_wants_a_consumer_key() {
    let upstream = Upstream::ok().await;
    let proxy = with(&upstream, "\"header\"", "tenant = { slot = true }").await;
    assert_eq!(proxy.get("api.test", "/p?oauth_consumer_key=m1&oauth_nonce=1").await.status, 200);
    judged(&upstream.last(), "c%26s&ts1");
    let request = "GET /p HTTP/1.1\r\nHost: api.test\r\nAuthorization: OAuth oauth_consumer_key=\"ck\", oauth_token=\"m2\"\r\n\r\n";
    assert_eq!(proxy.raw(request).await.status, 200);
    judged(&upstream.last(), "c%26s&ts2");
    assert_eq!(proxy.get("api.test", "/p").await.error(), Some("tenant_unknown"));
}

/// The base string was put together by hand; the signature is OpenSSL's:
/// `printf %s BASE | openssl dgst -sha256 -hmac 'cs&' -binary | base64`.
#[test]
fn explain_shows_the_base_string_and_a_signature_that_holds() {
    let config = "[credential.o.oauth1]\nconsumer_key = \"ck\"\nconsumer_secret = { secret = \"cs\" }\nplacement = \"form\"\n\
                  [[route]]\nname = \"r\"\nhost = \"api.example\"\ncredential = \"o\"\n[secrets]\ndir = \"secrets\"\n";
    let scratch = Scratch::with(config, &[("cs", "cs")]);
    let words = [
        "explain",
        "--format",
        "json",
        "POST",
        "https://api.example/p?b=2",
        "-H",
        "Content-Type: application/x-www-form-urlencoded",
        "--body",
        "a=1&oauth_token=mine",
        "--at",
        "2026-09-21T14:13:20Z",
        "--nonce",
        "n",
    ];
    let ran = countersign(&scratch.path(""), &words);
    assert_eq!(ran.status, 0, "{ran:?}");
    let json = ran.json();
    let text = "a=1&b=2&oauth_consumer_key=ck&oauth_nonce=n&oauth_signature_method=HMAC-SHA256&oauth_timestamp=1790000000\
                &oauth_version=1.0";
    let base = format!("POST&https%3A%2F%2Fapi.example%2Fp&{}", encode(text));
    assert_eq!(json["canonical"], serde_json::json!([{"credential": "o", "text": text, "string_to_sign": base}]));
    let body = "a=1&oauth_consumer_key=ck&oauth_signature_method=HMAC-SHA256&oauth_timestamp=1790000000&oauth_nonce=n\
                &oauth_version=1.0&oauth_signature=SIGNATURE";
    assert_eq!(json["body"], body.replace("SIGNATURE", &encode(SIGNATURE)));
    assert_eq!(json["target"], "/p?b=2");
}

const SIGNATURE: &str = "VclZEqb2MGTg0SbIY83GenAmLxscUFaaSk3wcU3eAoo=";
