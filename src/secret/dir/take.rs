//! What a walk takes up: files that are read, names that are kept, directories that are noted.
//!
//! The going is in `walk`; the rule when a file may be read is in `settle`.

use std::collections::HashSet;
use std::ffi::CStr;
use std::num::NonZero;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::fs::{AtFlags, FileType, StatxFlags, statat, statx};
use rustix::io::Errno;

use super::file::{Inode, Nanoseconds, Read, Stat, read_file, time, unreadable};
use super::links::passed;
use super::settle::{SETTLED, Same, Step, Via, Waiting, step};
use super::walk::{Moved, Pass, Torn, code};
use super::{Again, Folder, Known, Links, MAX_SECRETS, Put, Seen, Warning};
use crate::secret::name::SecretName;
use crate::secret::value::BadReason;

impl Pass<'_> {
    /// A regular file under a wanted name.
    pub(super) fn file(
        &mut self,
        fd: &OwnedFd,
        name: &CStr,
        stat: &Stat,
        limit: u64,
        via: Via,
        kind: u8,
    ) -> Result<(), Torn> {
        let reader = &mut *self.reader;
        let hint = reader.hints.get(&stat.inode).copied();
        let known = reader.known.get_mut(self.path.as_str());
        let next = match &known {
            None if self.all_at_once => Step::Read,
            None => step(None, Same::No, stat, hint, via, self.depth),
            Some(known) => {
                let same = same_file(known, stat, || born(fd, name));
                step(Some(known), same, stat, hint, via, self.depth)
            }
        };
        if let (Step::Keep, Some(known)) = (next, known) {
            known.mark = reader.mark;
            return Ok(());
        }
        if let Step::Wait(least) = next
            && !self.waited(stat, least)
        {
            return Ok(());
        }
        self.read(fd, name, limit, kind)
    }

    /// Reads a file, whatever was known of it.
    pub(super) fn read(&mut self, fd: &OwnedFd, name: &CStr, limit: u64, kind: u8) -> Result<(), Torn> {
        #[cfg(test)]
        if let Some(hook) = &mut self.reader.hook {
            hook(&self.path);
        }
        self.out.opened += 1;
        match read_file(fd, name, limit, &mut self.reader.spare.content) {
            Read::Gone => Err(Torn),
            Read::Changing(stat) => {
                self.wait(&stat, SETTLED);
                Ok(())
            }
            Read::Done(found, content) => {
                let again = if matches!(content, Err(BadReason::Unreadable(_))) { Again::Always } else { Again::No };
                let seen = found.map_or(Seen::Other, |found| Seen::File(found.stat));
                let link = kind == code(FileType::Symlink);
                if let Some(found) = found {
                    self.reader.hints.remove(&found.stat.inode);
                    self.remark(&found, link);
                }
                let born = found.and_then(|found| found.born).and_then(NonZero::new);
                self.put(Put { seen, born, limit, again, links: self.links(link), content })
            }
        }
    }

    /// Whether a file has been unchanged for `least`; if not, it goes on waiting.
    fn waited(&mut self, stat: &Stat, least: Duration) -> bool {
        let since = self.reader.waiting.get(self.path.as_str()).filter(|waiting| waiting.stat == *stat);
        if since.is_some_and(|waiting| self.now.saturating_duration_since(waiting.since) >= least) {
            return true;
        }
        self.wait(stat, least);
        false
    }

    /// Keeps the old content, if there is one, and notes since when the file looks as it does.
    fn wait(&mut self, stat: &Stat, least: Duration) {
        let reader = &mut *self.reader;
        let mark = reader.mark;
        if let Some(known) = reader.known.get_mut(self.path.as_str()) {
            known.mark = mark;
        }
        if let Some(waiting) = reader.waiting.get_mut(self.path.as_str()) {
            if waiting.stat != *stat {
                (waiting.stat, waiting.since) = (*stat, self.now);
            }
            (waiting.least, waiting.mark) = (least, mark);
        } else if let Ok(name) = SecretName::parse(&self.path) {
            reader.waiting.insert(name, Waiting { stat: *stat, since: self.now, least, mark });
        }
    }

    /// Something under a wanted name that is no readable file.
    pub(super) fn put_other(
        &mut self,
        limit: u64,
        reason: BadReason,
        via: Via,
        fd: &OwnedFd,
        name: &CStr,
    ) -> Result<(), Torn> {
        if via == Via::Link && statat(fd, name, AtFlags::SYMLINK_NOFOLLOW).is_err() {
            return Err(Torn);
        }
        let links = self.links(via == Via::Link);
        self.put(Put { seen: Seen::Other, born: None, limit, again: Again::Always, links, content: Err(reason) })
    }

    fn put(&mut self, put: Put) -> Result<(), Torn> {
        // A name with a control character or a backslash is no name of a secret.
        let known = self.reader.known.get_key_value(self.path.as_str()).map(|(name, _)| name.clone());
        let named = || self.reader.wanted.name(&self.path).cloned();
        let Some(name) = known.or_else(named).or_else(|| SecretName::parse(&self.path).ok()) else { return Ok(()) };
        if self.out.puts.len() >= MAX_SECRETS {
            self.out.warnings.push(Warning::TooMany);
            return Ok(());
        }
        self.out.moved |= match self.reader.known.get(&name) {
            Some(known) => known.links != put.links,
            None => put.links.is_some(),
        };
        self.out.puts.push((name, put));
        Ok(())
    }

    /// Where the links on the way to the present path lie.
    fn links(&self, link: bool) -> Links {
        link.then(|| Box::new(passed(&self.reader.root.join(&self.path))))
    }

    /// Remembers a directory, so that it is watched.
    pub(super) fn note_folder(&mut self, id: Inode, via: Via) -> Moved {
        let mark = self.reader.mark;
        if let Some(folder) = self.reader.folders.get_mut(self.path.as_str()).filter(|folder| folder.id == id) {
            folder.mark = mark;
            return if folder.since == mark { Moved::Yes } else { Moved::No };
        }
        self.out.moved = true;
        let links = self.links(via == Via::Flipped);
        self.reader.folders.insert(self.path.as_str().into(), Folder { id, mark, since: mark, links });
        Moved::Yes
    }

    /// A directory that cannot be read: what is wanted from it is unreadable.
    pub(super) fn refuse_folder(&mut self, error: Errno, stat: Option<&rustix::fs::Stat>) {
        let BadReason::Unreadable(reason) = unreadable(error, stat) else { return };
        let path = self.reader.root.join(&self.path);
        self.out.warnings.push(Warning::Directory { path, reason: reason.clone() });
        let under = |name: &&SecretName| below(&self.path, name.as_str());
        let named = self.reader.wanted.names().map(|(name, _)| name).filter(under);
        let known = self.reader.known.keys().filter(under);
        let names: HashSet<SecretName> = named.chain(known).cloned().collect();
        for name in names {
            let limit = self.reader.wanted.limit(name.as_str()).unwrap_or_default();
            let content = Err(BadReason::Unreadable(format!("its directory: {reason}")));
            let put = Put { seen: Seen::Other, born: None, limit, again: Again::Always, links: None, content };
            self.out.puts.push((name, put));
        }
    }

    /// Everything below the present path stays as it was.
    pub(super) fn keep(&mut self) {
        let reader = &mut *self.reader;
        let mark = reader.mark;
        let known = reader.known.iter_mut().filter(|(name, _)| below(&self.path, name.as_str()));
        known.for_each(|(_, known)| known.mark = mark);
        let folders = reader.folders.iter_mut().filter(|(name, _)| below(&self.path, name) || ***name == *self.path);
        folders.for_each(|(_, folder)| folder.mark = mark);
    }

    /// Forgets what a torn reading of the present directory found.
    pub(super) fn roll_back(&mut self, from: usize) {
        self.out.puts.truncate(from);
        for (name, known) in &mut self.reader.known {
            if below(&self.path, name.as_str()) {
                known.mark = 0;
            }
        }
    }
}

/// Whether a name still leads to the file that was read; asks for its birth only when in doubt.
fn same_file(known: &Known, stat: &Stat, born: impl FnOnce() -> Option<NonZero<Nanoseconds>>) -> Same {
    match known.seen {
        Seen::File(old) if old == *stat => Same::Yes,
        Seen::File(old) if old.inode == stat.inode && known.born == born() => Same::Yes,
        _ => Same::No,
    }
}

/// When the file was made, where the file system knows it.
fn born(fd: &OwnedFd, name: &CStr) -> Option<NonZero<Nanoseconds>> {
    let found = statx(fd, name, AtFlags::empty(), StatxFlags::BTIME).ok()?;
    let known = found.stx_mask & StatxFlags::BTIME.bits() != 0;
    NonZero::new(time(found.stx_btime)).filter(|_| known)
}

/// Whether a name lies below a folder.
fn below(folder: &str, name: &str) -> bool {
    folder.is_empty() || name.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}
