//! Exact, wildcard and capturing hosts, ports, paths and methods: the most specific wins.

use std::collections::HashMap;

use crate::support::{Running, Setup, Upstream};

/// Routes by name, each with an upstream of its own.
struct Table {
    proxy: Running,
    upstreams: HashMap<&'static str, Upstream>,
}

impl Table {
    async fn new(routes: &[(&'static str, &str)]) -> Self {
        let mut text = String::new();
        let mut upstreams = HashMap::new();
        for (name, keys) in routes {
            let upstream = Upstream::ok().await;
            let url = upstream.url();
            text += &format!("[[route]]\nname = \"{name}\"\nupstream = \"{url}\"\ncredential = \"none\"\n{keys}\n");
            upstreams.insert(*name, upstream);
        }
        Self { proxy: Setup::new(text).start().await, upstreams }
    }

    /// The name of the route that a request took, or of the error.
    async fn takes(&self, method: &str, host: &str, target: &str) -> String {
        let before: HashMap<_, _> = self.upstreams.iter().map(|(name, one)| (*name, one.seen().len())).collect();
        let request = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\n\r\n");
        let answer = self.proxy.raw(request).await;
        if let Some(error) = answer.error() {
            assert_eq!(answer.status, 421);
            return error.to_owned();
        }
        assert_eq!(answer.status, 200);
        let took: Vec<_> = self.upstreams.iter().filter(|(name, one)| one.seen().len() > before[*name]).collect();
        assert_eq!(took.len(), 1);
        (*took[0].0).to_owned()
    }
}

#[tokio::test]
async fn an_exact_host_comes_before_a_capture_and_a_label_is_one_label() {
    let table = Table::new(&[
        ("exact", "host = \"one.shops.test\""),
        ("capture", "host = \"{shop}.shops.test\""),
        ("wildcard", "host = \"*.cdn.test\""),
    ])
    .await;
    assert_eq!(table.takes("GET", "one.shops.test", "/").await, "exact");
    assert_eq!(table.takes("GET", "two.shops.test", "/").await, "capture");
    assert_eq!(table.upstreams["capture"].last().head.header("host"), Some("two.shops.test"), "filled in");
    assert_eq!(table.takes("GET", "A.cdn.test", "/").await, "wildcard");
    assert_eq!(table.upstreams["wildcard"].last().head.header("host"), Some("a.cdn.test"));
    for host in ["shops.test", "a.b.shops.test", ".shops.test", "one.shops.test.evil", "cdn.test", "a.b.cdn.test"] {
        assert_eq!(table.takes("GET", host, "/").await, "no_route", "{host}");
    }
}

#[tokio::test]
async fn the_longest_path_wins_on_a_segment_boundary_and_then_methods() {
    let table = Table::new(&[
        ("all", "host = \"api.test\""),
        ("v2", "host = \"api.test\"\npath = \"/v2\""),
        ("orders", "host = \"api.test\"\npath = \"/v2/orders\""),
        ("posts", "host = \"api.test\"\npath = \"/v2/orders\"\nmethods = [\"POST\", \"PUT\"]"),
    ])
    .await;
    for (method, target, route) in [
        ("GET", "/", "all"),
        ("GET", "/v22", "all"),
        ("GET", "/v2", "v2"),
        ("GET", "/v2?x", "v2"),
        ("GET", "/v2/ordersx", "v2"),
        ("GET", "/v2/orders", "orders"),
        ("GET", "/v2/orders/1", "orders"),
        ("POST", "/v2/orders/1", "posts"),
        ("PUT", "/v2/orders", "posts"),
        ("DELETE", "/v2/orders", "orders"),
        ("GET", "/V2/orders", "all"),
        ("GET", "/%762/orders", "all"),
    ] {
        assert_eq!(table.takes(method, "api.test", target).await, route, "{method} {target}");
    }
}

#[tokio::test]
async fn a_method_or_path_outside_every_route_of_a_known_host_is_misdirected() {
    let table = Table::new(&[
        ("reads", "host = \"api.test\"\npath = \"/v2\"\nmethods = [\"GET\", \"HEAD\"]"),
        ("wide", "host = \"*.other.test\"\npath = \"/v2\""),
    ])
    .await;
    assert_eq!(table.takes("GET", "api.test", "/v2/x").await, "reads");
    assert_eq!(table.takes("HEAD", "api.test", "/v2/x").await, "reads");
    assert_eq!(table.takes("POST", "api.test", "/v2/x").await, "no_route");
    assert_eq!(table.takes("GET", "api.test", "/v1").await, "no_route");
    assert_eq!(table.takes("GET", "a.other.test", "/v1").await, "no_route");
    assert_eq!(table.takes("POST", "a.other.test", "/v2").await, "wide");
}

#[tokio::test]
async fn a_pattern_claims_nothing_of_what_the_routes_of_an_exact_host_leave_out() {
    let table = Table::new(&[
        ("exact", "host = \"api.test\"\nmethods = [\"GET\", \"HEAD\"]"),
        ("wide", "host = \"*.test\"\npath = \"/v2\""),
    ])
    .await;
    assert_eq!(table.takes("GET", "api.test", "/v2/x").await, "exact", "the host weighs more than the path");
    assert_eq!(table.takes("POST", "api.test", "/v2/x").await, "no_route");
    assert_eq!(table.takes("POST", "other.test", "/v2/x").await, "wide");
}

#[tokio::test]
async fn a_credential_is_bound_to_the_path_of_its_route() {
    let table = Table::new(&[("v2", "host = \"api.test\"\npath = \"/v2\"")]).await;
    for target in ["/v2/../admin", "/v2/%2e%2e/admin", "/v2/x/%2E./admin", "/v2/.."] {
        let answer = table.proxy.get("api.test", target).await;
        assert_eq!((answer.status, answer.error()), (400, Some("bad_request")), "{target}");
    }
    assert_eq!(table.upstreams["v2"].connections(), 0);
}

#[tokio::test]
async fn an_answer_without_route_says_so_and_names_none() {
    let table = Table::new(&[("one", "host = \"one.test\"")]).await;
    let answer = table.proxy.get("unknown.test", "/x").await;
    assert_eq!(answer.status, 421);
    let problem = answer.json();
    assert_eq!(problem["type"], "urn:countersign:error:no_route");
    assert!(problem["route"].is_null());
    assert_eq!(problem["status"], 421);
}
