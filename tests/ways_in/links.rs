//! Location, Content-Location and Link lead back by the way in that the request took.

use crate::support::worker::{Answer, Worker};
use crate::support::{Running, Setup, Upstream};

/// Routes `a.test` (prefix /a, own port), `b.test` (prefix /b), `c.test` (neither) on one upstream that answers with these headers.
async fn proxy(headers: &str) -> Running {
    let answer = format!("HTTP/1.1 302 Found\r\n{headers}Content-Length: 0\r\n\r\n");
    let url = Upstream::answering(answer).await.url();
    Setup::new(format!(
        r#"
        [[route]]
        name = "a"
        host = "a.test"
        prefix = "/a"
        listen = "127.0.0.1:0"
        upstream = "{url}"
        credential = "none"
        [[route]]
        name = "b"
        host = "b.test"
        prefix = "/b"
        upstream = "{url}"
        credential = "none"
        [[route]]
        name = "c"
        host = "c.test"
        path = "/v1"
        upstream = "{url}"
        credential = "none"
        [[route]]
        name = "secure"
        host = "secure.test"
        upstream = "https://127.0.0.1:8443"
        credential = "none"
        "#
    ))
    .start()
    .await
}

fn location(answer: &Answer) -> &str {
    answer.header("location").unwrap()
}

async fn locations(cases: &[(&str, &str)], host: &str, target: &str) {
    for (sent, wanted) in cases {
        let proxy = proxy(&format!("Location: {sent}\r\n")).await;
        assert_eq!(location(&proxy.get(host, target).await), *wanted, "{sent} to {host} {target}");
    }
}

#[tokio::test]
async fn behind_a_prefix_urls_get_the_prefix_of_their_route() {
    let cases = [
        ("https://a.test/x?page=2#top", "http://localhost:8080/a/x?page=2#top"),
        ("http://A.test:443/x", "http://localhost:8080/a/x"),
        ("//a.test/x", "http://localhost:8080/a/x"),
        ("https://a.test", "http://localhost:8080/a"),
        ("https://a.test?x", "http://localhost:8080/a?x"),
        ("https://b.test/b/%2F//y", "http://localhost:8080/b/b/%2F//y"),
        ("/x?next=/y", "/a/x?next=/y"),
        ("/a/x", "/a/a/x"),
        // What matches no route, or no route with a prefix, and what is no URL of a host.
        ("https://evil.test/x", "https://evil.test/x"),
        ("https://a.test.evil.test/x", "https://a.test.evil.test/x"),
        ("https://a.test:9999/x", "https://a.test:9999/x"),
        ("https://user@a.test/x", "https://user@a.test/x"),
        ("https://a.test@evil.test/", "https://a.test@evil.test/"),
        ("https://c.test/v1", "https://c.test/v1"),
        ("https://a.test/../b/x", "https://a.test/../b/x"),
        ("/../b/x", "/../b/x"),
        ("/\\evil.test/x", "/\\evil.test/x"),
        ("x?page=2", "x?page=2"),
        ("ftp://a.test/x", "ftp://a.test/x"),
        ("mailto:a@a.test", "mailto:a@a.test"),
    ];
    locations(&cases, "localhost:8080", "/a/orders").await;
}

#[tokio::test]
async fn localhost_names_stay_localhost_names() {
    let cases = [
        ("https://a.test/x", "http://a.test.localhost:8080/x"),
        ("https://b.test/x?y", "http://b.test.localhost:8080/x?y"),
        ("https://c.test/v1/x", "http://c.test.localhost:8080/v1/x"),
        ("https://c.test/v2/x", "https://c.test/v2/x"),
        ("https://evil.test/x", "https://evil.test/x"),
        ("/x", "/x"),
    ];
    locations(&cases, "a.test.localhost:8080", "/orders").await;
    locations(&[("https://a.test/x", "http://a.test.localhost/x")], "a.test.localhost", "/").await;
}

#[tokio::test]
async fn by_host_and_forward_proxy_https_becomes_http() {
    let cases = [
        ("https://a.test/x", "http://a.test/x"),
        ("https://b.test:443/x", "http://b.test/x"),
        ("https://secure.test:8443/x", "http://secure.test:8443/x"),
        ("HTTPS://B.test/X", "http://b.test/X"),
        ("http://b.test/x", "http://b.test/x"),
        ("//b.test/x", "//b.test/x"),
        ("https://evil.test/x", "https://evil.test/x"),
        ("/x", "/x"),
    ];
    locations(&cases, "a.test", "/orders").await;
    locations(&cases, "a.test", "http://a.test/orders").await;
}

#[tokio::test]
async fn an_own_port_leads_back_to_itself_under_the_name_that_the_worker_used() {
    for (sent, wanted) in
        [("https://a.test/x", "http://sidecar:9001/x"), ("https://b.test/x", "https://b.test/x"), ("/x", "/x")]
    {
        let proxy = proxy(&format!("Location: {sent}\r\n")).await;
        let mut worker = Worker::tcp(proxy.listener("route")).await;
        let answer = worker.exchange("GET /orders HTTP/1.1\r\nHost: sidecar:9001\r\n\r\n").await;
        assert_eq!(location(&answer), wanted, "{sent}");
    }
}

#[tokio::test]
async fn links_are_rewritten_one_by_one_and_their_parameters_are_not() {
    let sent = concat!(
        "Link: <https://a.test/x?page=2>; rel=\"next\"; title=\"a, <https://a.test/no> \\\" b\", </x?page=9>;rel=last\r\n",
        "Link: <https://evil.test/x>; rel=up; anchor=\"https://a.test/no\"\r\n",
        "Link: , <https://b.test/y>\r\n",
        "Link: https://a.test/no; rel=next\r\n",
        "Content-Location: https://a.test/z\r\n",
        "X-Other: https://a.test/no\r\n",
    );
    let answer = proxy(sent).await.get("localhost:8080", "/a/orders").await;
    assert_eq!(
        answer.head.all("link"),
        [
            "<http://localhost:8080/a/x?page=2>; rel=\"next\"; title=\"a, <https://a.test/no> \\\" b\", </a/x?page=9>;rel=last",
            "<https://evil.test/x>; rel=up; anchor=\"https://a.test/no\"",
            ", <http://localhost:8080/b/y>",
            "https://a.test/no; rel=next",
        ]
    );
    assert_eq!(answer.header("content-location"), Some("http://localhost:8080/a/z"));
    assert_eq!(answer.header("x-other"), Some("https://a.test/no"));
}

#[tokio::test]
async fn a_redirect_is_passed_and_never_followed() {
    let upstream =
        Upstream::answering("HTTP/1.1 307 T\r\nLocation: https://a.test/again\r\nContent-Length: 0\r\n\r\n").await;
    let url = upstream.url();
    let text = format!("[[route]]\nname = \"a\"\nhost = \"a.test\"\nupstream = \"{url}\"\ncredential = \"none\"\n");
    let proxy = Setup::new(text).start().await;
    assert_eq!(proxy.post("a.test", "/x", "body").await.status, 307);
    assert_eq!(upstream.only().head.target(), "/x");
}
