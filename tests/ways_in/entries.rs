//! Host header, prefix, own port, absolute-form, and which of them wins.

use super::{open, open_route};
use crate::support::worker::Worker;
use crate::support::{Setup, Upstream};

#[tokio::test]
async fn a_host_header_names_the_upstream() {
    let upstream = Upstream::ok().await;
    let proxy = open(&upstream, "").await;
    let answer = proxy.get("API.test", "/orders?x=1&y=%2F").await;
    assert_eq!((answer.status, answer.text()), (200, "ok"));
    let seen = upstream.only();
    assert_eq!(seen.head.start_line(), "GET /orders?x=1&y=%2F HTTP/1.1");
    assert_eq!(seen.head.header("host"), Some("api.test"), "the name it was matched by, lower case");
}

#[tokio::test]
async fn a_port_in_the_host_header_may_be_the_listeners_or_the_upstreams_only() {
    let upstream = Upstream::ok().await;
    let proxy = open(&upstream, "").await;
    let own = proxy.address.port();
    for port in [own, 80, 443, upstream.address.port()] {
        let answer = proxy.get(&format!("api.test:{port}"), "/").await;
        assert_eq!(answer.status, 200, "{port}");
        assert_eq!(upstream.last().head.header("host"), Some("api.test"), "{port}");
    }
    let answer = proxy.get("api.test:1", "/").await;
    assert_eq!((answer.status, answer.error()), (421, Some("no_route")));
}

#[tokio::test]
async fn a_prefix_is_cut_off_byte_for_byte_on_a_segment_boundary() {
    let upstream = Upstream::ok().await;
    let proxy = open(&upstream, "prefix = \"/example\"").await;
    let host = proxy.address.to_string();
    for (sent, left) in [
        ("/example/orders", "/orders"),
        ("/example", "/"),
        ("/example?x=1", "/?x=1"),
        ("/example/", "/"),
        ("/example/a%2Fb//c?q=%20", "/a%2Fb//c?q=%20"),
        ("/example/example", "/example"),
    ] {
        let answer = proxy.get(&host, sent).await;
        assert_eq!(answer.status, 200, "{sent}: {answer:?}");
        let seen = upstream.last();
        assert_eq!(seen.head.target(), left, "{sent}");
        assert_eq!(seen.head.header("host"), Some("api.test"));
    }
    for loopback in ["localhost", "127.0.0.1", "[::1]", "127.0.0.2:9999", "LOCALHOST"] {
        assert_eq!(proxy.get(loopback, "/example/x").await.status, 200, "{loopback}");
    }
}

#[tokio::test]
async fn an_escaped_or_dotted_prefix_is_refused_and_never_resolved() {
    let upstream = Upstream::ok().await;
    let proxy = open(&upstream, "prefix = \"/example\"").await;
    let host = proxy.address.to_string();
    for sent in [
        "/%65xample/orders",
        "//example/orders",
        "/examples/orders",
        "/exampl",
        "/Example/orders",
        "/x/../example/orders",
        "/./example/orders",
        "/example%2Forders",
        "/",
    ] {
        let answer = proxy.get(&host, sent).await;
        assert_eq!((answer.status, answer.error()), (421, Some("no_route")), "{sent}");
    }
    for sent in ["/example/../admin", "/example/..", "/example/%2e%2e/admin", "/example/a/.%2E/b", "/example/./a"] {
        let answer = proxy.get(&host, sent).await;
        assert_eq!((answer.status, answer.error()), (400, Some("bad_request")), "{sent}");
    }
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn the_longest_prefix_wins() {
    let short = Upstream::ok().await;
    let long = Upstream::ok().await;
    let (short_url, long_url) = (short.url(), long.url());
    let proxy = Setup::new(format!(
        r#"
        [[route]]
        name = "short"
        host = "short.test"
        prefix = "/p"
        upstream = "{short_url}"
        credential = "none"
        [[route]]
        name = "long"
        host = "long.test"
        prefix = "/p/long"
        upstream = "{long_url}"
        credential = "none"
        "#
    ))
    .start()
    .await;
    proxy.get("localhost", "/p/long/x").await;
    assert_eq!(long.only().head.target(), "/x");
    proxy.get("localhost", "/p/longer/x").await;
    assert_eq!(short.only().head.target(), "/longer/x");
}

#[tokio::test]
async fn a_prefix_is_no_way_in_under_a_name_that_is_not_loopback() {
    let upstream = Upstream::ok().await;
    let proxy = open(&upstream, "prefix = \"/example\"").await;
    for host in ["evil.test", "localhost.evil.test", "127.0.0.1.evil.test", "10.0.0.1"] {
        assert_eq!(proxy.get(host, "/example/orders").await.error(), Some("no_route"), "{host}");
    }
    let answer = proxy.raw("GET http://127.0.0.1/example/x HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").await;
    assert_eq!(answer.error(), Some("no_route"), "an absolute-form target names its upstream, never a prefix");
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn an_own_port_serves_its_route_whatever_the_host_says() {
    let upstream = Upstream::ok().await;
    let proxy = open(&upstream, "listen = \"127.0.0.1:0\"").await;
    let own = proxy.listener("route");
    for host in ["127.0.0.1", "api.test", "anything.example", "localhost:1"] {
        let request = format!("GET /orders HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let answer = Worker::tcp(own).await.exchange(request).await;
        assert_eq!(answer.status, 200, "{host}: {answer:?}");
        assert_eq!(upstream.last().head.header("host"), Some("api.test"), "{host}");
    }
}

#[tokio::test]
async fn an_own_port_refuses_the_absolute_form_of_another_host() {
    let upstream = Upstream::ok().await;
    let proxy = open(&upstream, "listen = \"127.0.0.1:0\"").await;
    let own = proxy.listener("route");
    let request = "GET http://other.test/x HTTP/1.1\r\nHost: other.test\r\n\r\n";
    let answer = Worker::tcp(own).await.exchange(request).await;
    assert_eq!((answer.status, answer.error()), (421, Some("no_route")));
    assert_eq!(upstream.connections(), 0);
    let request = "GET http://api.test/x HTTP/1.1\r\nHost: api.test\r\n\r\n";
    assert_eq!(Worker::tcp(own).await.exchange(request).await.status, 200);
}

#[tokio::test]
async fn an_own_port_comes_before_host_and_absolute_form() {
    let (own, other) = (Upstream::ok().await, Upstream::ok().await);
    let (own_url, other_url) = (own.url(), other.url());
    let proxy = Setup::new(format!(
        r#"
        [[route]]
        name = "own"
        host = "own.test"
        listen = "127.0.0.1:0"
        path = "/v2"
        methods = ["GET"]
        upstream = "{own_url}"
        credential = "none"
        [[route]]
        name = "other"
        host = "other.test"
        prefix = "/other"
        upstream = "{other_url}"
        credential = "none"
        "#
    ))
    .start()
    .await;
    let port = proxy.listener("route");
    let send = async |bytes: &str| Worker::tcp(port).await.exchange(bytes).await;
    assert_eq!(send("GET /v2/x HTTP/1.1\r\nHost: other.test\r\n\r\n").await.status, 200);
    assert_eq!(own.only().head.header("host"), Some("own.test"));
    // Its path and methods must still match; the prefix of another route is nothing here.
    for refused in [
        "GET /v1/x HTTP/1.1\r\nHost: own.test\r\n\r\n",
        "GET /v22 HTTP/1.1\r\nHost: own.test\r\n\r\n",
        "GET /other/x HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "DELETE /v2/x HTTP/1.1\r\nHost: own.test\r\n\r\n",
    ] {
        assert_eq!(send(refused).await.error(), Some("no_route"), "{refused}");
    }
    assert_eq!(other.connections(), 0);
}

#[tokio::test]
async fn an_absolute_form_target_names_the_upstream() {
    let upstream = Upstream::ok().await;
    let proxy = open(&upstream, "").await;
    for (target, host) in [
        ("http://api.test/x?y=1", "api.test"),
        ("http://api.test:80/x?y=1", "api.test"),
        ("http://api.test/x?y=1", "api.test:80"),
        ("https://api.test/x?y=1", "api.test"),
        ("https://api.test/x?y=1", "api.test:443"),
        ("HTTP://API.TEST/x?y=1", "api.test"),
    ] {
        let answer = proxy.raw(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
        assert_eq!(answer.status, 200, "{target} {host}: {answer:?}");
        let seen = upstream.last();
        assert_eq!(seen.head.start_line(), "GET /x?y=1 HTTP/1.1");
        assert_eq!(seen.head.header("host"), Some("api.test"));
    }
    let answer = proxy.raw("GET http://api.test HTTP/1.1\r\nHost: api.test\r\n\r\n").await;
    assert_eq!(answer.status, 200);
    assert_eq!(upstream.last().head.target(), "/");
}

#[tokio::test]
async fn a_host_that_differs_from_the_absolute_form_is_refused() {
    let upstream = Upstream::ok().await;
    let proxy = open(&upstream, "").await;
    for (target, host) in [
        ("http://api.test/", "other.test"),
        ("http://api.test/", "api.test:8080"),
        ("http://api.test:81/", "api.test"),
        ("https://api.test/", "api.test:80"),
        ("http://api.test/", ""),
        ("http://user@api.test/", "api.test"),
        ("http://user:pass@api.test/", "user:pass@api.test"),
        ("ftp://api.test/", "api.test"),
    ] {
        let answer = proxy.raw(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
        assert_eq!((answer.status, answer.error()), (400, Some("bad_request")), "{target} {host}");
    }
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn absolute_form_comes_before_host_and_host_before_prefix() {
    // A route whose host is itself a loopback name: by Host it wins over any prefix.
    let (named, prefixed) = (Upstream::ok().await, Upstream::ok().await);
    let named_url = named.url();
    let text = open_route(&prefixed, "prefix = \"/example\"")
        + &format!(
            "[[route]]\nname = \"local\"\nhost = \"localhost\"\nupstream = \"{named_url}\"\ncredential = \"none\"\n"
        );
    let proxy = Setup::new(text).start().await;
    proxy.get("localhost", "/example/x").await;
    assert_eq!(named.only().head.target(), "/example/x", "the host has a route of its own");
    proxy.get("127.0.0.1", "/example/x").await;
    assert_eq!(prefixed.only().head.target(), "/x");
    proxy.raw("GET http://api.test/example/x HTTP/1.1\r\nHost: api.test\r\n\r\n").await;
    assert_eq!(prefixed.last().head.target(), "/example/x", "nothing is cut from an absolute-form target");
}

#[tokio::test]
async fn host_gets_a_port_only_where_the_upstream_names_that_host_with_another_port() {
    let upstream = Upstream::ok().await;
    let port = upstream.address.port();
    let proxy = Setup::new(format!(
        r#"
        [[route]]
        name = "same"
        host = "same.localhost"
        upstream = "http://same.localhost:{port}"
        credential = "none"
        [[route]]
        name = "elsewhere"
        host = "elsewhere.test"
        upstream = "http://127.0.0.1:{port}"
        credential = "none"
        "#
    ))
    .start()
    .await;
    proxy.get("same.localhost", "/").await;
    assert_eq!(upstream.last().head.header("host"), Some(&*format!("same.localhost:{port}")));
    proxy.get("elsewhere.test", "/").await;
    assert_eq!(upstream.last().head.header("host"), Some("elsewhere.test"));
}
