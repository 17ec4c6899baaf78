//! When a file counts: at once when it was renamed into place or reached through a link, once
//! it was closed when it was written in place, or once it was left alone for a while.

use std::path::Path;
use std::time::{Duration, Instant};

use super::file::{Inode, Stat, inode};
use super::{Again, Depth, Known, Reader, Seen};

/// A file written in place counts when it was unchanged for so long.
pub(super) const SETTLED: Duration = Duration::from_secs(2);
/// A new file of which nothing tells whether it was renamed into place or is still being
/// written counts when it was unchanged for so long.
pub(super) const SETTLED_NEW: Duration = Duration::from_millis(500);
/// A secrets directory that is gone may be about to be replaced: its contents stay for so long.
pub(super) const GONE: Duration = Duration::from_secs(2);
/// Most inodes about which events are remembered between two scans.
const MAX_HINTS: usize = 16_384;

/// What events told about an inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hint {
    /// Created or written to, not closed since.
    Writing,
    /// Closed after writing, or renamed into place.
    Closed,
}

/// A file that is not read yet.
pub(super) struct Waiting {
    pub(super) stat: Stat,
    pub(super) since: Instant,
    /// How long it must stay so.
    pub(super) least: Duration,
    pub(super) mark: u64,
}

/// How the walk came to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Via {
    /// Its own entry in a directory.
    Entry,
    /// A link to the file.
    Link,
    /// A directory that a link leads to since this scan: one atomic act put it there.
    Flipped,
    /// The kubelet's `..data`: written whole before it is there, and never again.
    Data,
}

/// Whether a name leads to the file that was read last. Inode numbers are used again soon, so
/// the time of birth is compared too where the file system knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Same {
    Yes,
    No,
}

/// What to do with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// As it was.
    Keep,
    /// Read it now.
    Read,
    /// Leave it alone until it has been unchanged for so long.
    Wait(Duration),
}

/// The rule for all but the first reading, at which everything counts as it is.
pub(super) fn step(known: Option<&Known>, same: Same, stat: &Stat, hint: Option<Hint>, via: Via, depth: Depth) -> Step {
    let hint = hint.filter(|_| via != Via::Data);
    if let Some(Known { seen: Seen::File(old), again, .. }) = known {
        if old == stat {
            return match depth {
                // A close after equal metadata may have been a write within one tick of the clock.
                _ if hint == Some(Hint::Closed) || *again == Again::Always => Step::Read,
                Depth::Full if hint.is_none() => Step::Read,
                _ => Step::Keep,
            };
        }
        if same == Same::Yes && matches!(via, Via::Entry | Via::Link) {
            let content_same = old.size == stat.size && old.mtime == stat.mtime;
            return match hint {
                Some(Hint::Closed) => Step::Read,
                None if content_same => Step::Read,
                _ => Step::Wait(SETTLED),
            };
        }
    }
    match hint {
        Some(Hint::Closed) => Step::Read,
        Some(Hint::Writing) => Step::Wait(SETTLED),
        None if via != Via::Entry => Step::Read,
        None if stat.size == 0 => Step::Wait(SETTLED),
        // A rename moves ctime and leaves mtime; a write moves both.
        None if stat.ctime != stat.mtime => Step::Read,
        None => Step::Wait(SETTLED_NEW),
    }
}

impl Reader {
    /// An event told that a file was closed after writing: what is in it now counts.
    pub fn closed(&mut self, path: &Path) {
        self.hint(path, Hint::Closed);
    }

    /// An event told that something was renamed to this path: it counts at once.
    pub fn renamed(&mut self, path: &Path) {
        self.hint(path, Hint::Closed);
    }

    /// An event told that a file was created or written to: it waits until it is closed.
    pub fn written(&mut self, path: &Path) {
        self.hint(path, Hint::Writing);
    }

    fn hint(&mut self, path: &Path, hint: Hint) {
        // Of a link, its own inode: no event tells that the file behind it is being written.
        let Ok(stat) = rustix::fs::lstat(path) else { return };
        if self.hints.len() >= MAX_HINTS {
            // Without hints the slower rules hold.
            self.hints.clear();
        }
        let inode: Inode = inode(&stat);
        self.hints.insert(inode, hint);
    }
}
