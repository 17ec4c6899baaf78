//! Where connections are kept: one trait, and behind it SQLite, PostgreSQL and memory. Tokens are sealed before they
//! reach a database. No rules of OAuth here (`token`), no token calls (`refresh`). Callers: `refresh`, `admin` views, `cli`.
//!
//! Every operation is one short transaction. All times are the database's own clock, so that the processes that share a
//! database agree; a caller gives durations. They are kept to the millisecond.

use std::fmt::{self, Write as _};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use ring::rand::{SecureRandom, SystemRandom};

mod database;
pub mod late;
mod ledger;
mod marks;
pub mod memory;
mod outbox;
pub mod place;
mod postgres;
mod rows;
mod rules;
mod schema;
mod seal;
mod sqlite;
mod time;
mod writes;

pub use place::{Place, Rotation, Sharing, Surroundings, check_place};

use crate::clock::{SharedClock, Timestamp};
use crate::secret::value::SecretBytes;
pub use crate::token::machine::Change;
use crate::token::record::State;
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
    /// As many approvals are under way as are kept ([`APPROVALS`]).
    #[error("too many approvals are under way; they end by themselves")]
    TooManyApprovals,
    /// A key of `[state] key` is none.
    #[error("[state] key: {0}")]
    Key(&'static str),
    /// The place cannot be used as a store.
    #[error("{0}")]
    Unsuitable(String),
}

/// Approvals that may be under way at one time.
pub const APPROVALS: usize = 10_000;
/// How long an event is kept for its delivery.
pub const EVENT_AGE: Duration = Duration::from_secs(24 * 60 * 60);
/// Events that are kept for their delivery; the oldest give way.
pub const EVENTS: usize = 100_000;

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

/// A record of a list.
#[derive(Debug)]
pub struct Listed {
    /// The record; without tokens where they do not open.
    pub record: Record,
    /// Why they do not.
    pub shut: Option<StoreError>,
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
    pub verifier: SecretBytes,
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
    /// Why it was never reached since the start; nothing once it was, whatever becomes of it then.
    fn unreached(&self) -> Option<String> {
        None
    }
    /// The database's clock.
    fn now(&self) -> Pending<'_, Timestamp>;
    /// One record.
    fn load<'a>(&'a self, key: &'a ConnectionKey) -> Pending<'a, Option<Record>>;
    /// A page of records, ordered by credential and tenant, after one. One whose tokens do not open is in it without them.
    fn list<'a>(&'a self, filter: &'a Filter, after: Option<&'a ConnectionKey>, limit: u32)
    -> Pending<'a, Vec<Listed>>;
    /// What was written since `since` (inclusive), oldest first. Those of one moment come together, so that a caller who
    /// goes on from the last moment gets on: `limit` may be passed by them. What was written in a long transaction may
    /// appear late.
    fn news(&self, since: Timestamp, limit: u32) -> Pending<'_, Vec<News>>;
    /// Records whose `next_refresh_at` is within `ahead` and that have no live lease, the most urgent first.
    fn due(&self, ahead: Duration, limit: u32) -> Pending<'_, Vec<ConnectionKey>>;
    /// Writes whole records with their events (connect, import); all or nothing. Lease, intent, version and times of the
    /// given records do not count: versions move on from what was there. Events of a given record get its new version.
    fn put(&self, records: Vec<Record>, existing: Existing, events: Vec<Event>) -> Pending<'_, Vec<Record>>;
    /// Asks for the lease of a record for `term`, and writes the intent to refresh in the same transaction. `template` is
    /// what is made, with version 0, where there is none and `known` is [`Known::Nothing`]; one of version 0 that is there
    /// already is as good as none. `owner` is a random name of letters, digits, `-` and `_`, at most 64, one a process.
    /// Who has the lease gets it no second time: after [`StoreError::Unavailable`] the caller cannot know whether it has it,
    /// and releases it before it claims again.
    fn claim<'a>(&'a self, template: &'a Record, known: Known, owner: &'a str, term: Duration) -> Pending<'a, Claim>;
    /// Stores what came of a refresh; `version` is that of the claim, and moves by one. A lease that ran out and that nobody
    /// took still counts. A commit that was stored and is said again, because its answer was lost, is `Stored` once more
    /// and tells its events once. Events of this connection get its new version.
    fn commit<'a>(
        &'a self,
        key: &'a ConnectionKey,
        version: u64,
        owner: &'a str,
        change: Change,
    ) -> Pending<'a, Committed>;
    /// Gives a lease and its intent back: the call was never sent. An earlier interruption stays.
    fn release<'a>(&'a self, key: &'a ConnectionKey, owner: &'a str) -> Pending<'a, ()>;
    /// Ends a connection, whatever its lease says: state, tokens wiped, version moved. The record before, if there was one;
    /// without tokens if they could not be opened. One that was revoked before stays as it is and tells nothing.
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
    /// An event was delivered. Events come at least once: this may come too late.
    fn delivered<'a>(&'a self, id: &'a str) -> Pending<'a, ()>;
    /// An event was not delivered and is tried again after `pause`.
    fn postpone<'a>(&'a self, id: &'a str, pause: Duration) -> Pending<'a, ()>;
    /// Seals everything anew with the first key; how many records were rewritten. Versions stay.
    fn rekey(&self) -> Pending<'_, u64>;
    /// Puts other keys in use: the first seals, all open. What is stored stays as it is until [`Store::rekey`].
    fn use_keys(&self, keys: Vec<SecretBytes>) -> Result<(), StoreError>;
    /// Closes connections and gives up this process's mark of life.
    fn close(&self) -> Pending<'_, ()>;
}

/// An id that nobody can guess: `evt_` and 32 hex digits.
fn fresh_id() -> Result<String, StoreError> {
    let mut bytes = [0; 16];
    let filled = SystemRandom::new().fill(&mut bytes);
    filled.map_err(|_| StoreError::Unavailable("the operating system gives no randomness".into()))?;
    Ok(bytes.iter().fold("evt_".to_owned(), |mut id, byte| {
        let _ = write!(id, "{byte:02x}");
        id
    }))
}

/// Opens a store. `keys` are the contents of the files of `[state] key`, the first seals; `memory:` needs none and takes
/// its time from `clock`. Nothing is loaded: the cost does not grow with what is stored.
pub async fn open(place: &Place, keys: Vec<SecretBytes>, clock: SharedClock) -> Result<Arc<dyn Store>, StoreError> {
    Ok(match place {
        Place::Memory => Arc::new(memory::Memory::new(clock)),
        Place::Sqlite(path) => Arc::new(sqlite::open(path, seal::Keyring::new(&keys)?).await?),
        Place::Postgres(url) => Arc::new(postgres::open(url, seal::Keyring::new(&keys)?).await?),
    })
}
