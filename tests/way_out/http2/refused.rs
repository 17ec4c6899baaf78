//! GOAWAY, refused and reset streams: what is repeated, and what is cut visibly.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use h2::Reason;
use http::Response;
use tokio::sync::Notify;

use super::{GET, identity, proxy, settings};
use crate::support::Setup;
use crate::support::http2::{DATA, END_HEADERS, END_STREAM, Exchange, HEADERS, Http2, STATUS_103, STATUS_200, Wire};

/// A credential whose signature is another one each time.
const SIGNED: &str = "credential = \"sig\"\n[credential.sig.hmac]\nsecret = \"key\"\nsign = \"{nonce}\"\n\
                      set = { \"X-Nonce\" = \"{nonce}\", \"X-Sig\" = \"{signature}\" }\n";

async fn then_serve(wire: Wire) {
    wire.serve(&settings(), |exchange| async { exchange.ok("second") }).await;
}

#[tokio::test]
async fn what_a_goaway_left_out_is_sent_again_and_the_rest_ends_where_it_was() {
    let (config, ca) = identity();
    let (arrived, all) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
    let (count, told) = (arrived.clone(), all.clone());
    let upstream = Http2::scripted(&config, &["h2"], move |wire| {
        let (count, told) = (count.clone(), told.clone());
        async move {
            if wire.connection > 0 {
                return then_serve(wire).await;
            }
            let mut frames = wire.by_hand().await;
            for _ in 0..5 {
                frames.next(HEADERS).await.unwrap();
                count.fetch_add(1, Ordering::SeqCst);
            }
            told.notify_one();
            frames.go_away(3).await;
            for stream in [1, 3] {
                frames.send(HEADERS, END_HEADERS, stream, STATUS_200).await;
                frames.send(DATA, END_STREAM, stream, b"first").await;
            }
            frames.next(DATA).await;
        }
    })
    .await;
    let proxy = proxy(&upstream, &ca, "").await;
    let mut workers = Vec::new();
    for _ in 0..5 {
        let mut worker = proxy.worker().await;
        worker.send(GET).await;
        workers.push(worker);
    }
    all.notified().await;
    let mut texts = Vec::new();
    for mut worker in workers {
        let answer = worker.answer().await;
        assert_eq!(answer.status, 200, "{answer:?}");
        texts.push(answer.text().to_owned());
    }
    texts.sort();
    assert_eq!(texts, ["first", "first", "second", "second", "second"]);
    assert_eq!(upstream.connections(), 2);
}

#[tokio::test]
async fn a_refused_stream_is_repeated_with_a_new_signature() {
    let (config, ca) = identity();
    let refused = Arc::new(AtomicUsize::new(0));
    let upstream = Http2::serving(&config, &settings(), move |mut exchange: Exchange| {
        let refused = refused.clone();
        async move {
            if refused.fetch_add(1, Ordering::SeqCst) == 0 {
                return exchange.respond.send_reset(Reason::REFUSED_STREAM);
            }
            let (body, _) = exchange.body().await;
            exchange.ok(body);
        }
    })
    .await;
    // The fallback keeps no body: this one is held since its signature covers it.
    let signed = SIGNED.replace("sign = \"{nonce}\"", "sign = \"{nonce}{body}\"");
    let setup = Setup::new(upstream.route(&signed)).secret("ca.crt", &ca).secret("key", "k3y");
    let proxy = setup.start().await;
    let answer = proxy.post("api.test", "/", "a body").await;
    assert_eq!((answer.status, answer.text()), (200, "a body"));
    let seen = upstream.seen();
    assert_eq!(seen.len(), 2);
    assert_ne!(seen[0].header("x-nonce"), seen[1].header("x-nonce"));
    assert_ne!(seen[0].header("x-sig"), seen[1].header("x-sig"));
    assert_eq!(seen[1].headers.get_all("x-sig").iter().count(), 1);
    assert_ne!(seen[0].connection, seen[1].connection);
}

#[tokio::test]
async fn a_refusal_is_repeated_twice_at_most() {
    let (config, ca) = identity();
    let upstream = Http2::serving(&config, &settings(), |mut exchange: Exchange| async move {
        exchange.respond.send_reset(Reason::REFUSED_STREAM);
    })
    .await;
    let proxy = proxy(&upstream, &ca, "").await;
    let answer = proxy.raw(GET).await;
    assert_eq!(answer.error(), Some("upstream_unreachable"));
    assert!(answer.json()["detail"].as_str().unwrap().contains("REFUSED_STREAM"), "{answer:?}");
    assert_eq!(upstream.seen().len(), 3);
}

/// Reads "begun" of the first request's body, then refuses it; answers the others with their body.
async fn refuses_once_begun() -> (Http2, String) {
    let (config, ca) = identity();
    let asked = Arc::new(AtomicUsize::new(0));
    let upstream = Http2::serving(&config, &settings(), move |mut exchange: Exchange| {
        let asked = asked.clone();
        async move {
            if asked.fetch_add(1, Ordering::SeqCst) == 0 {
                let data = exchange.request.body_mut().data().await.unwrap().unwrap();
                assert_eq!(data, "begun");
                return exchange.respond.send_reset(Reason::REFUSED_STREAM);
            }
            let (body, _) = exchange.body().await;
            exchange.ok(body);
        }
    })
    .await;
    (upstream, ca)
}

#[tokio::test]
async fn a_streamed_body_that_was_begun_is_sent_again_whole() {
    let (upstream, ca) = refuses_once_begun().await;
    let proxy = proxy(&upstream, &ca, "limits = { replay_body = \"10B\" }").await;
    let mut worker = proxy.worker().await;
    worker.send("POST / HTTP/1.1\r\nHost: api.test\r\nContent-Length: 10\r\n\r\nbegun").await;
    // The rest comes when the second attempt is under way.
    upstream.arrived(2).await;
    worker.send("ended").await;
    let answer = worker.answer().await;
    assert_eq!((answer.status, answer.text()), (200, "begunended"));
    assert_eq!(upstream.seen()[1].header("content-length"), "10");
}

#[tokio::test]
async fn a_streamed_body_of_which_more_was_taken_than_is_kept_is_not() {
    for limits in ["limits = { replay_body = \"4B\" }", "limits = { replay_body = \"0B\" }"] {
        let (upstream, ca) = refuses_once_begun().await;
        let proxy = proxy(&upstream, &ca, limits).await;
        let mut worker = proxy.worker().await;
        worker.send("POST / HTTP/1.1\r\nHost: api.test\r\nContent-Length: 10\r\n\r\nbegun").await;
        let answer = worker.answer().await;
        assert_eq!(answer.error(), Some("upstream_unreachable"), "{limits}");
        assert_eq!(upstream.seen().len(), 1, "{limits}");
    }
}

#[tokio::test]
async fn an_upstream_that_ends_connections_after_some_requests_gets_no_more_on_the_next() {
    const TAKEN: u32 = 10;
    let (config, ca) = identity();
    let upstream = Http2::scripted(&config, &["h2"], |wire| async move {
        if wire.connection > 0 {
            return then_serve(wire).await;
        }
        let mut frames = wire.by_hand().await;
        for _ in 0..TAKEN + 2 {
            frames.next(HEADERS).await.unwrap();
        }
        frames.go_away(2 * TAKEN - 1).await;
        for request in 0..TAKEN {
            let stream = 2 * request + 1;
            frames.send(HEADERS, END_HEADERS, stream, STATUS_200).await;
            frames.send(DATA, END_STREAM, stream, b"first").await;
        }
        frames.next(DATA).await;
    })
    .await;
    let proxy = proxy(&upstream, &ca, "").await;
    let mut workers = Vec::new();
    for _ in 0..TAKEN + 2 {
        let mut worker = proxy.worker().await;
        worker.send(GET).await;
        workers.push(worker);
    }
    for mut worker in workers {
        assert_eq!(worker.answer().await.status, 200);
    }
    // Two were sent again; the connection that took them has room for eight.
    for _ in 0..TAKEN - 1 {
        assert_eq!(proxy.raw(GET).await.text(), "second");
    }
    let on = |connection| upstream.seen().iter().filter(|seen| seen.connection == connection).count();
    assert_eq!((on(1), on(2), upstream.connections()), (TAKEN as usize, 1, 3));
}

#[tokio::test]
async fn a_streamed_body_that_was_not_begun_is_sent_again() {
    let (config, ca) = identity();
    let refused = Arc::new(AtomicUsize::new(0));
    let upstream = Http2::serving(&config, &settings(), move |mut exchange: Exchange| {
        let refused = refused.clone();
        async move {
            if refused.fetch_add(1, Ordering::SeqCst) == 0 {
                return exchange.respond.send_reset(Reason::REFUSED_STREAM);
            }
            exchange.respond.send_informational(Response::builder().status(100).body(()).unwrap()).unwrap();
            let (body, _) = exchange.body().await;
            exchange.ok(body);
        }
    })
    .await;
    let proxy = proxy(&upstream, &ca, "").await;
    let mut worker = proxy.worker().await;
    // The body waits for 100 Continue, which only the second attempt gets.
    worker.send("POST / HTTP/1.1\r\nHost: api.test\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n").await;
    assert_eq!(worker.head().await.unwrap().status(), 100);
    worker.send("whole").await;
    let answer = worker.answer().await;
    assert_eq!((answer.status, answer.text()), (200, "whole"));
    assert_eq!(upstream.seen().len(), 2);
}

#[tokio::test]
async fn an_answer_that_is_reset_is_cut_whatever_the_reason() {
    for reason in [Reason::INTERNAL_ERROR, Reason::CANCEL, Reason::NO_ERROR] {
        let (config, ca) = identity();
        let cut = Arc::new(Notify::new());
        let go = cut.clone();
        let upstream = Http2::serving(&config, &settings(), move |mut exchange: Exchange| {
            let cut = cut.clone();
            async move {
                let mut body = exchange.respond.send_response(Response::new(()), false).unwrap();
                body.send_data(Bytes::from_static(b"half"), false).unwrap();
                cut.notified().await;
                body.send_reset(reason);
            }
        })
        .await;
        let proxy = proxy(&upstream, &ca, "").await;
        let mut worker = proxy.worker().await;
        worker.send(GET).await;
        let head = worker.head().await.unwrap();
        assert_eq!(head.header("transfer-encoding"), Some("chunked"));
        assert_eq!(worker.take(9).await, b"4\r\nhalf\r\n");
        go.notify_one();
        assert!(worker.is_closed().await, "cut without the last chunk at {reason:?}");
    }
}

#[tokio::test]
async fn a_storm_of_interim_answers_ends_the_request() {
    let (config, ca) = identity();
    let upstream = Http2::scripted(&config, &["h2"], |wire| async move {
        let mut frames = wire.by_hand().await;
        let asked = frames.next(HEADERS).await.unwrap();
        for _ in 0..33 {
            frames.send(HEADERS, END_HEADERS, asked.stream, STATUS_103).await;
        }
        frames.next(DATA).await;
    })
    .await;
    let proxy = proxy(&upstream, &ca, "").await;
    let answer = proxy.raw(GET).await;
    assert_eq!(answer.error(), Some("upstream_protocol"));
    assert!(answer.json()["detail"].as_str().unwrap().contains("32 interim answers"), "{answer:?}");
}

#[tokio::test]
async fn frames_that_break_the_protocol_are_named() {
    let (config, ca) = identity();
    let upstream = Http2::scripted(&config, &["h2"], |wire| async move {
        let mut frames = wire.by_hand().await;
        frames.next(HEADERS).await.unwrap();
        // RFC 9113 section 6.1: DATA belongs to a stream.
        frames.send(DATA, 0, 0, b"x").await;
        frames.next(DATA).await;
    })
    .await;
    let proxy = proxy(&upstream, &ca, "").await;
    let answer = proxy.raw(GET).await;
    assert_eq!(answer.error(), Some("upstream_protocol"));
    let detail = answer.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("not valid HTTP/2 (PROTOCOL_ERROR)"), "{detail}");
}
