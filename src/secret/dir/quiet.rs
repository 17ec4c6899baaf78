//! Whether anything happened while the directories were read for the first time.
//!
//! The watch that stays (`secret::watch`) also hears of each file that is opened, so a first reading under it wakes its
//! thread once for every secret. Therefore the directories come under that watch after they were read, and under this
//! one, which hears of changes alone, before. When it heard nothing, nothing has to be looked at again. Callers: `walk`,
//! which says where it goes, and `secret::source`, which asks.

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::inotify::{CreateFlags, WatchFlags, add_watch, init};
use rustix::io::{Errno, read};

use super::Reader;
use super::file::{Inode, inode};

/// Most directories; with more, everything is looked at again.
const MOST: usize = 4096;

/// A watch over what is read.
pub(super) struct Quiet {
    inotify: OwnedFd,
    watched: usize,
    /// Whether it hears of everything that was read so far.
    whole: bool,
}

impl Quiet {
    fn start() -> Option<Self> {
        let inotify = init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).ok()?;
        Some(Self { inotify, watched: 0, whole: true })
    }

    /// A directory that will be read, and which one it is.
    pub(super) fn watch(&mut self, path: &Path, id: Inode) {
        let changes = WatchFlags::MODIFY
            | WatchFlags::ATTRIB
            | WatchFlags::CLOSE_WRITE
            | WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::MOVE
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF
            | WatchFlags::ONLYDIR;
        self.watched += 1;
        self.whole &= self.watched <= MOST
            && add_watch(&self.inotify, path, changes).is_ok()
            && rustix::fs::stat(path).is_ok_and(|now| inode(&now) == id);
    }

    /// Something was read that lies elsewhere.
    pub(super) fn miss(&mut self) {
        self.whole = false;
    }

    fn heard_nothing(&self) -> bool {
        // One event has at most some 300 bytes; for more of them there is no need.
        self.whole && read(&self.inotify, &mut [0; 1024][..]) == Err(Errno::AGAIN)
    }
}

impl Reader {
    /// Hears of changes from now on, until [`Self::was_quiet`].
    pub fn listen(&mut self) {
        self.quiet = Quiet::start();
    }

    /// Whether nothing that was read since [`Self::listen`] has changed since it was read. Asked once: then the
    /// directories are under the watch that stays.
    pub fn was_quiet(&mut self) -> bool {
        self.quiet.take().is_some_and(|quiet| quiet.heard_nothing())
    }
}
