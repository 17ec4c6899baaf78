//! How events are sorted and gathered; what really arrives is tested in `source`.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use notify::event::{DataChange, MetadataKind, RemoveKind};

use super::*;

const MILLI: Duration = Duration::from_millis(1);

fn state(rules: &[(&str, Subject, Option<&str>)]) -> State {
    let mut state = State::default();
    for (number, (dir, subject, only)) in rules.iter().enumerate() {
        let watched =
            state.dirs.entry(dir.into()).or_insert(Watched { inode: (0, number as u64), rules: HashSet::new() });
        watched.rules.insert((*subject, only.map(OsString::from)));
    }
    state
}

fn event(kind: EventKind, path: &str) -> Event {
    Event::new(kind).add_path(path.into())
}

const MOVED_TO: EventKind = EventKind::Modify(ModifyKind::Name(RenameMode::To));
const MOVED_FROM: EventKind = EventKind::Modify(ModifyKind::Name(RenameMode::From));
const WRITTEN: EventKind = EventKind::Modify(ModifyKind::Data(DataChange::Any));
const CLOSED: EventKind = EventKind::Access(AccessKind::Close(AccessMode::Write));

#[test]
fn an_atomic_act_waits_for_less_quiet_than_a_write_in_place() {
    let now = Instant::now();
    let mut burst = Burst::default();
    assert_eq!(burst.due(), None);
    burst.note(now, QUIET_ATOMIC);
    assert_eq!(burst.due(), Some(now + QUIET_ATOMIC));
    burst.note(now + 10 * MILLI, QUIET_IN_PLACE);
    assert_eq!(burst.due(), Some(now + 10 * MILLI + QUIET_IN_PLACE));
    burst.note(now + 20 * MILLI, QUIET_ATOMIC);
    assert_eq!(burst.due(), Some(now + 10 * MILLI + QUIET_IN_PLACE), "the longer of the two");
}

#[test]
fn a_storm_puts_reading_off_for_one_second_at_most() {
    let start = Instant::now();
    let mut burst = Burst::default();
    for step in 0..100 {
        burst.note(start + step * 20 * MILLI, QUIET_ATOMIC);
    }
    assert_eq!(burst.due(), Some(start + LONGEST_WAIT));
}

#[test]
fn events_go_to_whom_they_matter() {
    let mut state = state(&[
        ("/etc/cs", Subject::Config, Some("proxy.toml")),
        ("/etc/cs", Subject::Secrets, Some("secrets")),
        ("/etc/cs/secrets", Subject::Secrets, None),
    ]);
    let now = Instant::now();
    let mut due = |kind, path| {
        let relevant = state.sort(&event(kind, path), now);
        let gathered = std::mem::take(&mut state.gathered);
        assert_eq!(relevant, gathered.secrets.due().is_some() || gathered.config.due().is_some());
        (gathered.secrets.due().is_some(), gathered.config.due().is_some())
    };
    assert_eq!(due(CLOSED, "/etc/cs/proxy.toml"), (false, true));
    assert_eq!(due(CLOSED, "/etc/cs/access.log"), (false, false));
    assert_eq!(due(CLOSED, "/etc/cs/secrets/a"), (true, false));
    assert_eq!(due(MOVED_TO, "/etc/cs/secrets/..data"), (true, false));
    assert_eq!(due(CLOSED, "/etc/cs/secrets/.a.swp"), (false, false));
    assert_eq!(due(CLOSED, "/etc/cs/secrets/a~"), (false, false));
    assert_eq!(due(EventKind::Access(AccessKind::Open(AccessMode::Any)), "/etc/cs/secrets/a"), (false, false));
    assert_eq!(due(EventKind::Modify(ModifyKind::Metadata(MetadataKind::Any)), "/etc/cs/secrets/a"), (true, false));
    assert_eq!(due(MOVED_FROM, "/etc/cs/secrets"), (true, false));
}

#[test]
fn a_directory_that_goes_away_is_to_be_watched_again() {
    let mut state = state(&[("/s", Subject::Secrets, None), ("/s/sub", Subject::Secrets, None)]);
    state.sort(&event(EventKind::Remove(RemoveKind::Folder), "/s"), Instant::now());
    assert_eq!(state.gathered.lost, [PathBuf::from("/s")]);
    assert!(state.dirs.is_empty());
}

#[test]
fn lost_events_mean_everything_and_touches_are_bounded() {
    let mut state = state(&[("/s", Subject::Secrets, None)]);
    for number in 0..MAX_TOUCHES + 10 {
        state.sort(&event(WRITTEN, &format!("/s/{number}")), Instant::now());
    }
    assert_eq!(state.gathered.touches.len(), MAX_TOUCHES);
    let event = Event::new(EventKind::Other).set_flag(notify::event::Flag::Rescan);
    assert!(state.sort(&event, Instant::now()));
    assert!(state.gathered.overflow && state.gathered.config.due().is_some());
}

#[test]
fn two_paths_to_one_directory_share_a_watch_and_missing_ones_are_watched_above() {
    let volume = crate::secret::dir::tests::Volume::new();
    std::os::unix::fs::symlink("secrets", volume.base.join("link")).unwrap();
    let dirs = by_directory([
        (Subject::Secrets, Place::all(&volume.dir)),
        (Subject::Config, Place::entry(volume.base.join("link"), "proxy.toml".as_ref())),
        (Subject::Secrets, Place::all(volume.dir.join("a/b/c"))),
    ]);
    assert_eq!(dirs.len(), 1);
    let rules = &dirs[&volume.dir].rules;
    assert!(rules.contains(&(Subject::Secrets, None)));
    assert!(rules.contains(&(Subject::Config, Some("proxy.toml".into()))));
    assert!(rules.contains(&(Subject::Secrets, Some("a".into()))));
}
