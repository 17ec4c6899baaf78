//! An upstream whose clock is not ours: measured, exported, said once; followed where the route says so.

use countersign::clock::{Clock as _, SystemClock};

use crate::support::upstream::Seen;
use crate::support::wait::until;
use crate::support::{Running, Scratch, Setup, Upstream};

const OFFSET: &str = "countersign_clock_offset_seconds{route=\"bank\"}";

/// Takes signatures that are made within 5 s of its own time, which is this far from ours.
async fn upstream(ahead: i64) -> Upstream {
    Upstream::scripted(move |mut conversation| async move {
        while let Some(seen) = conversation.request().await {
            let now = SystemClock.now().seconds + ahead;
            let status = if (created(&seen) - now).abs() <= 5 { "200 OK" } else { "403 Forbidden" };
            let date = jiff::Timestamp::from_second(now).unwrap().strftime("%a, %d %b %Y %H:%M:%S GMT");
            conversation.send(format!("HTTP/1.1 {status}\r\nDate: {date}\r\nContent-Length: 0\r\n\r\n")).await;
        }
    })
    .await
}

fn created(seen: &Seen) -> i64 {
    let input = seen.head.header("signature-input").unwrap();
    input.split("created=").nth(1).unwrap().parse().unwrap()
}

fn config(upstream: &Upstream, keys: &str) -> String {
    let url = upstream.url();
    format!(
        r#"
        [credential.s.http_signature]
        key = "key"
        algorithm = "hmac-sha256"
        components = ["@method", "@path"]
        [[route]]
        name = "bank"
        host = "bank.test"
        upstream = "{url}"
        credential = "s"
        {keys}
        "#
    )
}

async fn proxy(upstream: &Upstream, keys: &str) -> Running {
    Setup::new(config(upstream, keys)).secret("key", "k").start().await
}

#[tokio::test]
async fn a_route_that_follows_signs_by_the_upstreams_clock_after_one_refusal() {
    for ahead in [600, -600] {
        let upstream = upstream(ahead).await;
        let proxy = proxy(&upstream, "clock = \"follow\"\nlimits = { replay_body = \"4B\" }").await;
        assert_eq!(proxy.post("bank.test", "/", "abcd").await.status, 200);
        let seen = upstream.seen();
        assert_eq!(seen.iter().map(|seen| seen.body.as_slice()).collect::<Vec<_>>(), [b"abcd", b"abcd"]);
        assert!((created(&seen[1]) - created(&seen[0]) - ahead).abs() <= 5);
        assert_eq!(proxy.get("bank.test", "/").await.status, 200);
        assert_eq!(upstream.seen().len(), 3, "the second request is right at once");
        assert!((proxy.metric(OFFSET).await - ahead as f64).abs() < 5.0);
    }
}

#[tokio::test]
async fn what_cannot_be_repeated_is_not_and_the_next_request_is_right() {
    let upstream = upstream(600).await;
    let proxy = proxy(&upstream, "clock = \"follow\"\nlimits = { replay_body = \"4B\" }").await;
    assert_eq!(proxy.post("bank.test", "/", "abcde").await.status, 403);
    assert_eq!(upstream.seen().len(), 1);
    assert_eq!(proxy.post("bank.test", "/", "abcde").await.status, 200);
    assert_eq!(upstream.seen().len(), 2);
}

#[tokio::test]
async fn without_follow_the_refusal_passes_and_the_difference_is_exported() {
    let upstream = upstream(600).await;
    let proxy = proxy(&upstream, "").await;
    for _ in 0..2 {
        assert_eq!(proxy.get("bank.test", "/").await.status, 403);
    }
    assert_eq!(upstream.seen().len(), 2);
    assert!((proxy.metric(OFFSET).await - 600.0).abs() < 5.0);
}

#[tokio::test]
async fn a_refusal_that_is_not_for_the_time_is_not_repeated() {
    let upstream = Upstream::scripted(async |mut conversation| {
        while conversation.request().await.is_some() {
            let date = jiff::Timestamp::from_second(SystemClock.now().seconds).unwrap();
            let date = date.strftime("%a, %d %b %Y %H:%M:%S GMT");
            let answer = format!("HTTP/1.1 401 Unauthorized\r\nDate: {date}\r\nContent-Length: 0\r\n\r\n");
            conversation.send(answer).await;
        }
    })
    .await;
    let proxy = proxy(&upstream, "clock = \"follow\"").await;
    assert_eq!(proxy.get("bank.test", "/").await.status, 401);
    assert_eq!(upstream.seen().len(), 1);
    assert_eq!(proxy.metric(OFFSET).await, 0.0);
    let text = String::from_utf8(proxy.admin("/metrics").await.body).unwrap();
    assert!(text.contains("# TYPE countersign_clock_offset_seconds gauge\n"));
}

#[tokio::test]
async fn a_clock_that_is_far_is_said_once() {
    use crate::support::child::Program;
    use crate::support::worker::Worker;
    let upstream = upstream(-3600).await;
    let listen = "[listen]\nproxy = [\"127.0.0.1:0\"]\nadmin = \"127.0.0.1:0\"\n[secrets]\ndir = \"secrets\"\n";
    let config = format!("{listen}{}", config(&upstream, "clock = \"follow\""));
    let scratch = Scratch::with(&config, &[("key", "k")]);
    let program = Program::run(&scratch, &[]);
    let address = program.address("proxy").await;
    for _ in 0..3 {
        let answer = Worker::tcp(address).await.exchange("GET / HTTP/1.1\r\nHost: bank.test\r\n\r\n").await;
        assert_eq!(answer.status, 200);
    }
    until("the warning", async || !program.lines_with("clock is far").is_empty()).await;
    let lines = program.lines_with("clock is far");
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("\"level\":\"warn\"") && lines[0].contains("\"route\":\"bank\""), "{lines:?}");
    assert!(lines[0].contains("\"offset_seconds\":-35") || lines[0].contains("\"offset_seconds\":-36"), "{lines:?}");
    assert!(program.lines_with("refused a signed request").is_empty(), "not at this level");
}
