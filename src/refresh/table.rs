//! The table of one credential's connections that are in use: what requests look into. A lookup takes no lock. Entries
//! are made at first use and leave when they were idle for long; what is stored stays where it is.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::sync::watch;
use tokio::time::Instant;

use super::derive::Second;
use super::scene::Client;
use super::view::{NoToken, Token};
use crate::clock::Timestamp;
use crate::token::ConnectionKey;
use crate::token::record::State;

/// Each is copied when an entry is made, so that 100 000 entries cost no copy of a large map.
const SHARDS: usize = 64;
/// Entries of one credential at most; over that, whichever was asked for longest ago makes room. Tests have fewer.
pub(super) const ENTRIES: usize = if cfg!(test) { 256 } else { 200_000 };
/// An entry without a token that nobody asked for leaves after so many seconds.
const IDLE_EMPTY: i64 = 60;
/// Any entry that nobody asked for leaves after so many seconds.
const IDLE: i64 = 3600;
/// [`Entry::refresh_at`] of a token that is not refreshed on use.
pub(super) const NEVER: i64 = i64::MAX;

type Shard = HashMap<Box<str>, Arc<Entry>>;

/// Entries by tenant.
#[derive(Debug)]
pub(super) struct Table {
    shards: Box<[ArcSwap<Shard>]>,
    hasher: RandomState,
    /// Held while an entry is made or leaves.
    changing: Mutex<usize>,
}

/// One connection that is in use.
#[derive(Debug)]
pub(super) struct Entry {
    /// Which.
    pub(super) key: ConnectionKey,
    /// The usable token, durably stored.
    pub(super) token: ArcSwapOption<Token>,
    /// From when, in milliseconds since 1970, a use starts a refresh; [`NEVER`]. Moves on while the platform must not be asked.
    pub(super) refresh_at: AtomicI64,
    /// The second of the last request that used it; 0: none.
    pub(super) used: AtomicI64,
    /// What the store was told of `used`.
    pub(super) told: AtomicI64,
    /// The second at which anybody asked for it last.
    touched: AtomicI64,
    /// The version that is known; 0: none.
    pub(super) version: AtomicU64,
    /// Whether its one task runs.
    busy: AtomicBool,
    /// Moves whenever its task ended.
    ended: watch::Sender<u64>,
    slot: Mutex<Slot>,
    second: OnceLock<Box<Second>>,
}

/// An entry that was asked for.
#[derive(Debug)]
pub(super) struct Found {
    /// It.
    pub(super) entry: Arc<Entry>,
    /// What made room for it, and is no longer in the table.
    pub(super) gone: Option<Arc<Entry>>,
}

/// What changes with an attempt.
#[derive(Debug, Default)]
pub(super) struct Slot {
    /// Why the last attempt ended without a token.
    pub(super) none: Option<NoToken>,
    /// Why a person must act, although its token may still be sent.
    pub(super) ended: Option<NoToken>,
    /// When the next attempt may be made.
    pub(super) next: Option<Instant>,
    /// The last refresh that a 401 caused.
    pub(super) refused_at: Option<Instant>,
    /// Captures of the request that came first, for a record that is made.
    pub(super) captures: BTreeMap<String, String>,
    /// The state that is counted.
    pub(super) state: Option<State>,
}

/// The right to be the one task of an entry. Its end is told however it comes.
#[derive(Debug)]
pub(super) struct Busy(pub(super) Arc<Entry>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.store(false, Ordering::Release);
        self.0.ended.send_modify(|count| *count += 1);
    }
}

impl Entry {
    fn new(key: ConnectionKey, captures: &[(&str, &str)], now: Timestamp) -> Self {
        let captures = captures.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Self {
            key,
            token: ArcSwapOption::empty(),
            refresh_at: AtomicI64::new(NEVER),
            used: AtomicI64::new(0),
            told: AtomicI64::new(0),
            touched: AtomicI64::new(now.seconds),
            version: AtomicU64::new(0),
            busy: AtomicBool::new(false),
            ended: watch::Sender::new(0),
            slot: Mutex::new(Slot { captures, ..Slot::default() }),
            second: OnceLock::new(),
        }
    }

    /// The token, if it may be sent now and has the parts that the credential as it is now puts in.
    pub(super) fn usable(&self, now: Timestamp, client: &Client) -> Option<Arc<Token>> {
        self.token.load_full().filter(|token| now < token.usable_until && token.fits(&client.signer))
    }

    /// A request uses it now.
    pub(super) fn use_now(&self, now: Timestamp) {
        if self.used.load(Ordering::Relaxed) != now.seconds {
            self.used.store(now.seconds, Ordering::Relaxed);
            self.touched.store(now.seconds, Ordering::Relaxed);
        }
    }

    pub(super) fn touch(&self, now: Timestamp) {
        self.touched.store(now.seconds, Ordering::Relaxed);
    }

    /// Becomes its one task, unless there is one.
    pub(super) fn begin(self: &Arc<Self>) -> Option<Busy> {
        (!self.busy.swap(true, Ordering::AcqRel)).then(|| Busy(self.clone()))
    }

    pub(super) fn is_busy(&self) -> bool {
        self.busy.load(Ordering::Acquire)
    }

    /// To be told when its task ends.
    pub(super) fn ends(&self) -> watch::Receiver<u64> {
        self.ended.subscribe()
    }

    pub(super) fn slot(&self) -> MutexGuard<'_, Slot> {
        // Nothing that runs under the lock can leave it half made.
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The second token's place, made at its first use.
    pub(super) fn second(&self) -> &Second {
        self.second.get_or_init(Box::default)
    }

    /// Whether the store knows of its last use.
    fn is_told(&self) -> bool {
        self.used.load(Ordering::Relaxed) <= self.told.load(Ordering::Relaxed)
    }

    fn is_idle(&self, now: Timestamp) -> bool {
        let idle = now.seconds - self.touched.load(Ordering::Relaxed);
        let told = self.is_told();
        let bound = if self.token.load().is_some() { IDLE } else { IDLE_EMPTY };
        told && idle > bound && !self.is_busy()
    }
}

impl Default for Table {
    fn default() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| ArcSwap::default()).collect(),
            hasher: RandomState::new(),
            changing: Mutex::new(0),
        }
    }
}

impl Table {
    fn shard(&self, tenant: &str) -> &ArcSwap<Shard> {
        &self.shards[self.hasher.hash_one(tenant) as usize % SHARDS]
    }

    /// The entry of a tenant, if it is in use.
    pub(super) fn find(&self, tenant: &str) -> Option<Arc<Entry>> {
        self.shard(tenant).load().get(tenant).cloned()
    }

    /// The entry of a tenant, made if need be, and the one that made room for it. `None` when there are [`ENTRIES`] and
    /// all that could make room are at work.
    pub(super) fn entry(&self, key: ConnectionKey, captures: &[(&str, &str)], now: Timestamp) -> Option<Found> {
        if let Some(entry) = self.find(&key.tenant) {
            entry.touch(now);
            return Some(Found { entry, gone: None });
        }
        let mut count = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let shard = self.shard(&key.tenant);
        if let Some(found) = shard.load().get(&*key.tenant) {
            return Some(Found { entry: found.clone(), gone: None });
        }
        let gone = if *count < ENTRIES { None } else { Some(self.make_room(shard)?) };
        *count = (*count + 1).min(ENTRIES);
        let mut next = Shard::clone(&shard.load());
        let entry = Arc::new(Entry::new(key.clone(), captures, now));
        next.insert(key.tenant.as_ref().into(), entry.clone());
        shard.store(Arc::new(next));
        Some(Found { entry, gone })
    }

    /// Takes out the entry that was asked for longest ago, of this shard if it has any that is not at work. What is stored
    /// stays: at its next use it is read again, without a token call.
    fn make_room(&self, first: &ArcSwap<Shard>) -> Option<Arc<Entry>> {
        let oldest = |shard: &ArcSwap<Shard>| {
            let all = shard.load();
            let free = all.values().filter(|entry| !entry.is_busy());
            // Those whose last use the store knows go first.
            let rank = |entry: &&Arc<Entry>| (!entry.is_told(), entry.touched.load(Ordering::Relaxed));
            free.min_by_key(rank).cloned()
        };
        let shards = std::iter::once(first).chain(self.shards.iter());
        let (shard, gone) = shards.filter_map(|shard| oldest(shard).map(|gone| (shard, gone))).next()?;
        let mut next = Shard::clone(&shard.load());
        next.remove(&*gone.key.tenant);
        shard.store(Arc::new(next));
        Some(gone)
    }

    /// Entries in use.
    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.shards.iter().map(|shard| shard.load().len()).sum()
    }

    /// Every entry, in no order.
    pub(super) fn all(&self) -> Vec<Arc<Entry>> {
        self.shards.iter().flat_map(|shard| shard.load().values().cloned().collect::<Vec<_>>()).collect()
    }

    /// Lets idle entries go; gives them back.
    pub(super) fn sweep(&self, now: Timestamp) -> Vec<Arc<Entry>> {
        let mut gone = Vec::new();
        for shard in &self.shards {
            if !shard.load().values().any(|entry| entry.is_idle(now)) {
                continue;
            }
            let mut count = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
            let mut next = Shard::clone(&shard.load());
            next.retain(|_, entry| {
                let idle = entry.is_idle(now);
                if idle {
                    gone.push(entry.clone());
                }
                !idle
            });
            *count -= shard.load().len() - next.len();
            shard.store(Arc::new(next));
        }
        gone
    }
}
