//! File events: hints that something may have changed, gathered until it is quiet.
//!
//! Directories are watched, never files; an event says only *that* a directory should be read
//! again, and of a file written in place whether it is closed. Without inotify nothing here
//! stops anything: `mode` then says `poll`. Reading is `dir`'s work, deciding when `source`'s.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode, CreateKind, EventKind, ModifyKind, RenameMode};
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;

use super::dir::{Inode, Place};
use super::wanted::is_left_over;

/// After an atomic act (rename, link, `..data`) it must be quiet for so long.
pub const QUIET_ATOMIC: Duration = Duration::from_millis(50);
/// After a write in place it must be quiet for so long, so that files of one credential are
/// adopted together.
pub const QUIET_IN_PLACE: Duration = Duration::from_millis(200);
/// However much goes on, reading is put off no longer than this.
pub const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// Most directories that are watched; changes in others are found by polling.
pub const MAX_WATCHES: usize = 4096;
/// Most events about files that are kept between two readings.
const MAX_TOUCHES: usize = 4096;

/// Whether events arrive; the value of the metric `countersign_watch_mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// File events, and polling as the net below them.
    Inotify,
    /// Polling alone.
    Poll,
}

impl Mode {
    /// `inotify` or `poll`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Inotify => "inotify",
            Self::Poll => "poll",
        }
    }
}

/// What a watched directory is watched for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    /// The secrets directory.
    Secrets,
    /// The configuration file.
    Config,
}

/// Why a directory, or none at all, can be watched.
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum WatchError {
    /// No inotify instance, or no more watches.
    #[error("file events cannot be had ({0}); changes are found by polling")]
    Unavailable(String),
    /// More than [`MAX_WATCHES`] directories.
    #[error("more than {MAX_WATCHES} directories; changes in the others are found by polling")]
    TooMany,
}

/// What an event told about a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Touch {
    /// Created or written to.
    Written,
    /// Closed after writing.
    Closed,
    /// Renamed to this name.
    Renamed,
}

/// Events gathered since they were last taken.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    pub(super) touches: Vec<(Touch, PathBuf)>,
    pub(super) secrets: Burst,
    pub(super) config: Burst,
    /// Events were lost: look at everything.
    pub(super) overflow: bool,
    /// Watched directories that went away; their watches are dead.
    pub(super) lost: Vec<PathBuf>,
}

/// Some events shortly after one another.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Burst {
    first: Option<Instant>,
    quiet: Option<Instant>,
}

impl Burst {
    pub(super) fn note(&mut self, now: Instant, quiet: Duration) {
        self.first.get_or_insert(now);
        self.quiet = self.quiet.max(Some(now + quiet));
    }

    /// When to read; `None`: nothing happened.
    pub(super) fn due(&self) -> Option<Instant> {
        Some(self.quiet?.min(self.first? + LONGEST_WAIT))
    }
}

/// What the thread of the watcher shares with the consumer.
#[derive(Default)]
pub(super) struct Shared {
    state: Mutex<State>,
    /// Woken when something was gathered.
    pub(super) changed: Notify,
}

#[derive(Default)]
struct State {
    dirs: HashMap<PathBuf, Watched>,
    gathered: Gathered,
}

/// A directory under watch.
struct Watched {
    inode: Inode,
    /// For whom, and for which entry; `None`: for all.
    rules: HashSet<(Subject, Option<OsString>)>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When secrets and configuration are to be read, by what was gathered so far.
    pub(super) fn due(&self) -> (Option<Instant>, Option<Instant>) {
        let state = self.lock();
        (state.gathered.secrets.due(), state.gathered.config.due())
    }

    pub(super) fn take(&self) -> Gathered {
        std::mem::take(&mut self.lock().gathered)
    }

    fn receive(&self, event: notify::Result<Event>, now: Instant) {
        let mut state = self.lock();
        let relevant = match event {
            Ok(event) => state.sort(&event, now),
            Err(_) => state.overflowed(now),
        };
        drop(state);
        if relevant {
            self.changed.notify_one();
        }
    }
}

impl State {
    /// Takes in an event; false when it does not matter (reading makes events too).
    fn sort(&mut self, event: &Event, now: Instant) -> bool {
        if event.need_rescan() {
            return self.overflowed(now);
        }
        let Some((quiet, touch)) = meaning(&event.kind) else { return false };
        let mut relevant = false;
        for path in &event.paths {
            let subjects = self.subjects(path);
            for subject in &subjects {
                relevant = true;
                match subject {
                    Subject::Secrets => self.gathered.secrets.note(now, quiet),
                    Subject::Config => self.gathered.config.note(now, quiet),
                }
            }
            if ends(&event.kind) && self.dirs.contains_key(path) {
                // notify drops the watches below it as well.
                self.gathered.lost.push(path.clone());
                self.dirs.retain(|dir, _| !dir.starts_with(path));
            }
            if let Some(touch) = touch.filter(|_| subjects.contains(&Subject::Secrets))
                && self.gathered.touches.len() < MAX_TOUCHES
            {
                self.gathered.touches.push((touch, path.clone()));
            }
        }
        relevant
    }

    fn overflowed(&mut self, now: Instant) -> bool {
        self.gathered.overflow = true;
        self.gathered.secrets.note(now, QUIET_IN_PLACE);
        self.gathered.config.note(now, QUIET_IN_PLACE);
        true
    }

    /// To whom a path matters.
    fn subjects(&self, path: &Path) -> Vec<Subject> {
        let mut subjects = Vec::new();
        let mut add = |subject: Subject| {
            if !subjects.contains(&subject) {
                subjects.push(subject);
            }
        };
        if let Some(watched) = self.dirs.get(path) {
            watched.rules.iter().for_each(|(subject, _)| add(*subject));
        }
        if let (Some(watched), Some(name)) = (path.parent().and_then(|dir| self.dirs.get(dir)), path.file_name()) {
            for (subject, only) in &watched.rules {
                let matters = match only {
                    Some(only) => only == name,
                    None => !is_noise(name),
                };
                if matters {
                    add(*subject);
                }
            }
        }
        subjects
    }
}

/// Left-overs and temporary files; the kubelet's names begin with two dots and matter.
fn is_noise(name: &OsStr) -> bool {
    !name.as_bytes().starts_with(b"..") && name.to_str().is_some_and(is_left_over)
}

/// How long it must be quiet after an event, and what it says about a file.
fn meaning(kind: &EventKind) -> Option<(Duration, Option<Touch>)> {
    match kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => Some((QUIET_IN_PLACE, Some(Touch::Closed))),
        EventKind::Access(_) => None,
        EventKind::Create(CreateKind::File) => Some((QUIET_ATOMIC, Some(Touch::Written))),
        EventKind::Modify(ModifyKind::Data(_)) => Some((QUIET_IN_PLACE, Some(Touch::Written))),
        EventKind::Modify(ModifyKind::Name(RenameMode::To)) => Some((QUIET_ATOMIC, Some(Touch::Renamed))),
        EventKind::Modify(ModifyKind::Name(RenameMode::Both)) => None, // told by From and To already
        _ => Some((QUIET_ATOMIC, None)),
    }
}

/// Whether a watch on the path ends with the event.
fn ends(kind: &EventKind) -> bool {
    matches!(kind, EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(RenameMode::From)))
}

/// The watches.
pub struct Watch {
    watcher: Option<RecommendedWatcher>,
    shared: Arc<Shared>,
    mode: Mode,
    complete: bool,
}

/// What [`Watch::update`] did.
#[derive(Debug, Default)]
pub(super) struct Updated {
    /// A directory is watched that was not: what happened before is to be looked for.
    pub(super) added: bool,
    pub(super) warning: Option<WatchError>,
}

impl Watch {
    /// A watch on nothing yet; without inotify a dead one and the reason.
    pub fn start() -> (Self, Option<WatchError>) {
        let shared = Arc::<Shared>::default();
        let events = shared.clone();
        let config = notify::Config::default().with_follow_symlinks(false);
        match RecommendedWatcher::new(move |event| events.receive(event, Instant::now()), config) {
            Ok(watcher) => (Self { watcher: Some(watcher), shared, mode: Mode::Inotify, complete: false }, None),
            Err(error) => (Self::off(), Some(WatchError::Unavailable(text(&error)))),
        }
    }

    /// A watch that never tells anything.
    pub fn off() -> Self {
        Self { watcher: None, shared: Arc::default(), mode: Mode::Poll, complete: false }
    }

    /// Whether events arrive for everything that is to be watched.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Whether no directory is left to polling alone.
    pub(super) fn is_complete(&self) -> bool {
        self.complete
    }

    pub(super) fn shared(&self) -> Arc<Shared> {
        self.shared.clone()
    }

    /// Watches these places and no others. A place that does not exist is watched at the nearest
    /// directory above it.
    pub(super) fn update(&mut self, places: impl IntoIterator<Item = (Subject, Place)>) -> Updated {
        let Some(watcher) = &mut self.watcher else { return Updated::default() };
        let wanted = by_directory(places);
        let mut updated = Updated::default();
        let stale: Vec<PathBuf> = {
            let state = self.shared.lock();
            let stale =
                state.dirs.iter().filter(|(dir, old)| wanted.get(*dir).is_none_or(|new| new.inode != old.inode));
            stale.map(|(dir, _)| dir.clone()).collect()
        };
        for dir in stale {
            // The directory may be gone, and its watch with it.
            let _ = watcher.unwatch(&dir);
            self.shared.lock().dirs.remove(&dir);
        }
        (self.mode, self.complete) = (Mode::Inotify, true);
        for (dir, watched) in wanted {
            if let Some(known) = self.shared.lock().dirs.get_mut(&dir) {
                known.rules = watched.rules;
                continue;
            }
            if self.shared.lock().dirs.len() >= MAX_WATCHES {
                updated.warning = Some(WatchError::TooMany);
                self.complete = false;
                break;
            }
            // Known before its first event can arrive.
            self.shared.lock().dirs.insert(dir.clone(), watched);
            if let Err(error) = watcher.watch(&dir, RecursiveMode::NonRecursive) {
                self.shared.lock().dirs.remove(&dir);
                if !matches!(error.kind, notify::ErrorKind::PathNotFound) {
                    (self.mode, self.complete) = (Mode::Poll, false);
                    updated.warning = Some(WatchError::Unavailable(text(&error)));
                    continue;
                }
            }
            updated.added = true;
        }
        updated
    }
}

/// Sorts places by directory. Two paths to one directory would share one watch, so the first
/// path stands for both.
fn by_directory(places: impl IntoIterator<Item = (Subject, Place)>) -> HashMap<PathBuf, Watched> {
    let mut paths: HashMap<Inode, PathBuf> = HashMap::new();
    let mut dirs: HashMap<PathBuf, Watched> = HashMap::new();
    for (subject, mut place) in places {
        if dirs.len() > MAX_WATCHES {
            break; // too many are told by one more than there may be
        }
        let inode = loop {
            match rustix::fs::stat(&place.dir) {
                Ok(stat) if rustix::fs::FileType::from_raw_mode(stat.st_mode).is_dir() => {
                    #[allow(clippy::unnecessary_cast)] // the widths differ between architectures
                    break Some((stat.st_dev as u64, stat.st_ino as u64));
                }
                _ => match (place.dir.parent(), place.dir.file_name()) {
                    (Some(parent), Some(name)) => place = Place::entry(parent, name),
                    _ => break None,
                },
            }
        };
        let Some(inode) = inode else { continue };
        let path = paths.entry(inode).or_insert(place.dir).clone();
        let watched = dirs.entry(path).or_insert_with(|| Watched { inode, rules: HashSet::new() });
        watched.rules.insert((subject, place.only));
    }
    dirs
}

/// notify's reason without paths.
fn text(error: &notify::Error) -> String {
    match &error.kind {
        notify::ErrorKind::Io(error) => error.to_string(),
        notify::ErrorKind::MaxFilesWatch => "fs.inotify.max_user_watches is used up".to_owned(),
        notify::ErrorKind::Generic(text) => text.clone(),
        _ => "the watch was refused".to_owned(),
    }
}

#[cfg(test)]
mod tests;
