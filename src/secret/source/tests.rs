//! Real events and real polling; each test waits for an update, never for time to pass.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;

use super::*;
use crate::secret::dir::tests::{Volume, wanted};

const LONG: Duration = Duration::from_secs(20);

struct Stage {
    volume: Volume,
    source: Source,
    set: SecretSet,
}

impl Stage {
    fn start(events: Events, poll: Option<Duration>, names: &[&str], prepare: impl FnOnce(&mut Volume)) -> Self {
        let mut volume = Volume::new();
        prepare(&mut volume);
        let reader = Reader::new(volume.dir.clone(), wanted(names));
        let config = Some(volume.base.join("proxy.toml"));
        let (source, set) = Source::start(reader, Settings { events, poll, config });
        Self { volume, source, set }
    }

    fn watching(names: &[&str], prepare: impl FnOnce(&mut Volume)) -> Self {
        let stage = Self::start(Events::Auto, None, names, prepare);
        assert_eq!(stage.source.mode(), Mode::Inotify, "these tests need one inotify instance each");
        stage
    }

    /// Waits until a file has that text; every set before must have one of the texts allowed.
    async fn until(&mut self, name: &str, text: &str, meanwhile: &[&str]) {
        while self.text(name) != text {
            if let Update::Secrets(set) = self.next().await {
                self.set = set;
                let now = self.text(name);
                assert!(now == text || meanwhile.contains(&now.as_str()), "{name} is {now:?}");
            }
        }
    }

    async fn next(&mut self) -> Update {
        tokio::time::timeout(LONG, self.source.next()).await.expect("an update")
    }

    fn text(&self, name: &str) -> String {
        match self.set.content(name) {
            Ok(bytes) => String::from_utf8(bytes.expose().to_vec()).unwrap(),
            Err(reason) => reason.label().to_owned(),
        }
    }
}

#[tokio::test]
async fn kubelet_swaps_are_seen_again_and_again() {
    let mut stage = Stage::watching(&["v/a", "top"], |v| v.swap("v", &[("a", "1")]));
    for text in ["2", "3", "4"] {
        let before = Instant::now();
        stage.volume.swap("v", &[("a", text)]);
        stage.until("v/a", text, &[]).await;
        assert!(before.elapsed() < Duration::from_secs(10));
    }
    stage.volume.swap("", &[("top", "1")]);
    stage.until("top", "1", &[]).await;
}

#[tokio::test]
async fn a_storm_of_swaps_ends_with_the_last_value() {
    let mut stage = Stage::watching(&["v/a"], |v| v.swap("v", &[("a", "0")]));
    for number in 1..=50 {
        stage.volume.swap("v", &[("a", &number.to_string())]);
    }
    let all: Vec<String> = (0..50).map(|number| number.to_string()).collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    stage.until("v/a", "50", &all).await;
}

#[tokio::test]
async fn renames_links_and_writes_in_place_are_seen() {
    let mut stage = Stage::watching(&["a", "sub/b", "link"], |v| {
        v.write("a", "1");
        v.write("sub/b", "1");
        fs::create_dir(v.base.join("outside")).unwrap();
        fs::write(v.base.join("outside/x"), "1").unwrap();
        symlink("../outside/x", v.path("link")).unwrap();
    });
    stage.volume.rename_over("a", "2");
    stage.until("a", "2", &[]).await;
    stage.volume.write("sub/b", "2");
    stage.until("sub/b", "2", &[]).await;
    fs::write(stage.volume.base.join("outside/.x"), "2").unwrap();
    fs::rename(stage.volume.base.join("outside/.x"), stage.volume.base.join("outside/x")).unwrap();
    stage.until("link", "2", &[]).await;
    fs::remove_file(stage.volume.path("a")).unwrap();
    stage.until("a", "missing", &[]).await;
    stage.volume.write("a", "3");
    stage.until("a", "3", &[]).await;
}

#[tokio::test]
async fn pieces_written_in_place_are_never_seen() {
    let mut stage = Stage::watching(&["a", "b"], |v| {
        v.write("a", "old");
        v.write("b", "1");
    });
    let mut file = fs::File::create(stage.volume.path("a")).unwrap();
    file.write_all(b"ne").unwrap();
    // Another file's rotation causes a reading while the first is open.
    stage.volume.rename_over("b", "2");
    stage.until("b", "2", &[]).await;
    assert_eq!(stage.text("a"), "old");
    file.write_all(b"w").unwrap();
    drop(file);
    stage.until("a", "new", &["old"]).await;
}

#[tokio::test]
async fn new_and_replaced_directories_come_under_watch() {
    let mut stage = Stage::watching(&["{t}/key"], |v| v.write("m1/key", "1"));
    stage.volume.write("m2/key", "1");
    stage.until("m2/key", "1", &["missing"]).await;
    stage.volume.rename_over("m2/key", "2");
    stage.until("m2/key", "2", &[]).await;
    let dir = stage.volume.dir.clone();
    for text in ["3", "4"] {
        let old = stage.volume.base.join(format!("old-{text}"));
        fs::create_dir_all(stage.volume.base.join("next/m1")).unwrap();
        fs::write(stage.volume.base.join("next/m1/key"), text).unwrap();
        fs::rename(&dir, old).unwrap();
        fs::rename(stage.volume.base.join("next"), &dir).unwrap();
        stage.until("m1/key", text, &["1", "3", "missing"]).await;
    }
    stage.volume.rename_over("m1/key", "5");
    stage.until("m1/key", "5", &[]).await;
}

#[tokio::test]
async fn a_secrets_directory_that_comes_later_is_found() {
    let mut stage = Stage::watching(&["a"], |v| fs::remove_dir(&v.dir).unwrap());
    assert!(matches!(stage.next().await, Update::Warning(Warning::Reading(_))));
    stage.volume.write("a", "1");
    stage.until("a", "1", &[]).await;
}

#[tokio::test]
async fn without_events_polling_finds_changes() {
    let poll = Some(Duration::from_millis(20));
    let mut stage = Stage::start(Events::Off, poll, &["v/a", "b"], |v| {
        v.swap("v", &[("a", "1")]);
        v.write("b", "1");
    });
    assert_eq!(stage.source.mode().as_str(), "poll");
    stage.volume.swap("v", &[("a", "2")]);
    stage.until("v/a", "2", &[]).await;
    stage.volume.rename_over("b", "2");
    stage.until("b", "2", &[]).await;
    fs::write(stage.volume.base.join("proxy.toml"), "x").unwrap();
    while !matches!(stage.next().await, Update::ConfigTouched) {}
}

#[tokio::test]
async fn the_configuration_file_is_watched_too() {
    let mut stage = Stage::watching(&["a"], |v| fs::write(v.base.join("proxy.toml"), "1").unwrap());
    for text in ["2", "3"] {
        fs::write(stage.volume.base.join(".proxy"), text).unwrap();
        fs::rename(stage.volume.base.join(".proxy"), stage.volume.base.join("proxy.toml")).unwrap();
        while !matches!(stage.next().await, Update::ConfigTouched) {}
    }
    fs::write(stage.volume.base.join("proxy.toml"), "4").unwrap();
    while !matches!(stage.next().await, Update::ConfigTouched) {}
}

#[tokio::test]
async fn a_dropped_wait_loses_nothing_and_reading_can_be_asked_for() {
    let mut stage = Stage::start(Events::Off, None, &["a"], |v| v.write("a", "1"));
    for _ in 0..20 {
        let _ = tokio::time::timeout(Duration::from_millis(1), stage.source.next()).await;
    }
    stage.volume.rename_over("a", "2");
    // Neither events nor polling: asked for, the unsettled file is looked at again by itself.
    let set = stage.source.read_all().await;
    assert!(set.content("a").is_ok());
    stage.until("a", "2", &[]).await;
    stage.volume.write("b", "1");
    stage.set = stage.source.want(wanted(&["b"])).await;
    assert_eq!((stage.text("a"), stage.text("b")), ("missing".into(), "1".into()));
}

#[test]
fn polls_are_rarer_only_where_there_is_very_much_to_look_at() {
    let (ten, milli) = (Duration::from_secs(10), Duration::from_millis(1));
    assert_eq!((pause(ten, milli, true), pause(ten, milli, false)), (ten, ten));
    // 100 000 files: about 200 ms.
    assert_eq!(pause(ten, 200 * milli, true), Duration::from_secs(50));
    assert_eq!(pause(ten, 200 * milli, false), ten);
    assert_eq!(pause(ten, 1000 * milli, false), Duration::from_secs(20));
}

#[test]
fn what_a_poll_costs_is_counted() {
    let mut volume = Volume::new();
    volume.swap("v", &[("a", "1"), ("b", "2")]);
    let mut reader = Reader::new(volume.dir.clone(), wanted(&["v/a", "v/b"]));
    reader.scan(Depth::Full, Instant::now());
    // The top and `v`.
    assert_eq!(reader.size(), (2, 2));
}
