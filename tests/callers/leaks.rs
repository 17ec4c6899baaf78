//! Tokens of callers, and what workers write in place of secrets, at the most talkative log level.

use rustix::process::Signal;

use crate::support::child::Program;
use crate::support::worker::Worker;
use crate::support::{Scratch, Upstream, countersign};

const TOKEN: &str = "QzX7canA~caller-token";
const WRONG: &str = "QzX7canA~wrong-token";

#[tokio::test]
async fn a_callers_token_shows_nowhere_and_its_name_in_the_access_line() {
    let upstream = Upstream::ok().await;
    let url = upstream.url();
    let config = format!(
        r#"
        [listen]
        proxy = ["127.0.0.1:0"]
        admin = "127.0.0.1:0"
        [log]
        level = "trace"
        [secrets]
        dir = "secrets"
        [client.importer]
        token = "clients/importer"
        [[route]]
        name = "api"
        host = "api.test"
        upstream = "{url}"
        credential = "none"
        clients = ["importer"]
        [credential.shop]
        bearer = {{ secret = "shop/{{tenant}}/key" }}
        [[route]]
        name = "slot"
        host = "slot.test"
        upstream = "{url}"
        credential = "shop"
        tenant = {{ slot = true }}
        [[route]]
        name = "stand-in"
        host = "slot.test"
        path = "/token"
        credential = "none"
        stand_in = "token"
        tenant = {{ slot = true }}
        [[route]]
        name = "open"
        host = "open.test"
        upstream = "{url}"
        credential = "none"
        "#
    );
    let scratch = Scratch::with(&config, &[("clients/importer", TOKEN)]);
    let mut program = Program::run(&scratch, &["--log-level", "trace"]);
    let (address, admin) = (program.address("proxy").await, program.address("admin").await);
    let mut said = String::new();
    for (host, status) in [("api.test", [200, 403]), ("open.test", [200, 200])] {
        for (token, status) in [TOKEN, WRONG].into_iter().zip(status) {
            for lines in ["", "Proxy_Authorization: Bearer TOKEN\r\n", "Connection: proxy-authorization\r\n"] {
                let lines = lines.replace("TOKEN", token);
                let request =
                    format!("GET /x HTTP/1.1\r\nHost: {host}\r\nProxy-Authorization: Bearer {token}\r\n{lines}\r\n");
                let answer = Worker::tcp(address).await.exchange(request).await;
                assert_eq!(answer.status, status, "{host} {token}");
                said += &answer.head.raw;
                said += answer.text();
            }
        }
    }
    // A worker that still has its real secret gets its own words back; nobody else does.
    let real = "QzX7canA-real-secret";
    let call = format!("GET /x HTTP/1.1\r\nHost: slot.test\r\nAuthorization: Bearer {real}\r\n\r\n");
    let answer = Worker::tcp(address).await.exchange(call).await;
    assert_eq!((answer.status, answer.error()), (503, Some("credential_unavailable")));
    let call = format!("GET /token?client_secret={real} HTTP/1.1\r\nHost: slot.test\r\n\r\n");
    assert_eq!(Worker::tcp(address).await.exchange(call).await.status, 200);
    for path in ["/", "/metrics", "/readyz?verbose", "/api/status", "/api/routes", "/api/credentials"] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {admin}\r\n\r\n");
        said += Worker::tcp(admin).await.exchange(request).await.text();
    }
    assert!(said.contains("client:importer"), "the admin listener knows the token by name");
    for words in [&["check"][..], &["check", "--format", "json"], &["explain", "GET", "http://api.test/x"]] {
        let ran = countersign(&scratch.path(""), words);
        assert_eq!(ran.status, 0, "{ran:?}");
        said += &(ran.out + &ran.err);
    }
    program.signal(Signal::TERM);
    assert_eq!(program.ended().await, Some(0));
    let lines = program.lines();
    let access: Vec<serde_json::Value> = lines
        .iter()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|line| line["msg"] == "access")
        .collect();
    assert_eq!(access.len(), 14);
    let named = access.iter().filter(|line| line["client"] == "importer").count();
    assert_eq!(named, 6, "known on open routes too: {access:?}");
    assert!(access.iter().all(|line| line["client"] == "importer" || line["client"].is_null()));
    let upstream: String = upstream.seen().iter().map(|seen| seen.head.raw.clone()).collect();
    for (place, text) in [("an answer", &said), ("the log", &lines.join("\n")), ("the upstream", &upstream)] {
        assert!(!text.contains("QzX7canA"), "{place} shows a token:\n{text}");
    }
}
