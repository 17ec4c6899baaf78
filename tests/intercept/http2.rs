//! HTTP/2 by ALPN, inside CONNECT and on the TLS listener.

use http::Request;
use http_body_util::Full;

use super::*;
use crate::support::http2_worker::Client;

const LISTEN: &str = "proxy = [\"127.0.0.1:0\"]\ntls = \"127.0.0.1:0\"";

/// A worker that would rather speak HTTP/2, in both places.
async fn both(proxy: &Running) -> [Client; 2] {
    let config = speaking(&ca(&proxy.scratch.path("")), &[b"h2", b"http/1.1"]);
    let (tunnel, _) = connect(proxy.address, "api.test:443").await;
    let by_name = TcpStream::connect(proxy.listener("tls")).await.unwrap();
    let mut clients = Vec::new();
    for stream in [tunnel, by_name] {
        let stream = tls(config.clone(), HOST, stream).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        clients.push(Client::over(stream).await);
    }
    clients.try_into().unwrap_or_else(|_| unreachable!())
}

#[tokio::test]
async fn requests_inside_are_signed_and_bound_to_the_name() {
    let upstream = Upstream::ok().await;
    let proxy = setup(&upstream).listen(LISTEN).start().await;
    for client in both(&proxy).await {
        for uri in ["https://api.test/orders", "https://api.test:443/orders"] {
            let answer = client.get(uri).await;
            assert_eq!((answer.status(), &answer.body[..]), (200, &b"ok"[..]), "{answer:?}");
            let seen = upstream.last().head;
            assert_eq!((seen.start_line(), seen.header("host")), ("GET /orders HTTP/1.1", Some("api.test")));
            assert_eq!(seen.header("authorization"), Some("Bearer s3cret"));
        }
        let before = upstream.seen().len();
        for uri in ["https://m1.shops.test/", "https://localhost/"] {
            let answer = client.get(uri).await;
            assert_eq!((answer.status(), answer.error()), (421, Some("no_route")), "{uri}");
        }
        let connect = Request::connect("api.test:443").body(Full::default()).unwrap();
        assert_eq!(client.send(connect).await.error(), Some("no_route"));
        assert_eq!(upstream.seen().len(), before);
        assert_eq!(client.get("https://api.test/").await.status(), 200, "the connection stays usable");
    }
}

#[tokio::test]
async fn a_preface_without_alpn_is_no_http_2_here() {
    let upstream = Upstream::ok().await;
    let proxy = setup(&upstream).start().await;
    let (stream, _) = connect(proxy.address, "api.test:443").await;
    let config = speaking(&ca(&proxy.scratch.path("")), &[]);
    let mut worker = Worker::over(tls(config, HOST, stream).await.unwrap());
    worker.send(crate::support::http2_worker::PREFACE).await;
    assert!(worker.is_closed().await);
    assert!(upstream.seen().is_empty());
}
