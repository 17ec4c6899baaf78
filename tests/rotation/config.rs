//! `proxy.toml` changes: taken whole or not at all.

use countersign::playground::rotate::Volume;

use super::{GET, bearer_text};
use crate::support::wait::until;
use crate::support::{Running, Setup, Upstream, files};

const OK: &str = "countersign_config_reloads_total{result=\"ok\"}";
const ERROR: &str = "countersign_config_reloads_total{result=\"error\"}";

struct Editable {
    proxy: Running,
    /// The text before the routes.
    head: String,
}

impl Editable {
    async fn new(text: &str) -> Self {
        let setup = Setup::new(text).secret("partner/key", "good");
        let head = setup.text("");
        Self { proxy: setup.start().await, head }
    }

    /// Replaces the file as an editor does, and leaves it to the watcher.
    fn edit(&self, text: &str) {
        files::rename_over(&self.proxy.scratch.path("proxy.toml"), format!("{}{text}", self.head));
    }

    async fn status(&self, host: &str) -> u16 {
        self.proxy.get(host, "/").await.status
    }
}

fn route(name: &str, url: &str, keys: &str) -> String {
    format!(
        "[[route]]\nname = \"{name}\"\nhost = \"{name}.test\"\nupstream = \"{url}\"\ncredential = \"none\"\n{keys}\n"
    )
}

#[tokio::test]
async fn routes_are_added_changed_and_removed_without_a_restart() {
    let (one, two) = (Upstream::ok().await, Upstream::ok().await);
    let (url, other) = (one.url(), two.url());
    let file = Editable::new(&route("a", &url, "")).await;
    assert_eq!((file.status("a.test").await, file.status("b.test").await), (200, 421));

    file.edit(&(route("a", &url, "") + &route("b", &other, "")));
    until("the new route", async || file.status("b.test").await == 200).await;
    assert_eq!(file.proxy.metric(OK).await, 1.0);

    file.edit(&(route("a", &other, "") + &route("b", &other, "methods = [\"POST\"]")));
    until("the changed route", async || file.status("b.test").await == 421).await;
    let before = one.seen().len();
    assert_eq!(file.status("a.test").await, 200);
    assert_eq!(one.seen().len(), before, "it goes to its new upstream");

    file.edit(&route("b", &other, ""));
    until("the removed route", async || file.status("a.test").await == 421).await;
    assert_eq!(file.status("b.test").await, 200);
    let routes = file.proxy.admin_json("/api/routes").await;
    assert_eq!(routes["routes"].as_array().unwrap().len(), 1);
    assert_eq!(file.proxy.metric(ERROR).await, 0.0);
}

#[tokio::test]
async fn a_request_in_flight_finishes_on_the_route_that_it_started_with() {
    let upstream = Upstream::scripted(async |mut conversation| {
        let Some(head) = conversation.head().await else { return };
        conversation.record(head, Vec::new());
        while !conversation.unread().ends_with(b"end") {
            assert!(conversation.more().await);
        }
        conversation.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    })
    .await;
    let url = upstream.url();
    let file = Editable::new(&(route("a", &url, "") + &route("b", &url, ""))).await;
    let mut worker = file.proxy.worker().await;
    worker.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 6\r\n\r\nthe").await;
    upstream.arrived(1).await;
    file.edit(&route("b", &url, ""));
    let routes = async || file.proxy.admin_json("/api/routes").await["routes"].as_array().unwrap().len();
    until("the removed route", async || routes().await == 1).await;
    assert_eq!(file.status("a.test").await, 421);
    worker.send("end").await;
    assert_eq!(worker.answer().await.status, 200);
}

#[tokio::test]
async fn a_broken_file_keeps_the_old_one() {
    let upstream = Upstream::ok().await;
    let url = upstream.url();
    let file = Editable::new(&bearer_text(&url)).await;
    assert_eq!(file.proxy.raw(GET).await.status, 200);
    let mut errors = 0.0;
    for broken in [
        "this is no TOML",
        "[[route]]\nname = \"api\"\nunknown_key = 1\n",
        &(bearer_text(&url) + &route("bad", "http://api.example", "nonsense = 1")),
        &bearer_text(&url).replace("credential = \"k\"", "credential = \"nobody\""),
    ] {
        file.edit(broken);
        errors += 1.0;
        until("the refusal", async || file.proxy.metric(ERROR).await >= errors).await;
        assert_eq!(file.proxy.raw(GET).await.status, 200, "{broken:?}");
        assert_eq!(upstream.last().head.header("authorization"), Some("Bearer good"));
    }
    assert_eq!(file.proxy.metric(OK).await, 0.0);
    file.edit(&(bearer_text(&url) + &route("b", &url, "")));
    until("the good file", async || file.status("b.test").await == 200).await;
    assert_eq!(file.proxy.metric(OK).await, 1.0);
}

#[tokio::test]
async fn a_key_that_needs_a_restart_refuses_the_file_whole() {
    let upstream = Upstream::ok().await;
    let url = upstream.url();
    let mut file = Editable::new(&route("a", &url, "")).await;
    let changed = route("a", &url, "") + &route("b", &url, "");
    let mut errors = 0.0;
    for (from, to) in [
        ("admin = \"127.0.0.1:0\"", "admin = \"off\""),
        ("access = \"off\"", "access = \"on\""),
        ("dir = \"secrets\"", "dir = \"elsewhere\""),
        ("proxy = [\"127.0.0.1:0\"]", "proxy = [\"127.0.0.1:0\", \"127.0.0.1:0\"]"),
    ] {
        let good = file.head.clone();
        assert!(good.contains(from), "{from}");
        file.head = good.replace(from, to);
        file.edit(&changed);
        errors += 1.0;
        until("the refusal", async || file.proxy.metric(ERROR).await >= errors).await;
        assert_eq!((file.status("a.test").await, file.status("b.test").await), (200, 421), "{to}: nothing of it");
        file.head = good;
    }
    file.edit(&(changed.clone() + &route("c", &url, "listen = \"127.0.0.1:0\"")));
    until("the refusal", async || file.proxy.metric(ERROR).await >= errors + 1.0).await;
    assert_eq!(file.status("b.test").await, 421);
    file.edit(&changed);
    until("the good file", async || file.status("b.test").await == 200).await;
}

#[tokio::test]
async fn a_reload_that_is_asked_for_takes_file_and_secrets() {
    let upstream = Upstream::ok().await;
    let url = upstream.url();
    let setup = Setup::new(bearer_text(&url)).secrets("watch = \"poll\"\npoll = \"1h\"");
    let volume = Volume::new(setup.secrets_dir()).unwrap();
    volume.write(&[("partner/key", b"one")]).unwrap();
    let head = setup.text("");
    let proxy = setup.start().await;
    let generation = async || proxy.admin_json("/api/status").await["generation"].as_u64().unwrap();
    let before = generation().await;
    assert_eq!(proxy.raw(GET).await.status, 200);

    volume.write(&[("partner/key", b"two"), ("b", b"bee")]).unwrap();
    let text = bearer_text(&url) + "[credential.b]\nbearer = { secret = \"b\" }\n";
    let text = text + &route("b", &url, "").replace("\"none\"", "\"b\"");
    files::rename_over(&proxy.scratch.path("proxy.toml"), head + &text);
    proxy.server.reload().await;
    assert_eq!(proxy.raw(GET).await.status, 200);
    assert_eq!(upstream.last().head.header("authorization"), Some("Bearer two"));
    assert_eq!(proxy.get("b.test", "/").await.status, 200);
    assert_eq!(upstream.last().head.header("authorization"), Some("Bearer bee"));
    assert!(generation().await > before);
}

#[tokio::test]
async fn what_a_changed_file_leaves_alone_goes_on_as_it_was() {
    let upstream = Upstream::ok().await;
    let url = upstream.url();
    let file = Editable::new(&bearer_text(&url)).await;
    assert_eq!(file.proxy.raw(GET).await.status, 200);
    let before = file.proxy.credential("k").await;
    file.edit(&(bearer_text(&url) + &route("b", &url, "")));
    until("the new route", async || file.status("b.test").await == 200).await;
    assert_eq!(file.proxy.raw(GET).await.status, 200);
    let after = file.proxy.credential("k").await;
    for key in ["fingerprint", "loaded_at", "generation", "health"] {
        assert_eq!(before[key], after[key], "{key}");
    }
    assert_eq!(file.proxy.metric("countersign_requests_total{route=\"api\",outcome=\"2xx\"}").await, 2.0);
}

#[tokio::test]
async fn under_load_each_request_is_of_one_file_alone() {
    let (one, two) = (Upstream::ok().await, Upstream::ok().await);
    let text = |url: &str, secret: &str| {
        format!(
            "[credential.k]\nbearer = {{ secret = \"{secret}\" }}\n[[route]]\nname = \"a\"\nhost = \"a.test\"\n\
             upstream = \"{url}\"\ncredential = \"k\"\n"
        )
    };
    let setup = Setup::new(text(&one.url(), "one")).secret("one", "one").secret("two", "two");
    let head = setup.text("");
    let file = Editable { proxy: setup.start().await, head };
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let workers: Vec<_> = (0..3)
        .map(|_| {
            let (address, stop) = (file.proxy.address, stop.clone());
            tokio::spawn(async move {
                let mut worker = crate::support::worker::Worker::tcp(address).await;
                let mut statuses = Vec::new();
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    statuses.push(worker.exchange("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await.status);
                }
                statuses
            })
        })
        .collect();
    for turn in 0..12 {
        let (upstream, name) = if turn % 2 == 0 { (&two, "two") } else { (&one, "one") };
        let before = upstream.seen().len();
        file.edit(&text(&upstream.url(), name));
        upstream.arrived(before + 1).await;
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    for worker in workers {
        assert!(worker.await.unwrap().iter().all(|status| *status == 200));
    }
    for (upstream, value) in [(&one, "Bearer one"), (&two, "Bearer two")] {
        assert!(upstream.seen().iter().all(|seen| seen.head.header("authorization") == Some(value)));
    }
    assert_eq!((file.proxy.metric(OK).await, file.proxy.metric(ERROR).await), (12.0, 0.0));
}

#[tokio::test]
async fn a_file_that_is_written_with_the_same_text_is_no_reload() {
    let upstream = Upstream::ok().await;
    let url = upstream.url();
    let file = Editable::new(&bearer_text(&url)).await;
    // What was touched before a secret rotated has been looked at when the secret is in use.
    let rotate = async |value: &str| {
        files::rename_over(&file.proxy.secret("partner/key"), value);
        until(value, async || {
            assert_eq!(file.proxy.raw(GET).await.status, 200);
            upstream.last().head.header("authorization") == Some(&format!("Bearer {value}"))
        })
        .await;
    };
    file.edit(&bearer_text(&url));
    rotate("one").await;
    assert_eq!((file.proxy.metric(OK).await, file.proxy.metric(ERROR).await), (0.0, 0.0));
    file.edit("broken");
    until("the refusal", async || file.proxy.metric(ERROR).await == 1.0).await;
    file.edit("broken");
    rotate("two").await;
    assert_eq!(file.proxy.metric(ERROR).await, 1.0, "said once");
    // Back to the text that runs: it is judged again, and says that all is well.
    file.edit(&bearer_text(&url));
    until("the good file", async || file.proxy.metric(OK).await == 1.0).await;
}
