//! What a running program says of changes: one line each, by name, never by value.

use rustix::process::Signal;

use super::bearer_text;
use crate::support::child::Program;
use crate::support::worker::Worker;
use crate::support::{Setup, Upstream, files};

/// The program on a scratch directory like that of [`Setup`], without polling.
async fn program(upstream: &Upstream) -> (Setup, Program) {
    let setup = super::bearer(upstream).secrets("poll = \"off\"").secret("partner/key", "canary-one");
    std::fs::write(setup.scratch.path("proxy.toml"), setup.text(&bearer_text(&upstream.url()))).unwrap();
    let program = Program::run(&setup.scratch, &[]);
    program.address("proxy").await;
    (setup, program)
}

#[tokio::test]
async fn a_rotation_and_a_bad_value_have_one_line_each() {
    let upstream = Upstream::ok().await;
    let (setup, program) = program(&upstream).await;
    let file = setup.secrets_dir().join("partner/key");
    files::rename_over(&file, "canary-two");
    program.said("secret rotated").await;
    files::rename_over(&file, "");
    program.said("secret cannot be used").await;
    files::rename_over(&file, "canary-two");
    program.said("secret is good again").await;
    files::rename_over(&file, "canary-three");
    crate::support::wait::until("the third value", async || program.lines_with("secret rotated").len() == 2).await;
    for (words, count) in [("secret rotated", 2), ("secret cannot be used", 1), ("secret is good again", 1)] {
        let lines = program.lines_with(words);
        assert_eq!(lines.len(), count, "{lines:#?}");
        let line: serde_json::Value = serde_json::from_str(&lines[0]).unwrap();
        assert_eq!(line["credential"], "k");
    }
    let bad: serde_json::Value = serde_json::from_str(&program.lines_with("secret cannot be used")[0]).unwrap();
    assert_eq!((&bad["secret"], &bad["reason"]), (&"partner/key".into(), &"empty".into()));
    assert!(program.lines_with("canary").is_empty());
}

#[tokio::test]
async fn a_hangup_reloads_and_a_broken_file_is_told_with_its_first_mistake() {
    let upstream = Upstream::ok().await;
    let (setup, mut program) = program(&upstream).await;
    let address = program.address("proxy").await;
    let get = async |host: &str| {
        Worker::tcp(address).await.exchange(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).await.status
    };
    let path = setup.scratch.path("proxy.toml");
    files::rename_over(&path, setup.text("[[route]]\nname = \"x\"\nbroken = 1\n"));
    program.said("proxy.toml has mistakes").await;
    let line: serde_json::Value = serde_json::from_str(&program.lines_with("proxy.toml has mistakes")[0]).unwrap();
    assert!(line["first"].as_str().unwrap().contains("proxy.toml:"), "file and line: {line}");
    // log.access needs a restart.
    files::rename_over(
        &path,
        setup.text(&bearer_text("http://127.0.0.1:9")).replace("\"off\"\n\n[secrets]", "\"on\"\n\n[secrets]"),
    );
    program.said("need a restart").await;
    let line: serde_json::Value = serde_json::from_str(&program.lines_with("need a restart")[0]).unwrap();
    assert_eq!(line["keys"], "log.access");
    assert_eq!(get("api.test").await, 200);

    let url = upstream.url();
    let added = "[[route]]\nname = \"b\"\nhost = \"b.test\"\ncredential = \"none\"\n".to_owned()
        + &format!("upstream = \"{url}\"\n");
    files::rename_over(&path, setup.text(&(bearer_text(&url) + &added)));
    program.signal(Signal::HUP);
    program.said("proxy.toml taken into use").await;
    let line = program.lines_with("proxy.toml taken into use").remove(0);
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&line["routes"], &line["changes"]), (&2.into(), &1.into()), "{line}");
    assert_eq!((&line["routes_added"], &line["routes_removed"]), (&"b".into(), &"".into()), "{line}");
    assert_eq!(get("b.test").await, 200);

    program.signal(Signal::TERM);
    assert_eq!(program.ended().await, Some(0), "a drain ends with 0");
}
