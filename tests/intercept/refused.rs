//! CONNECT that is refused: 421, and the connection ends, so that what follows is never read as a request.

use super::*;

async fn refused(proxy: &Running, request: &str, status: u16, error: &str, words: &str) {
    let mut worker = proxy.worker().await;
    let answer = worker.exchange(format!("{request}GET /smuggled HTTP/1.1\r\nHost: api.test\r\n\r\n")).await;
    assert_eq!((answer.status, answer.error()), (status, Some(error)), "{request}: {answer:?}");
    assert!(answer.text().contains(words), "{request}: {}", answer.text());
    assert!(worker.is_closed().await, "{request}");
}

#[tokio::test]
async fn a_tunnel_to_anywhere_else_is_never_opened() {
    let upstream = Upstream::ok().await;
    let proxy = setup(&upstream).start().await;
    let connect = |authority: &str| format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n");
    refused(&proxy, &connect("other.test:443"), 421, "no_route", "no route has the host other.test").await;
    refused(&proxy, &connect("api.test:22"), 421, "no_route", "no route of host api.test has the port 22").await;
    refused(&proxy, &connect("127.0.0.1:443"), 421, "no_route", "no route has the host").await;
    refused(&proxy, &connect("api.test"), 400, "bad_request", "host:port").await;
    refused(&proxy, &connect("user@api.test:443"), 400, "bad_request", "").await;
    let differs = "CONNECT api.test:443 HTTP/1.1\r\nHost: other.test\r\n\r\n";
    refused(&proxy, differs, 400, "bad_request", "differs").await;
    let body = "CONNECT api.test:443 HTTP/1.1\r\nHost: api.test\r\nContent-Length: 5\r\n\r\n";
    refused(&proxy, body, 400, "bad_request", "body").await;
    assert_eq!(upstream.connections(), 0);
    assert_eq!(proxy.metric("countersign_requests_total{route=\"\",outcome=\"no_route\"}").await, 3.0);
}

#[tokio::test]
async fn without_interception_and_on_an_own_port_there_is_none() {
    let upstream = Upstream::ok().await;
    let proxy = with(&upstream, "enabled = false").start().await;
    refused(&proxy, "CONNECT api.test:443 HTTP/1.1\r\nHost: api.test:443\r\n\r\n", 421, "no_route", "off").await;
    assert!(!proxy.scratch.path("certs").exists(), "nothing is made");

    let url = upstream.url();
    let own = format!(
        "[[route]]\nname = \"own\"\nhost = \"own.test\"\nupstream = \"{url}\"\ncredential = \"none\"\nlisten = \"127.0.0.1:0\"\n"
    );
    let proxy = setup(&upstream).add(&own).start().await;
    let mut worker = Worker::tcp(proxy.listener("route")).await;
    let answer = worker.exchange("CONNECT own.test:443 HTTP/1.1\r\nHost: own.test:443\r\n\r\n").await;
    assert_eq!((answer.status, answer.error()), (421, Some("no_route")));
}

#[tokio::test]
async fn connect_inside_connect_is_refused() {
    let upstream = Upstream::ok().await;
    let proxy = setup(&upstream).start().await;
    let mut worker = inside(&proxy, HOST, 443).await;
    let answer = worker.exchange("CONNECT api.test:443 HTTP/1.1\r\nHost: api.test:443\r\n\r\n").await;
    assert_eq!((answer.status, answer.error()), (421, Some("no_route")));
    assert!(worker.is_closed().await);
}
