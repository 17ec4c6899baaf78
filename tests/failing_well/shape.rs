//! The shape of the answers, and what becomes of the connection.

use super::{GET, open, problem, route};
use crate::support::{Setup, Upstream, files, wait};

#[tokio::test]
async fn a_refused_route_keeps_the_connection_and_its_head_has_headers_only() {
    let upstream = Upstream::ok().await;
    let proxy = open(&upstream.url(), "").await;
    let mut worker = proxy.worker().await;
    worker.send("HEAD /x HTTP/1.1\r\nHost: other.test\r\n\r\n").await;
    let answer = worker.answer_to("HEAD").await;
    assert_eq!((answer.status, answer.error()), (421, Some("no_route")));
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    let answer = worker.exchange("GET /x HTTP/1.1\r\nHost: other.test\r\n\r\n").await;
    assert!(problem(&answer, 421, "no_route", None).contains("other.test"));
    assert_eq!(worker.exchange(GET).await.status, 200, "the same connection goes on");
}

#[tokio::test]
async fn the_body_of_a_refused_request_is_never_taken_for_a_request() {
    let upstream = Upstream::ok().await;
    let proxy = open(&upstream.url(), "").await;
    let inner = "GET /smuggled HTTP/1.1\r\nHost: api.test\r\n\r\n";
    let mut worker = proxy.worker().await;
    let length = inner.len();
    let answer = worker
        .exchange(format!("POST / HTTP/1.1\r\nHost: other.test\r\nContent-Length: {length}\r\n\r\n{inner}"))
        .await;
    problem(&answer, 421, "no_route", None);
    worker.send(GET).await;
    if let Some(head) = worker.head().await {
        assert_eq!(head.status(), 200);
        assert_eq!(upstream.only().head.target(), "/");
    }
}

#[tokio::test]
async fn a_malformed_request_ends_the_connection() {
    let upstream = Upstream::ok().await;
    let proxy = open(&upstream.url(), "").await;
    let mut worker = proxy.worker().await;
    let answer = worker.exchange("GET / HTTP/1.1\r\nHost: api.test\r\nHost: api.test\r\n\r\n").await;
    problem(&answer, 400, "bad_request", None);
    assert_eq!(answer.header("connection"), Some("close"));
    assert!(worker.is_closed().await);
}

#[tokio::test]
async fn a_credential_that_never_had_a_value_answers_503_and_nothing_leaves() {
    let upstream = Upstream::ok().await;
    let url = upstream.url();
    let proxy = Setup::new(format!(
        "[credential.k]\nbearer = {{ secret = \"partner/key\" }}\n\
         [[route]]\nname = \"api\"\nhost = \"api.test\"\nupstream = \"{url}\"\ncredential = \"k\"\n{}",
        route(&url, "").replace("\"api\"", "\"free\"").replace("api.test", "free.test")
    ))
    .secrets("at_start = \"serve\"")
    .start()
    .await;
    let answer = proxy.raw(GET).await;
    let detail = problem(&answer, 503, "credential_unavailable", Some("api"));
    assert!(detail.contains("partner/key") && detail.contains("missing"), "{detail}");
    assert_eq!(answer.json()["credential"], "k");
    assert_eq!(upstream.connections(), 0);
    assert_eq!(proxy.get("free.test", "/").await.status, 200, "the others go on");
    assert_eq!(proxy.health("k").await, "missing");

    files::write_new(&proxy.scratch.path("secrets"), "partner/key", b"late");
    wait::until("the secret", async || proxy.raw(GET).await.status == 200).await;
    assert_eq!(upstream.last().head.header("authorization"), Some("Bearer late"));
}

#[tokio::test]
async fn a_start_without_its_secret_is_refused_and_names_it() {
    let upstream = Upstream::ok().await;
    let url = upstream.url();
    let text = format!(
        "[credential.k]\nbearer = {{ secret = \"partner/key\" }}\n\
         [[route]]\nname = \"api\"\nhost = \"api.test\"\nupstream = \"{url}\"\ncredential = \"k\"\n"
    );
    let error = Setup::new(text.clone()).try_start().await.err().unwrap().to_string();
    assert!(error.contains("partner/key") && error.contains("missing"), "{error}");

    let proxy = Setup::new(text).secrets("at_start = \"wait\"").start().await;
    assert_eq!(proxy.admin("/readyz").await.status, 503);
    assert_eq!(proxy.admin("/livez").await.status, 200);
    files::write_new(&proxy.scratch.path("secrets"), "partner/key", b"late");
    wait::until("readiness", async || proxy.admin("/readyz").await.status == 200).await;
}

#[tokio::test]
async fn an_upstreams_401_and_its_errors_pass_as_its_own() {
    for (status, line) in [(401, "401 Unauthorized"), (503, "503 Service Unavailable"), (418, "418 I'm a teapot")] {
        let upstream = Upstream::answering(format!(
            "HTTP/1.1 {line}\r\nCountersign-Error: loop\r\nRetry-After: 7\r\nContent-Length: 3\r\n\r\nown"
        ))
        .await;
        let proxy = open(&upstream.url(), "").await;
        let answer = proxy.raw(GET).await;
        assert_eq!((answer.status, answer.error(), answer.text()), (status, None, "own"));
        assert_eq!(answer.header("retry-after"), Some("7"));
    }
}

#[tokio::test]
async fn every_outcome_is_counted_under_its_name() {
    let upstream = Upstream::ok().await;
    let proxy = open(&upstream.url(), "methods = [\"GET\"]").await;
    proxy.raw(GET).await;
    proxy.raw(GET).await;
    proxy.get("other.test", "/").await;
    proxy.raw("GET / HTTP/1.1\r\n\r\n").await;
    let good = "countersign_requests_total{route=\"api\",outcome=\"2xx\"}";
    wait::until("the counters", async || proxy.metric(good).await == 2.0).await;
    let text = String::from_utf8(proxy.admin("/metrics").await.body).unwrap();
    for name in ["no_route", "bad_request"] {
        let line = text.lines().find(|line| {
            line.starts_with("countersign_requests_total{") && line.contains(&format!("outcome=\"{name}\""))
        });
        assert!(line.is_some_and(|line| line.ends_with(" 1")), "{name}: {line:?}");
    }
}
