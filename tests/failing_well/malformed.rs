//! What cannot be understood safely is refused, and never reaches an upstream in another shape.

use super::{open, problem};
use crate::support::Upstream;

/// Requests that are refused with 400 and `Countersign-Error: bad_request`, connection closed.
const REFUSED: &[(&str, &str)] = &[
    ("no Host", "GET / HTTP/1.1\r\n\r\n"),
    ("two Hosts", "GET / HTTP/1.1\r\nHost: api.test\r\nHost: other.test\r\n\r\n"),
    ("an empty Host", "GET / HTTP/1.1\r\nHost:\r\n\r\n"),
    ("user info in Host", "GET / HTTP/1.1\r\nHost: user@api.test\r\n\r\n"),
    ("a path in Host", "GET / HTTP/1.1\r\nHost: api.test/x\r\n\r\n"),
    ("a list in Host", "GET / HTTP/1.1\r\nHost: api.test, other.test\r\n\r\n"),
    ("an odd port", "GET / HTTP/1.1\r\nHost: api.test:+80\r\n\r\n"),
    ("a port with leading zeros", "GET / HTTP/1.1\r\nHost: api.test:0080\r\n\r\n"),
    ("a port over 65535", "GET / HTTP/1.1\r\nHost: api.test:65616\r\n\r\n"),
    ("no header line", "GET / HTTP/1.1\r\nHost api.test\r\n\r\n"),
    ("a space before the colon", "GET / HTTP/1.1\r\nHost: api.test\r\nX-A : 1\r\n\r\n"),
    ("an empty header name", "GET / HTTP/1.1\r\nHost: api.test\r\n: 1\r\n\r\n"),
    ("a NUL in a value", "GET / HTTP/1.1\r\nHost: api.test\r\nX-A: a\0b\r\n\r\n"),
    ("a folded header", "GET / HTTP/1.1\r\nHost: api.test\r\nX-A: 1\r\n 2\r\n\r\n"),
    ("no version", "GET /\r\nHost: api.test\r\n\r\n"),
    ("a version of the future", "GET / HTTP/9.9\r\nHost: api.test\r\n\r\n"),
    ("no HTTP at all", "\x16\x03\x01\x02\0\x01\0\x01\r\n\r\n"),
    ("a target without slash", "GET x HTTP/1.1\r\nHost: api.test\r\n\r\n"),
    ("an asterisk", "OPTIONS * HTTP/1.1\r\nHost: api.test\r\n\r\n"),
    ("a backslash", "GET /a\\b HTTP/1.1\r\nHost: api.test\r\n\r\n"),
    ("raw bytes in the target", "GET /\u{e4} HTTP/1.1\r\nHost: api.test\r\n\r\n"),
    ("TRACE", "TRACE / HTTP/1.1\r\nHost: api.test\r\n\r\n"),
    ("TRACK", "TRACK / HTTP/1.1\r\nHost: api.test\r\n\r\n"),
    (
        "two lengths that differ",
        "POST / HTTP/1.1\r\nHost: api.test\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    ),
    ("a length with a sign", "POST / HTTP/1.1\r\nHost: api.test\r\nContent-Length: +1\r\n\r\na"),
    ("a length in hex", "POST / HTTP/1.1\r\nHost: api.test\r\nContent-Length: 0x1\r\n\r\na"),
    ("a length without digits", "POST / HTTP/1.1\r\nHost: api.test\r\nContent-Length: \r\n\r\n"),
    ("a list of lengths", "POST / HTTP/1.1\r\nHost: api.test\r\nContent-Length: 1, 2\r\n\r\nab"),
    ("a length that overflows", "POST / HTTP/1.1\r\nHost: api.test\r\nContent-Length: 99999999999999999999\r\n\r\na"),
    (
        "a coding that is not final",
        "POST / HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    ),
    (
        "another coding before chunked",
        "POST / HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    ),
    ("identity", "POST / HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding: identity\r\n\r\n"),
    (
        "a coding twice",
        "POST / HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    ("a coding in quotes", "POST / HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n"),
    ("a malformed Connection", "GET / HTTP/1.1\r\nHost: api.test\r\nConnection: a b\r\n\r\n"),
];

#[tokio::test]
async fn ambiguous_or_malformed_requests_are_refused_and_the_connection_closed() {
    let upstream = Upstream::ok().await;
    let proxy = open(&upstream.url(), "").await;
    let mut wrong = Vec::new();
    for (what, bytes) in REFUSED {
        let mut worker = proxy.worker().await;
        let answer = worker.exchange(bytes).await;
        if (answer.status, answer.error()) != (400, Some("bad_request")) {
            wrong.push(format!("{what}: {answer:?}"));
        } else if !worker.is_closed().await {
            wrong.push(format!("{what}: the connection stays open"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(upstream.seen().len(), 0);
}

#[tokio::test]
async fn a_fragment_is_no_part_of_a_target() {
    let upstream = Upstream::ok().await;
    let proxy = open(&upstream.url(), "").await;
    let answer = proxy.get("api.test", "/a?b#c").await;
    if answer.status == 200 {
        assert_eq!(upstream.only().head.target(), "/a?b");
    } else {
        problem(&answer, 400, "bad_request", None);
    }
}

#[tokio::test]
async fn a_tunnel_is_refused() {
    let upstream = Upstream::ok().await;
    let proxy = open(&upstream.url(), "").await;
    let mut worker = proxy.worker().await;
    let answer = worker.exchange("CONNECT api.test:443 HTTP/1.1\r\nHost: api.test:443\r\n\r\n").await;
    problem(&answer, 421, "no_route", None);
    assert!(worker.is_closed().await);
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn a_length_beside_chunks_never_lets_a_second_request_through() {
    let upstream = Upstream::ok().await;
    let proxy = open(&upstream.url(), "").await;
    let hidden = "GET /smuggled HTTP/1.1\r\nHost: api.test\r\n\r\n";
    for request in [
        format!(
            "POST / HTTP/1.1\r\nHost: api.test\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{hidden}"
        ),
        format!(
            "POST / HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n{hidden}"
        ),
        format!("POST / HTTP/1.0\r\nHost: api.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{hidden}"),
    ] {
        let mut worker = proxy.worker().await;
        let answer = worker.exchange(&request).await;
        assert!(answer.status == 200 || answer.error() == Some("bad_request"), "{request:?}: {answer:?}");
        assert!(worker.is_closed().await, "{request:?}");
    }
    for seen in upstream.seen() {
        assert_eq!(seen.head.target(), "/");
        assert!(seen.head.header("content-length").is_none() || seen.head.header("transfer-encoding").is_none());
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_or_is_malformed_is_the_workers_fault() {
    for broken in [
        "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nxyz\r\n",
        "Transfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n",
    ] {
        let upstream = Upstream::ok().await;
        let proxy = open(&upstream.url(), "").await;
        let mut worker = proxy.worker().await;
        let answer = worker.exchange(format!("POST / HTTP/1.1\r\nHost: api.test\r\n{broken}")).await;
        problem(&answer, 400, "bad_request", Some("api"));
        assert!(worker.is_closed().await);
        assert_eq!(upstream.seen().len(), 0, "never a whole request");
    }
}

#[tokio::test]
async fn a_silent_worker_is_told_so() {
    let upstream = Upstream::ok().await;
    let proxy = open(&upstream.url(), "timeouts = { body = \"100ms\" }").await;
    let mut worker = proxy.worker().await;
    let answer = worker.exchange("POST / HTTP/1.1\r\nHost: api.test\r\nContent-Length: 10\r\n\r\nhalf").await;
    let detail = problem(&answer, 400, "bad_request", Some("api"));
    assert!(detail.contains("timeouts.body"), "{detail}");
    assert!(worker.is_closed().await);
}
