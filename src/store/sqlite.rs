//! Opening a SQLite file: where it may be, who may read it, how it is written. Called by `open`.

use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection as _};

use super::StoreError;
use super::database::{Database, OPERATION, within};
use super::ledger::Ledger;
use super::marks::Marks;
use super::schema::migrate;
use super::seal::Keyring;

/// How long a statement waits for another process's transaction.
const BUSY: Duration = Duration::from_secs(5);
/// How long an operation waits for its turn in this process.
const WAIT: Duration = Duration::from_secs(8);
/// Connections that read.
const READERS: u32 = 2;
/// After this time without use a connection, which is a thread, is closed.
const IDLE: Duration = Duration::from_secs(60);
/// Between two looks at a file that another process is just making.
const AGAIN: Duration = Duration::from_millis(20);
/// What the log is cut to when all of it is in the database, in bytes.
const LOG: &str = "16777216";

/// File systems whose locks, or whose shared memory, do not hold between machines: `f_type` of statfs(2), and the name.
const REMOTE: [(u64, &str); 13] = [
    (0x6969, "NFS"),
    (0x517B, "SMB"),
    (0xFF53_4D42, "SMB"),
    (0xFE53_4D42, "SMB"),
    (0x0102_1997, "9p"),
    (0x6573_5546, "FUSE"),
    (0x00C3_6400, "CephFS"),
    (0x5346_414F, "AFS"),
    (0x6B41_4653, "AFS"),
    (0x7461_636F, "OCFS2"),
    (0x0116_1970, "GFS2"),
    (0x0BD0_0BD0, "Lustre"),
    (0x4750_4653, "GPFS"),
];

fn unavailable(error: io::Error) -> StoreError {
    StoreError::Unavailable(Box::new(error))
}

/// The name of a file system that SQLite must not be on.
fn remote(kind: u64) -> Option<&'static str> {
    REMOTE.iter().find(|(known, _)| *known == kind).map(|(_, name)| *name)
}

/// Refuses file systems that are not of this machine.
fn check_local(folder: &Path) -> Result<(), StoreError> {
    let there = folder.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("/"));
    let found = rustix::fs::statfs(there).map_err(|error| unavailable(error.into()))?;
    match remote(found.f_type as u64 & 0xFFFF_FFFF) {
        None => Ok(()),
        Some(name) => Err(StoreError::Unsuitable(format!(
            "{} is on {name}, where the locks of SQLite do not hold: use a disk of this machine, or [state] url = \"postgres://..\"",
            there.display()
        ))),
    }
}

/// Makes the folder, for this user alone. One that is there must not be writable by others: they could exchange the file.
fn prepare_folder(folder: &Path) -> Result<(), StoreError> {
    match fs::metadata(folder) {
        Ok(there) if there.permissions().mode() & 0o022 != 0 => Err(StoreError::Unsuitable(format!(
            "{} can be written by others (mode {:03o}): name a file in a folder of its own, which is then made with mode 700",
            folder.display(),
            there.permissions().mode() & 0o777
        ))),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(unavailable)
        }
        Err(error) => Err(unavailable(error)),
    }
}

/// Makes the file, or takes from others what they may do with it. SQLite gives its log and its shared memory the same mode.
fn prepare_file(path: &Path) -> Result<(), StoreError> {
    let file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path).map_err(unavailable)?;
    let mode = file.metadata().map_err(unavailable)?.permissions().mode();
    if mode & 0o077 != 0 {
        file.set_permissions(Permissions::from_mode(0o600)).map_err(unavailable)?;
        for end in ["-wal", "-shm"] {
            let mut beside = path.as_os_str().to_owned();
            beside.push(end);
            match fs::set_permissions(PathBuf::from(beside), Permissions::from_mode(0o600)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(unavailable(error)),
                _ => {}
            }
        }
    }
    Ok(())
}

/// Opens a file, which is made if it is not there. Nothing is loaded.
pub(super) async fn open(path: &Path, keys: Keyring) -> Result<Ledger, StoreError> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().and_then(|name| name.to_str());
    let Some(name) = name else { return Err(StoreError::Unsuitable("[state] url names no file".to_owned())) };
    check_local(folder)?;
    prepare_folder(folder)?;
    prepare_file(path)?;
    let options = SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(BUSY)
        .pragma("journal_size_limit", LOG)
        .disable_statement_logging();
    let pool = |most| {
        let options = SqlitePoolOptions::new().min_connections(0).max_connections(most);
        // A full disk ends a transaction by itself; the library then takes the connection for one within it, for good.
        let options = options.before_acquire(|used, _| Box::pin(std::future::ready(Ok(!used.is_in_transaction()))));
        options.idle_timeout(IDLE).acquire_timeout(WAIT)
    };
    let database = Database::Sqlite {
        reader: pool(READERS).connect_lazy_with(options.clone()),
        writer: pool(1).connect_lazy_with(options),
    };
    // While another process makes the file, SQLite says that it is busy without waiting.
    let migrated = within(OPERATION, async {
        loop {
            match migrate(&database).await {
                Err(StoreError::Unavailable(error)) if is_busy(&*error) => tokio::time::sleep(AGAIN).await,
                other => return other,
            }
        }
    });
    migrated.await?;
    let marks = Some(Arc::new(Marks::new(folder, name)));
    let ledger = Ledger { database, keys: ArcSwap::from_pointee(keys), marks };
    within(OPERATION, ledger.sweep()).await?;
    Ok(ledger)
}

/// SQLITE_BUSY and its kin: the low byte of the code is 5.
fn is_busy(error: &(dyn std::error::Error + Send + Sync + 'static)) -> bool {
    let error = error.downcast_ref::<sqlx::Error>().and_then(sqlx::Error::as_database_error);
    let code = error.and_then(|error| error.code()).and_then(|code| code.parse::<u32>().ok());
    code.is_some_and(|code| code & 0xFF == 5)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The numbers of statfs(2), as `stat -f -c %t` prints them.
    #[test]
    fn file_systems_of_other_machines_are_known() {
        for (kind, name) in [(0x6969, "NFS"), (0xff53_4d42, "SMB"), (0x0102_1997, "9p"), (0x6573_5546, "FUSE")] {
            assert_eq!(remote(kind), Some(name));
        }
        for local in [0xEF53, 0x5846_5342, 0x9123_683E, 0x0102_1994, 0x794C_7630] {
            assert_eq!(remote(local), None, "ext4, XFS, Btrfs, tmpfs, overlayfs");
        }
    }
}
