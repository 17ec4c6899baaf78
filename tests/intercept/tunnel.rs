//! The way in by CONNECT.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;

#[tokio::test]
async fn requests_inside_take_the_same_path_as_all_others() {
    let upstream = Upstream::ok().await;
    let proxy = setup(&upstream).start().await;
    let mut worker = inside(&proxy, HOST, 443).await;
    for _ in 0..2 {
        let answer = worker.exchange(GET).await;
        assert_eq!((answer.status, answer.text()), (200, "ok"), "{answer:?}");
        let seen = upstream.last().head;
        assert_eq!((seen.target(), seen.header("host")), ("/orders", Some("api.test")));
        assert_eq!(seen.header("authorization"), Some("Bearer s3cret"));
    }
    let sent = "POST /orders HTTP/1.1\r\nHost: api.test:443\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    assert_eq!(worker.exchange(sent).await.status, 200);
    assert_eq!(upstream.last().body, b"3\r\nabc\r\n0\r\n\r\n", "as it came");
    let absolute = worker.exchange("GET https://api.test/x HTTP/1.1\r\nHost: api.test\r\n\r\n").await;
    assert_eq!((absolute.status, upstream.last().head.target()), (200, "/x"));
    assert_eq!(proxy.metric("countersign_requests_total{route=\"api\",outcome=\"2xx\"}").await, 4.0);
}

#[tokio::test]
async fn hosts_of_a_pattern_have_a_leaf_each() {
    let upstream = Upstream::ok().await;
    let proxy = setup(&upstream).start().await;
    for host in ["m1.shops.test", "m2.shops.test"] {
        let answer = inside(&proxy, host, 443).await.exchange(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
        assert_eq!(answer.status, 200);
        assert_eq!(upstream.last().head.header("host"), Some(host));
    }
}

#[tokio::test]
async fn the_port_of_the_upstream_may_be_named() {
    let upstream = Upstream::ok().await;
    let proxy = setup(&upstream).start().await;
    let port = upstream.address.port();
    let mut worker = inside(&proxy, HOST, port).await;
    let answer = worker.exchange(format!("GET / HTTP/1.1\r\nHost: api.test:{port}\r\n\r\n")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let answer = worker.exchange(GET).await;
    assert_eq!((answer.status, answer.error()), (421, Some("no_route")), "the default port is another authority");
}

#[tokio::test]
async fn a_request_for_another_host_is_misdirected() {
    let upstream = Upstream::ok().await;
    let proxy = setup(&upstream).start().await;
    let mut worker = inside(&proxy, HOST, 443).await;
    for request in [
        "GET / HTTP/1.1\r\nHost: m1.shops.test\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: api.test:80\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET https://m1.shops.test/ HTTP/1.1\r\nHost: m1.shops.test\r\n\r\n",
    ] {
        let answer = worker.exchange(request).await;
        assert_eq!((answer.status, answer.error()), (421, Some("no_route")), "{request}");
    }
    assert_eq!(worker.exchange(GET).await.status, 200, "the connection stays usable");
    assert_eq!(upstream.seen().len(), 1);
}

#[tokio::test]
async fn the_guard_watches_the_decrypted_stream() {
    let upstream = Upstream::ok().await;
    let proxy = setup(&upstream).start().await;
    let mut worker = inside(&proxy, HOST, 443).await;
    let answer = worker.exchange("GET / HTTP/1.1\nHost: api.test\n\n").await;
    assert_eq!((answer.status, answer.error()), (400, Some("bad_request")));
    assert!(worker.is_closed().await);
    assert_eq!(upstream.seen().len(), 0);
}

#[tokio::test]
async fn tls_that_comes_with_the_connect_is_taken() {
    let upstream = Upstream::ok().await;
    let proxy = setup(&upstream).start().await;
    let config = client(&ca(&proxy.scratch.path("")));
    let name = ServerName::try_from(HOST).unwrap();
    let mut hello = Vec::new();
    let mut connection = rustls::ClientConnection::new(config, name).unwrap();
    connection.write_tls(&mut hello).unwrap();
    let mut stream = TcpStream::connect(proxy.address).await.unwrap();
    let connect = [b"CONNECT api.test:443 HTTP/1.1\r\nHost: api.test:443\r\n\r\n", &hello[..]].concat();
    stream.write_all(&connect).await.unwrap();
    let mut read = Vec::new();
    let prefix = b"HTTP/1.1 200 OK\r\n\r\n";
    while read.len() < prefix.len() + 3 {
        within("ServerHello", stream.read_buf(&mut read)).await.unwrap();
    }
    assert!(read.starts_with(prefix), "{:?}", String::from_utf8_lossy(&read));
    assert_eq!(read[prefix.len()..][..3], [22, 3, 3], "a handshake record");
}

#[tokio::test]
async fn a_name_that_differs_from_the_tunnels_is_refused_in_the_handshake() {
    let upstream = Upstream::ok().await;
    let proxy = setup(&upstream).start().await;
    let config = client(&ca(&proxy.scratch.path("")));
    let (stream, _) = connect(proxy.address, "api.test:443").await;
    let error = tls(config, "m1.shops.test", stream).await.unwrap_err();
    let inner = error.get_ref().unwrap().downcast_ref::<rustls::Error>();
    assert_eq!(inner, Some(&rustls::Error::AlertReceived(rustls::AlertDescription::UnrecognisedName)), "{error}");
}

#[tokio::test]
async fn http_1_1_is_agreed_on_with_who_speaks_nothing_else_and_sessions_are_resumed() {
    let upstream = Upstream::ok().await;
    let proxy = setup(&upstream).start().await;
    let config = client(&ca(&proxy.scratch.path("")));
    let mut kinds = Vec::new();
    for _ in 0..2 {
        let (stream, _) = connect(proxy.address, "api.test:443").await;
        let mut stream = tls(config.clone(), HOST, stream).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
        stream.write_all(GET.as_bytes()).await.unwrap();
        let mut answer = [0; 12];
        within("an answer", stream.read_exact(&mut answer)).await.unwrap();
        kinds.push(stream.get_ref().1.handshake_kind());
    }
    assert_eq!(kinds, [Some(rustls::HandshakeKind::Full), Some(rustls::HandshakeKind::Resumed)]);
}

#[tokio::test]
async fn a_connection_counts_once_and_a_drain_ends_it() {
    let upstream = Upstream::ok().await;
    let mut setup = setup(&upstream);
    setup = setup.add("[limits]\nconnections = 1\n");
    let proxy = setup.start().await;
    let mut worker = inside(&proxy, HOST, 443).await;
    assert_eq!(worker.exchange(GET).await.status, 200);
    assert!(proxy.worker().await.is_closed().await, "over the limit");
    assert_eq!(proxy.server.proxy.connections.open(), 1);
    let drained = tokio::spawn(proxy.server.drain(std::time::Duration::from_secs(20)));
    assert!(worker.is_closed().await);
    assert_eq!(within("the drain", drained).await.unwrap(), countersign::server::Drained::Complete);
}

#[tokio::test]
async fn a_websocket_passes_inside_and_links_stay_as_they_are() {
    let upstream = Upstream::scripted(|mut conversation| async move {
        let switched = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
            Location: https://api.test/x\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
        let seen = conversation.request().await.unwrap();
        assert_eq!(seen.head.header("authorization"), Some("Bearer s3cret"));
        conversation.send(switched).await;
        while conversation.more().await {
            let got = conversation.take_unread();
            conversation.send(got).await;
        }
    })
    .await;
    let proxy = setup(&upstream).start().await;
    let mut worker = inside(&proxy, HOST, 443).await;
    let handshake = "GET /chat HTTP/1.1\r\nHost: api.test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
    worker.send(handshake).await;
    let head = worker.head().await.unwrap();
    assert_eq!((head.status(), head.header("location")), (101, Some("https://api.test/x")));
    worker.send("\0 anything \n").await;
    assert_eq!(worker.take(12).await, b"\0 anything \n");
}
