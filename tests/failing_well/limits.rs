//! Every bound: at it and one past it.

use std::sync::Arc;

use tokio::sync::Notify;

use super::{GET, open, problem, route};
use crate::support::upstream::OK;
use crate::support::{Running, Setup, Upstream};

fn post(length: usize) -> String {
    format!("POST / HTTP/1.1\r\nHost: api.test\r\nContent-Length: {length}\r\n\r\n{}", "x".repeat(length))
}

fn chunked(length: usize) -> String {
    format!(
        "POST / HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding: chunked\r\n\r\n{length:x}\r\n{}\r\n0\r\n\r\n",
        "x".repeat(length)
    )
}

async fn signed(upstream: &Upstream, keys: &str, sections: &str) -> Running {
    let url = upstream.url();
    Setup::new(format!(
        "{sections}\n[credential.s.hmac]\nsecret = \"key\"\nsign = \"{{body}}\"\nset = {{ \"X-Sig\" = \"{{signature}}\" }}\n\
         [[route]]\nname = \"api\"\nhost = \"api.test\"\nupstream = \"{url}\"\ncredential = \"s\"\n{keys}\n"
    ))
    .secret("key", "key")
    .start()
    .await
}

#[tokio::test]
async fn a_body_over_the_routes_limit_is_refused_by_length_and_by_chunks() {
    let upstream = Upstream::ok().await;
    let proxy = open(&upstream.url(), "limits = { request_body = \"10B\" }").await;
    assert_eq!(proxy.raw(post(10)).await.status, 200);
    assert_eq!(proxy.raw(chunked(10)).await.status, 200);
    let before = upstream.seen().len();
    for request in [post(11), chunked(11)] {
        let mut worker = proxy.worker().await;
        let answer = worker.exchange(request).await;
        problem(&answer, 413, "body_too_large", Some("api"));
        assert_eq!(answer.header("connection"), Some("close"));
        assert!(worker.is_closed().await);
    }
    assert_eq!(upstream.seen().len(), before, "the upstream never got a whole one");
}

#[tokio::test]
async fn a_body_too_large_to_sign_is_refused_and_the_upstream_gets_nothing() {
    let upstream = Upstream::ok().await;
    let proxy = signed(&upstream, "limits = { signed_body = \"10B\" }", "").await;
    for request in [post(11), chunked(11), post(100_000)] {
        let mut worker = proxy.worker().await;
        let answer = worker.exchange(request).await;
        let detail = problem(&answer, 413, "body_too_large_to_sign", Some("api"));
        assert!(detail.contains("limits.signed_body"), "{detail}");
        assert!(worker.is_closed().await);
    }
    assert_eq!(upstream.connections(), 0);
    assert_eq!(proxy.raw(post(10)).await.status, 200);
    assert_eq!(proxy.raw(chunked(10)).await.status, 200);
    assert_eq!(upstream.last().head.header("content-length"), Some("10"), "what was held leaves with its length");
}

#[tokio::test]
async fn held_bodies_together_are_bounded() {
    let upstream = Upstream::ok().await;
    let proxy = signed(&upstream, "", "[limits]\nbuffered = \"128KiB\"").await;
    assert_eq!(proxy.raw(post(100_000)).await.status, 200);
    let answer = proxy.raw(post(200_000)).await;
    problem(&answer, 503, "overloaded", Some("api"));
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert_eq!(upstream.seen().len(), 1);
    assert_eq!(proxy.raw(post(100_000)).await.status, 200, "what was held was given back");
}

/// An upstream that answers when it is told to.
async fn waiting() -> (Upstream, Arc<Notify>) {
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
    (upstream, release)
}

#[tokio::test]
async fn requests_at_one_time_are_bounded_for_a_route_and_for_all() {
    for (keys, section) in [("limits = { in_flight = 1 }", ""), ("", "[limits]\nin_flight = 1\n")] {
        let (upstream, release) = waiting().await;
        let proxy = Setup::new(format!("{section}{}", route(&upstream.url(), keys))).start().await;
        let mut first = proxy.worker().await;
        first.send(GET).await;
        upstream.arrived(1).await;
        let mut second = proxy.worker().await;
        let answer = second.exchange(GET).await;
        let detail = problem(&answer, 503, "overloaded", Some("api"));
        assert!(detail.contains("in_flight"), "{detail}");
        assert_eq!(answer.header("retry-after"), Some("1"));
        release.notify_one();
        assert_eq!(first.answer().await.status, 200);
        release.notify_one();
        assert_eq!(second.exchange(GET).await.status, 200, "the connection stayed open");
    }
}

#[tokio::test]
async fn heads_are_bounded_in_headers_and_bytes() {
    let upstream = Upstream::ok().await;
    let proxy = open(&upstream.url(), "").await;
    let many = |count: usize| (0..count).map(|n| format!("X-{n}: 1\r\n")).collect::<String>();
    // Host is one of the hundred.
    let answer = proxy.raw(format!("GET / HTTP/1.1\r\nHost: api.test\r\n{}\r\n", many(99))).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let large = format!("X-Large: {}\r\n", "a".repeat(60 * 1024));
    assert_eq!(proxy.raw(format!("GET / HTTP/1.1\r\nHost: api.test\r\n{large}\r\n")).await.status, 200);

    let too_large = format!("X-Large: {}\r\n", "a".repeat(66 * 1024));
    let long = format!("GET /{} HTTP/1.1\r\nHost: api.test\r\n\r\n", "a".repeat(66 * 1024));
    for request in [
        format!("GET / HTTP/1.1\r\nHost: api.test\r\n{}\r\n", many(100)),
        format!("GET / HTTP/1.1\r\nHost: api.test\r\n{too_large}\r\n"),
        long,
    ] {
        let mut worker = proxy.worker().await;
        let answer = worker.exchange(&request).await;
        problem(&answer, 431, "headers_too_large", None);
        assert!(worker.is_closed().await);
    }
    assert_eq!(upstream.seen().len(), 2);
}

#[tokio::test]
async fn connections_over_the_limit_are_closed_at_once() {
    let upstream = Upstream::ok().await;
    let proxy = Setup::new(format!("[limits]\nconnections = 2\n{}", route(&upstream.url(), ""))).start().await;
    let mut kept = [proxy.worker().await, proxy.worker().await];
    for worker in &mut kept {
        assert_eq!(worker.exchange(GET).await.status, 200);
    }
    assert!(proxy.worker().await.is_closed().await);
    drop(kept);
    crate::support::wait::until("room for another", async || {
        let mut worker = proxy.worker().await;
        worker.send(GET).await;
        worker.head().await.is_some()
    })
    .await;
}
