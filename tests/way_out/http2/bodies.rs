//! Bodies and trailers on HTTP/2: larger than windows, in both directions at one time, slow readers.

use std::sync::Arc;

use bytes::Bytes;
use h2::SendStream;
use http::{HeaderMap, HeaderValue, Response};
use tokio::sync::Notify;

use super::{GET, identity, proxy, settings};
use crate::support::http2::{Exchange, Http2};
use crate::support::{Setup, Upstream};

/// Sends as fast as the proxy opens its window.
async fn send_all(stream: &mut SendStream<Bytes>, mut bytes: Bytes, end: bool) {
    while !bytes.is_empty() {
        stream.reserve_capacity(bytes.len());
        let Some(Ok(room)) = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await else { return };
        let part = bytes.split_to(room.min(bytes.len()));
        if stream.send_data(part, end && bytes.is_empty()).is_err() {
            return;
        }
    }
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|index| (index % 251) as u8).collect()
}

#[tokio::test]
async fn bodies_larger_than_every_window_arrive_whole() {
    let (config, ca) = identity();
    let upstream = Http2::serving(&config, &settings(), |mut exchange: Exchange| async move {
        let (body, _) = exchange.body().await;
        let mut answer = exchange.respond.send_response(Response::new(()), false).unwrap();
        send_all(&mut answer, body.into(), true).await;
    })
    .await;
    let proxy = proxy(&upstream, &ca, "").await;
    let body = pattern(6 * 1024 * 1024);
    let mut worker = proxy.worker().await;
    worker.send(format!("POST / HTTP/1.1\r\nHost: api.test\r\nContent-Length: {}\r\n\r\n", body.len())).await;
    worker.send(&body).await;
    let answer = worker.answer().await;
    assert!(answer.status == 200 && answer.whole && answer.body == body, "{} bytes", answer.body.len());
    assert_eq!(upstream.only().header("content-length"), body.len().to_string());
}

#[tokio::test]
async fn a_worker_that_does_not_read_stalls_nobody_else() {
    let (config, ca) = identity();
    let upstream = Http2::serving(&config, &settings(), |mut exchange: Exchange| async move {
        let length = if exchange.request.uri().path() == "/large" { 64 << 20 } else { 2 << 20 };
        let mut answer = exchange.respond.send_response(Response::new(()), false).unwrap();
        send_all(&mut answer, vec![b'x'; length].into(), true).await;
    })
    .await;
    let proxy = proxy(&upstream, &ca, "").await;
    let mut lazy = Vec::new();
    for _ in 0..3 {
        let mut worker = proxy.worker().await;
        worker.send("GET /large HTTP/1.1\r\nHost: api.test\r\n\r\n").await;
        assert_eq!(worker.head().await.unwrap().status(), 200);
        lazy.push(worker);
    }
    let answer = proxy.raw(GET).await;
    assert!(answer.whole && answer.body.len() == 2 << 20);
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test]
async fn the_answer_may_begin_before_the_request_has_ended() {
    let (config, ca) = identity();
    let upstream = Http2::serving(&config, &settings(), |mut exchange: Exchange| async move {
        let mut answer = exchange.respond.send_response(Response::new(()), false).unwrap();
        let body = exchange.request.body_mut();
        while let Some(Ok(data)) = body.data().await {
            body.flow_control().release_capacity(data.len()).unwrap();
            // The end of the body alone is a frame too.
            if data.is_empty() {
                continue;
            }
            answer.send_data([b"<", &data[..], b">"].concat().into(), false).unwrap();
        }
        answer.send_data(Bytes::from_static(b"end"), true).unwrap();
    })
    .await;
    let proxy = proxy(&upstream, &ca, "").await;
    let mut worker = proxy.worker().await;
    let head = "POST / HTTP/1.1\r\nHost: api.test\r\nContent-Type: application/grpc+proto\r\n\
                Transfer-Encoding: chunked\r\n\r\n";
    worker.send(head).await;
    assert_eq!(worker.head().await.unwrap().status(), 200);
    for word in ["a", "b", "c"] {
        worker.send(format!("1\r\n{word}\r\n")).await;
        assert_eq!(worker.take(8).await, format!("3\r\n<{word}>\r\n").as_bytes());
    }
    worker.send("0\r\n\r\n").await;
    assert_eq!(worker.take(13).await, b"3\r\nend\r\n0\r\n\r\n");
}

#[tokio::test]
async fn a_grpc_call_may_be_silent_for_longer_than_other_bodies() {
    let (config, ca) = identity();
    let go = Arc::new(Notify::new());
    let told = go.clone();
    let upstream = Http2::serving(&config, &settings(), move |mut exchange: Exchange| {
        let told = told.clone();
        async move {
            let grpc = exchange.request.headers().get("content-type").is_some();
            let mut answer = exchange.respond.send_response(Response::new(()), false).unwrap();
            if grpc {
                told.notified().await;
                answer.send_data(Bytes::from_static(b"late"), true).unwrap();
            } else {
                std::future::pending::<()>().await;
            }
        }
    })
    .await;
    let proxy = proxy(&upstream, &ca, "timeouts = { body = \"100ms\" }").await;
    let mut grpc = proxy.worker().await;
    grpc.send("GET / HTTP/1.1\r\nHost: api.test\r\nContent-Type: application/grpc\r\n\r\n").await;
    assert_eq!(grpc.head().await.unwrap().status(), 200);
    // Another answer that began later is cut for its silence: that much time has passed.
    let answer = proxy.raw(GET).await;
    assert!(!answer.whole);
    go.notify_one();
    assert_eq!(grpc.take(14).await, b"4\r\nlate\r\n0\r\n\r\n");
}

#[tokio::test]
async fn trailers_go_up_but_none_that_a_credential_or_the_framing_stands_for() {
    let (config, ca) = identity();
    let seen = Arc::new(std::sync::Mutex::new(None));
    let trailers = seen.clone();
    let upstream = Http2::serving(&config, &settings(), move |mut exchange: Exchange| {
        let seen = seen.clone();
        async move {
            let (body, fields) = exchange.body().await;
            *seen.lock().unwrap() = fields;
            let mut answer = exchange.respond.send_response(Response::new(()), false).unwrap();
            answer.send_data(body.into(), false).unwrap();
            let mut fields = HeaderMap::new();
            fields.insert("grpc-status", HeaderValue::from_static("0"));
            answer.send_trailers(fields).unwrap();
        }
    })
    .await;
    let text =
        upstream.route("credential = \"k\"") + "[credential.k.api_key]\nsecret = \"key\"\nheader = \"X-Api-Key\"\n";
    let proxy = Setup::new(text).secret("ca.crt", &ca).secret("key", "k3y").start().await;
    let answer = proxy
        .raw(
            "POST / HTTP/1.1\r\nHost: api.test\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\n\r\n\
             3\r\nabc\r\n0\r\nX-Checksum: 1\r\nX-Api-Key: mine\r\nX_Api_Key: mine\r\nHost: other\r\nContent-Length: 9\r\n\r\n",
        )
        .await;
    // Towards a worker on HTTP/1.1, to which none were announced, the answer's end here.
    assert_eq!((answer.status, answer.text(), answer.whole), (200, "abc", true));
    let fields = trailers.lock().unwrap().clone().unwrap();
    assert_eq!(fields.keys().map(|name| name.as_str()).collect::<Vec<_>>(), ["x-checksum"]);
    let seen = upstream.only();
    assert_eq!((seen.header("te"), seen.header("x-api-key")), ("trailers", "k3y"));
}

#[tokio::test]
async fn trailers_of_an_http1_upstream_end_before_a_worker_on_http1() {
    let answer =
        "HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n";
    let upstream = Upstream::answering(answer).await;
    let url = upstream.url();
    let route =
        format!("[[route]]\nname = \"api\"\nhost = \"api.test\"\nupstream = \"{url}\"\ncredential = \"none\"\n");
    let proxy = Setup::new(route).start().await;
    let mut worker = proxy.worker().await;
    for _ in 0..2 {
        worker.send("GET / HTTP/1.1\r\nHost: api.test\r\nTE: trailers\r\n\r\n").await;
        assert_eq!(worker.head().await.unwrap().header("trailer"), None);
        // Exactly: what came behind it would be a trailer.
        assert_eq!(worker.take(13).await, b"3\r\nabc\r\n0\r\n\r\n");
    }
    assert_eq!(upstream.connections(), 1);
    assert_eq!(upstream.last().head.header("te"), None);
}

#[tokio::test]
async fn te_is_sent_only_where_the_worker_takes_trailers() {
    let (config, ca) = identity();
    let upstream = Http2::serving(&config, &settings(), |exchange| async { exchange.ok("ok") }).await;
    let proxy = proxy(&upstream, &ca, "").await;
    assert_eq!(proxy.raw("GET / HTTP/1.1\r\nHost: api.test\r\nTE: gzip\r\n\r\n").await.status, 200);
    assert_eq!(upstream.only().headers.get("te"), None);
}
