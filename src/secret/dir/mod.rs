//! One consistent reading of the secrets directory (the reload contract's first rule).
//!
//! [`Reader`] keeps what it saw and tells what changed. `walk` goes through directories, `take`
//! takes up what is found, `file` reads one file, `settle` says when a file may be read, `links` lists what must be watched,
//! `quiet` tells whether the first reading was left alone, `start` has the remarks that are made once at start. Nothing here waits, watches or logs:
//! time comes in as an `Instant`, remarks go out as [`Warning`]s. Called by `secret::source`,
//! and directly by `check`.

mod file;
mod links;
mod mounts;
mod quiet;
mod settle;
mod start;
mod take;
mod walk;

use std::collections::{HashMap, HashSet};
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use file::{Inode, Nanoseconds, Stat};
pub use links::{Place, passed};
pub use start::remarks_at_start;

use super::name::SecretName;
use super::set::{SecretFile, SecretSet};
use super::value::{BadReason, SecretBytes};
use super::wanted::Wanted;
use settle::{Hint, Waiting};

/// Most secrets that are held; further files are left out with a warning.
pub const MAX_SECRETS: usize = 250_000;
/// Most directory entries that one scan looks at.
pub const MAX_ENTRIES: usize = 4_000_000;
/// Deepest directory below the secrets directory.
pub const MAX_DEPTH: usize = 16;

/// How much a scan reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Files whose device, inode, size, mtime or ctime differ from the last reading.
    Changed,
    /// Every wanted file; contents decide.
    Full,
}

/// What a scan found.
#[derive(Debug)]
pub struct Scan {
    /// The new generation, when a content (or the reason why there is none) changed. The first
    /// scan always has one.
    pub set: Option<SecretSet>,
    /// Something is being written, or a directory changed faster than it could be read: what is
    /// in it keeps its old content; scan again soon.
    pub unsettled: bool,
    /// After how long the first of the waiting files counts if nothing happens to it.
    pub settles_in: Option<Duration>,
    /// The directories to be watched changed: see [`Reader::places`].
    pub moved: bool,
    /// Remarks that were not made at the scan before.
    pub warnings: Vec<Warning>,
    /// How many files were opened.
    pub opened: u64,
}

/// What stands in the way of a whole reading; no part of a secret is in it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Warning {
    /// A directory that cannot be listed, the secrets directory itself among them.
    #[error("the secrets directory {} cannot be read: {reason}", path.display())]
    Directory {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A directory that changes all the time, or whose `..data` leads nowhere.
    #[error("{} does not come to rest; what was read from it before goes on", path.display())]
    Torn {
        /// Which.
        path: PathBuf,
    },
    /// Too many levels.
    #[error("{} lies more than {MAX_DEPTH} directories deep and is left out", path.display())]
    TooDeep {
        /// Which.
        path: PathBuf,
    },
    /// Too many entries or secrets.
    #[error("more than {MAX_SECRETS} secrets or {MAX_ENTRIES} entries; the rest is left out")]
    TooMany,
}

/// Reads one directory again and again.
pub struct Reader {
    root: PathBuf,
    wanted: Wanted,
    /// What each wanted name was when it was last read.
    known: HashMap<SecretName, Known>,
    /// Files that wait until they have been left alone.
    waiting: HashMap<SecretName, Waiting>,
    /// What file events told about inodes since the last scan.
    hints: HashMap<Inode, Hint>,
    /// Directories by name (`""` is the top).
    folders: HashMap<Box<str>, Folder>,
    files: Arc<HashMap<SecretName, SecretFile>>,
    generation: u64,
    /// Number of the scan; what carries an older one is gone.
    mark: u64,
    gone_since: Option<Instant>,
    /// The next scan takes names that it does not know as they are.
    all_at_once: bool,
    said: HashSet<Warning>,
    /// Over the first reading.
    quiet: Option<quiet::Quiet>,
    spare: walk::Spare,
    remarks: start::Remarks,
    #[cfg(test)]
    hook: Option<Hook>,
}

/// Called with a name between its metadata and its content.
#[cfg(test)]
type Hook = Box<dyn FnMut(&str) + Send>;

/// How a name was found at its last reading. One is kept for each secret, so it is small.
struct Known {
    seen: Seen,
    /// When the file was made.
    born: Option<NonZero<Nanoseconds>>,
    mark: u64,
    links: Links,
    limit: u32,
    again: Again,
}

/// Where the links on the way to a name lie; most have none.
type Links = Option<Box<Vec<Place>>>;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Seen {
    File(Stat),
    /// No file of its own: broken link, directory, FIFO.
    Other,
}

/// Whether a file is tried again though its metadata are the same.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Again {
    No,
    /// It was unreadable, which may be the fault of something else than the file.
    Always,
}

struct Folder {
    id: Inode,
    mark: u64,
    /// The scan that found it first.
    since: u64,
    links: Links,
}

/// What a walk wants to change; kept apart until the walk is through.
struct Put {
    seen: Seen,
    born: Option<NonZero<Nanoseconds>>,
    limit: u64,
    again: Again,
    links: Links,
    content: Result<SecretBytes, BadReason>,
}

impl Known {
    /// And the content.
    fn of(put: Put, mark: u64) -> (Self, Result<SecretBytes, BadReason>) {
        let Put { seen, born, limit, again, links, content } = put;
        let limit = u32::try_from(limit).unwrap_or(u32::MAX);
        (Self { seen, born, mark, links, limit, again }, content)
    }
}

impl Reader {
    /// A reader that has read nothing yet. `dir` is used as it is given: make it absolute.
    pub fn new(dir: PathBuf, wanted: Wanted) -> Self {
        Self {
            root: dir,
            wanted,
            known: HashMap::new(),
            waiting: HashMap::new(),
            hints: HashMap::new(),
            folders: HashMap::new(),
            files: Arc::default(),
            generation: 0,
            mark: 0,
            gone_since: None,
            all_at_once: true,
            said: HashSet::new(),
            quiet: None,
            spare: walk::Spare::default(),
            remarks: start::Remarks::default(),
            #[cfg(test)]
            hook: None,
        }
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.root
    }

    /// How many wanted names and how many directories the last scan came by.
    pub fn size(&self) -> (u32, u32) {
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        (count(self.known.len()), count(self.folders.len()))
    }

    /// What the last scans found; generation 0 before the first.
    pub fn current(&self) -> SecretSet {
        SecretSet { generation: self.generation, files: self.files.clone() }
    }

    /// Other names are wanted from the next scan on; names that are no longer wanted are
    /// forgotten there, new ones are read as at start.
    pub fn want(&mut self, wanted: Wanted) {
        self.known.retain(|name, known| wanted.limit(name.as_str()) == Some(known.limit.into()));
        self.wanted = wanted;
        self.waiting.clear();
        self.gone_since = None;
        self.all_at_once = true;
    }

    /// Reads the directory once. `now` only grows; it measures how long a file was left alone.
    pub fn scan(&mut self, depth: Depth, now: Instant) -> Scan {
        self.mark += 1;
        let outcome = walk::Pass::run(self, depth, now);
        let first = self.generation == 0;
        let changed = self.apply(outcome.puts);
        self.hints.retain(|_, hint| *hint == Hint::Writing);
        let warnings: HashSet<Warning> = outcome.warnings.into_iter().collect();
        let fresh = warnings.difference(&self.said).cloned().collect();
        self.said = warnings;
        let set = (changed || first).then(|| {
            self.generation += 1;
            self.current()
        });
        let unsettled = outcome.unsettled || !self.waiting.is_empty();
        let rest = |file: &Waiting| file.least.saturating_sub(now.saturating_duration_since(file.since));
        let settles_in = self.waiting.values().map(rest).min();
        Scan { set, unsettled, settles_in, moved: outcome.moved, warnings: fresh, opened: outcome.opened }
    }

    /// Takes over what the first walk found, in one go; true when that is anything.
    fn begin(&mut self, puts: Vec<(SecretName, Put)>) -> bool {
        let mark = self.mark;
        let mut files = HashMap::with_capacity(puts.len());
        self.known.reserve(puts.len());
        for (name, put) in puts {
            let (known, content) = Known::of(put, mark);
            let digest = file::digest(&content);
            self.waiting.remove(&name);
            self.known.insert(name.clone(), known);
            files.insert(name, SecretFile { content, digest });
        }
        self.waiting.retain(|_, waiting| waiting.mark == mark);
        self.files = Arc::new(files);
        !self.files.is_empty()
    }

    /// Takes over what a walk found; true when a content changed.
    fn apply(&mut self, puts: Vec<(SecretName, Put)>) -> bool {
        let mark = self.mark;
        if self.files.is_empty() && self.known.is_empty() {
            return self.begin(puts);
        }
        let mut changed: Vec<(SecretName, Option<SecretFile>)> = Vec::new();
        for (name, put) in puts {
            let (known, content) = Known::of(put, mark);
            let digest = file::digest(&content);
            if self.files.get(&name).is_none_or(|file| file.digest != digest) {
                changed.push((name.clone(), Some(SecretFile { content, digest })));
            }
            self.waiting.remove(&name);
            self.known.insert(name, known);
        }
        self.known.retain(|_, known| known.mark == mark);
        self.waiting.retain(|_, waiting| waiting.mark == mark);
        let gone = self.files.keys().filter(|name| !self.known.contains_key(*name));
        changed.extend(gone.map(|name| (name.clone(), None)));
        if changed.is_empty() {
            return false;
        }
        let files = Arc::make_mut(&mut self.files);
        for (name, file) in changed {
            match file {
                Some(file) => files.insert(name, file),
                None => files.remove(&name),
            };
        }
        true
    }
}

#[cfg(test)]
pub(in crate::secret) mod tests;
