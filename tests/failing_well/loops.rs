//! A request that would come back to this proxy is answered, not sent round.

use super::{GET, open, problem, route};
use crate::support::{Setup, Upstream};

#[tokio::test]
async fn an_upstream_that_is_the_proxy_itself_is_a_loop() {
    // A port that was free a moment ago: the route must name it before the proxy has it.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let listen = format!("proxy = [\"127.0.0.1:{port}\"]");
    for host in ["127.0.0.1", "localhost"] {
        let text = route(&format!("http://{host}:{port}"), "");
        let proxy = Setup::new(text).listen(&listen).start().await;
        let answer = proxy.raw(GET).await;
        let detail = problem(&answer, 508, "loop", Some("api"));
        assert!(detail.contains(&port.to_string()), "{detail}");
        proxy.server.drain(std::time::Duration::from_secs(5)).await;
    }
}

#[tokio::test]
async fn a_request_that_comes_back_through_another_proxy_is_known_by_via() {
    let upstream = Upstream::ok().await;
    let proxy = open(&upstream.url(), "").await;
    proxy.raw(GET).await;
    let via = upstream.only().head.header("via").unwrap().to_owned();
    for line in [via.clone(), format!("1.0 first, {via}, 1.1 last"), format!("1.0 first\r\nVia: {via}")] {
        let answer = proxy.raw(format!("GET / HTTP/1.1\r\nHost: api.test\r\nVia: {line}\r\n\r\n")).await;
        problem(&answer, 508, "loop", None);
    }
    let other = "1.1 countersign-0011223344556677";
    let answer = proxy.raw(format!("GET / HTTP/1.1\r\nHost: api.test\r\nVia: {other}\r\n\r\n")).await;
    assert_eq!(answer.status, 200, "two proxies in a row are no loop");
}
