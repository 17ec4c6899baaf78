//! Where connections are kept: one trait, and behind it SQLite, PostgreSQL and memory. Tokens are sealed before they
//! reach a database. No rules of OAuth here (`token`), no token calls (`refresh`). Callers: `refresh`, `admin` views, `cli`.
//!
//! Every operation is one short transaction. All times are the database's own clock, so that the processes that share a
//! database agree; a caller gives durations.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::token::record::{LastRefresh, Reason, State, TokenSet};
use crate::token::{ConnectionKey, Event, Record};

/// The answer of a store, later.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// Why a store did not do what it was asked. No text has any part of a token.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Not reachable, locked, full, read-only: may pass.
    #[error("the store does not answer: {0}")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// What is there cannot be read with the keys of `[state] key`.
    #[error("{key}: the stored tokens cannot be opened with any key of [state] key")]
    Sealed {
        /// Whose.
        key: ConnectionKey,
    },
    /// What is there was written by a version that this one does not know.
    #[error("the store has schema {found}, this version reads up to {known}: update countersign")]
    Newer {
        /// What is there.
        found: i64,
        /// What this version knows.
        known: i64,
    },
    /// Whatever this is, it is no record of ours.
    #[error("{key}: the stored record is damaged ({what})")]
    Damaged {
        /// Whose.
        key: ConnectionKey,
        /// Which part.
        what: &'static str,
    },
    /// It exists already; nothing was written.
    #[error("{key} exists already")]
    Exists {
        /// Which.
        key: ConnectionKey,
    },
    /// The place cannot be used as a store.
    #[error("{0}")]
    Unsuitable(String),
}

/// What came of asking for a lease.
#[derive(Debug)]
pub enum Claim {
    /// The caller may refresh now. `interrupted`: an earlier refresh was sent and its answer never stored.
    Won {
        /// As it is now.
        record: Box<Record>,
        /// When that earlier refresh began.
        interrupted: Option<Timestamp>,
    },
    /// Somebody else is at it.
    Held {
        /// For how long at most.
        remaining: Duration,
    },
    /// It has moved on since the version that the caller knows.
    Moved(Box<Record>),
    /// There is none.
    Absent,
}

/// Which record may be claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// The one of this version.
    Version(u64),
    /// None yet: an empty one is made (grants that need no consent).
    Nothing,
}

/// What a refresh changes. Written with the lease's owner and version; ends lease and intent.
#[derive(Clone, Debug)]
pub struct Change {
    /// The new state.
    pub state: State,
    /// Why.
    pub reason: Option<Reason>,
    /// What the platform said.
    pub detail: Option<String>,
    /// New tokens; `None` leaves the old.
    pub tokens: Option<TokenSet>,
    /// Failed refreshes in a row.
    pub failures: u32,
    /// From now until it is refreshed next; `None`: not by itself.
    pub next_refresh_in: Option<Duration>,
    /// This attempt.
    pub last_refresh: Option<LastRefresh>,
    /// The seed that the refresh token came from.
    pub seed: Option<[u8; 32]>,
    /// Told in the same transaction.
    pub events: Vec<Event>,
}

/// What came of a write under a lease.
#[derive(Debug)]
pub enum Committed {
    /// Stored durably; the record as it is now.
    Stored(Box<Record>),
    /// The version has moved or the lease is somebody else's: nothing was written.
    Lost(Option<Box<Record>>),
}

/// What becomes of records that exist already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// The whole write is refused, [`StoreError::Exists`].
    Refuse,
    /// They are replaced; versions move on.
    Replace,
}

/// Which records are listed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Of this credential alone.
    pub credential: Option<String>,
    /// Of this tenant alone.
    pub tenant: Option<String>,
    /// In this stored state alone.
    pub state: Option<State>,
}

/// That a record was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct News {
    /// Which.
    pub key: ConnectionKey,
    /// Its version.
    pub version: u64,
    /// When, by the database's clock.
    pub at: Timestamp,
}

/// An approval that was begun: what its callback needs.
#[derive(Clone, Debug)]
pub struct Approval {
    /// SHA-256 of the `state` parameter: its key.
    pub state: [u8; 32],
    /// For which connection.
    pub key: ConnectionKey,
    /// The PKCE verifier; sealed like a token.
    pub verifier: crate::secret::value::SecretBytes,
    /// Where the browser comes back to.
    pub redirect_url: String,
}

/// An event that waits for its delivery.
#[derive(Clone, Debug)]
pub struct Waiting {
    /// Its id, the `webhook-id` of every attempt.
    pub id: String,
    /// What happened.
    pub event: Event,
    /// Attempts so far.
    pub attempts: u32,
    /// How old it is.
    pub age: Duration,
}

/// A store of connections.
pub trait Store: Send + Sync + fmt::Debug {
    /// The database's clock.
    fn now(&self) -> Pending<'_, Timestamp>;
    /// One record.
    fn load<'a>(&'a self, key: &'a ConnectionKey) -> Pending<'a, Option<Record>>;
    /// A page of records, ordered by credential and tenant, after one.
    fn list<'a>(&'a self, filter: &'a Filter, after: Option<&'a ConnectionKey>, limit: u32)
    -> Pending<'a, Vec<Record>>;
    /// What was written since `since` (inclusive), oldest first.
    fn news(&self, since: Timestamp, limit: u32) -> Pending<'_, Vec<News>>;
    /// Records whose `next_refresh_at` is within `ahead` and that have no live lease, the most urgent first.
    fn due(&self, ahead: Duration, limit: u32) -> Pending<'_, Vec<ConnectionKey>>;
    /// Writes whole records with their events (connect, import); all or nothing. Lease, intent, version and times of the
    /// given records do not count.
    fn put(&self, records: Vec<Record>, existing: Existing, events: Vec<Event>) -> Pending<'_, Vec<Record>>;
    /// Asks for the lease of a record for `term`, and writes the intent to refresh in the same transaction. `template` is
    /// what is made where there is none and `known` is [`Known::Nothing`].
    fn claim<'a>(&'a self, template: &'a Record, known: Known, owner: &'a str, term: Duration) -> Pending<'a, Claim>;
    /// Stores what came of a refresh; `version` is that of the claim.
    fn commit<'a>(
        &'a self,
        key: &'a ConnectionKey,
        version: u64,
        owner: &'a str,
        change: Change,
    ) -> Pending<'a, Committed>;
    /// Gives a lease and its intent back: the call was never sent.
    fn release<'a>(&'a self, key: &'a ConnectionKey, owner: &'a str) -> Pending<'a, ()>;
    /// Ends a connection, whatever its lease says: state, tokens wiped, version moved. The record before, if there was one.
    fn revoke<'a>(&'a self, key: &'a ConnectionKey, events: Vec<Event>) -> Pending<'a, Option<Record>>;
    /// Notes that requests used these connections. Moves neither version nor `updated_at`.
    fn used(&self, keys: Vec<ConnectionKey>) -> Pending<'_, ()>;
    /// Begins an approval that may be finished within `term`.
    fn begin_approval(&self, approval: Approval, term: Duration) -> Pending<'_, ()>;
    /// Takes an approval: it can be finished once. `None`: unknown, used, or too old.
    fn take_approval<'a>(&'a self, state: &'a [u8; 32]) -> Pending<'a, Option<Approval>>;
    /// Writes events that belong to no record's change.
    fn tell(&self, events: Vec<Event>) -> Pending<'_, ()>;
    /// Takes events whose time has come, for `term`; nobody else gets them meanwhile. Those over 24 h old are dropped and counted.
    fn take_events(&self, limit: u32, term: Duration) -> Pending<'_, (Vec<Waiting>, u64)>;
    /// An event was delivered.
    fn delivered<'a>(&'a self, id: &'a str) -> Pending<'a, ()>;
    /// An event was not delivered and is tried again after `pause`.
    fn postpone<'a>(&'a self, id: &'a str, pause: Duration) -> Pending<'a, ()>;
    /// Seals everything anew with the first key; how many records were rewritten. Versions stay.
    fn rekey(&self) -> Pending<'_, u64>;
    /// Closes connections and gives up this process's mark of life.
    fn close(&self) -> Pending<'_, ()>;
}
