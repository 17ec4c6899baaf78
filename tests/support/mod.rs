//! What scenarios share: a directory of their own, the built program, and the proxy within the test
//! process between a worker and an upstream that are both made of raw bytes.

pub(crate) mod child;
pub(crate) mod files;
pub(crate) mod http1;
pub(crate) mod http2;
pub(crate) mod http2_worker;
pub(crate) mod pki;
pub(crate) mod running;
pub(crate) mod upstream;
pub(crate) mod wait;
pub(crate) mod worker;

pub(crate) use running::{Running, Setup};
pub(crate) use upstream::Upstream;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

/// A directory that is removed when dropped.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("countersign-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// With a `proxy.toml` and, below `secrets`, these files (mode 0400).
    pub(crate) fn with(config: &str, secrets: &[(&str, &str)]) -> Self {
        let scratch = Self::new();
        fs::write(scratch.path("proxy.toml"), config).unwrap();
        for (name, text) in secrets {
            scratch.secret(name, text);
        }
        scratch
    }

    /// Writes one secret.
    pub(crate) fn secret(&self, name: &str, text: &str) {
        let path = self.0.join("secrets").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What the program printed and how it ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) status: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    /// Standard output as JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// Runs the program in a directory, with an environment of nothing but what every process needs.
pub(crate) fn countersign(folder: &Path, words: &[&str]) -> Ran {
    let Output { status, stdout, stderr } =
        Command::new(env!("CARGO_BIN_EXE_countersign")).args(words).current_dir(folder).env_clear().output().unwrap();
    Ran {
        status: status.code().unwrap_or(-1),
        out: String::from_utf8(stdout).unwrap(),
        err: String::from_utf8(stderr).unwrap(),
    }
}
