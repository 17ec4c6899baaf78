//! Which processes that share a SQLite file are alive: each holds a lock on a file of its own beside the database. The lock
//! belongs to the open file (flock), so the kernel ends it with the process, however that ends, and no process id is
//! compared, which another container may have as well. A file that is not there proves nothing. Callers: `sqlite`, `ledger`.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{FlockOperation, RenameFlags, flock, renameat_with};

use super::fresh_id;

/// Times that a mark is tried again when another process sweeps it away before it is locked.
const TRIES: usize = 3;
/// Characters of an owner at most: it becomes part of a file name.
const OWNER: usize = 64;

/// The marks beside one database.
#[derive(Debug)]
pub(super) struct Marks {
    folder: PathBuf,
    /// What the names of all marks begin with.
    stem: String,
    /// Those of this process.
    own: Mutex<HashMap<String, File>>,
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    options
}

/// Whether nobody holds it. Those who look do not get in one another's way.
fn is_free(file: &File) -> bool {
    flock(file, FlockOperation::NonBlockingLockShared).is_ok()
}

impl Marks {
    /// For a database in a folder.
    pub(super) fn new(folder: &Path, database: &str) -> Self {
        Self { folder: folder.to_owned(), stem: format!("{database}-owner-"), own: Mutex::default() }
    }

    fn path(&self, owner: &str) -> PathBuf {
        self.folder.join(format!("{}{owner}", self.stem))
    }

    /// Marks this process as alive under a name; before its first lease.
    pub(super) fn hold(&self, owner: &str) -> io::Result<()> {
        let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if owner.is_empty() || owner.len() > OWNER || !owner.bytes().all(good) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "an owner is letters, digits, - and _, at most 64",
            ));
        }
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        if own.contains_key(owner) {
            return Ok(());
        }
        let mut last = io::Error::from(io::ErrorKind::WouldBlock);
        for _ in 0..TRIES {
            match self.make(owner) {
                Ok(file) => {
                    own.insert(owner.to_owned(), file);
                    return Ok(());
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Locked first, named then: nobody ever sees the name without the lock.
    fn make(&self, owner: &str) -> io::Result<File> {
        let random = fresh_id().map_err(io::Error::other)?;
        let (new, named) = (self.path(&format!(".{random}")), self.path(owner));
        let file = private().create_new(true).open(&new)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        match renameat_with(rustix::fs::CWD, &new, rustix::fs::CWD, &named, RenameFlags::NOREPLACE) {
            Ok(()) => Ok(file),
            Err(error) => {
                let _ = fs::remove_file(&new);
                if error == rustix::io::Errno::EXIST && self.is_dead(owner) {
                    let _ = fs::remove_file(&named); // the same name, before a crash
                }
                Err(error.into())
            }
        }
    }

    /// Whether a process is proved dead.
    pub(super) fn is_dead(&self, owner: &str) -> bool {
        private().open(self.path(owner)).is_ok_and(|file| is_free(&file))
    }

    /// Every process that is proved dead, and not forgotten.
    pub(super) fn dead(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(&self.folder) else { return Vec::new() };
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let owners = names.filter_map(|name| name.strip_prefix(&self.stem).map(str::to_owned));
        owners.filter(|owner| self.is_dead(owner)).collect()
    }

    /// Takes a mark away: no lease has this owner any more.
    pub(super) fn forget(&self, owner: &str) {
        let _ = fs::remove_file(self.path(owner));
    }

    /// Takes away those of this process; their names.
    pub(super) fn give_up(&self) -> Vec<(String, File)> {
        std::mem::take(&mut *self.own.lock().unwrap_or_else(PoisonError::into_inner)).into_iter().collect()
    }
}
