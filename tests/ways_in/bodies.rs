//! Bodies stream both ways and keep their framing.

use std::sync::Arc;

use tokio::sync::Notify;

use super::open;
use crate::support::upstream::OK;
use crate::support::{Setup, Upstream};

#[tokio::test]
async fn a_length_stays_a_length_and_chunks_stay_chunks() {
    let upstream = Upstream::ok().await;
    let proxy = open(&upstream, "").await;
    proxy.post("api.test", "/", "hello").await;
    let seen = upstream.last();
    assert_eq!((seen.head.header("content-length"), seen.head.header("transfer-encoding")), (Some("5"), None));
    assert_eq!(seen.body, b"hello");

    let answer = proxy
        .raw("POST / HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding: chunked\r\n\r\n2;ext=1\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n")
        .await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let seen = upstream.last();
    assert_eq!((seen.head.header("content-length"), seen.head.header("transfer-encoding")), (None, Some("chunked")));
    assert_eq!(unchunk(&seen.body), b"hello");
}

/// The content of chunks.
fn unchunk(mut raw: &[u8]) -> Vec<u8> {
    let mut content = Vec::new();
    loop {
        let end = raw.windows(2).position(|pair| pair == b"\r\n").unwrap();
        let size = usize::from_str_radix(std::str::from_utf8(&raw[..end]).unwrap(), 16).unwrap();
        if size == 0 {
            return content;
        }
        content.extend_from_slice(&raw[end + 2..end + 2 + size]);
        raw = &raw[end + 2 + size + 2..];
    }
}

#[tokio::test]
async fn an_empty_length_and_a_get_with_a_body_pass_as_they_are() {
    let upstream = Upstream::ok().await;
    let proxy = open(&upstream, "").await;
    proxy.post("api.test", "/", "").await;
    assert_eq!(upstream.last().head.header("content-length"), Some("0"));
    proxy.raw("GET /search HTTP/1.1\r\nHost: api.test\r\nContent-Length: 4\r\n\r\n{\"\"}").await;
    let seen = upstream.last();
    assert_eq!((seen.head.method(), &*seen.body), ("GET", &b"{\"\"}"[..]));
    proxy.get("api.test", "/").await;
    assert_eq!(upstream.last().head.header("content-length"), None);
}

#[tokio::test]
async fn trailers_of_the_worker_end_at_the_proxy() {
    let upstream = Upstream::ok().await;
    let proxy = open(&upstream, "").await;
    let answer = proxy
        .raw("POST / HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n1\r\na\r\n0\r\nX-T: 1\r\n\r\n")
        .await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let seen = upstream.only();
    assert_eq!(seen.head.header("trailer"), None);
    assert!(!String::from_utf8_lossy(&seen.body).contains("X-T"));
}

#[tokio::test]
async fn head_and_statuses_without_body_have_none() {
    for (method, raw) in [
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"),
        ("GET", "HTTP/1.1 204 No Content\r\nX-A: 1\r\n\r\n"),
        ("GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\nETag: \"x\"\r\n\r\n"),
    ] {
        let upstream = Upstream::answering(raw).await;
        let proxy = open(&upstream, "").await;
        let mut worker = proxy.worker().await;
        for _ in 0..2 {
            worker.send(format!("{method} / HTTP/1.1\r\nHost: api.test\r\n\r\n")).await;
            let answer = worker.answer_to(method).await;
            assert_eq!(answer.status, raw[9..12].parse::<u16>().unwrap());
            assert!(answer.body.is_empty());
            if method == "HEAD" {
                assert_eq!(answer.header("content-length"), Some("5"));
            }
        }
        assert_eq!(upstream.connections(), 1, "{raw:?}: the connection is used again");
    }
}

#[tokio::test]
async fn chunked_and_close_delimited_answers_reach_the_worker_whole() {
    let upstream =
        Upstream::answering("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
            .await;
    let proxy = open(&upstream, "").await;
    let mut worker = proxy.worker().await;
    for _ in 0..2 {
        let answer = worker.exchange("GET / HTTP/1.1\r\nHost: api.test\r\n\r\n").await;
        assert_eq!((answer.text(), answer.whole), ("abcde", true));
    }
    assert_eq!(upstream.connections(), 1);

    let upstream = Upstream::scripted(async |mut conversation| {
        conversation.request().await;
        conversation.send("HTTP/1.1 200 OK\r\n\r\nuntil the end").await;
        conversation.close().await;
    })
    .await;
    let proxy = open(&upstream, "").await;
    let answer = proxy.get("api.test", "/").await;
    assert_eq!((answer.text(), answer.whole), ("until the end", true));
}

#[tokio::test]
async fn a_body_streams_up_before_it_is_complete_and_the_answer_streams_down() {
    let go_on = Arc::new(Notify::new());
    let signal = go_on.clone();
    let upstream = Upstream::scripted(move |mut conversation| {
        let signal = signal.clone();
        async move {
            let Some(head) = conversation.head().await else { return };
            while !conversation.unread().ends_with(b"first") {
                assert!(conversation.more().await);
            }
            conversation.record(head, Vec::new());
            while !conversation.unread().ends_with(b"second") {
                assert!(conversation.more().await);
            }
            conversation.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello").await;
            signal.notified().await;
            conversation.send("world").await;
            conversation.more().await;
        }
    })
    .await;
    let proxy = open(&upstream, "").await;
    let mut worker = proxy.worker().await;
    worker.send("POST / HTTP/1.1\r\nHost: api.test\r\nContent-Length: 11\r\n\r\nfirst").await;
    upstream.arrived(1).await;
    worker.send("second").await;
    let head = worker.head().await.unwrap();
    assert_eq!(head.status(), 200);
    assert_eq!(worker.take(5).await, b"hello");
    go_on.notify_one();
    assert_eq!(worker.take(5).await, b"world");
}

#[tokio::test]
async fn continue_reaches_the_worker_when_the_body_is_wanted() {
    let upstream = Upstream::ok().await;
    let proxy = open(&upstream, "").await;
    let mut worker = proxy.worker().await;
    worker.send("POST / HTTP/1.1\r\nHost: api.test\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n").await;
    assert_eq!(worker.head().await.unwrap().status(), 100);
    worker.send("hello").await;
    let answer = worker.answer().await;
    assert_eq!(answer.status, 200);
    let seen = upstream.only();
    // Hop by hop: the proxy asks for itself whether the upstream wants the body.
    assert_eq!((seen.head.header("expect"), &*seen.body), (Some("100-continue"), &b"hello"[..]));
}

#[tokio::test]
async fn a_refused_request_gets_its_final_status_and_no_continue() {
    let upstream = Upstream::ok().await;
    let proxy = open(&upstream, "limits = { request_body = \"4B\" }").await;
    for (host, error) in [("other.test", "no_route"), ("api.test", "body_too_large")] {
        let answer = proxy
            .raw(format!("POST / HTTP/1.1\r\nHost: {host}\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"))
            .await;
        assert_eq!(answer.error(), Some(error));
        assert!(answer.interim.is_empty());
    }
}

#[tokio::test]
async fn a_signer_that_holds_the_body_asks_for_it() {
    let upstream = Upstream::ok().await;
    let url = upstream.url();
    let proxy = Setup::new(format!(
        r#"
        [credential.sig.hmac]
        secret = "key"
        sign = "{{body}}"
        set = {{ "X-Sig" = "{{signature}}" }}
        [[route]]
        name = "api"
        host = "api.test"
        upstream = "{url}"
        credential = "sig"
        "#
    ))
    .secret("key", "key")
    .start()
    .await;
    let mut worker = proxy.worker().await;
    worker.send("POST / HTTP/1.1\r\nHost: api.test\r\nExpect: 100-continue\r\nContent-Length: 43\r\n\r\n").await;
    assert_eq!(worker.head().await.unwrap().status(), 100);
    worker.send("The quick brown fox jumps over the lazy dog").await;
    assert_eq!(worker.answer().await.status, 200);
    // printf 'The quick brown fox jumps over the lazy dog' | openssl dgst -sha256 -hmac key
    let expected = "f7bc83f430538424b13298e6aa6fb143ef4d59a14946175997479dbc2d1a3cd8";
    assert_eq!(upstream.only().head.header("x-sig"), Some(expected));
}

#[tokio::test]
async fn an_early_answer_passes_while_the_worker_still_sends() {
    let upstream = Upstream::scripted(async |mut conversation| {
        let Some(head) = conversation.head().await else { return };
        conversation.record(head, Vec::new());
        conversation
            .send("HTTP/1.1 413 Content Too Large\r\nContent-Length: 8\r\nConnection: close\r\n\r\ntoo much")
            .await;
        while conversation.more().await {}
    })
    .await;
    let proxy = open(&upstream, "").await;
    let mut worker = proxy.worker().await;
    worker.send("POST / HTTP/1.1\r\nHost: api.test\r\nContent-Length: 1000000\r\n\r\nonly the beginning").await;
    let answer = worker.answer().await;
    assert_eq!((answer.status, answer.text(), answer.error()), (413, "too much", None));
}

#[tokio::test]
async fn interim_answers_of_the_upstream_are_read_and_not_taken_for_the_final_one() {
    let upstream = Upstream::answering(format!("HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n{OK}")).await;
    let proxy = open(&upstream, "").await;
    let answer = proxy.get("api.test", "/").await;
    assert_eq!((answer.status, answer.text()), (200, "ok"));
}
