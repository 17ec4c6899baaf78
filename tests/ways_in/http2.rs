//! Workers that speak HTTP/2 by prior knowledge: every way in, the shape of what goes up, and streams side by side.

use std::sync::Arc;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use tokio::net::UnixStream;
use tokio::sync::Barrier;

use super::{open, open_route};
use crate::support::http2_worker::{Client, HEADERS, RST_STREAM, Raw, block, frame, get};
use crate::support::http2_worker::{END_HEADERS, GET};
use crate::support::wait::{until, within};
use crate::support::{Setup, Upstream};

fn signed_route(upstream: &Upstream, keys: &str) -> Setup {
    let url = upstream.url();
    Setup::new(format!(
        "[credential.k]\nbearer = {{ secret = \"key\" }}\n\n[[route]]\nname = \"api\"\nhost = \"api.test\"\n\
         upstream = \"{url}\"\ncredential = \"k\"\n{keys}\n"
    ))
    .secret("key", "s3cret")
}

fn request(method: &str, uri: &str, fields: &[(&str, &str)]) -> Request<Full<Bytes>> {
    let mut request = Request::builder().method(method).uri(uri);
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    request.body(Full::default()).unwrap()
}

#[tokio::test]
async fn every_plain_way_in_is_open_and_goes_up_signed() {
    let upstream = Upstream::ok().await;
    let keys = "prefix = \"/example\"\nlisten = \"127.0.0.1:0\"";
    let setup = signed_route(&upstream, keys).listen("proxy = [\"127.0.0.1:0\", \"unix:proxy.sock\"]");
    let socket = setup.scratch.path("proxy.sock");
    let proxy = setup.start().await;
    let shared = Client::tcp(proxy.address).await;
    let own = Client::tcp(proxy.listener("route")).await;
    let unix = Client::over(UnixStream::connect(&socket).await.unwrap()).await;
    for (client, uri) in [
        (&shared, "http://api.test/x?y=1"),
        (&shared, "https://API.test/x?y=1"),
        (&shared, "http://api.test.localhost/x?y=1"),
        (&shared, "http://localhost/example/x?y=1"),
        (&own, "http://127.0.0.1/x?y=1"),
        (&unix, "http://api.test/x?y=1"),
    ] {
        let answer = client.get(uri).await;
        assert_eq!((answer.status(), &answer.body[..]), (200, &b"ok"[..]), "{uri}: {answer:?}");
        let head = upstream.last().head;
        assert_eq!(head.start_line(), "GET /x?y=1 HTTP/1.1", "{uri}");
        assert_eq!(head.header("host"), Some("api.test"), "{uri}");
        assert_eq!(head.header("authorization"), Some("Bearer s3cret"), "{uri}");
    }
    assert_eq!(upstream.connections(), 1, "the upstream's connection is used again");
    assert_eq!(proxy.metric("countersign_requests_total{route=\"api\",outcome=\"2xx\"}").await, 6.0);
}

#[tokio::test]
async fn the_authority_is_the_host_and_nothing_else_names_another() {
    let upstream = Upstream::ok().await;
    let proxy = open(&upstream, "").await;
    let client = Client::tcp(proxy.address).await;
    for (uri, host, wanted) in [
        ("http://api.test/", "api.test", None),
        ("http://api.test/", "API.TEST", None),
        ("http://api.test/", "other.test", Some((400, "bad_request"))),
        ("http://api.test/", "api.test:80", Some((400, "bad_request"))),
        ("http://user@api.test/", "user@api.test", Some((400, "bad_request"))),
        ("http://other.test/", "other.test", Some((421, "no_route"))),
        ("ftp://api.test/", "api.test", Some((400, "bad_request"))),
    ] {
        let answer = client.send(request("GET", uri, &[("host", host)])).await;
        let (status, error) = wanted.map_or((200, None), |(status, error)| (status, Some(error)));
        assert_eq!((answer.status(), answer.error()), (status, error), "{uri} {host}");
        assert_eq!(answer.header("connection"), None, "{uri}");
    }
    for method in ["TRACE", "TRACK", "CONNECT"] {
        let uri = if method == "CONNECT" { "api.test:443" } else { "http://api.test/" };
        let answer = client.send(request(method, uri, &[])).await;
        let wanted = if method == "CONNECT" { (421, Some("no_route")) } else { (400, Some("bad_request")) };
        assert_eq!((answer.status(), answer.error()), wanted, "{method}");
    }
    let page =
        request("GET", "http://api.test/", &[("origin", "https://evil.example"), ("sec-fetch-site", "cross-site")]);
    assert_eq!(client.send(page).await.error(), Some("client_denied"), "web pages are kept out here too");
    assert_eq!(upstream.seen().len(), 2);
    assert_eq!(client.get("http://api.test/").await.status(), 200, "the connection is none the worse");
}

#[tokio::test]
async fn a_host_header_alone_names_the_route_and_none_is_refused() {
    let upstream = Upstream::ok().await;
    let proxy = open(&upstream, "").await;
    let mut raw = Raw::tcp(proxy.address).await;
    let fields: [(&str, &[u8]); 4] =
        [(":method", b"GET"), (":scheme", b"http"), (":path", b"/"), ("host", b"api.test")];
    raw.send(frame(HEADERS, 5, 1, &block(&fields))).await;
    assert_eq!(raw.next(HEADERS).await.unwrap().stream, 1);
    assert_eq!(upstream.only().head.header("host"), Some("api.test"));
    raw.send(frame(HEADERS, 5, 3, &block(&fields[..3]))).await;
    assert_eq!(raw.next(HEADERS).await.unwrap().stream, 3);
    assert_eq!(upstream.seen().len(), 1);
    let refused = "countersign_requests_total{route=\"\",outcome=\"bad_request\"}";
    assert_eq!(proxy.metric(refused).await, 1.0);
}

#[tokio::test]
async fn cookies_are_joined_and_what_belongs_to_http_2_stays_here() {
    let upstream = Upstream::answering(
        "HTTP/1.1 200 OK\r\nConnection: x-hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nContent-Length: 2\r\n\r\nok",
    )
    .await;
    let proxy = open(&upstream, "").await;
    let client = Client::tcp(proxy.address).await;
    let fields = [("cookie", "a=1"), ("cookie", "b=2; c=3"), ("expect", "100-continue"), ("content_length", "9")];
    let answer = client.send(request("GET", "http://api.test/", &fields)).await;
    assert_eq!(answer.status(), 200);
    for name in ["connection", "keep-alive", "x-hop", "transfer-encoding"] {
        assert_eq!(answer.header(name), None);
    }
    let head = upstream.only().head;
    assert_eq!(head.all("cookie"), ["a=1; b=2; c=3"]);
    for name in ["expect", "content_length", "te"] {
        assert!(head.all(name).is_empty(), "{head:?}");
    }
}

#[tokio::test]
async fn an_answer_to_head_has_no_body_whoever_gives_it() {
    let upstream = Upstream::answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n").await;
    let proxy = open(&upstream, "").await;
    let client = Client::tcp(proxy.address).await;
    for (uri, status) in [("http://api.test/", 200), ("http://other.test/", 421)] {
        let answer = client.send(request("HEAD", uri, &[])).await;
        assert_eq!((answer.status(), answer.body.len()), (status, 0), "{uri}");
        assert_ne!(answer.header("content-length"), Some("0"), "{uri}");
    }
}

#[tokio::test]
async fn streams_pass_side_by_side() {
    const STREAMS: usize = 20;
    let all = Arc::new(Barrier::new(STREAMS));
    let upstream = Upstream::scripted(move |mut conversation| {
        let all = all.clone();
        async move {
            let seen = conversation.request().await.unwrap();
            // Nobody is answered before everybody has asked.
            all.wait().await;
            let target = seen.head.target().to_owned();
            conversation.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{target}", target.len())).await;
        }
    })
    .await;
    let proxy = open(&upstream, "").await;
    let client = Client::tcp(proxy.address).await;
    let streams: Vec<_> = (0..STREAMS)
        .map(|number| {
            let client = client.clone();
            tokio::spawn(async move { (number, client.get(&format!("http://api.test/{number}")).await) })
        })
        .collect();
    for stream in streams {
        let (number, answer) = stream.await.unwrap();
        assert_eq!(&answer.body[..], format!("/{number}").as_bytes());
    }
}

#[tokio::test]
async fn bodies_larger_than_the_windows_pass_both_ways() {
    const SIZE: usize = 3 << 20;
    let upstream = Upstream::scripted(|mut conversation| async move {
        while let Some(seen) = conversation.request().await {
            let length = seen.body.len();
            conversation.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n")).await;
            conversation.send(&seen.body).await;
        }
    })
    .await;
    let proxy = open(&upstream, "limits = { request_body = \"8MiB\" }").await;
    let client = Client::tcp(proxy.address).await;
    let sent: Bytes = (0..SIZE).map(|at| (at % 251) as u8).collect::<Vec<_>>().into();
    let request = Request::post("http://api.test/echo").body(Full::new(sent.clone())).unwrap();
    let answer = client.send(request).await;
    assert!(answer.body == sent, "{} bytes", answer.body.len());
    assert_eq!(upstream.only().head.header("content-length"), Some(&*SIZE.to_string()));
}

#[tokio::test]
async fn a_refused_body_ends_its_stream_and_no_other() {
    let upstream = Upstream::ok().await;
    let proxy = open(&upstream, "limits = { request_body = \"4B\" }").await;
    let client = Client::tcp(proxy.address).await;
    let body = Full::new(Bytes::from(vec![0; 200_000]));
    let answer = client.send(Request::post("http://api.test/").body(body).unwrap()).await;
    assert_eq!((answer.status(), answer.error()), (413, Some("body_too_large")));
    assert_eq!(client.get("http://api.test/").await.status(), 200);
    // No length is announced, and the answer comes though the worker has not ended its body.
    let mut raw = Raw::tcp(proxy.address).await;
    raw.send(frame(HEADERS, END_HEADERS, 1, &block(&[&GET[1..], &[(":method", b"POST")]].concat()))).await;
    raw.send(frame(0, 0, 1, b"hello")).await;
    assert_eq!(raw.next(HEADERS).await.unwrap().stream, 1);
    let reset = raw.next(RST_STREAM).await.unwrap();
    assert_eq!((reset.stream, reset.code()), (1, Some(0)), "NO_ERROR: the answer is whole");
}

#[tokio::test]
async fn a_stream_that_the_worker_resets_is_canceled_and_its_neighbour_is_not() {
    let upstream = Upstream::scripted(|mut conversation| async move {
        let seen = conversation.request().await.unwrap();
        if seen.head.target() != "/" {
            conversation.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
        }
        while conversation.more().await {}
    })
    .await;
    let proxy = open(&upstream, "").await;
    let mut raw = Raw::tcp(proxy.address).await;
    raw.send(get(1, &[])).await;
    upstream.arrived(1).await;
    raw.send(frame(RST_STREAM, 0, 1, &8_u32.to_be_bytes())).await;
    let canceled = "countersign_requests_total{route=\"api\",outcome=\"canceled\"}";
    until("the account of it", async || proxy.metric(canceled).await == 1.0).await;
    let other: [(&str, &[u8]); 4] = [GET[0], GET[1], GET[2], (":path", b"/other")];
    raw.send(frame(HEADERS, 5, 3, &block(&other))).await;
    assert_eq!(raw.next(HEADERS).await.unwrap().stream, 3);
}

#[tokio::test]
async fn a_head_over_the_limit_gets_our_own_answer() {
    let upstream = Upstream::ok().await;
    let text = format!("{}\n[limits]\nhead = \"4KiB\"\nheaders = 20\n", open_route(&upstream, ""));
    let proxy = Setup::new(text).start().await;
    let client = Client::tcp(proxy.address).await;
    let large = "x".repeat(12_000);
    let many: Vec<String> = (0..60).map(|number| format!("x-{number}")).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|name| (&**name, "1")).collect();
    for fields in [&[("x", &*large)][..], &many] {
        let answer = client.send(request("GET", "http://api.test/", fields)).await;
        assert_eq!((answer.status(), answer.error()), (431, Some("headers_too_large")));
    }
    assert_eq!(client.get("http://api.test/").await.status(), 200, "the connection goes on");
    assert_eq!(upstream.seen().len(), 1);
}

#[tokio::test]
async fn a_drain_ends_idle_connections_and_lets_streams_finish() {
    let go = Arc::new(tokio::sync::Notify::new());
    let upstream = {
        let go = go.clone();
        Upstream::scripted(move |mut conversation| {
            let go = go.clone();
            async move {
                conversation.request().await.unwrap();
                conversation.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe").await;
                go.notified().await;
                conversation.send("llo").await;
            }
        })
        .await
    };
    let proxy = open(&upstream, "").await;
    let (busy, idle) = (Client::tcp(proxy.address).await, Client::tcp(proxy.address).await);
    assert_eq!(idle.get("http://other.test/").await.status(), 421);
    let answer = busy.begin(request("GET", "http://api.test/", &[])).await.unwrap();
    // One that never says anything, not even that it has read.
    let mut silent = Raw::tcp(proxy.address).await;
    silent.frame().await.unwrap();
    let drained = tokio::spawn(proxy.server.drain(std::time::Duration::from_secs(20)));
    until("the idle connection to end", async || idle.is_closed()).await;
    assert!(silent.next(crate::support::http2_worker::GOAWAY).await.is_some());
    assert_eq!(silent.rest().await.last().and_then(crate::support::http2_worker::Frame::code), None, "closed");
    go.notify_one();
    assert_eq!(within("the rest", answer.into_body().collect()).await.unwrap().to_bytes(), "hello");
    assert_eq!(within("the drain", drained).await.unwrap(), countersign::server::Drained::Complete);
}
