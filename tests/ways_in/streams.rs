//! Bodies that wait for each other: `Expect: 100-continue` and event streams.

use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::{open, open_route};
use crate::support::{Setup, Upstream};

const EXPECTING: &str = "POST /up HTTP/1.1\r\nHost: api.test\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n";

#[tokio::test]
async fn the_worker_is_asked_for_its_body_when_the_upstream_asks() {
    let upstream = Upstream::scripted(|mut conversation| async move {
        let head = conversation.head().await.unwrap();
        assert_eq!(head.header("expect"), Some("100-continue"));
        assert!(conversation.unread().is_empty());
        conversation.send("HTTP/1.1 100 Continue\r\n\r\n").await;
        while conversation.unread().len() < 5 {
            assert!(conversation.more().await);
        }
        conversation.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    })
    .await;
    let proxy = open(&upstream, "").await;
    let mut worker = proxy.worker().await;
    let began = Instant::now();
    worker.send(EXPECTING).await;
    assert_eq!(worker.head().await.unwrap().status(), 100);
    assert!(began.elapsed() < Duration::from_millis(900), "not because a second went by");
    let answer = worker.exchange("hello").await;
    assert_eq!((answer.status, answer.text()), (200, "ok"));
}

#[tokio::test]
async fn a_refused_body_is_never_asked_for() {
    // By the upstream.
    let upstream = Upstream::scripted(|mut conversation| async move {
        conversation.head().await.unwrap();
        conversation.send("HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno").await;
        while conversation.more().await {}
        assert!(conversation.unread().is_empty(), "no byte of the body");
    })
    .await;
    let proxy = open(&upstream, "").await;
    let answer = proxy.raw(EXPECTING).await;
    assert_eq!((answer.status, answer.text(), &answer.interim[..]), (413, "no", &[][..]));
    // By the proxy.
    let answer = proxy.raw(EXPECTING.replace("api.test", "nobody.test")).await;
    assert_eq!((answer.status, &answer.interim[..]), (421, &[][..]));
    let proxy = open(&upstream, "limits = { request_body = \"4B\" }").await;
    let answer = proxy.raw(EXPECTING).await;
    assert_eq!((answer.error(), &answer.interim[..]), (Some("body_too_large"), &[][..]));
    // Nobody is there.
    let url = format!(
        "http://127.0.0.1:{}",
        std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
    );
    let text = format!("[[route]]\nname = \"a\"\nhost = \"api.test\"\nupstream = \"{url}\"\ncredential = \"none\"\n");
    let answer = Setup::new(text).start().await.raw(EXPECTING).await;
    assert_eq!((answer.error(), &answer.interim[..]), (Some("upstream_unreachable"), &[][..]));
}

#[tokio::test]
async fn an_upstream_that_does_not_ask_gets_the_body_after_a_second() {
    let upstream = Upstream::ok().await;
    let proxy = open(&upstream, "").await;
    let mut worker = proxy.worker().await;
    let began = Instant::now();
    worker.send(EXPECTING).await;
    assert_eq!(worker.head().await.unwrap().status(), 100);
    assert!(began.elapsed() >= Duration::from_secs(1));
    assert_eq!(worker.exchange("hello").await.status, 200);
    assert_eq!(upstream.only().body, b"hello");
    // The connection goes on being used.
    assert_eq!(worker.exchange("GET / HTTP/1.1\r\nHost: api.test\r\n\r\n").await.status, 200);
}

#[tokio::test]
async fn a_worker_that_sends_its_body_at_once_waits_for_nobody() {
    let upstream = Upstream::ok().await;
    let proxy = open(&upstream, "").await;
    let began = Instant::now();
    let chunked = EXPECTING.replace("Content-Length: 5", "Transfer-Encoding: chunked");
    for request in [format!("{EXPECTING}hello"), format!("{EXPECTING}he"), format!("{chunked}5\r\nhello\r\n0\r\n\r\n")]
    {
        let mut worker = proxy.worker().await;
        worker.send(&request).await;
        if request.ends_with("he") {
            assert_eq!(worker.head().await.unwrap().status(), 100);
            worker.send("llo").await;
        }
        assert_eq!(worker.answer().await.status, 200);
    }
    assert!(began.elapsed() < Duration::from_millis(900));
    assert!(upstream.seen().iter().all(|seen| seen.head.header("expect").is_none()));
}

#[tokio::test]
async fn a_signer_that_needs_the_body_asks_for_it_at_once() {
    let upstream = Upstream::ok().await;
    let text = open_route(&upstream, "").replace("\"none\"", "\"key\"")
        + "[credential.key.hmac]\nsecret = \"key\"\nsign = \"{body}\"\nset = { X-Signature = \"{signature}\" }\n";
    let proxy = Setup::new(text).secret("key", "k").start().await;
    let mut worker = proxy.worker().await;
    let began = Instant::now();
    worker.send(EXPECTING).await;
    assert_eq!(worker.head().await.unwrap().status(), 100);
    assert!(began.elapsed() < Duration::from_millis(900));
    assert_eq!(upstream.connections(), 0, "nothing has left yet");
    assert_eq!(worker.exchange("hello").await.status, 200);
    let seen = upstream.only();
    assert_eq!((seen.head.header("expect"), &*seen.body), (None, &b"hello"[..]));
}

#[tokio::test]
async fn an_event_arrives_before_the_next_one_is_made() {
    let (next, events) = mpsc::channel::<&str>(1);
    let events = std::sync::Arc::new(tokio::sync::Mutex::new(events));
    let upstream = Upstream::scripted(move |mut conversation| {
        let events = events.clone();
        async move {
            conversation.request().await.unwrap();
            let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
            conversation.send(head).await;
            while let Some(event) = events.lock().await.recv().await {
                conversation.send(format!("{:x}\r\n{event}\r\n", event.len())).await;
            }
        }
    })
    .await;
    // Silence between events is no silence of a body.
    let proxy = open(&upstream, "timeouts = { body = \"50ms\" }").await;
    let mut worker = proxy.worker().await;
    worker.send("GET /events HTTP/1.1\r\nHost: api.test\r\nAccept: text/event-stream\r\n\r\n").await;
    assert_eq!(worker.head().await.unwrap().status(), 200);
    for event in ["data: 1\n\n", "data: 2\n\n", "data: 3\n\n"] {
        next.send(event).await.unwrap();
        // The upstream makes nothing more until this has come.
        let frame = format!("{:X}\r\n{event}\r\n", event.len());
        assert_eq!(String::from_utf8(worker.take(frame.len()).await).unwrap(), frame);
    }
    tokio::time::sleep(Duration::from_millis(120)).await;
    next.send("data: 4\n\n").await.unwrap();
    assert!(worker.take(5).await.starts_with(b"9"));
}
