//! One walk through the directories.
//!
//! Each directory is opened once and everything in it is read relative to that descriptor; when
//! its path then leads elsewhere, or a listed file was gone, it is read again (a few times). A
//! directory with the kubelet's `..data` holds what `..data` leads to, so that one rename
//! switches all its names, whether or not their visible links are there already.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::time::Instant;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RawDir, fstat, openat, readlinkat_raw, statat};
use rustix::io::Errno;
use zeroize::{Zeroize as _, Zeroizing};

use super::file::{Found, Inode, Stat, inode, other_kind, unreadable};
use super::links::passed;
use super::quiet;
use super::settle::{GONE, Hint, Via};
use super::{Depth, MAX_DEPTH, MAX_ENTRIES, Put, Reader, Warning};
use crate::secret::name::SecretName;
use crate::secret::value::BadReason;
use crate::secret::wanted::is_left_over;

/// How often a directory is read again when it changed meanwhile.
const TRIES: usize = 5;
const DATA: &CStr = c"..data";
const LISTING: usize = 32 * 1024;

/// Buffers that scans share.
#[derive(Default)]
pub(super) struct Spare {
    listing: Vec<u8>,
    names: Vec<Vec<u8>>,
    path: String,
    /// Takes the content of one file after the other.
    pub(super) content: Zeroizing<Vec<u8>>,
}

/// What a walk found.
pub(super) struct Outcome {
    pub(super) puts: Vec<(SecretName, Put)>,
    pub(super) warnings: Vec<Warning>,
    pub(super) unsettled: bool,
    pub(super) moved: bool,
    pub(super) opened: u64,
}

/// What was listed is no longer what is there.
pub(super) struct Torn;

/// Whether a directory is another one than at the scan before.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Moved {
    No,
    Yes,
}

/// One walk.
pub(super) struct Pass<'r> {
    pub(super) reader: &'r mut Reader,
    pub(super) depth: Depth,
    pub(super) now: Instant,
    /// Names that were not known count as they are: nothing was read before.
    pub(super) all_at_once: bool,
    /// Name of what is looked at; `""` at the top.
    pub(super) path: String,
    above: Vec<Inode>,
    /// The mount of the directory that is looked at.
    pub(super) mount: Option<u64>,
    /// Whether it lies in a volume of the kubelet's, whose modes are the volume's affair.
    pub(super) projected: bool,
    entries: usize,
    pub(super) out: Outcome,
}

impl<'r> Pass<'r> {
    /// Walks from the top.
    pub(super) fn run(reader: &'r mut Reader, depth: Depth, now: Instant) -> Outcome {
        let all_at_once = std::mem::take(&mut reader.all_at_once);
        let mut path = std::mem::take(&mut reader.spare.path);
        path.clear();
        let out = Outcome { puts: Vec::new(), warnings: Vec::new(), unsettled: false, moved: false, opened: 0 };
        let (above, mount, projected, entries) = (Vec::new(), None, false, 0);
        let mut pass = Self { reader, depth, now, all_at_once, path, above, mount, projected, entries, out };
        let root = pass.reader.root.clone();
        match std::ffi::CString::new(root.as_os_str().as_bytes()) {
            Ok(root) => {
                // A link on the way to the top is known by the places that it passes.
                if pass.folder(CWD, &root, Via::Entry).is_err() {
                    pass.top_is_gone();
                } else {
                    pass.reader.gone_since = None;
                }
            }
            Err(_) => pass.refuse_folder(Errno::INVAL, None),
        }
        let mark = pass.reader.mark;
        let before = pass.reader.folders.len();
        pass.reader.folders.retain(|_, folder| folder.mark == mark);
        pass.out.moved |= before != pass.reader.folders.len();
        pass.reader.spare.path = pass.path;
        pass.reader.spare.content.zeroize();
        pass.reader.spare.content = Zeroizing::default();
        pass.out
    }

    /// The secrets directory is not there: perhaps between two renames.
    fn top_is_gone(&mut self) {
        let since = *self.reader.gone_since.get_or_insert(self.now);
        if !self.reader.known.is_empty() && self.now.saturating_duration_since(since) < GONE {
            self.keep();
            self.out.unsettled = true;
        } else {
            self.out
                .warnings
                .push(Warning::Directory { path: self.reader.root.clone(), reason: "it does not exist".into() });
        }
    }

    /// Reads one directory, again if it is torn. `Err`: there is no such directory.
    fn folder(&mut self, parent: BorrowedFd<'_>, name: &CStr, via: Via) -> Result<(), Torn> {
        let from = self.out.puts.len();
        let mut missing = 0;
        for _ in 0..TRIES {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
            let fd = match openat(parent, name, flags, Mode::empty()) {
                Ok(fd) => fd,
                Err(Errno::NOENT) => {
                    missing += 1;
                    continue;
                }
                Err(error) => {
                    let stat = statat(parent, name, AtFlags::empty()).ok();
                    self.refuse_folder(error, stat.as_ref());
                    return Ok(());
                }
            };
            let Ok(found) = Found::of(&fd) else { continue };
            let id = found.stat.inode;
            if self.above.contains(&id) {
                return Ok(()); // a link to a directory above
            }
            self.above.push(id);
            if self.reader.generation == 0 {
                self.reader.remarks.mounts.add(found.mount, &self.path);
            }
            let mount = std::mem::replace(&mut self.mount, found.mount);
            let inside = self.inside(&fd, name != DATA, id, via);
            self.mount = mount;
            self.above.pop();
            let same = statat(parent, name, AtFlags::empty()).is_ok_and(|now| inode(&now) == id);
            if inside.is_ok() && same {
                return Ok(());
            }
            self.roll_back(from);
        }
        if missing == TRIES && name != DATA {
            return Err(Torn);
        }
        self.keep();
        self.out.unsettled = true;
        let path = self.reader.root.join(&self.path);
        self.out.warnings.push(Warning::Torn { path });
        Ok(())
    }

    /// Everything in an open directory.
    fn inside(&mut self, fd: &OwnedFd, own: bool, id: Inode, via: Via) -> Result<(), Torn> {
        // Behind a link that did not move, files come and go like anywhere else.
        let via = match own {
            true if self.note_folder(id, via) == Moved::No => Via::Entry,
            true if self.path.is_empty() && passed(&self.reader.root).len() > 1 => Via::Flipped,
            // An event told that the whole directory was renamed into place.
            true if self.reader.hints.get(&id) == Some(&Hint::Closed) => Via::Flipped,
            true => via,
            false => Via::Data,
        };
        if self.reader.quiet.is_some() {
            let mut path = self.reader.root.join(&self.path);
            if !own {
                path.push("..data");
            }
            self.reader.quiet.iter_mut().for_each(|quiet| quiet.watch(&path, id));
        }
        let mut names = self.reader.spare.names.pop().unwrap_or_default();
        names.clear();
        let kubelet = match self.list(fd, &mut names) {
            Ok(kubelet) => kubelet && own,
            Err(error) => {
                self.reader.spare.names.push(names);
                self.refuse_folder(error, fstat(fd).ok().as_ref());
                return Ok(());
            }
        };
        let mut outcome = Ok(());
        let projected = self.projected;
        self.projected |= kubelet;
        if kubelet {
            outcome = self.folder(fd.as_fd(), DATA, Via::Data);
        }
        let length = self.path.len();
        for entry in names.split_inclusive(|byte| *byte == 0) {
            let Some((&kind, name)) = entry.split_first() else { continue };
            let Ok(name) = CStr::from_bytes_with_nul(name) else { continue };
            if outcome.is_err() {
                break;
            }
            if self.enter(name) {
                outcome = self.entry(fd, name, kind, via, kubelet);
            }
            self.path.truncate(length);
        }
        self.projected = projected;
        self.reader.spare.names.push(names);
        outcome
    }

    /// Lists a directory into `names` (kind, name, NUL); true when there is a `..data`.
    fn list(&mut self, fd: &OwnedFd, names: &mut Vec<u8>) -> Result<bool, Errno> {
        let mut kubelet = false;
        let mut buffer = std::mem::take(&mut self.reader.spare.listing);
        buffer.reserve(LISTING);
        let mut listing = RawDir::new(fd, buffer.spare_capacity_mut());
        let mut result = Ok(());
        while let Some(entry) = listing.next() {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    result = Err(error);
                    break;
                }
            };
            kubelet |= entry.file_name() == DATA;
            if self.entries >= MAX_ENTRIES {
                self.out.warnings.push(Warning::TooMany);
                break;
            }
            self.entries += 1;
            if entry.file_name().to_bytes().first() != Some(&b'.') {
                names.push(code(entry.file_type()));
                names.extend_from_slice(entry.file_name().to_bytes_with_nul());
            }
        }
        self.reader.spare.listing = buffer;
        result.map(|()| kubelet)
    }

    /// Appends a component to the path; false when it never counts.
    fn enter(&mut self, name: &CStr) -> bool {
        let Ok(name) = name.to_str() else { return false };
        if is_left_over(name) {
            return false;
        }
        if !self.path.is_empty() {
            self.path.push('/');
        }
        self.path.push_str(name);
        true
    }

    /// One entry of a directory.
    fn entry(&mut self, fd: &OwnedFd, name: &CStr, kind: u8, via: Via, kubelet: bool) -> Result<(), Torn> {
        let limit = match self.reader.known.get(self.path.as_str()) {
            Some(known) => Some(known.limit.into()),
            None => self.reader.wanted.limit(&self.path),
        };
        if let Some(limit) = limit.filter(|_| self.all_at_once && kind == code(FileType::RegularFile))
            && !self.reader.known.contains_key(self.path.as_str())
        {
            // At the first reading everything counts as it is: the open file tells what it is.
            return self.read(fd, name, limit, kind);
        }
        let folder = kind != code(FileType::RegularFile) && self.reader.wanted.may_hold(&self.path);
        if limit.is_none() && !folder {
            return Ok(());
        }
        let mut kind = kind;
        if kind == code(FileType::Unknown) {
            let stat = statat(fd, name, AtFlags::SYMLINK_NOFOLLOW).map_err(|_| Torn)?;
            kind = code(FileType::from_raw_mode(stat.st_mode));
        }
        let mut via = via;
        if kind == code(FileType::Symlink) {
            if kubelet && leads_into_data(fd, name) {
                return Ok(()); // already read through `..data`
            }
            via = Via::Link;
            self.reader.quiet.iter_mut().for_each(quiet::Quiet::miss);
        } else if kind == code(FileType::Directory) && limit.is_none() {
            return self.subfolder(fd, name, via);
        }
        let stat = match statat(fd, name, AtFlags::empty()) {
            Ok(stat) => stat,
            Err(Errno::NOENT) if kind != code(FileType::Symlink) => return Err(Torn),
            Err(error) => {
                if let Some(limit) = limit {
                    let broken = matches!(error, Errno::NOENT | Errno::LOOP);
                    let reason = if broken { BadReason::BrokenLink } else { unreadable(error, None) };
                    self.put_other(limit, reason, via, fd, name)?;
                }
                return Ok(());
            }
        };
        match (other_kind(FileType::from_raw_mode(stat.st_mode)), limit) {
            (None, Some(limit)) => self.file(fd, name, &Stat::of(&stat), limit, via, kind),
            (None, None) => Ok(()),
            (Some("directory"), limit) => {
                if let Some(limit) = limit.filter(|_| self.must_be_file()) {
                    self.put_other(limit, BadReason::NotRegular("directory"), via, fd, name)?;
                }
                let via = if via == Via::Link { Via::Flipped } else { via };
                if folder { self.subfolder(fd, name, via) } else { Ok(()) }
            }
            (Some(kind), Some(limit)) => self.put_other(limit, BadReason::NotRegular(kind), via, fd, name),
            (Some(_), None) => Ok(()),
        }
    }

    /// A directory under a name that is wanted as it stands, or was a file before.
    fn must_be_file(&self) -> bool {
        let path = self.path.as_str();
        self.reader.wanted.is_named(path) || self.reader.known.contains_key(path)
    }

    fn subfolder(&mut self, fd: &OwnedFd, name: &CStr, via: Via) -> Result<(), Torn> {
        if self.above.len() >= MAX_DEPTH {
            let path = self.reader.root.join(&self.path);
            self.out.warnings.push(Warning::TooDeep { path });
            return Ok(());
        }
        self.folder(fd.as_fd(), name, via)
    }
}

/// Whether an entry is one of the kubelet's visible links.
fn leads_into_data(fd: &OwnedFd, name: &CStr) -> bool {
    let mut target = [0; 512];
    let Ok(length) = readlinkat_raw(fd, name, &mut target[..]) else { return false };
    let Some(inside) = target[..length].strip_prefix(b"..data/") else { return false };
    inside == name.to_bytes()
}

pub(super) fn code(kind: FileType) -> u8 {
    match kind {
        FileType::RegularFile => b'f',
        FileType::Directory => b'd',
        FileType::Symlink => b'l',
        FileType::Unknown => b'?',
        _ => b'o',
    }
}
