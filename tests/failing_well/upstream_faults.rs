//! Upstreams that refuse, hang, break off or speak something else.

use tokio::net::{TcpSocket, TcpStream};

use super::{GET, open, problem, route};
use crate::support::upstream::OK;
use crate::support::{Setup, Upstream};

#[tokio::test]
async fn a_refused_connection_is_unreachable() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", free.local_addr().unwrap());
    drop(free);
    let proxy = open(&url, "").await;
    let mut worker = proxy.worker().await;
    let detail = problem(&worker.exchange(GET).await, 502, "upstream_unreachable", Some("api"));
    assert!(detail.contains("refused"), "{detail}");
    problem(&worker.exchange(GET).await, 502, "upstream_unreachable", Some("api"));
}

#[tokio::test]
async fn a_name_that_does_not_exist_is_unreachable() {
    // RFC 6761: never found, and the resolver may not even be asked.
    let proxy = Setup::new(
        route("https://nothing.invalid", "timeouts = { connect = \"300ms\" }").replace("insecure_upstream", ""),
    )
    .start()
    .await;
    let answer = proxy.raw(GET).await;
    assert!(matches!(answer.error(), Some("upstream_unreachable" | "upstream_timeout")), "{answer:?}");
}

#[tokio::test]
async fn an_upstream_that_accepts_no_connection_times_out() {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    // The queue of connections that nobody accepts is filled until the next one hangs.
    let mut queue = Vec::new();
    while let Ok(Ok(stream)) =
        tokio::time::timeout(std::time::Duration::from_millis(100), TcpStream::connect(address)).await
    {
        queue.push(stream);
        assert!(queue.len() < 1000);
    }
    let proxy = open(&format!("http://{address}"), "timeouts = { connect = \"150ms\" }").await;
    let detail = problem(&proxy.raw(GET).await, 504, "upstream_timeout", Some("api"));
    assert!(detail.contains("timeouts.connect"), "{detail}");
}

#[tokio::test]
async fn a_handshake_that_never_comes_times_out() {
    let upstream = Upstream::scripted(async |mut conversation| while conversation.more().await {}).await;
    let url = upstream.url().replace("http:", "https:");
    let proxy = open(&url, "timeouts = { connect = \"150ms\" }").await;
    let detail = problem(&proxy.raw(GET).await, 504, "upstream_timeout", Some("api"));
    assert!(detail.contains("timeouts.connect"), "{detail}");
}

#[tokio::test]
async fn an_upstream_that_never_answers_times_out() {
    let upstream = Upstream::scripted(async |mut conversation| while conversation.request().await.is_some() {}).await;
    let proxy = open(&upstream.url(), "timeouts = { response = \"150ms\" }").await;
    let detail = problem(&proxy.raw(GET).await, 504, "upstream_timeout", Some("api"));
    assert!(detail.contains("timeouts.response"), "{detail}");
    let mut worker = proxy.worker().await;
    problem(&worker.exchange(GET).await, 504, "upstream_timeout", Some("api"));
    problem(&worker.exchange(GET).await, 504, "upstream_timeout", Some("api"));
    assert_eq!(upstream.seen().len(), 3, "a connection whose answer is owed is not used again, nothing is sent twice");
    assert_eq!(upstream.connections(), 3);
}

#[tokio::test]
async fn a_connection_that_ends_before_the_head_is_unreachable() {
    let reset = Upstream::scripted(async |mut conversation| {
        conversation.request().await;
        conversation.reset();
    })
    .await;
    let closed = Upstream::scripted(async |mut conversation| {
        conversation.request().await;
        conversation.close().await;
    })
    .await;
    let half = Upstream::scripted(async |mut conversation| {
        conversation.request().await;
        conversation.send("HTTP/1.1 200 OK\r\nContent-").await;
        conversation.close().await;
    })
    .await;
    for upstream in [reset, closed, half] {
        let proxy = open(&upstream.url(), "").await;
        problem(&proxy.raw(GET).await, 502, "upstream_unreachable", Some("api"));
        assert_eq!(upstream.seen().len(), 1);
    }
}

/// What an upstream sends instead of an answer in HTTP/1.1.
const NOT_HTTP: &[(&str, &str)] = &[
    ("another protocol", "SSH-2.0-OpenSSH_9.9\r\n\r\n"),
    ("a broken status", "HTTP/1.1 2x0 OK\r\n\r\n"),
    ("a header without colon", "HTTP/1.1 200 OK\r\nbroken\r\n\r\n"),
    ("lengths that differ", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc"),
    ("a list of lengths that differ", "HTTP/1.1 200 OK\r\nContent-Length: 2, 3\r\n\r\nabc"),
    ("a negative length", "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"),
    ("a switch of protocols", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"),
];

#[tokio::test]
async fn what_is_not_http_is_an_error_of_the_protocol() {
    let mut wrong = Vec::new();
    for (what, bytes) in NOT_HTTP {
        let upstream = Upstream::answering(*bytes).await;
        let proxy = open(&upstream.url(), "timeouts = { response = \"2s\" }").await;
        let answer = proxy.raw(GET).await;
        if (answer.status, answer.error()) != (502, Some("upstream_protocol")) {
            wrong.push(format!("{what}: {answer:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
async fn interim_answers_are_bounded() {
    let upstream = Upstream::answering("HTTP/1.1 100 Continue\r\n\r\n".repeat(32) + OK).await;
    let proxy = open(&upstream.url(), "").await;
    assert_eq!(proxy.raw(GET).await.status, 200);

    // One more than that, and no end.
    let upstream = Upstream::answering("HTTP/1.1 100 Continue\r\n\r\n".repeat(33)).await;
    let proxy = open(&upstream.url(), "").await;
    let detail = problem(&proxy.raw(GET).await, 502, "upstream_protocol", Some("api"));
    assert!(detail.contains("interim"), "{detail}");
}

#[tokio::test]
async fn heads_of_answers_are_bounded() {
    let many = (0..300).map(|n| format!("X-{n}: 1\r\n")).collect::<String>();
    let large = format!("X: {}\r\n", "a".repeat(200 * 1024));
    for headers in [many, large] {
        let upstream = Upstream::answering(format!("HTTP/1.1 200 OK\r\n{headers}Content-Length: 0\r\n\r\n")).await;
        let proxy = open(&upstream.url(), "").await;
        problem(&proxy.raw(GET).await, 502, "upstream_protocol", Some("api"));
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_is_visible_to_the_worker() {
    for half in [
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\nnot a chunk\r\n",
    ] {
        let upstream = Upstream::scripted(move |mut conversation| async move {
            conversation.request().await;
            conversation.send(half).await;
            conversation.close().await;
        })
        .await;
        let proxy = open(&upstream.url(), "").await;
        let mut worker = proxy.worker().await;
        let answer = worker.exchange(GET).await;
        assert_eq!((answer.status, answer.text(), answer.whole), (200, "half", false), "{half:?}");
        assert!(worker.is_closed().await);
        assert_eq!(upstream.seen().len(), 1);
    }
}

#[tokio::test]
async fn a_reset_within_a_body_is_visible_and_the_request_is_not_sent_again() {
    let go_on = std::sync::Arc::new(tokio::sync::Notify::new());
    let signal = go_on.clone();
    let upstream = Upstream::scripted(move |mut conversation| {
        let signal = signal.clone();
        async move {
            conversation.request().await;
            conversation.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf").await;
            signal.notified().await;
            conversation.reset();
        }
    })
    .await;
    let proxy = open(&upstream.url(), "").await;
    let mut worker = proxy.worker().await;
    worker.send(GET).await;
    assert_eq!(worker.head().await.unwrap().status(), 200);
    assert_eq!(worker.take(4).await, b"half");
    go_on.notify_one();
    assert!(worker.is_closed().await);
    assert_eq!(upstream.seen().len(), 1);
}

#[tokio::test]
async fn a_body_that_falls_silent_is_cut_off_visibly() {
    let upstream = Upstream::scripted(async |mut conversation| {
        conversation.request().await;
        conversation.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf").await;
        conversation.more().await;
    })
    .await;
    let proxy = open(&upstream.url(), "timeouts = { body = \"150ms\" }").await;
    let mut worker = proxy.worker().await;
    let answer = worker.exchange(GET).await;
    assert_eq!((answer.text(), answer.whole), ("half", false));
    assert!(worker.is_closed().await);
    let counted = "countersign_requests_total{route=\"api\",outcome=\"upstream_timeout\"}";
    crate::support::wait::until("its outcome", async || proxy.metric(counted).await == 1.0).await;
}
