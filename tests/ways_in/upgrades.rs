//! WebSocket handshakes and what follows them.

use std::time::Duration;

use super::{open, open_route};
use crate::support::upstream::Conversation;
use crate::support::wait::until;
use crate::support::worker::Worker;
use crate::support::{Running, Setup, Upstream};

/// The handshake of RFC 6455 section 1.2.
const HANDSHAKE: &str = "GET /chat HTTP/1.1\r\nHost: api.test\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: chat\r\n\r\n";
/// Its answer there.
const SWITCHED: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: chat\r\n\r\n";

/// Switches, sends `first` in the same write, then returns every byte it gets with an `e` before it.
async fn echo(mut conversation: Conversation) {
    while conversation.request().await.is_some_and(|seen| seen.head.header("upgrade").is_none()) {
        conversation.send(crate::support::upstream::OK).await;
    }
    conversation.send(format!("{SWITCHED}first")).await;
    while conversation.more().await {
        let got = conversation.take_unread();
        conversation.send([b"e", &got[..]].concat()).await;
    }
}

async fn opened(proxy: &Running) -> Worker {
    let mut worker = proxy.worker().await;
    worker.send(HANDSHAKE).await;
    let head = worker.head().await.unwrap();
    assert_eq!(head.start_line(), "HTTP/1.1 101 Switching Protocols");
    assert_eq!(head.header("upgrade"), Some("websocket"));
    assert_eq!(head.header("connection"), Some("Upgrade"));
    assert_eq!(head.header("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    assert_eq!(head.header("sec-websocket-protocol"), Some("chat"));
    assert_eq!(worker.take(5).await, b"first", "sent behind the 101");
    worker
}

async fn exchange(worker: &mut Worker, bytes: &[u8]) {
    worker.send(bytes).await;
    assert_eq!(worker.take(bytes.len() + 1).await, [b"e", bytes].concat());
}

#[tokio::test]
async fn a_handshake_is_signed_and_then_bytes_pass_in_both_directions() {
    let upstream = Upstream::scripted(echo).await;
    let text = open_route(&upstream, "").replace("\"none\"", "\"key\"") + "[credential.key.bearer]\nsecret = \"key\"\n";
    let proxy = Setup::new(text).secret("key", "t0ken").start().await;
    let mut worker = opened(&proxy).await;
    let seen = upstream.only();
    assert_eq!(seen.head.header("authorization"), Some("Bearer t0ken"));
    assert_eq!(seen.head.header("connection"), Some("Upgrade"));
    assert_eq!(seen.head.header("upgrade"), Some("websocket"));
    assert_eq!(seen.head.header("sec-websocket-key"), Some("dGhlIHNhbXBsZSBub25jZQ=="));
    assert_eq!(seen.head.header("sec-websocket-protocol"), Some("chat"));
    // Nothing of it is looked at as HTTP.
    for bytes in [&b"\0\x01\xff\n\n"[..], b"GET / HTTP/1.1\r\nHost: other.test\r\n\r\n", b"Content-Length: x\r\n y\r\n"]
    {
        exchange(&mut worker, bytes).await;
    }
    assert_eq!(upstream.seen().len(), 1);
}

#[tokio::test]
async fn much_passes_through_bounded_buffers() {
    let upstream = Upstream::scripted(|mut conversation| async move {
        conversation.request().await.unwrap();
        conversation.send(SWITCHED).await;
        let mut total = 0;
        while total < 1 << 20 {
            assert!(conversation.more().await);
            total += conversation.take_unread().len();
        }
        conversation.send(vec![7; 1 << 20]).await;
        conversation.close().await;
    })
    .await;
    let proxy = open(&upstream, "").await;
    let mut worker = proxy.worker().await;
    worker.send(HANDSHAKE).await;
    worker.head().await.unwrap();
    worker.send(vec![9; 1 << 20]).await;
    assert!(worker.take(1 << 20).await.iter().all(|&byte| byte == 7));
    assert!(worker.is_closed().await, "the upstream's end is the worker's");
}

#[tokio::test]
async fn a_handshake_has_an_upstream_connection_of_its_own_and_it_is_never_pooled() {
    let upstream = Upstream::scripted(echo).await;
    let proxy = open(&upstream, "").await;
    assert_eq!(proxy.get("api.test", "/").await.status, 200);
    let mut worker = opened(&proxy).await;
    assert_eq!(upstream.connections(), 2, "not the unused one");
    assert_eq!(proxy.get("api.test", "/").await.status, 200);
    assert_eq!(upstream.connections(), 2, "which is still there");
    exchange(&mut worker, b"x").await;

    let refusing = Upstream::answering("HTTP/1.1 426 Upgrade Required\r\nContent-Length: 2\r\n\r\nno").await;
    let proxy = open(&refusing, "").await;
    let mut worker = proxy.worker().await;
    for connections in 1..=2 {
        let answer = worker.exchange(HANDSHAKE).await;
        assert_eq!((answer.status, answer.text(), answer.header("upgrade")), (426, "no", None));
        assert_eq!(refusing.connections(), connections);
        worker = proxy.worker().await;
    }
}

#[tokio::test]
async fn what_follows_a_refused_handshake_is_a_request_like_any_other() {
    let upstream = Upstream::ok().await;
    let proxy = open(&upstream, "").await;
    let mut worker = proxy.worker().await;
    worker.send(format!("{HANDSHAKE}GET /smuggled HTTP/1.1\r\nHost: nobody.test\r\n\r\n")).await;
    assert_eq!(worker.answer().await.status, 200);
    // Closed or parsed, never passed.
    if let Some(head) = worker.head().await {
        assert_eq!(head.header("countersign-error"), Some("no_route"));
    }
    assert_eq!(upstream.seen().len(), 1);
}

#[tokio::test]
async fn other_upgrades_and_half_handshakes_are_dropped() {
    let upstream = Upstream::ok().await;
    let proxy = open(&upstream, "").await;
    for request in [
        HANDSHAKE.replace("Upgrade: websocket", "Upgrade: h2c"),
        HANDSHAKE.replace("Sec-WebSocket-Version: 13", "Sec-WebSocket-Version: 12"),
        HANDSHAKE.replace("Connection: keep-alive, Upgrade", "Connection: keep-alive"),
        HANDSHAKE.replace("GET", "POST"),
    ] {
        assert_eq!(proxy.raw(&request).await.status, 200, "{request}");
        let seen = upstream.last();
        assert_eq!((seen.head.header("upgrade"), seen.head.header("connection")), (None, None), "{request}");
    }
    let proxy = open(&upstream, "websocket = false").await;
    assert_eq!(proxy.raw(HANDSHAKE).await.status, 200);
    assert_eq!(upstream.last().head.header("upgrade"), None);
}

#[tokio::test]
async fn a_101_that_does_not_fit_is_no_answer() {
    for (request, answer) in [
        (HANDSHAKE, SWITCHED.replace("Upgrade: websocket", "Upgrade: h2c")),
        (HANDSHAKE, SWITCHED.replace("Upgrade: websocket\r\n", "")),
        ("GET / HTTP/1.1\r\nHost: api.test\r\n\r\n", SWITCHED.to_owned()),
    ] {
        let upstream = Upstream::answering(answer.clone()).await;
        let proxy = open(&upstream, "").await;
        let got = proxy.raw(request).await;
        assert_eq!((got.status, got.error()), (502, Some("upstream_protocol")), "{answer}");
    }
}

#[tokio::test]
async fn silence_ends_a_tunnel_and_bytes_keep_it() {
    let upstream = Upstream::scripted(echo).await;
    let proxy = open(&upstream, "timeouts = { tunnel = \"300ms\" }").await;
    let mut worker = opened(&proxy).await;
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        exchange(&mut worker, b"x").await;
    }
    assert!(worker.is_closed().await);
    until("the count", async || {
        proxy.metric("countersign_requests_total{route=\"api\",outcome=\"upstream_timeout\"}").await == 1.0
    })
    .await;
}

#[tokio::test]
async fn the_end_of_either_side_ends_the_other_and_the_request() {
    let upstream = Upstream::scripted(echo).await;
    let proxy = open(&upstream, "").await;
    let worker = opened(&proxy).await;
    assert_eq!(proxy.metric("countersign_upstream_connections{route=\"api\",state=\"active\"}").await, 1.0);
    drop(worker);
    until("the count", async || proxy.metric("countersign_requests_total{route=\"api\",outcome=\"2xx\"}").await == 1.0)
        .await;
    until("the upstream's connection", async || {
        proxy.metric("countersign_upstream_connections{route=\"api\",state=\"active\"}").await == 0.0
    })
    .await;
}

#[tokio::test]
async fn a_drain_waits_for_tunnels_until_its_deadline() {
    let upstream = Upstream::scripted(echo).await;
    let proxy = open(&upstream, "").await;
    let mut worker = opened(&proxy).await;
    let drain = tokio::spawn(proxy.server.drain(Duration::from_millis(400)));
    tokio::time::sleep(Duration::from_millis(100)).await;
    exchange(&mut worker, b"still here").await;
    assert!(worker.is_closed().await);
    assert_eq!(drain.await.unwrap(), countersign::server::Drained::CutOff);
}
