//! What is counted for one credential, and what it is when somebody asks.

use std::collections::BTreeMap;
use std::sync::Arc;

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

/// What is counted for one credential, from the first thing that there is to count on: most have no such thing.
#[derive(Debug, Default)]
pub struct CredentialMetrics {
    /// `countersign_credential_fallbacks_total`: requests that were accepted only with the previous value.
    pub fallbacks: Counter,
    reloads: ArcSwap<Reloads>,
}

/// What a credential is now; every one that is configured has its rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialNow {
    /// A route's own identity is named `route:NAME/client_cert` or `route:NAME/ca`.
    pub name: String,
    /// Whether the newest value cannot be used.
    pub stale: bool,
    /// When the value in use was loaded.
    pub loaded: Option<Timestamp>,
    /// The end of validity of the certificate in use, where there is one.
    pub not_after: Option<Timestamp>,
}

impl CredentialMetrics {
    /// Counts a changed value that was taken. Not to be called for the first load, nor when nothing changed.
    pub fn reloaded(&self) {
        self.count(Reload::Ok, "");
    }

    /// Counts a changed value that was refused; `reason` is a word from a closed set.
    pub fn refused(&self, reason: &'static str) {
        self.count(Reload::Error, reason);
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
