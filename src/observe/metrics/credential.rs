//! What is counted for one credential.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use arc_swap::ArcSwap;
use prometheus_client::metrics::counter::Counter;

use crate::clock::Timestamp;

/// What became of a new value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reload {
    /// It is in use.
    Ok,
    /// It cannot be used; the last good one stays.
    Error,
}

impl Reload {
    /// The value of the `result` label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Error => "error",
        }
    }
}

type Reloads = BTreeMap<(Reload, &'static str), u64>;

/// No time is known.
const NEVER: i64 = i64::MIN;

/// The metrics of one credential.
#[derive(Debug)]
pub struct CredentialMetrics {
    /// `countersign_credential_fallbacks_total`: requests that were accepted only with the previous value.
    pub fallbacks: Counter,
    reloads: ArcSwap<Reloads>,
    stale: AtomicBool,
    loaded: AtomicI64,
    not_after: AtomicI64,
}

impl CredentialMetrics {
    pub(super) fn new() -> Self {
        Self {
            fallbacks: Counter::default(),
            reloads: ArcSwap::default(),
            stale: AtomicBool::new(false),
            loaded: AtomicI64::new(NEVER),
            not_after: AtomicI64::new(NEVER),
        }
    }

    /// Counts a changed value that was taken. Not to be called for the first load, nor when nothing changed.
    pub fn reloaded(&self) {
        self.count(Reload::Ok, "");
    }

    /// Counts a changed value that was refused; `reason` is a word from a closed set.
    pub fn refused(&self, reason: &'static str) {
        self.count(Reload::Error, reason);
    }

    /// The newest value cannot be used.
    pub fn mark_stale(&self) {
        self.stale.store(true, Ordering::Relaxed);
    }

    /// The newest value is in use since `loaded`.
    pub fn mark_fresh(&self, loaded: Timestamp) {
        self.loaded.store(loaded.seconds, Ordering::Relaxed);
        self.stale.store(false, Ordering::Relaxed);
    }

    /// The end of validity of the certificate in use, where there is one.
    pub fn set_not_after(&self, at: Option<Timestamp>) {
        self.not_after.store(at.map_or(NEVER, |at| at.seconds), Ordering::Relaxed);
    }

    pub(super) fn is_stale(&self) -> bool {
        self.stale.load(Ordering::Relaxed)
    }

    pub(super) fn loaded(&self) -> Option<i64> {
        Some(self.loaded.load(Ordering::Relaxed)).filter(|at| *at != NEVER)
    }

    pub(super) fn not_after(&self) -> Option<i64> {
        Some(self.not_after.load(Ordering::Relaxed)).filter(|at| *at != NEVER)
    }

    pub(super) fn reloads(&self) -> Arc<Reloads> {
        self.reloads.load_full()
    }

    fn count(&self, result: Reload, reason: &'static str) {
        self.reloads.rcu(|old| {
            let mut new = Reloads::clone(old);
            *new.entry((result, reason)).or_default() += 1;
            new
        });
    }
}
