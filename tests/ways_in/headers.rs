//! Which headers leave and which come back.

use super::open;
use crate::support::Upstream;

#[tokio::test]
async fn nothing_is_added_but_via_towards_this_machine() {
    let upstream = Upstream::ok().await;
    let proxy = open(&upstream, "").await;
    proxy.get("api.test", "/").await;
    let seen = upstream.only();
    let mut names = seen.head.names();
    names.sort();
    assert_eq!(names, ["host", "via"]);
    let via = seen.head.header("via").unwrap();
    assert!(via.starts_with("1.1 countersign-"), "{via}");
    assert_eq!(via.len(), "1.1 countersign-".len() + 16);
}

#[tokio::test]
async fn the_workers_headers_pass_in_order_and_unchanged() {
    let upstream = Upstream::ok().await;
    let proxy = open(&upstream, "").await;
    proxy
        .raw(
            "GET / HTTP/1.1\r\nHost: api.test\r\nX-B: 1\r\nAccept: */*\r\nX-A:  two  words \r\nX-B: 2\r\n\
             User-Agent: w/1\r\ntraceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n\
             Authorization: Basic d29ya2Vy\r\nCookie: a=1; b=2\r\nX-Forwarded-For: 10.1.1.1\r\nVia: 1.1 other\r\n\r\n",
        )
        .await;
    let head = upstream.only().head;
    assert_eq!(head.all("x-b"), ["1", "2"]);
    assert_eq!(head.header("x-a"), Some("two  words"));
    assert_eq!(head.header("user-agent"), Some("w/1"));
    assert_eq!(head.header("traceparent"), Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"));
    assert_eq!(head.header("authorization"), Some("Basic d29ya2Vy"), "credential = \"none\" fills no slot");
    assert_eq!(head.header("cookie"), Some("a=1; b=2"));
    assert_eq!(head.header("x-forwarded-for"), Some("10.1.1.1"));
    assert_eq!(head.all("via")[0], "1.1 other");
}

#[tokio::test]
async fn hop_by_hop_headers_and_what_connection_names_stay_behind() {
    let upstream = Upstream::ok().await;
    let proxy = open(&upstream, "").await;
    let answer = proxy
        .raw(
            "GET / HTTP/1.1\r\nHost: api.test\r\nConnection: X-Hop, keep-alive\r\nX-Hop: 1\r\nKeep-Alive: timeout=9\r\n\
             TE: trailers\r\nTrailer: X-T\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMA\r\nProxy-Authorization: Basic eA==\r\n\
             Proxy-Connection: keep-alive\r\nCountersign-Job: nightly\r\nCountersign-Tenant: m1\r\nContent_Length: 9\r\n\
             X-Stays: 1\r\n\r\n",
        )
        .await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let mut names = upstream.only().head.names();
    names.sort();
    assert_eq!(names, ["host", "via", "x-stays"]);
}

#[tokio::test]
async fn a_connection_header_cannot_remove_host_or_length() {
    let upstream = Upstream::ok().await;
    let proxy = open(&upstream, "").await;
    let answer = proxy
        .raw("POST / HTTP/1.1\r\nHost: api.test\r\nConnection: host, content-length\r\nContent-Length: 3\r\n\r\nabc")
        .await;
    assert_eq!(answer.status, 200);
    let seen = upstream.only();
    assert_eq!(seen.head.header("host"), Some("api.test"));
    assert_eq!((seen.head.header("content-length"), &*seen.body), (Some("3"), &b"abc"[..]));
}

#[tokio::test]
async fn hop_by_hop_headers_of_the_upstream_and_its_countersign_headers_never_come_back() {
    let upstream = Upstream::answering(
        "HTTP/1.1 200 OK\r\nConnection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nProxy-Authenticate: Basic\r\n\
         Upgrade: h2c\r\nTrailer: X-T\r\nCountersign-Error: no_route\r\nCountersign-Other: x\r\nX-Stays: 1\r\nX-Two: a\r\n\
         X-Two: b\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nServer: s\r\nWWW-Authenticate: Bearer\r\nContent-Length: 2\r\n\r\nok",
    )
    .await;
    let proxy = open(&upstream, "").await;
    let answer = proxy.get("api.test", "/").await;
    let mut names = answer.head.names();
    names.sort();
    let expected =
        ["content-length", "server", "set-cookie", "set-cookie", "www-authenticate", "x-stays", "x-two", "x-two"];
    assert_eq!(names, expected);
    assert_eq!(answer.head.all("x-two"), ["a", "b"]);
    assert_eq!(answer.text(), "ok");
}
