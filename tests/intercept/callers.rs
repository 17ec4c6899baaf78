//! Clients that prove themselves with the CONNECT, as programs with a proxy URL do.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{ca, client, tls};
use crate::support::wait::within;
use crate::support::worker::Worker;
use crate::support::{Running, Setup, Upstream};

async fn guarded(upstream: &Upstream) -> Running {
    let url = upstream.url();
    Setup::new(format!(
        r#"
        [intercept]
        ephemeral = true
        [client.importer]
        token = "clients/importer"
        [[route]]
        name = "api"
        host = "api.test"
        upstream = "{url}"
        credential = "none"
        clients = ["importer"]
        [[route]]
        name = "mixed"
        host = "mixed.test"
        upstream = "{url}"
        credential = "none"
        clients = ["importer"]
        [[route]]
        name = "open"
        host = "mixed.test"
        path = "/open"
        upstream = "{url}"
        credential = "none"
        "#
    ))
    .secret("clients/importer", "token-one")
    .start()
    .await
}

/// A CONNECT with these lines: the head of its answer, and the connection.
async fn connect(proxy: &Running, host: &str, lines: &str) -> (TcpStream, String) {
    let mut stream = within("connecting", TcpStream::connect(proxy.address)).await.unwrap();
    let request = format!("CONNECT {host}:443 HTTP/1.1\r\nHost: {host}:443\r\n{lines}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(within("the answer to CONNECT", stream.read_u8()).await.unwrap());
    }
    (stream, String::from_utf8(head).unwrap())
}

async fn inside(proxy: &Running, host: &str, lines: &str) -> Worker {
    let (stream, head) = connect(proxy, host, lines).await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    Worker::over(tls(client(&ca(&proxy.scratch.path(""))), host, stream).await.unwrap())
}

const PROOF: &str = "Proxy-Authorization: Bearer token-one\r\n";
const WRONG: &str = "Proxy-Authorization: Bearer wrong\r\n";

#[tokio::test]
async fn the_proof_of_a_connect_holds_for_the_requests_inside() {
    let upstream = Upstream::ok().await;
    let proxy = guarded(&upstream).await;
    let get = |host: &str, path: &str, lines: &str| format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{lines}\r\n");
    let mut worker = inside(&proxy, "api.test", PROOF).await;
    for _ in 0..2 {
        assert_eq!(worker.exchange(get("api.test", "/x", "")).await.status, 200);
        assert_eq!(upstream.last().head.header("proxy-authorization"), None);
    }
    let answer = worker.exchange(get("api.test", "/x", WRONG)).await;
    assert_eq!((answer.status, answer.error()), (403, Some("client_denied")), "its own proof counts first");

    let mut worker = inside(&proxy, "api.test", WRONG).await;
    let answer = worker.exchange(get("api.test", "/x", "")).await;
    assert_eq!((answer.status, answer.error()), (403, Some("client_denied")));
    assert_eq!(worker.exchange(get("api.test", "/x", PROOF)).await.status, 200);

    let mut worker = inside(&proxy, "mixed.test", "").await;
    assert_eq!(worker.exchange(get("mixed.test", "/open", "")).await.status, 200);
    assert_eq!(worker.exchange(get("mixed.test", "/x", "")).await.status, 403);
}

#[tokio::test]
async fn a_connect_without_a_proof_is_asked_for_one() {
    let upstream = Upstream::ok().await;
    let proxy = guarded(&upstream).await;
    let (_, head) = connect(&proxy, "api.test", "").await;
    assert!(head.starts_with("HTTP/1.1 407 "), "{head}");
    assert!(head.contains("proxy-authenticate: Basic realm=\"countersign\"\r\n"), "{head}");
    assert!(head.contains("countersign-error: client_denied\r\n"), "{head}");
    let (_, head) = connect(&proxy, "nowhere.test", "").await;
    assert!(head.starts_with("HTTP/1.1 421 "), "{head}");
}
