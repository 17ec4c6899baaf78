//! What was signed is one log level away when an upstream refuses it, and is what `explain` shows.

use serde_json::Value;

use crate::support::child::Program;
use crate::support::wait::until;
use crate::support::worker::Worker;
use crate::support::{Scratch, Upstream, countersign};

async fn stage(answer: &str) -> (Upstream, Scratch) {
    let upstream = Upstream::answering(answer).await;
    let url = upstream.url();
    let config = format!(
        r#"
        [listen]
        proxy = ["127.0.0.1:0"]
        admin = "127.0.0.1:0"
        [log]
        access = "off"
        [secrets]
        dir = "secrets"
        [credential.token]
        bearer = {{ secret = "token" }}
        [credential.vendor.hmac]
        secret = "hmac"
        sign = "{{method}}\n{{path}}\n{{header.Authorization}}\n{{header.Cookie}}"
        set = {{ "X-Signature" = "{{signature}}", "X-Echo" = "{{header.Cookie}}" }}
        [credential.message.http_signature]
        key = "hmac"
        algorithm = "hmac-sha256"
        components = ["@path", "x-signature", "cookie", "content-digest"]
        parameters = []
        [[route]]
        name = "vendor"
        host = "vendor.test"
        upstream = "{url}"
        credential = ["token", "vendor", "message"]
        "#
    );
    (upstream, Scratch::with(&config, &[("token", "canary-token"), ("hmac", "canary-hmac")]))
}

const REQUEST: &str = "POST /v1/orders HTTP/1.1\r\nHost: vendor.test\r\nCookie: sid=canary-cookie\r\nX-Other: canary-other\r\n\
    Content-Type: text/plain\r\nContent-Length: 2\r\n\r\nhi";

async fn lines(program: &Program) -> Vec<Value> {
    until("both lines", async || program.lines_with("refused a signed request").len() == 2).await;
    program.lines_with("refused a signed request").iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn what_was_signed_is_logged_as_explain_shows_it() {
    for status in ["401 Unauthorized", "403 Forbidden"] {
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
        let (upstream, scratch) = stage(&answer).await;
        let program = Program::run(&scratch, &["--log-level", "debug"]);
        let address = program.address("proxy").await;
        Worker::tcp(address).await.exchange(REQUEST).await;
        let said = lines(&program).await;
        let explained = countersign(
            &scratch.path(""),
            &[
                "explain",
                "--format",
                "json",
                "POST",
                "http://vendor.test/v1/orders",
                "-H",
                "Cookie: [worker's]",
                "-H",
                "Content-Type: text/plain",
                "--body",
                "hi",
            ],
        )
        .json();
        let texts: Vec<&Value> = explained["canonical"].as_array().unwrap().iter().map(|one| &one["text"]).collect();
        assert_eq!(said[0]["text"], *texts[0]);
        assert_eq!(said[0]["text"], "POST\n/v1/orders\nBearer [token]\n[worker's]");
        let signature = |text: &str| text.lines().nth(1).unwrap().to_owned();
        let second = said[1]["text"].as_str().unwrap();
        assert!(
            second.starts_with("\"@path\": /v1/orders\n\"x-signature\": ")
                && second.contains("\n\"cookie\": [worker's]\n")
        );
        // The signature is the real one: it was made over the worker's cookie.
        let sent = upstream.seen()[0].head.header("x-signature").unwrap().to_owned();
        assert_eq!(signature(second), format!("\"x-signature\": {sent}"));
        assert_eq!((&said[0]["credential"], &said[1]["credential"]), (&"vendor".into(), &"message".into()));
        for line in &said {
            assert_eq!(
                (&line["level"], &line["route"], &line["method"]),
                (&"debug".into(), &"vendor".into(), &"POST".into())
            );
            assert_eq!((&line["target"], line["status"].as_u64()), (&"/v1/orders".into(), status[..3].parse().ok()));
            let headers = line["headers"].as_str().unwrap();
            for shown in
                ["host: vendor.test", "authorization: Bearer [token]", "content-type: text/plain", "x-echo: [worker's]"]
            {
                assert!(headers.lines().any(|one| one == shown), "{shown}: {headers}");
            }
            assert!(line["other_headers"].as_str().unwrap().contains("x-other"), "{line}");
        }
        assert!(program.lines_with("canary").is_empty(), "{:?}", program.lines_with("canary"));
    }
}

#[tokio::test]
async fn nothing_is_logged_of_what_is_not_refused() {
    let (upstream, scratch) = stage("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n").await;
    let program = Program::run(&scratch, &["--log-level", "debug"]);
    let address = program.address("proxy").await;
    assert_eq!(Worker::tcp(address).await.exchange(REQUEST).await.status, 404);
    // The next request's refusal by the proxy itself is behind whatever the first one had to say.
    Worker::tcp(address).await.exchange("GET / HTTP/1.1\r\nHost: nowhere.test\r\n\r\n").await;
    program.said("request refused").await;
    assert!(program.lines_with("refused a signed request").is_empty());
    assert_eq!(upstream.seen().len(), 1);
}
