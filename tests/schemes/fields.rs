//! Credentials that fill fields of a body: what leaves, byte for byte, and what is refused before anything does.

use hmac::{Hmac, KeyInit as _, Mac as _};

use crate::support::{Running, Setup, Upstream};

const FORM: &str = "application/x-www-form-urlencoded";
const JSON: &str = "application/json";

const CREDENTIALS: &str = r#"
[credential.form]
api_key = { secret = "key", form = "api key" }
[credential.json]
api_key = { secret = "key", json = "key" }
[credential.signs.hmac]
secret = "hmac"
sign = "{timestamp}\n{body}"
set_form = { "sign" = "{signature}", "at" = "{timestamp}" }
[credential.member.hmac]
secret = "hmac"
sign = "{body}"
set_json = { "sign" = "{signature}", "a\"b" = "é" }
[credential.body.hmac]
secret = "hmac"
sign = "{header.content-length}\n{body}"
set = { "X-Sum" = "{signature}" }
"#;

async fn with(upstream: &Upstream, credential: &str) -> Running {
    let url = upstream.url();
    Setup::new(format!(
        "{CREDENTIALS}\n[[route]]\nname = \"api\"\nhost = \"api.test\"\nupstream = \"{url}\"\ncredential = {credential}\n\
         limits = {{ signed_body = \"200B\" }}\n"
    ))
    .secret("key", "s3&cret \"q\"")
    .secret("hmac", "k")
    .start()
    .await
}

fn post(kind: &str, body: &str) -> String {
    let length = body.len();
    format!("POST /x HTTP/1.1\r\nHost: api.test\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n{body}")
}

/// RFC 2104 by the crate, over a text written here.
fn sum(text: &str) -> String {
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(b"k").unwrap();
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn a_form_field_is_replaced_and_no_other_byte() {
    let upstream = Upstream::ok().await;
    let proxy = with(&upstream, "\"form\"").await;
    for (sent, left) in [
        ("a=%2F&api+key=mine&b=+%20", "a=%2F&b=+%20&api%20key=s3%26cret%20%22q%22"),
        ("api%20key=mine&%61pi%20key&x", "x&api%20key=s3%26cret%20%22q%22"),
        ("api%20key=mine", "api%20key=s3%26cret%20%22q%22"),
        ("", "api%20key=s3%26cret%20%22q%22"),
        ("a&&b=", "a&&b=&api%20key=s3%26cret%20%22q%22"),
    ] {
        assert_eq!(proxy.raw(post("Application/X-WWW-Form-URLencoded; charset=utf-8", sent)).await.status, 200);
        let seen = upstream.last();
        assert_eq!(String::from_utf8(seen.body).unwrap(), left, "{sent}");
        assert_eq!(seen.head.header("content-length"), Some(&*left.len().to_string()));
    }
}

#[tokio::test]
async fn a_member_of_json_is_replaced_and_no_other_byte() {
    let upstream = Upstream::ok().await;
    let proxy = with(&upstream, "\"json\"").await;
    for (sent, left) in [
        ("{ \"a\" : 1.0e2 ,\n\"k\\u0065y\":[{}] }\n", "{ \"a\" : 1.0e2,\"key\":\"s3&cret \\\"q\\\"\" }\n"),
        ("{\"key\":1,\"key\":2}", "{\"key\":\"s3&cret \\\"q\\\"\"}"),
        (" { } ", " {\"key\":\"s3&cret \\\"q\\\"\" } "),
        ("{\"x\":{\"key\":1}}", "{\"x\":{\"key\":1},\"key\":\"s3&cret \\\"q\\\"\"}"),
        ("", "{\"key\":\"s3&cret \\\"q\\\"\"}"),
    ] {
        assert_eq!(proxy.raw(post("application/vnd.api+JSON", sent)).await.status, 200, "{sent}");
        let seen = upstream.last();
        assert_eq!(String::from_utf8(seen.body).unwrap(), left, "{sent}");
        assert_eq!(seen.head.header("content-length"), Some(&*left.len().to_string()));
    }
}

#[tokio::test]
async fn a_body_that_came_in_chunks_or_not_at_all_leaves_with_its_length_and_type() {
    let upstream = Upstream::ok().await;
    let proxy = with(&upstream, "\"json\"").await;
    let chunked = "POST /x HTTP/1.1\r\nHost: api.test\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\
                   Content-MD5: x\r\nDigest: y\r\n\r\n2\r\n{\"\r\n5\r\na\":1}\r\n0\r\n\r\n";
    assert_eq!(proxy.raw(chunked).await.status, 200);
    let seen = upstream.last();
    assert_eq!(seen.body, b"{\"a\":1,\"key\":\"s3&cret \\\"q\\\"\"}");
    assert_eq!(seen.head.header("transfer-encoding"), None);
    assert_eq!((seen.head.header("content-md5"), seen.head.header("digest")), (None, None), "{}", seen.head.raw);

    assert_eq!(proxy.raw("POST /x HTTP/1.1\r\nHost: api.test\r\nContent-Length: 0\r\n\r\n").await.status, 200);
    let seen = upstream.last();
    assert_eq!(seen.body, b"{\"key\":\"s3&cret \\\"q\\\"\"}");
    assert_eq!(seen.head.header("content-type"), Some(JSON));
    assert_eq!(seen.head.header("content-length"), Some("23"));
}

#[tokio::test]
async fn a_signature_covers_the_worker_s_fields_and_goes_beside_them() {
    let upstream = Upstream::ok().await;
    let proxy = with(&upstream, "[\"form\", \"signs\", \"body\"]").await;
    assert_eq!(proxy.raw(post(FORM, "a=1&sign=old&at=0")).await.status, 200);
    let seen = upstream.last();
    let body = String::from_utf8(seen.body).unwrap();
    let signed = "a=1&api%20key=s3%26cret%20%22q%22";
    let at = body.rsplit_once("&at=").unwrap().1;
    let sign = sum(&format!("{at}\n{signed}"));
    assert_eq!(body, format!("{signed}&sign={sign}&at={at}"));
    let whole = sum(&format!("{}\n{body}", body.len()));
    assert_eq!(seen.head.header("x-sum"), Some(&*whole));

    let proxy = with(&upstream, "\"member\"").await;
    assert_eq!(proxy.raw(post(JSON, "{\"a\":1}")).await.status, 200);
    let body = String::from_utf8(upstream.last().body).unwrap();
    assert_eq!(body, format!("{{\"a\":1,\"sign\":\"{}\",\"a\\\"b\":\"é\"}}", sum("{\"a\":1}")));
}

#[tokio::test]
async fn what_has_no_place_for_the_field_is_refused_and_nothing_leaves() {
    let upstream = Upstream::ok().await;
    let (form, json) = (with(&upstream, "\"form\"").await, with(&upstream, "\"json\"").await);
    let gzip = "POST /x HTTP/1.1\r\nHost: api.test\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\n\
                Content-Length: 2\r\n\r\n{}";
    let bare = "POST /x HTTP/1.1\r\nHost: api.test\r\nContent-Length: 2\r\n\r\n{}";
    let twice = "POST /x HTTP/1.1\r\nHost: api.test\r\nContent-Type: application/json\r\nContent-Type: text/plain\r\n\
                 Content-Length: 2\r\n\r\n{}";
    let get = "GET /x HTTP/1.1\r\nHost: api.test\r\nContent-Type: application/json\r\n\r\n";
    for (proxy, request, why) in [
        (&form, post(JSON, "{}"), "the body's Content-Type is application/json"),
        (&form, post("multipart/form-data; boundary=x", "--x--"), "Content-Type is multipart/form-data"),
        (&json, post(FORM, "a=1"), "the body's Content-Type is application/x-www-form-urlencoded"),
        (&json, post(JSON, "[1]"), "no object"),
        (&json, post(JSON, "{\"a\":1"), "not well-formed JSON"),
        (&json, bare.to_owned(), "Content-Type is not there"),
        (&json, twice.to_owned(), "more than once"),
        (&json, gzip.to_owned(), "Content-Encoding is gzip"),
        (&json, get.to_owned(), "a GET request without a body has no place"),
    ] {
        let answer = proxy.raw(&request).await;
        assert_eq!((answer.status, answer.error()), (400, Some("bad_request")), "{request}");
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(why), "{detail}");
        assert!(!detail.contains("s3&cret"), "{detail}");
    }
    let answer = json.raw(post(JSON, &format!("{{\"a\":\"{}\"}}", "x".repeat(200)))).await;
    assert_eq!((answer.status, answer.error()), (413, Some("body_too_large_to_sign")));
    assert!(upstream.seen().is_empty());
}

#[tokio::test]
async fn every_attempt_starts_from_the_worker_s_bytes() {
    let refusing = Upstream::answering("HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n").await;
    let proxy = with(&refusing, "[\"json\", \"body\"]").await;
    crate::support::files::rename_over(&proxy.secret("key"), "second");
    let attempts = crate::support::wait::until("the second key", async || {
        proxy.raw(post(JSON, "{\"a\":1,\"key\":0}")).await;
        refusing.seen().iter().any(|seen| seen.body == b"{\"a\":1,\"key\":\"second\"}")
    });
    attempts.await;
    let seen = refusing.seen();
    let [.., first, again] = &seen[..] else { panic!("two attempts") };
    assert_eq!(first.body, b"{\"a\":1,\"key\":\"second\"}");
    assert_eq!(again.body, b"{\"a\":1,\"key\":\"s3&cret \\\"q\\\"\"}");
    let text = String::from_utf8(again.body.clone()).unwrap();
    assert_eq!(again.head.header("x-sum"), Some(&*sum(&format!("{}\n{text}", text.len()))));
}
