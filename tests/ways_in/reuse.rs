//! Connections to the upstream are used again, and nothing that was sent is ever sent twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

use super::open;
use crate::support::Upstream;
use crate::support::upstream::OK;
use crate::support::wait::until;

const GET: &str = "GET / HTTP/1.1\r\nHost: api.test\r\n\r\n";
const POST: &str = "POST / HTTP/1.1\r\nHost: api.test\r\nContent-Length: 2\r\n\r\n{}";

#[tokio::test]
async fn many_requests_of_many_workers_share_a_connection() {
    let upstream = Upstream::ok().await;
    let proxy = open(&upstream, "").await;
    for _ in 0..5 {
        assert_eq!(proxy.raw(GET).await.status, 200);
        assert_eq!(proxy.raw(POST).await.status, 200);
    }
    assert_eq!((upstream.seen().len(), upstream.connections()), (10, 1));
}

#[tokio::test]
async fn a_connection_is_not_used_for_two_requests_at_once() {
    let release = Arc::new(Notify::new());
    let released = release.clone();
    let upstream = Upstream::scripted(move |mut conversation| {
        let released = released.clone();
        async move {
            while conversation.request().await.is_some() {
                released.notified().await;
                conversation.send(OK).await;
            }
        }
    })
    .await;
    let proxy = open(&upstream, "").await;
    let (mut one, mut two) = (proxy.worker().await, proxy.worker().await);
    one.send(GET).await;
    two.send(GET).await;
    upstream.arrived(2).await;
    assert_eq!(upstream.connections(), 2);
    release.notify_waiters();
    assert_eq!((one.answer().await.status, two.answer().await.status), (200, 200));
}

#[tokio::test]
async fn a_connection_that_the_upstream_closed_while_idle_is_not_used() {
    let closed = Arc::new(AtomicUsize::new(0));
    let closing = closed.clone();
    let upstream = Upstream::scripted(move |mut conversation| {
        let closing = closing.clone();
        async move {
            conversation.request().await;
            conversation.send(OK).await;
            conversation.close().await;
            closing.fetch_add(1, Ordering::SeqCst);
        }
    })
    .await;
    let proxy = open(&upstream, "").await;
    for count in 1..=5 {
        for request in [POST, GET] {
            let answer = proxy.raw(request).await;
            assert_eq!(answer.status, 200, "{count}: {answer:?}");
        }
    }
    assert_eq!(upstream.seen().len(), 10);
    assert_eq!(upstream.connections(), 10);
}

#[tokio::test]
async fn what_the_upstream_says_unasked_ends_the_connection_and_reaches_no_worker() {
    let upstream = Upstream::scripted(async |mut conversation| {
        while conversation.request().await.is_some() {
            conversation.send(format!("{OK}HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nstale")).await;
        }
    })
    .await;
    let proxy = open(&upstream, "").await;
    for _ in 0..3 {
        assert_eq!(proxy.raw(GET).await.text(), "ok");
    }
    assert_eq!(upstream.connections(), 3);
}

#[tokio::test]
async fn an_upstream_that_says_close_is_taken_at_its_word() {
    let upstream = Upstream::answering("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok").await;
    let proxy = open(&upstream, "").await;
    for _ in 0..3 {
        let answer = proxy.raw(GET).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("connection"), None, "that was about another connection");
    }
    assert_eq!(upstream.connections(), 3);
}

#[tokio::test]
async fn a_keep_alive_promise_of_the_upstream_shortens_the_pool() {
    let upstream = Upstream::answering("HTTP/1.1 200 OK\r\nKeep-Alive: timeout=1\r\nContent-Length: 2\r\n\r\nok").await;
    let proxy = open(&upstream, "").await;
    proxy.raw(GET).await;
    proxy.raw(GET).await;
    assert_eq!(upstream.connections(), 2, "one second less one is nothing");
}

#[tokio::test]
async fn a_pool_of_no_time_keeps_nothing() {
    let upstream = Upstream::ok().await;
    let proxy = open(&upstream, "timeouts = { pool = \"0s\" }").await;
    proxy.raw(GET).await;
    proxy.raw(GET).await;
    assert_eq!(upstream.connections(), 2);
}

#[tokio::test]
async fn nothing_that_was_sent_is_sent_again_whatever_its_method() {
    for request in [GET, POST] {
        // The first answer is good, so that the second request goes out on a used connection.
        let upstream = Upstream::scripted(async |mut conversation| {
            conversation.request().await;
            conversation.send(OK).await;
            conversation.request().await;
            conversation.reset();
        })
        .await;
        let proxy = open(&upstream, "").await;
        assert_eq!(proxy.raw(request).await.status, 200);
        let answer = proxy.raw(request).await;
        assert_eq!((answer.status, answer.error()), (502, Some("upstream_unreachable")), "{request}");
        assert_eq!(upstream.seen().len(), 2, "{request}: once each");
        assert_eq!(upstream.connections(), 1);
    }
}

#[tokio::test]
async fn a_worker_that_goes_away_ends_its_request_at_the_upstream() {
    let ended = Arc::new(AtomicUsize::new(0));
    let ends = ended.clone();
    let upstream = Upstream::scripted(move |mut conversation| {
        let ends = ends.clone();
        async move {
            conversation.request().await;
            while conversation.more().await {}
            ends.fetch_add(1, Ordering::SeqCst);
        }
    })
    .await;
    let proxy = open(&upstream, "").await;
    let mut worker = proxy.worker().await;
    worker.send(GET).await;
    upstream.arrived(1).await;
    drop(worker);
    until("the end of the connection", async || ended.load(Ordering::SeqCst) == 1).await;
    until("the gauge", async || proxy.server.proxy.in_flight.used() == 0).await;
}
