//! Files and directories that cannot be used, and great numbers of them.

use super::*;

#[test]
fn what_is_no_usable_file_has_its_reason() {
    let mut stage = Stage::new(&["dir", "fifo", "sock", "loop", "none", "empty", "big", "full", "gone"], |v| {
        fs::create_dir(v.path("dir")).unwrap();
        rustix::fs::mknodat(CWD, v.path("fifo"), FileType::Fifo, 0o600.into(), 0).unwrap();
        drop(std::os::unix::net::UnixListener::bind(v.path("sock")).unwrap());
        symlink("loop", v.path("loop")).unwrap();
        symlink("nowhere", v.path("none")).unwrap();
        v.write("empty", "");
        v.write("full", &"x".repeat(100));
        v.write("big", &"x".repeat(101));
    });
    let reason = |name: &str| stage.text(name).unwrap_err();
    assert_eq!(reason("dir"), BadReason::NotRegular("directory"));
    assert_eq!(reason("fifo"), BadReason::NotRegular("FIFO"));
    assert_eq!(reason("sock"), BadReason::NotRegular("socket"));
    assert_eq!(reason("loop"), BadReason::BrokenLink);
    assert_eq!(reason("none"), BadReason::BrokenLink);
    assert_eq!(reason("empty"), BadReason::Empty);
    assert_eq!(reason("big"), BadReason::TooLarge { size: 101, limit: 100 });
    assert_eq!(reason("gone"), BadReason::Missing);
    assert_eq!(stage.good("full").len(), 100);
    assert!(stage.scan().set.is_none(), "bad ones are no news twice");
    // A file becomes a FIFO and a file again.
    fs::remove_file(stage.volume.path("full")).unwrap();
    rustix::fs::mknodat(CWD, stage.volume.path("full"), FileType::Fifo, 0o600.into(), 0).unwrap();
    stage.scan();
    assert_eq!(stage.text("full"), Err(BadReason::NotRegular("FIFO")));
}

#[test]
fn a_missing_permission_says_what_helps() {
    let mut stage = Stage::new(&["a", "sub/b"], |v| {
        v.write("a", "1");
        v.write("sub/b", "1");
        fs::set_permissions(v.path("a"), fs::Permissions::from_mode(0o000)).unwrap();
    });
    let readable = fs::OpenOptions::new().read(true).custom_flags(0).open(stage.volume.path("a")).is_ok();
    if readable {
        // root reads everything; the text itself is still to be right.
        let stat = rustix::fs::stat(stage.volume.path("a")).unwrap();
        let text = file::unreadable(rustix::io::Errno::ACCESS, Some(&stat)).to_string();
        let meta = fs::metadata(stage.volume.path("a")).unwrap();
        assert!(text.starts_with("unreadable: permission denied (mode 0000, owner "), "{text}");
        assert!(text.contains(&format!("owner {}:{}", meta.uid(), meta.gid())) && text.contains("fsGroup"), "{text}");
        return;
    }
    assert!(matches!(stage.text("a"), Err(BadReason::Unreadable(text)) if text.contains("mode 0000")));
    fs::set_permissions(stage.volume.path("a"), fs::Permissions::from_mode(0o400)).unwrap();
    stage.scan();
    assert_eq!(stage.good("a"), "1");
}

#[test]
fn loops_of_directories_end() {
    let stage = Stage::new(&["{a}/key", "{a}/{b}/key", "{a}/{b}/{c}/key"], |v| {
        v.write("x/key", "1");
        v.write("y/key", "1");
        symlink("..", v.path("x/up")).unwrap();
        symlink("../y", v.path("x/y")).unwrap();
        symlink("../x", v.path("y/x")).unwrap();
    });
    let set = stage.reader.current();
    let mut names: Vec<&str> = set.files.keys().map(|name| name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["x/key", "x/y/key", "y/key", "y/x/key"]);
}

#[test]
fn a_hundred_thousand_names_cost_no_opens_while_nothing_changes() {
    let mut stage = Stage::new(&["{n}"], |v| {
        // Hard links to a few files: quick to make, yet names of their own.
        for group in 0..10 {
            let first = v.path(&format!("n{group}-0"));
            fs::write(&first, "x").unwrap();
            for number in 1..10_000 {
                fs::hard_link(&first, v.path(&format!("n{group}-{number}"))).unwrap();
            }
        }
    });
    assert_eq!(stage.reader.current().files.len(), 100_000);
    let scan = stage.after(10_000);
    assert_eq!((scan.opened, scan.set.is_some(), scan.unsettled), (0, false, false));
    stage.volume.rename_over("n3-77", "new");
    let path = stage.volume.path("n3-77");
    stage.reader.renamed(&path);
    let scan = stage.scan();
    assert!(scan.set.is_some());
    // The old inode lost a name, so its other names were looked at once more.
    assert_eq!((stage.good("n3-77"), stage.scan().opened), ("new".into(), 0));
}

#[test]
fn a_full_scan_reads_everything_and_contents_decide() {
    let mut stage = Stage::new(&["a", "b"], |v| {
        v.write("a", "1");
        v.write("b", "1");
    });
    let scan = stage.reader.scan(Depth::Full, stage.now);
    assert_eq!((scan.opened, scan.set.is_some()), (2, false));
}

#[test]
fn names_that_nobody_wants_are_not_opened_and_may_come_later() {
    let mut stage = Stage::new(&["a"], |v| {
        v.write("a", "1");
        v.write("b", "1");
        v.write("c/d", "1");
    });
    assert_eq!(stage.reader.current().files.len(), 1);
    stage.reader.want(wanted(&["b", "c/{x}"]));
    let scan = stage.scan();
    assert_eq!((scan.opened, scan.unsettled), (2, false));
    assert_eq!((stage.text("a"), stage.good("c/d")), (Err(BadReason::Missing), "1".into()));
}

#[test]
fn a_missing_directory_is_said_and_found_when_it_comes() {
    let volume = Volume::new();
    let mut reader = Reader::new(volume.dir.join("later"), wanted(&["a"]));
    let now = Instant::now();
    let scan = reader.scan(Depth::Full, now);
    assert!(scan.set.is_some_and(|set| set.files.is_empty()));
    assert!(matches!(&scan.warnings[..], [Warning::Directory { .. }]));
    volume.write("later/a", "1");
    reader.scan(Depth::Changed, now);
    reader.scan(Depth::Changed, now + Duration::from_millis(500));
    assert!(reader.current().content("a").is_ok());
}

#[test]
fn digests_tell_contents_apart_and_are_no_plain_hash() {
    let digest = |text: &str| file::digest(&Ok(SecretBytes::new(text.into())));
    assert_eq!(digest("a"), digest("a"));
    assert_ne!(digest("a"), digest("b"));
    assert_ne!(digest("empty"), file::digest(&Err(BadReason::Empty)));
    // sha256("gooda"), by `printf gooda | sha256sum`, begins with other bytes.
    assert_ne!(digest("a"), ring_sha256(b"gooda")[..16]);
}

fn ring_sha256(bytes: &[u8]) -> [u8; 32] {
    ring::digest::digest(&ring::digest::SHA256, bytes).as_ref().try_into().unwrap()
}

#[test]
fn remarks_at_start_name_world_readable_files_but_not_the_kubelets() {
    let stage = Stage::new(&["open", "closed", "v/open"], |v| {
        v.write("open", "1");
        v.write("closed", "1");
        v.swap("v", &[("open", "1")]);
        fs::set_permissions(v.path("open"), fs::Permissions::from_mode(0o644)).unwrap();
        fs::set_permissions(v.path("closed"), fs::Permissions::from_mode(0o640)).unwrap();
    });
    let remarks = remarks_at_start(&stage.reader);
    assert_eq!(remarks.len(), 1, "{remarks:?}");
    assert!(remarks[0].starts_with("readable for every user: open;"), "{remarks:?}");
}
