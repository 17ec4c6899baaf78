//! Whether a change during or after the first reading is heard of.

use std::os::unix::fs::symlink;

use super::*;

/// Whether nothing was heard between listening and the end of what is done after the first reading.
fn quiet(names: &[&str], prepare: impl FnOnce(&mut Volume), after: impl FnOnce(&mut Volume)) -> bool {
    let mut volume = Volume::new();
    prepare(&mut volume);
    let mut reader = Reader::new(volume.dir.clone(), wanted(names));
    reader.listen();
    assert!(reader.scan(Depth::Full, Instant::now()).set.is_some());
    after(&mut volume);
    let quiet = reader.was_quiet();
    assert!(!reader.was_quiet(), "asked once");
    quiet
}

#[test]
fn reading_alone_is_quiet() {
    let files = |v: &mut Volume| {
        v.write("a", "1");
        v.write("sub/b", "1");
        v.swap("v", &[("c", "1")]);
    };
    assert!(quiet(&["a", "sub/b", "v/c"], files, |_| {}));
}

#[test]
fn every_change_after_the_reading_is_heard() {
    let names = ["a", "sub/b", "v/c"];
    let files = |v: &mut Volume| {
        v.write("a", "1");
        v.write("sub/b", "1");
        v.swap("v", &[("c", "1")]);
    };
    let changes: [fn(&mut Volume); 5] = [
        |v| v.write("a", "2"),
        |v| v.rename_over("sub/b", "2"),
        |v| v.swap("v", &[("c", "2")]),
        |v| fs::remove_file(v.path("a")).unwrap(),
        |v| fs::create_dir(v.path("new")).unwrap(),
    ];
    for (index, change) in changes.into_iter().enumerate() {
        assert!(!quiet(&names, files, change), "change {index}");
    }
}

#[test]
fn a_change_between_listing_and_reading_is_heard() {
    let volume = Volume::new();
    volume.write("a", "1");
    let mut reader = Reader::new(volume.dir.clone(), wanted(&["a"]));
    let path = volume.path("a");
    reader.hook = Some(Box::new(move |_| fs::write(&path, "2").unwrap()));
    reader.listen();
    reader.scan(Depth::Full, Instant::now());
    assert!(!reader.was_quiet());
}

#[test]
fn what_lies_behind_a_link_is_looked_at_again() {
    let files = |v: &mut Volume| {
        fs::write(v.base.join("x"), "1").unwrap();
        symlink("../x", v.path("link")).unwrap();
    };
    assert!(!quiet(&["link"], files, |_| {}));
}
