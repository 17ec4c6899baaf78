//! What a worker may not make of HTTP/2: floods end its connection and nobody else's, malformed requests go nowhere.

use super::open;
use crate::support::http2_worker::{
    CONTINUATION, Client, DATA, END_HEADERS, END_STREAM, GET, GOAWAY, HEADERS, PING, PRIORITY, RST_STREAM, Raw,
    SETTINGS, WINDOW_UPDATE, block, bomb, frame, get,
};
use crate::support::{Running, Upstream};

/// RFC 9113 section 7.
const ENHANCE_YOUR_CALM: u32 = 0xb;

async fn neighbour(proxy: &Running) {
    assert_eq!(Client::tcp(proxy.address).await.get("http://api.test/neighbour").await.status(), 200);
    assert_eq!(proxy.get("api.test", "/neighbour").await.status, 200);
}

/// Sends until the proxy has had enough; the code of its GOAWAY, where it was read before the connection was reset.
async fn flood(proxy: &Running, first: Vec<u8>, piece: impl Fn(u32) -> Vec<u8>, count: u32) -> Option<u32> {
    let mut raw = Raw::tcp(proxy.address).await;
    // It is waited for: what was sent after the end of the connection would take the GOAWAY with it.
    raw.frame().await.unwrap();
    raw.send(&first).await;
    let all: Vec<u8> = (0..count).flat_map(piece).collect();
    raw.send(all).await;
    raw.rest().await.iter().filter(|frame| frame.kind == GOAWAY).find_map(|frame| frame.code())
}

#[tokio::test]
async fn floods_end_the_connection_that_they_come_by() {
    let upstream = Upstream::ok().await;
    let proxy = open(&upstream, "").await;
    // One over what may be spent at once; what grows back meanwhile is allowed for.
    const CONTROLS: u32 = 3000;
    let open_stream = frame(HEADERS, END_HEADERS, 1, &block(&[&GET[1..], &[(":method", b"POST")]].concat()));
    let nothing = Vec::new;
    type Piece = Box<dyn Fn(u32) -> Vec<u8>>;
    let floods: [(&str, Vec<u8>, Piece, u32); 7] = [
        ("PING", nothing(), Box::new(|_| frame(PING, 0, 0, &[0; 8])), CONTROLS),
        ("SETTINGS", nothing(), Box::new(|_| frame(SETTINGS, 0, 0, b"")), CONTROLS),
        ("PRIORITY", nothing(), Box::new(|_| frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 7])), CONTROLS),
        ("WINDOW_UPDATE", nothing(), Box::new(|_| frame(WINDOW_UPDATE, 0, 0, &1_u32.to_be_bytes())), CONTROLS),
        ("unknown", nothing(), Box::new(|_| frame(0xbe, 0, 0, b"x")), CONTROLS),
        ("empty DATA", open_stream, Box::new(|_| frame(DATA, 0, 1, b"")), CONTROLS),
        ("CONTINUATION", frame(HEADERS, 0, 1, b""), Box::new(|_| frame(CONTINUATION, 0, 1, b"")), 100),
    ];
    let refused = "countersign_requests_total{route=\"\",outcome=\"bad_request\"}";
    let mut counted = 0.0;
    for (name, first, piece, count) in floods {
        let code = flood(&proxy, first, piece, count).await;
        assert!(code.is_none_or(|code| code == ENHANCE_YOUR_CALM), "{name}: {code:?}");
        neighbour(&proxy).await;
        counted += 1.0;
        assert_eq!(proxy.metric(refused).await, counted, "{name}: {code:?}");
    }
    let seen = upstream.seen();
    assert!(seen.iter().all(|seen| seen.head.target() == "/neighbour"), "{seen:?}");
}

#[tokio::test]
async fn rapid_resets_reach_the_upstream_a_bounded_number_of_times() {
    let upstream = Upstream::ok().await;
    let proxy = open(&upstream, "").await;
    let both = |number: u32| {
        let stream = number * 2 + 1;
        [get(stream, &[]), frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())].concat()
    };
    let code = flood(&proxy, Vec::new(), both, 5000).await;
    assert!(code.is_none_or(|code| code == ENHANCE_YOUR_CALM), "{code:?}");
    neighbour(&proxy).await;
    assert!(upstream.seen().len() < 1500, "{}", upstream.seen().len());
}

#[tokio::test]
async fn an_honest_client_that_acknowledges_everything_is_never_cut_off() {
    let upstream = Upstream::ok().await;
    let proxy = open(&upstream, "").await;
    let mut raw = Raw::tcp(proxy.address).await;
    for number in 0..1500_u32 {
        let stream = number * 2 + 1;
        raw.send(get(stream, &[])).await;
        assert!(raw.next(DATA).await.is_some_and(|frame| frame.stream == stream), "{number}");
        // As gRPC does: it measures while it gives the window back.
        let update = frame(WINDOW_UPDATE, 0, 0, &2_u32.to_be_bytes());
        raw.send([update, frame(PING, 0, 0, &[7; 8])].concat()).await;
    }
    assert_eq!(upstream.seen().len(), 1500);
}

#[tokio::test]
async fn a_header_bomb_is_cut_short() {
    let upstream = Upstream::ok().await;
    let proxy = open(&upstream, "").await;
    // 40 MB, in 14 kB.
    let bomb = [block(&GET), bomb("x", &[b'y'; 3900], 10_000)].concat();
    let mut raw = Raw::tcp(proxy.address).await;
    raw.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, &bomb)).await;
    let frames = raw.rest().await;
    let code = frames.iter().filter(|frame| frame.kind == GOAWAY).find_map(|frame| frame.code());
    assert_eq!(code, Some(ENHANCE_YOUR_CALM), "{frames:?}");
    neighbour(&proxy).await;
}

#[tokio::test]
async fn a_header_block_larger_than_any_head_ends_the_connection() {
    let upstream = Upstream::ok().await;
    let proxy = open(&upstream, "").await;
    let pieces = |_| frame(CONTINUATION, 0, 1, &block(&[("x", &[b'y'; 16_000])]));
    let code = flood(&proxy, frame(HEADERS, 0, 1, &block(&GET)), pieces, 40).await;
    assert!(code.is_none_or(|code| code == ENHANCE_YOUR_CALM), "{code:?}");
    neighbour(&proxy).await;
}

#[tokio::test]
async fn malformed_requests_go_nowhere() {
    let upstream = Upstream::ok().await;
    let proxy = open(&upstream, "").await;
    let with = |more: &[(&'static str, &'static [u8])]| [&GET[..], more].concat();
    let instead = |name: &'static str, value: &'static [u8]| {
        let mut fields = GET.to_vec();
        fields.iter_mut().find(|field| field.0 == name).unwrap().1 = value;
        fields
    };
    let without = |name: &str| GET.iter().copied().filter(|field| field.0 != name).collect::<Vec<_>>();
    let heads = [
        ("an upper-case name", with(&[("X-Upper", b"1")])),
        ("a name with a colon", with(&[("x:y", b"1")])),
        ("a name with a space", with(&[("x y", b"1")])),
        ("an empty name", with(&[("", b"1")])),
        ("a pseudo-header field after a regular one", [&GET[..3], &[("x", b"1"), (":path", b"/")]].concat()),
        ("a doubled pseudo-header field", with(&[(":path", b"/x")])),
        ("two authorities", with(&[(":authority", b"other.test")])),
        ("an unknown pseudo-header field", [&[(":x", &b"1"[..])][..], &GET].concat()),
        ("a pseudo-header field of answers", [&[(":status", &b"200"[..])][..], &GET].concat()),
        ("no method", without(":method")),
        ("no scheme", without(":scheme")),
        ("no path", without(":path")),
        ("no path and a Host", vec![(":method", b"GET"), (":scheme", b"http"), ("host", b"api.test")]),
        ("an empty path", instead(":path", b"")),
        ("a path without a slash", instead(":path", b"x")),
        ("an asterisk", instead(":path", b"*")),
        ("a URL as path", instead(":path", b"http://other.test/")),
        ("a space in the path", instead(":path", b"/a HTTP/1.1")),
        ("CRLF in the path", instead(":path", b"/a\r\nx: y")),
        ("NUL in the path", instead(":path", b"/a\0")),
        ("a byte over ASCII in the path", instead(":path", b"/\xff")),
        ("a backslash in the path", instead(":path", b"/\\x")),
        ("a space in the method", instead(":method", b"GET /x")),
        ("an empty method", instead(":method", b"")),
        ("CRLF in the method", instead(":method", b"GET\r\n")),
        ("an empty authority", instead(":authority", b"")),
        ("a space in the authority", instead(":authority", b"api.test x")),
        ("CRLF in the authority", instead(":authority", b"api.test\r\nx: y")),
        ("a path in the authority", instead(":authority", b"api.test/x")),
        ("user info in the authority", instead(":authority", b"u@api.test")),
        ("a port that is no number", instead(":authority", b"api.test:x")),
        ("a port that is too large", instead(":authority", b"api.test:65536")),
        ("another scheme", instead(":scheme", b"gopher")),
        ("no scheme at all", instead(":scheme", b"")),
        ("another host", with(&[("host", b"other.test")])),
        ("an empty host", with(&[("host", b"")])),
        ("two hosts", with(&[("host", b"api.test"), ("host", b"api.test")])),
        ("connection", with(&[("connection", b"close")])),
        ("keep-alive", with(&[("keep-alive", b"1")])),
        ("proxy-connection", with(&[("proxy-connection", b"close")])),
        ("upgrade", with(&[("upgrade", b"websocket")])),
        ("transfer-encoding", with(&[("transfer-encoding", b"chunked")])),
        ("te", with(&[("te", b"trailers, gzip")])),
        ("CRLF in a value", with(&[("x", b"a\r\ny: z")])),
        ("CR in a value", with(&[("x", b"a\rb")])),
        ("LF in a value", with(&[("x", b"a\nb")])),
        ("NUL in a value", with(&[("x", b"a\0b")])),
        ("a space before a value", with(&[("x", b" a")])),
        ("a tab after a value", with(&[("x", b"a\t")])),
        ("a length and no body", with(&[("content-length", b"5")])),
        ("a length that is no number", with(&[("content-length", b"+0")])),
        ("an empty length", with(&[("content-length", b"")])),
        ("a list of lengths", with(&[("content-length", b"0, 0")])),
        ("two lengths", with(&[("content-length", b"0"), ("content-length", b"0")])),
        ("two lengths that differ", with(&[("content-length", b"0"), ("content-length", b"1")])),
        ("TRACE", instead(":method", b"TRACE")),
        ("CONNECT", vec![(":method", b"CONNECT"), (":authority", b"api.test:80")]),
        ("extended CONNECT", [&instead(":method", b"CONNECT")[..], &[(":protocol", b"websocket")]].concat()),
    ];
    for (name, fields) in heads {
        let mut raw = Raw::tcp(proxy.address).await;
        // A ping behind it: when it is answered, everything before it was read.
        raw.send([frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&fields)), frame(PING, 0, 0, &[7; 8])].concat())
            .await;
        let ended = loop {
            let Some(frame) = raw.frame().await else { break true };
            if frame.stream == 1 && (frame.kind == HEADERS || frame.kind == RST_STREAM) || frame.kind == GOAWAY {
                break true;
            }
        };
        assert!(ended, "{name}");
        assert!(upstream.seen().is_empty(), "{name}: {:?}", upstream.seen());
    }
    neighbour(&proxy).await;
}

#[tokio::test]
async fn a_body_that_differs_from_its_length_is_no_request() {
    let upstream = Upstream::ok().await;
    let proxy = open(&upstream, "").await;
    let head = |length: &'static [u8]| {
        let fields: [(&str, &[u8]); 2] = [(":method", b"POST"), ("content-length", length)];
        frame(HEADERS, END_HEADERS, 1, &block(&[&fields[..1], &GET[1..], &fields[1..]].concat()))
    };
    let whole = |bytes: &[u8]| frame(DATA, END_STREAM, 1, bytes);
    let trailers = frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&[("x", b"y")]));
    for (name, bytes) in [
        ("longer", [head(b"2"), whole(b"hello")].concat()),
        ("longer in pieces", [head(b"5"), frame(DATA, 0, 1, b"hello"), whole(b"!")].concat()),
        ("shorter", [head(b"9"), whole(b"hello")].concat()),
        ("shorter with trailers", [head(b"9"), frame(DATA, 0, 1, b"hello"), trailers].concat()),
    ] {
        let mut raw = Raw::tcp(proxy.address).await;
        raw.send(bytes).await;
        let reset = raw.next(RST_STREAM).await.unwrap();
        assert_eq!((reset.stream, reset.code()), (1, Some(1)), "{name}: PROTOCOL_ERROR");
    }
    neighbour(&proxy).await;
    let seen = upstream.seen();
    assert!(seen.iter().all(|seen| seen.head.target() == "/neighbour"), "{seen:?}");
}

#[tokio::test]
async fn streams_out_of_order_and_overrun_windows_end_the_connection_or_the_stream() {
    let upstream = Upstream::ok().await;
    let proxy = open(&upstream, "").await;
    let post = frame(HEADERS, END_HEADERS, 1, &block(&[&[(":method", &b"POST"[..])][..], &GET[1..]].concat()));
    for (name, bytes) in [
        ("a stream of the server", get(2, &[])),
        ("stream 0", get(0, &[])),
        ("a stream below the last", [get(5, &[]), get(3, &[])].concat()),
        ("DATA on an idle stream", frame(DATA, 0, 7, b"x")),
        ("DATA on stream 0", frame(DATA, 0, 0, b"x")),
        ("PUSH_PROMISE", frame(5, END_HEADERS, 1, &block(&GET))),
        ("a frame that is too large", [post.clone(), frame(DATA, 0, 1, &[0; 16_385])].concat()),
        ("padding longer than its frame", [post.clone(), frame(DATA, 8, 1, &[9, 0])].concat()),
        ("a window over its size", frame(WINDOW_UPDATE, 0, 0, &0x7fff_ffff_u32.to_be_bytes())),
        ("a window update of nothing", frame(WINDOW_UPDATE, 0, 0, &[0; 4])),
        ("SETTINGS of half a setting", frame(SETTINGS, 0, 0, &[0; 3])),
        ("another frame within a head", [frame(HEADERS, 0, 1, b""), frame(PING, 0, 0, &[0; 8])].concat()),
        ("a head that goes on elsewhere", [frame(HEADERS, 0, 1, b""), frame(CONTINUATION, 4, 3, b"")].concat()),
        ("an index that is not there", frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0xff, 0xff, 0x7f])),
    ] {
        let mut raw = Raw::tcp(proxy.address).await;
        raw.send(bytes).await;
        let frames = raw.rest().await;
        assert!(frames.iter().any(|frame| frame.kind == GOAWAY && frame.code() != Some(0)), "{name}: {frames:?}");
    }
    neighbour(&proxy).await;
}
