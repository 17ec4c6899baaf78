//! Rotations as the kubelet, secret agents, editors and shells do them; no test sleeps.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::fs::{CWD, FileType};

use super::*;
use crate::secret::name::NamePattern;

mod quiet;
mod unusual;

/// A secrets directory in a temporary place, removed at the end.
pub(in crate::secret) struct Volume {
    pub(in crate::secret) base: PathBuf,
    pub(in crate::secret) dir: PathBuf,
    version: u64,
}

impl Volume {
    pub(in crate::secret) fn new() -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let base = std::env::temp_dir().join(format!("countersign-secret-{}-{number}", std::process::id()));
        let dir = base.join("secrets");
        fs::create_dir_all(&dir).unwrap();
        Self { base: base.canonicalize().unwrap(), dir: base.canonicalize().unwrap().join("secrets"), version: 0 }
    }

    pub(in crate::secret) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    pub(in crate::secret) fn write(&self, name: &str, content: &str) {
        if let Some(parent) = self.path(name).parent() {
            fs::create_dir_all(parent).unwrap();
        }
        fs::write(self.path(name), content).unwrap();
    }

    /// Writes beside and renames over, as Vault Agent does.
    pub(in crate::secret) fn rename_over(&self, name: &str, content: &str) {
        fs::write(self.path(".new"), content).unwrap();
        fs::rename(self.path(".new"), self.path(name)).unwrap();
    }

    /// A kubelet's rotation (`atomic_writer.go`): new directory, `..data` renamed, links made,
    /// links of vanished keys and the old directory removed.
    pub(in crate::secret) fn swap(&mut self, volume: &str, files: &[(&str, &str)]) {
        let at = self.path(volume);
        fs::create_dir_all(&at).unwrap();
        let old = fs::read_link(at.join("..data")).ok();
        self.version += 1;
        let version = format!("..2026_01_01_00_00_00.{}", self.version);
        for (name, content) in files {
            let path = at.join(&version).join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        symlink(&version, at.join("..data_tmp")).unwrap();
        fs::rename(at.join("..data_tmp"), at.join("..data")).unwrap();
        let firsts: Vec<&str> = files.iter().map(|(name, _)| name.split('/').next().unwrap()).collect();
        for first in &firsts {
            let _ = symlink(format!("..data/{first}"), at.join(first));
        }
        for entry in fs::read_dir(&at).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            let link = entry.file_type().unwrap().is_symlink();
            if link && !name.starts_with("..") && !firsts.contains(&name.as_str()) {
                fs::remove_file(at.join(name)).unwrap();
            }
        }
        if let Some(old) = old {
            fs::remove_dir_all(at.join(old)).unwrap();
        }
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.base);
    }
}

pub(in crate::secret) fn wanted(names: &[&str]) -> Wanted {
    let mut wanted = Wanted::new();
    for name in names {
        wanted.add(&NamePattern::parse(name).unwrap(), 100);
    }
    wanted
}

/// A reader with a clock of its own.
struct Stage {
    volume: Volume,
    reader: Reader,
    now: Instant,
}

impl Stage {
    fn new(names: &[&str], prepare: impl FnOnce(&mut Volume)) -> Self {
        let mut volume = Volume::new();
        prepare(&mut volume);
        let reader = Reader::new(volume.dir.clone(), wanted(names));
        let mut stage = Self { volume, reader, now: Instant::now() };
        assert!(stage.scan().set.is_some(), "the first scan has a set");
        stage
    }

    fn scan(&mut self) -> Scan {
        self.reader.scan(Depth::Changed, self.now)
    }

    fn after(&mut self, millis: u64) -> Scan {
        self.now += Duration::from_millis(millis);
        self.scan()
    }

    fn text(&self, name: &str) -> Result<String, BadReason> {
        let set = self.reader.current();
        set.content(name).map(|bytes| String::from_utf8(bytes.expose().to_vec()).unwrap())
    }

    fn good(&self, name: &str) -> String {
        self.text(name).unwrap()
    }
}

#[test]
fn a_kubelet_swap_is_one_generation_each_time() {
    let mut stage = Stage::new(&["v/a", "v/b"], |v| v.swap("v", &[("a", "1"), ("b", "1")]));
    assert_eq!((stage.good("v/a"), stage.good("v/b")), ("1".into(), "1".into()));
    for round in ["2", "3", "4"] {
        stage.volume.swap("v", &[("a", round), ("b", round)]);
        let scan = stage.scan();
        assert!(scan.set.is_some() && !scan.unsettled);
        assert_eq!((stage.good("v/a"), stage.good("v/b")), (round.into(), round.into()));
    }
    assert!(stage.scan().set.is_none());
    stage.volume.swap("v", &[("a", "4"), ("b", "4")]);
    assert!(stage.scan().set.is_none(), "equal contents are no news");
}

#[test]
fn a_swap_in_the_middle_of_a_reading_is_never_seen_half() {
    let mut stage = Stage::new(&["v/a", "v/b", "v/c"], |v| v.swap("v", &[("a", "1"), ("b", "1"), ("c", "1")]));
    stage.volume.swap("v", &[("a", "2"), ("b", "2"), ("c", "2")]);
    let at = stage.volume.dir.clone();
    let mut reads = 0;
    stage.reader.hook = Some(Box::new(move |_| {
        reads += 1;
        if reads == 2 {
            // The kubelet swaps between the first file and the second, and keeps the old directory a while.
            let next = at.join("v/..next");
            fs::create_dir(&next).unwrap();
            for name in ["a", "b", "c"] {
                fs::write(next.join(name), "3").unwrap();
            }
            symlink("..next", at.join("v/..data_tmp")).unwrap();
            fs::rename(at.join("v/..data_tmp"), at.join("v/..data")).unwrap();
        }
    }));
    assert!(stage.scan().set.is_some());
    for name in ["v/a", "v/b", "v/c"] {
        assert_eq!(stage.good(name), "3", "{name}");
    }
}

#[test]
fn a_directory_that_never_rests_keeps_its_old_contents() {
    let mut stage = Stage::new(&["v/a", "v/b", "other"], |v| {
        v.swap("v", &[("a", "1"), ("b", "1")]);
        v.write("other", "1");
    });
    stage.volume.rename_over("other", "2");
    let other = stage.volume.path("other");
    stage.reader.renamed(&other);
    stage.volume.swap("v", &[("a", "2"), ("b", "2")]);
    let at = stage.volume.path("v");
    let mut number = 0;
    stage.reader.hook = Some(Box::new(move |name| {
        if name.starts_with("v/") {
            number += 1;
            let next = format!("..spin{number}");
            fs::create_dir(at.join(&next)).unwrap();
            fs::write(at.join(&next).join("a"), "x").unwrap();
            fs::write(at.join(&next).join("b"), "x").unwrap();
            symlink(&next, at.join("..data_tmp")).unwrap();
            fs::rename(at.join("..data_tmp"), at.join("..data")).unwrap();
        }
    }));
    let scan = stage.scan();
    assert!(scan.unsettled);
    assert!(matches!(&scan.warnings[..], [Warning::Torn { .. }]), "{:?}", scan.warnings);
    assert_eq!((stage.good("v/a"), stage.good("v/b")), ("1".into(), "1".into()));
    assert_eq!(stage.good("other"), "2", "others are not held up");
    stage.reader.hook = None;
    let scan = stage.scan();
    assert!(!scan.unsettled && scan.warnings.is_empty());
    assert_eq!((stage.good("v/a"), stage.good("v/b")), ("x".into(), "x".into()));
}

#[test]
fn keys_come_and_go_with_the_kubelet() {
    let mut stage = Stage::new(&["a", "b", "deep/c"], |v| v.swap("", &[("a", "1")]));
    assert_eq!(stage.text("b"), Err(BadReason::Missing));
    stage.volume.swap("", &[("a", "1"), ("b", "1"), ("deep/c", "1")]);
    stage.scan();
    assert_eq!((stage.good("b"), stage.good("deep/c")), ("1".into(), "1".into()));
    // A key counts with the swap itself, before its visible link is made.
    fs::remove_file(stage.volume.path("b")).unwrap();
    assert!(stage.scan().set.is_none());
    stage.volume.swap("", &[("b", "1")]);
    assert!(stage.scan().set.is_some());
    assert_eq!(stage.text("a"), Err(BadReason::Missing));
    // A visible link that leads nowhere (kubelets before 1.22 make it first) is no news.
    symlink("..data/a", stage.volume.path("a")).unwrap();
    assert!(stage.scan().set.is_none());
}

#[test]
fn a_left_over_data_tmp_and_hidden_names_do_not_count() {
    let stage = Stage::new(&["a", "{x}"], |v| {
        v.swap("", &[("a", "1")]);
        symlink("..gone", v.path("..data_tmp")).unwrap();
        for name in [".hidden", "a~", "a.bak", "a.tmp", "4913", "a.swp"] {
            v.write(name, "x");
        }
    });
    assert_eq!(stage.reader.current().files.len(), 1);
}

#[test]
fn a_file_renamed_over_counts_at_once() {
    let mut stage = Stage::new(&["a"], |v| v.write("a", "1"));
    stage.volume.rename_over("a", "2");
    let path = stage.volume.path("a");
    stage.reader.renamed(&path);
    let scan = stage.scan();
    assert!(scan.set.is_some() && !scan.unsettled);
    assert_eq!(stage.good("a"), "2");
}

#[test]
fn without_events_a_file_renamed_over_counts_soon() {
    let mut stage = Stage::new(&["a"], |v| v.write("a", "1"));
    stage.volume.rename_over("a", "2");
    stage.scan();
    stage.after(500);
    assert_eq!(stage.good("a"), "2");
}

#[test]
fn a_file_written_in_place_counts_when_it_is_closed() {
    let mut stage = Stage::new(&["a"], |v| v.write("a", "old"));
    let path = stage.volume.path("a");
    let mut file = fs::OpenOptions::new().write(true).truncate(true).open(&path).unwrap();
    stage.reader.written(&path);
    assert!(stage.scan().unsettled);
    std::io::Write::write_all(&mut file, b"ne").unwrap();
    stage.reader.written(&path);
    assert!(stage.after(300).unsettled);
    assert_eq!(stage.good("a"), "old", "neither empty nor cut");
    std::io::Write::write_all(&mut file, b"w").unwrap();
    drop(file);
    stage.reader.written(&path);
    stage.reader.closed(&path);
    let scan = stage.after(200);
    assert!(scan.set.is_some() && !scan.unsettled);
    assert_eq!(stage.good("a"), "new");
}

#[test]
fn without_events_a_file_written_in_place_counts_after_two_seconds_of_rest() {
    let mut stage = Stage::new(&["a"], |v| v.write("a", "old"));
    let path = stage.volume.path("a");
    fs::write(&path, "n").unwrap();
    assert!(stage.scan().unsettled);
    fs::write(&path, "new").unwrap();
    assert!(stage.after(1900).unsettled);
    assert!(stage.after(1900).unsettled, "the two seconds begin again with each change");
    assert_eq!(stage.good("a"), "old");
    assert!(!stage.after(100).unsettled);
    assert_eq!(stage.good("a"), "new");
}

#[test]
fn a_new_file_that_is_still_being_written_waits() {
    let mut stage = Stage::new(&["a"], |_| {});
    let path = stage.volume.path("a");
    let mut file = fs::File::create(&path).unwrap();
    stage.reader.written(&path);
    std::io::Write::write_all(&mut file, b"ha").unwrap();
    assert!(stage.after(1000).unsettled);
    assert_eq!(stage.text("a"), Err(BadReason::Missing));
    std::io::Write::write_all(&mut file, b"lf").unwrap();
    drop(file);
    stage.reader.closed(&path);
    stage.after(200);
    assert_eq!(stage.good("a"), "half");
}

#[test]
fn equal_size_and_mtime_do_not_hide_a_change() {
    let mut stage = Stage::new(&["a"], |v| v.write("a", "old"));
    let path = stage.volume.path("a");
    let times = fs::metadata(&path).unwrap().modified().unwrap();
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"new", 0).unwrap();
    file.set_modified(times).unwrap();
    drop(file);
    stage.reader.closed(&path);
    assert!(stage.scan().set.is_some());
    assert_eq!(stage.good("a"), "new");
}

#[test]
fn a_change_between_metadata_and_content_is_seen_next_time() {
    let mut stage = Stage::new(&["a"], |v| v.write("a", "1"));
    stage.volume.rename_over("a", "2");
    let path = stage.volume.path("a");
    stage.reader.renamed(&path);
    let over = stage.volume.dir.clone();
    stage.reader.hook = Some(Box::new(move |_| {
        fs::write(over.join(".n"), "3").unwrap();
        fs::rename(over.join(".n"), over.join("a")).unwrap();
    }));
    stage.scan();
    assert_eq!(stage.good("a"), "3");
    stage.reader.hook = None;
    assert!(stage.after(3000).set.is_none());
    assert_eq!(stage.good("a"), "3");
}

#[test]
fn delete_and_re_create() {
    let mut stage = Stage::new(&["a"], |v| v.write("a", "1"));
    fs::remove_file(stage.volume.path("a")).unwrap();
    assert!(stage.scan().set.is_some());
    assert_eq!(stage.text("a"), Err(BadReason::Missing));
    stage.volume.write("a", "2");
    let path = stage.volume.path("a");
    stage.reader.written(&path);
    stage.reader.closed(&path);
    stage.scan();
    assert_eq!(stage.good("a"), "2");
}

#[test]
fn links_may_flip_and_lead_outward() {
    let mut stage = Stage::new(&["file", "dir/a", "dir/b"], |v| {
        for version in ["1", "2"] {
            let at = v.base.join("outside").join(version);
            fs::create_dir_all(&at).unwrap();
            for name in ["a", "b"] {
                fs::write(at.join(name), version).unwrap();
            }
        }
        symlink("../outside/1/a", v.path("file")).unwrap();
        symlink(v.base.join("outside/1"), v.path("dir")).unwrap();
    });
    assert_eq!((stage.good("file"), stage.good("dir/a"), stage.good("dir/b")), ("1".into(), "1".into(), "1".into()));
    let places: Vec<Place> = stage.reader.places().collect();
    assert!(places.contains(&Place::all(stage.volume.path("dir"))), "{places:?}");
    assert!(places.contains(&Place::entry(stage.volume.base.join("outside/1"), "a".as_ref())), "{places:?}");
    symlink("../outside/2/a", stage.volume.path(".l")).unwrap();
    fs::rename(stage.volume.path(".l"), stage.volume.path("file")).unwrap();
    symlink("../outside/2", stage.volume.path(".l")).unwrap();
    fs::rename(stage.volume.path(".l"), stage.volume.path("dir")).unwrap();
    let scan = stage.scan();
    assert!(scan.set.is_some() && scan.moved && !scan.unsettled);
    assert_eq!((stage.good("file"), stage.good("dir/a"), stage.good("dir/b")), ("2".into(), "2".into(), "2".into()));
    fs::remove_file(stage.volume.path("file")).unwrap();
    symlink("nowhere", stage.volume.path("file")).unwrap();
    stage.scan();
    assert_eq!(stage.text("file"), Err(BadReason::BrokenLink));
}

#[test]
fn the_secrets_directory_itself_may_be_a_link_that_flips() {
    let mut volume = Volume::new();
    for version in ["1", "2"] {
        fs::create_dir(volume.path(version)).unwrap();
        volume.write(&format!("{version}/a"), version);
    }
    symlink("1", volume.path("current")).unwrap();
    let outer = volume.dir.clone();
    volume.dir = outer.join("current");
    let mut stage = Stage { reader: Reader::new(volume.dir.clone(), wanted(&["a"])), volume, now: Instant::now() };
    stage.scan();
    assert_eq!(stage.good("a"), "1");
    assert!(stage.reader.places().any(|place| place == Place::entry(&outer, "current".as_ref())));
    symlink("2", outer.join(".l")).unwrap();
    fs::rename(outer.join(".l"), outer.join("current")).unwrap();
    stage.scan();
    assert_eq!(stage.good("a"), "2");
}

#[test]
fn inode_numbers_that_are_used_again_hide_no_new_file() {
    let mut stage = Stage::new(&["v/a"], |v| v.swap("v", &[("a", "0")]));
    for round in 1..20 {
        // Two swaps between scans: the last file often has the number of the one that is known.
        stage.volume.swap("v", &[("a", "x")]);
        stage.volume.swap("v", &[("a", &round.to_string())]);
        assert!(!stage.scan().unsettled);
        assert_eq!(stage.good("v/a"), round.to_string());
    }
}

#[test]
fn directories_appear_vanish_and_are_replaced() {
    let mut stage = Stage::new(&["shop/{tenant}/key"], |v| v.write("shop/m1/key", "1"));
    assert_eq!(stage.good("shop/m1/key"), "1");
    stage.volume.write("shop/m2/key", "2");
    assert!(stage.scan().moved);
    stage.after(500);
    assert_eq!(stage.good("shop/m2/key"), "2");
    fs::remove_dir_all(stage.volume.path("shop/m1")).unwrap();
    assert!(stage.scan().moved);
    assert_eq!(stage.text("shop/m1/key"), Err(BadReason::Missing));
    // The whole directory renamed away and another one in its place.
    let (dir, old) = (stage.volume.dir.clone(), stage.volume.base.join("old"));
    fs::rename(&dir, &old).unwrap();
    let scan = stage.scan();
    assert!(scan.unsettled && scan.set.is_none(), "a gap between two renames is no loss");
    stage.volume.write("shop/m2/key", "3");
    stage.scan();
    stage.after(500);
    assert_eq!(stage.good("shop/m2/key"), "3");
    fs::remove_dir_all(&dir).unwrap();
    stage.scan();
    let scan = stage.after(2000);
    assert!(matches!(&scan.warnings[..], [Warning::Directory { .. }]));
    assert_eq!(stage.text("shop/m2/key"), Err(BadReason::Missing));
    assert!(stage.after(1000).warnings.is_empty(), "said once");
}
