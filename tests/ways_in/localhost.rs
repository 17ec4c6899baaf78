//! Names that end in `.localhost`: the route of the name before it.

use super::open;
use crate::support::{Setup, Upstream};

#[tokio::test]
async fn a_localhost_name_is_the_route_of_the_name_before_it_at_any_port() {
    let upstream = Upstream::ok().await;
    let proxy = open(&upstream, "").await;
    let own = proxy.address.port();
    for host in
        ["api.test.localhost".to_owned(), format!("api.test.localhost:{own}"), "API.Test.LOCALHOST:1".to_owned()]
    {
        let answer = proxy.get(&host, "/orders?x=1").await;
        assert_eq!(answer.status, 200, "{host}: {answer:?}");
        let seen = upstream.last();
        assert_eq!((seen.head.target(), seen.head.header("host")), ("/orders?x=1", Some("api.test")), "{host}");
    }
}

#[tokio::test]
async fn a_localhost_name_without_a_route_is_refused() {
    let upstream = Upstream::ok().await;
    let proxy = open(&upstream, "prefix = \"/example\"").await;
    for host in [
        "other.test.localhost",
        "localhost.localhost",
        "127.0.0.1.localhost",
        ".localhost",
        "xapi.test.localhost",
        "api.test.localhost.evil.test",
        "api.test.localhost.localhost",
        "api.testlocalhost",
    ] {
        let answer = proxy.get(host, "/example/x").await;
        assert_eq!((answer.status, answer.error()), (421, Some("no_route")), "{host}");
    }
    let answer = proxy.raw("GET http://api.test.localhost/x HTTP/1.1\r\nHost: api.test.localhost\r\n\r\n").await;
    assert_eq!(answer.error(), Some("no_route"), "an absolute-form target says the upstream's own name");
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn captures_paths_and_ports_of_routes_hold_under_a_localhost_name() {
    let upstream = Upstream::ok().await;
    let url = upstream.url();
    let proxy = Setup::new(format!(
        r#"
        [[route]]
        name = "shop"
        host = "{{shop}}.shops.test"
        path = "/v2"
        upstream = "{url}"
        credential = "none"
        [[route]]
        name = "port"
        host = "port.test:8443"
        upstream = "{url}"
        credential = "none"
        "#
    ))
    .start()
    .await;
    assert_eq!(proxy.get("m1.shops.test.localhost:8080", "/v2/x").await.status, 200);
    assert_eq!(upstream.last().head.header("host"), Some("m1.shops.test"));
    assert_eq!(proxy.get("m1.shops.test.localhost:8080", "/v1/x").await.error(), Some("no_route"));
    assert_eq!(proxy.get("port.test.localhost:8080", "/x").await.status, 200, "the port is this proxy's");
    assert_eq!(proxy.get("port.test:8080", "/x").await.error(), Some("no_route"));
}

#[tokio::test]
async fn a_route_of_the_whole_name_comes_first() {
    let (whole, short) = (Upstream::ok().await, Upstream::ok().await);
    let (whole_url, short_url) = (whole.url(), short.url());
    let proxy = Setup::new(format!(
        r#"
        [[route]]
        name = "whole"
        host = "api.test.localhost"
        path = "/v1"
        upstream = "{whole_url}"
        credential = "none"
        [[route]]
        name = "short"
        host = "api.test"
        upstream = "{short_url}"
        credential = "none"
        "#
    ))
    .start()
    .await;
    assert_eq!(proxy.get("api.test.localhost", "/v1").await.status, 200);
    assert_eq!(proxy.get("api.test.localhost", "/v2").await.error(), Some("no_route"), "the host is claimed");
    assert_eq!((whole.connections(), short.connections()), (1, 0));
}
