//! One file: its metadata, its content or the reason why there is none.

use std::ffi::CStr;
use std::fmt::Write as _;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::OnceLock;

use ring::digest;
use ring::rand::{SecureRandom as _, SystemRandom};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, StatxFlags, fstat, makedev, openat, statx};
use rustix::io::{Errno, read};
use zeroize::Zeroizing;

use crate::secret::set::Digest;
use crate::secret::value::{BadReason, SecretBytes};

/// Device and inode number: which file it is, whatever it is called.
pub type Inode = (u64, u64);

/// What is compared to tell whether a file changed. One is kept for each secret, so it is small.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Device and inode.
    pub inode: Inode,
    /// Bytes.
    pub size: u64,
    /// Last change of the content.
    pub mtime: Nanoseconds,
    /// Last change of anything, names included.
    pub ctime: Nanoseconds,
}

/// Nanoseconds since 1970; good until the year 2262.
pub type Nanoseconds = i64;

pub(super) fn nanoseconds(seconds: i64, rest: i64) -> Nanoseconds {
    seconds.wrapping_mul(1_000_000_000).wrapping_add(rest)
}

impl Stat {
    /// Of what a path leads to; `None` when it leads nowhere.
    pub fn read(path: &std::path::Path) -> Option<Self> {
        rustix::fs::stat(path).ok().as_ref().map(Self::of)
    }

    #[allow(clippy::unnecessary_cast)] // the widths differ between architectures
    pub(super) fn of(stat: &rustix::fs::Stat) -> Self {
        Self {
            inode: inode(stat),
            size: stat.st_size as u64,
            mtime: nanoseconds(stat.st_mtime as i64, stat.st_mtime_nsec as i64),
            ctime: nanoseconds(stat.st_ctime as i64, stat.st_ctime_nsec as i64),
        }
    }
}

#[allow(clippy::unnecessary_cast)] // the widths differ between architectures
pub(super) fn inode(stat: &rustix::fs::Stat) -> Inode {
    (stat.st_dev as u64, stat.st_ino as u64)
}

/// How reading a file ended.
pub(super) enum Read {
    /// It is gone: the listing that named it is out of date.
    Gone,
    /// It changed while it was read.
    Changing(Stat),
    /// Read, or known to be unusable. The metadata are those from before the content was read.
    Done(Option<Found>, Result<SecretBytes, BadReason>),
}

/// All that one call tells about an open file or directory.
#[derive(Clone, Copy)]
pub(super) struct Found {
    pub(super) stat: Stat,
    /// When it was made, where the file system knows it.
    pub(super) born: Option<Nanoseconds>,
    /// The mount that it lies on; not before Linux 5.8.
    pub(super) mount: Option<u64>,
    pub(super) mode: u32,
}

impl Found {
    /// Of something that is open; by `fstat` where there is no `statx`.
    pub(super) fn of(file: impl AsFd) -> Result<Self, Errno> {
        let flags = StatxFlags::BASIC_STATS | StatxFlags::BTIME | StatxFlags::MNT_ID;
        let Ok(all) = statx(&file, c"", AtFlags::EMPTY_PATH, flags) else {
            let stat = fstat(&file)?;
            return Ok(Self { stat: Stat::of(&stat), born: None, mount: None, mode: stat.st_mode });
        };
        let has = |flag: StatxFlags| all.stx_mask & flag.bits() != 0;
        let stat = Stat {
            inode: (makedev(all.stx_dev_major, all.stx_dev_minor), all.stx_ino),
            size: all.stx_size,
            mtime: time(all.stx_mtime),
            ctime: time(all.stx_ctime),
        };
        Ok(Self {
            stat,
            born: has(StatxFlags::BTIME).then(|| time(all.stx_btime)),
            mount: has(StatxFlags::MNT_ID).then_some(all.stx_mnt_id),
            mode: all.stx_mode.into(),
        })
    }
}

pub(super) fn time(time: rustix::fs::StatxTimestamp) -> Nanoseconds {
    nanoseconds(time.tv_sec, time.tv_nsec.into())
}

/// Reads a file of at most `limit` bytes without ever waiting for it. `buffer` is for one file after the other.
pub(super) fn read_file(dir: impl AsFd, name: &CStr, limit: u64, buffer: &mut Zeroizing<Vec<u8>>) -> Read {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let file = match openat(dir.as_fd(), name, flags, Mode::empty()) {
        Ok(file) => file,
        Err(Errno::NOENT) => return Read::Gone,
        Err(Errno::NXIO) => return Read::Done(None, Err(BadReason::NotRegular("socket"))),
        Err(error) => {
            let stat = rustix::fs::statat(dir, name, AtFlags::empty()).ok();
            let found =
                |stat: &rustix::fs::Stat| Found { stat: Stat::of(stat), born: None, mount: None, mode: stat.st_mode };
            return Read::Done(stat.as_ref().map(found), Err(unreadable(error, stat.as_ref())));
        }
    };
    // Metadata before the content: a change in between is then seen as a change next time.
    let found = match Found::of(&file) {
        Ok(found) => found,
        Err(error) => return Read::Done(None, Err(unreadable(error, None))),
    };
    if let Some(kind) = other_kind(FileType::from_raw_mode(found.mode)) {
        return Read::Done(None, Err(BadReason::NotRegular(kind)));
    }
    let before = found.stat;
    let content = content(&file, before.size, limit, buffer);
    match fstat(&file) {
        Ok(after) if Stat::of(&after) == before => Read::Done(Some(found), content),
        Ok(after) if unlinked(&before, &Stat::of(&after)) => Read::Done(Some(found), content),
        _ => Read::Changing(before),
    }
}

/// Only the number of names or the mode changed: the content is whole.
fn unlinked(before: &Stat, after: &Stat) -> bool {
    before.inode == after.inode && before.size == after.size && before.mtime == after.mtime
}

/// Least bytes that are taken for contents, of which most are short.
const ROOM: usize = 1024;

fn content(file: &OwnedFd, size: u64, limit: u64, buffer: &mut Zeroizing<Vec<u8>>) -> Result<SecretBytes, BadReason> {
    if size > limit {
        return Err(BadReason::TooLarge { size, limit });
    }
    // One byte more than it should be, so that a file which grew is noticed; never grown, so
    // that no copy is left behind by a reallocation.
    let most = usize::try_from(limit).unwrap_or(usize::MAX).saturating_add(1);
    let room = usize::try_from(size).unwrap_or(usize::MAX).saturating_add(1).min(most);
    if buffer.len() < room {
        // A new one: the old one is wiped whole.
        *buffer = Zeroizing::new(vec![0; room.next_power_of_two().max(ROOM)]);
    }
    let buffer = &mut buffer[..room];
    let mut filled = 0;
    while filled < room {
        match read(file, &mut buffer[filled..]) {
            Ok(0) => break,
            // Less than there was room for is the end of a regular file: one call less for each secret.
            Ok(count) if filled + count == room - 1 => {
                filled += count;
                break;
            }
            Ok(count) => filled += count,
            Err(Errno::INTR) => {}
            Err(error) => return Err(unreadable(error, None)),
        }
    }
    if filled as u64 > limit {
        return Err(BadReason::TooLarge { size: filled as u64, limit });
    }
    if filled == 0 {
        return Err(BadReason::Empty);
    }
    // What grew beyond its size while it was read is dropped by the caller as changing.
    Ok(SecretBytes::copy_of(&buffer[..filled]))
}

/// What it is when it is no regular file.
pub(super) fn other_kind(kind: FileType) -> Option<&'static str> {
    match kind {
        FileType::RegularFile => None,
        FileType::Directory => Some("directory"),
        FileType::Fifo => Some("FIFO"),
        FileType::Socket => Some("socket"),
        FileType::CharacterDevice | FileType::BlockDevice => Some("device"),
        _ => Some("unknown kind"),
    }
}

/// The operating system's reason, with what helps to mend it when a permission is missing.
pub(super) fn unreadable(error: Errno, stat: Option<&rustix::fs::Stat>) -> BadReason {
    let mut text = match error {
        Errno::ACCESS | Errno::PERM => "permission denied".to_owned(),
        other => std::io::Error::from(other).to_string(),
    };
    if let (Errno::ACCESS | Errno::PERM, Some(stat)) = (error, stat) {
        let own = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let (mode, uid, gid) = (stat.st_mode & 0o7777, stat.st_uid, stat.st_gid);
        let _ = write!(text, " (mode {mode:04o}, owner {uid}:{gid}, running as {}:{};", own.0, own.1);
        text.push_str(" on Kubernetes set securityContext.fsGroup, and defaultMode 0440)");
    }
    BadReason::Unreadable(text)
}

/// Equal for equal contents, different from process to process.
pub(super) fn digest(content: &Result<SecretBytes, BadReason>) -> Digest {
    static KEYED: OnceLock<digest::Context> = OnceLock::new();
    let mut context = KEYED.get_or_init(keyed).clone();
    match content {
        Ok(bytes) => {
            context.update(b"good");
            context.update(bytes.expose());
        }
        Err(reason) => {
            context.update(b"bad ");
            context.update(reason.to_string().as_bytes());
        }
    }
    let mut out = Digest::default();
    let length = out.len();
    out.copy_from_slice(&context.finish().as_ref()[..length]);
    out
}

/// SHA-256 that has taken in a whole block of key, so that a short content costs one block more. Half of what comes out
/// is cut off, so nobody could add to a content whose digest is known.
fn keyed() -> digest::Context {
    let mut key = Zeroizing::new([0; 64]);
    // Without randomness from the system there is no TLS either; an unkeyed digest never leaves the process.
    let _ = SystemRandom::new().fill(&mut *key);
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(&*key);
    context
}
