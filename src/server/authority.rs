//! The CA of interception where none is configured: made at the first start, kept in two files or in memory.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::clock::Timestamp;
use crate::config::intercept::{CERTIFICATE_FILE, KEY_FILE};
use crate::config::model::{AuthoritySource, Config};
use crate::secret::value::{BadReason, PEM_LIMIT, SecretBytes};
use crate::snapshot::Moment;
use crate::snapshot::authority::{AuthorityState, names};
use crate::tls::{Authority, MintError, Subtree};

/// A CA with less than this left, in seconds, is replaced at a start.
const RENEW_BEFORE: i64 = 30 * 86_400;

/// Why there is no CA.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// The certificate library or the system refused.
    #[error(transparent)]
    Mint(#[from] MintError),
    /// What was made cannot be used, or what lies there is damaged.
    #[error("the CA of interception cannot be used: {0} (remove {1} and {2} to have it made anew)")]
    Bad(BadReason, PathBuf, PathBuf),
    /// A file cannot be read.
    #[error("cannot read {0}: {1}")]
    Read(PathBuf, io::Error),
    /// The certificate cannot be written.
    #[error("cannot write the CA's certificate {0}: {1} (name a directory that this user may write: [intercept] dir)")]
    Certificate(PathBuf, io::Error),
    /// The key cannot be written.
    #[error(
        "cannot write the CA's key {0}: {1} (name a directory that this user may write: [intercept] key_dir; or keep the key in memory: ephemeral = true)"
    )]
    Key(PathBuf, io::Error),
}

/// The CA that this process is to make or to find; `None` where there is none or it comes from secrets.
pub(super) fn made(config: &Config, moment: &Moment) -> Result<Option<Arc<AuthorityState>>, AuthorityError> {
    let Some(intercept) = &config.intercept else { return Ok(None) };
    let AuthoritySource::Made { dir, key_dir } = &intercept.authority else { return Ok(None) };
    let names = names(config);
    let certificate = dir.join(CERTIFICATE_FILE);
    let authority = match key_dir {
        None => anew(&names, &certificate, None, moment.now)?,
        Some(key_dir) => {
            let key = key_dir.join(KEY_FILE);
            match found(&certificate, &key, &names, moment.now)? {
                Some(authority) => authority,
                None => anew(&names, &certificate, Some(&key), moment.now)?,
            }
        }
    };
    Ok(AuthorityState::made(authority, moment))
}

/// The CA of an earlier start, unless it does not serve any more.
fn found(
    certificate: &Path,
    key: &Path,
    names: &BTreeSet<Subtree>,
    now: Timestamp,
) -> Result<Option<Authority>, AuthorityError> {
    let (Some(cert_bytes), Some(key_bytes)) = (read(certificate)?, read(key)?) else { return Ok(None) };
    let why = match Authority::load(&cert_bytes, &key_bytes, now) {
        Ok(authority) if authority.validity().not_after.seconds - now.seconds < RENEW_BEFORE => "it ends soon",
        Ok(authority) if !names.iter().all(|name| authority.permits_all(name)) => "routes have new hosts",
        Ok(authority) => return Ok(Some(authority)),
        // Written one after the other: a start that was cut off leaves a key whose certificate is not there yet.
        Err(BadReason::PairMismatch) => "its key and certificate do not belong together",
        // Read by Authority::load: the reason names the date.
        Err(BadReason::Pem(why)) if why.contains("expired") => "it has expired",
        Err(reason) => return Err(AuthorityError::Bad(reason, certificate.to_owned(), key.to_owned())),
    };
    tracing::warn!(file = %certificate.display(), why, "making a new CA for interception: workers have to trust the new one");
    Ok(None)
}

fn anew(
    names: &BTreeSet<Subtree>,
    certificate: &Path,
    key: Option<&Path>,
    now: Timestamp,
) -> Result<Authority, AuthorityError> {
    let made = Authority::make(names, now)?;
    let pem = SecretBytes::new(made.certificate.into_bytes());
    let shown = || (certificate.to_owned(), key.unwrap_or(certificate).to_owned());
    let authority = Authority::load(&pem, &made.key, now).map_err(|reason| {
        let (certificate, key) = shown();
        AuthorityError::Bad(reason, certificate, key)
    })?;
    if let Some(key) = key {
        write(key, made.key.expose(), 0o700, 0o600).map_err(|error| AuthorityError::Key(key.to_owned(), error))?;
    }
    write(certificate, pem.expose(), 0o755, 0o644)
        .map_err(|error| AuthorityError::Certificate(certificate.to_owned(), error))?;
    tracing::info!(kind = "audit", file = %certificate.display(), "made a CA for interception");
    Ok(authority)
}

fn read(path: &Path) -> Result<Option<SecretBytes>, AuthorityError> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    match fs::File::open(path).and_then(|file| file.take(PEM_LIMIT).read_to_end(&mut bytes)) {
        Ok(_) => Ok(Some(SecretBytes::new(bytes))),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(AuthorityError::Read(path.to_owned(), error)),
    }
}

/// Written aside and renamed, so that nobody reads half a file. Folders that are not there are made.
fn write(path: &Path, bytes: &[u8], folder_mode: u32, mode: u32) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    if !folder.is_dir() {
        DirBuilder::new().recursive(true).mode(folder_mode).create(folder)?;
        fs::set_permissions(folder, Permissions::from_mode(folder_mode))?;
    }
    let aside = folder.join(format!(".countersign-ca.{}", std::process::id()));
    let _ = fs::remove_file(&aside); // a left-over of a start that was cut off
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&aside)?;
    // Whatever the umask is: workers of other users read the certificate.
    let set = fs::set_permissions(&aside, Permissions::from_mode(mode));
    let written = set.and_then(|()| file.write_all(bytes)).and_then(|()| fs::rename(&aside, path));
    if written.is_err() {
        let _ = fs::remove_file(&aside); // best effort
    }
    written
}
