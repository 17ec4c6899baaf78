//! What happened to connections and credentials, for the log, the metrics and `[events] url`.

use super::record::{ConnectionKey, Reason, State};
use crate::clock::Timestamp;

/// Something that happened; written in the same transaction as what it tells of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// What.
    pub kind: EventKind,
    /// Which connection; of a credential's event the tenant is empty.
    pub key: ConnectionKey,
    /// When.
    pub at: Timestamp,
    /// The state now.
    pub state: Option<State>,
    /// The state before.
    pub previous: Option<State>,
    /// Why.
    pub reason: Option<Reason>,
    /// What the platform said; no secret.
    pub detail: Option<String>,
    /// The record's version.
    pub version: u64,
}

/// The types of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// A connection was made, or made again.
    Connected,
    /// Refreshing began to fail for a passing cause.
    Degraded,
    /// It works again.
    Recovered,
    /// A person must approve again.
    Reauthorize,
    /// It was ended.
    Revoked,
    /// What is granted differs from what was, or from what is asked for.
    ScopeChanged,
    /// The platform does not accept the client itself.
    Unhealthy,
    /// It does again.
    Healthy,
}

impl EventKind {
    /// Every kind.
    pub const ALL: [Self; 8] = [
        Self::Connected,
        Self::Degraded,
        Self::Recovered,
        Self::Reauthorize,
        Self::Revoked,
        Self::ScopeChanged,
        Self::Unhealthy,
        Self::Healthy,
    ];

    /// As it is sent: `connection.connected`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connected => "connection.connected",
            Self::Degraded => "connection.degraded",
            Self::Recovered => "connection.recovered",
            Self::Reauthorize => "connection.reauthorize",
            Self::Revoked => "connection.revoked",
            Self::ScopeChanged => "connection.scope_changed",
            Self::Unhealthy => "credential.unhealthy",
            Self::Healthy => "credential.healthy",
        }
    }

    /// From [`Self::as_str`].
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }
}
