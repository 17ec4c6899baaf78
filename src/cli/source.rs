//! `proxy.toml` and its secrets, read once, for the commands that only look: check, explain, status, health.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use super::args::Global;
use super::exit::{Ended, Exit};
use super::terminal;
use crate::clock::{Clock as _, SystemClock};
use crate::config;
use crate::config::Severity;
use crate::config::model::Config;
use crate::playground::certs::FOLDER;
use crate::secret::dir::{Depth, Reader, remarks_at_start};
use crate::secret::name::NamePattern;
use crate::secret::set::SecretSet;
use crate::secret::wanted::Wanted;
use crate::snapshot::plan::Plan;
use crate::snapshot::{FingerprintKey, Moment, Snapshot};

/// The configuration, or its mistakes on standard error.
pub(super) fn config(global: &Global) -> anyhow::Result<Config> {
    let loaded = config::load(&global.config);
    if let Some(config) = loaded.config {
        return Ok(config);
    }
    terminal::diagnostics(&loaded.diagnostics, &loaded.source);
    let mistakes = loaded.diagnostics.iter().filter(|one| one.severity == Severity::Error).count();
    Err(Ended::new(Exit::Bad, summary(&loaded.source.name, mistakes)).into())
}

/// `proxy.toml has 2 mistakes`
pub(super) fn summary(name: &str, mistakes: usize) -> String {
    match mistakes {
        1 => format!("{name} has a mistake"),
        many => format!("{name} has {many} mistakes"),
    }
}

/// Secrets as they are now, and what is to be said about the directory.
pub(super) struct Secrets {
    pub(super) set: SecretSet,
    pub(super) remarks: Vec<String>,
}

/// The secrets directory cannot be read at all.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(super) struct NoDirectory {
    pub(super) message: String,
    pub(super) hint: String,
}

/// Reads what a plan wants. A directory that is not needed, or that `[playground]` will make, may be absent.
pub(super) fn secrets(plan: &Plan) -> Result<Secrets, NoDirectory> {
    let dir = &plan.config.secrets.dir;
    let names = plan.wanted();
    if let Err(error) = std::fs::read_dir(dir) {
        let absent = error.kind() == io::ErrorKind::NotFound;
        if absent && names.iter().all(|(name, _)| made_at_first_start(&plan.config, name.as_str())) {
            return Ok(Secrets { set: SecretSet::default(), remarks: Vec::new() });
        }
        return Err(no_directory(dir, &error));
    }
    let mut wanted = Wanted::new();
    names.iter().for_each(|(name, limit): &(NamePattern, u64)| wanted.add(name, *limit));
    let mut reader = Reader::new(dir.clone(), wanted);
    let scan = reader.scan(Depth::Full, Instant::now());
    let mut remarks: Vec<String> = scan.warnings.iter().map(ToString::to_string).collect();
    remarks.extend(remarks_at_start(&reader));
    Ok(Secrets { set: reader.current(), remarks })
}

/// Whether `[playground]` makes a secret that is absent.
pub(super) fn made_at_first_start(config: &Config, name: &str) -> bool {
    let made = ["ca.crt", "client.crt", "client.key", "hmac-key"];
    let file = name.strip_prefix(FOLDER).and_then(|rest| rest.strip_prefix('/'));
    config.playground.is_some() && file.is_some_and(|file| made.contains(&file))
}

/// What requests would see now.
pub(super) fn snapshot(plan: Arc<Plan>, set: &SecretSet) -> Snapshot {
    // Fingerprints are not shown by these commands, so that their key does not matter.
    let moment = Moment { now: SystemClock.now(), fingerprint_key: FingerprintKey::new(&[0; 32]) };
    Snapshot::compile(plan, set, None, &moment)
}

fn no_directory(dir: &Path, error: &io::Error) -> NoDirectory {
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let shown = dir.display();
    let found = std::fs::metadata(dir).map(|meta| {
        format!(", {shown} has mode {:04o}, owner {}, group {}", meta.mode() & 0o7777, meta.uid(), meta.gid())
    });
    let found = found.unwrap_or_default();
    let why = match error.kind() {
        io::ErrorKind::NotFound => "it does not exist".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        io::ErrorKind::NotADirectory => "it is no directory".to_owned(),
        _ => error.to_string(),
    };
    let hint = match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "let this user read it; in Kubernetes set securityContext.fsGroup of the pod, which the volume is then readable for"
        }
        _ => "mount the secrets there, or name another directory: dir in [secrets]",
    };
    NoDirectory {
        message: format!("the secrets directory {shown} cannot be read: {why} (uid {uid}, gid {gid}{found})"),
        hint: hint.to_owned(),
    }
}
