//! A store that is not there yet: until it is reached every operation says so, and from then on it is like any other.
//! Callers: `server`, for a start that does not wait for a database.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use super::{
    Approval, Change, Claim, Committed, Existing, Filter, Known, Listed, News, Pending, Place, Store, StoreError,
    Waiting,
};
use crate::clock::{SharedClock, Timestamp};
use crate::secret::value::SecretBytes;
use crate::token::{ConnectionKey, Event, Record};

/// A store at a place, reached by [`Late::reach`].
pub struct Late {
    place: Place,
    clock: SharedClock,
    opened: OnceLock<Arc<dyn Store>>,
    closed: Mutex<Closed>,
}

/// While it is not open.
struct Closed {
    /// The keys to open it with.
    keys: Vec<SecretBytes>,
    /// Why it was not reached.
    why: String,
}

impl fmt::Debug for Late {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Late({})", self.place)
    }
}

impl Late {
    /// One that was not reached, and why.
    pub fn new(place: Place, keys: Vec<SecretBytes>, clock: SharedClock, why: String) -> Self {
        Self { place, clock, opened: OnceLock::new(), closed: Mutex::new(Closed { keys, why }) }
    }

    fn closed(&self) -> MutexGuard<'_, Closed> {
        // Nothing that runs under the lock can leave it half made.
        self.closed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tries once more. For one caller at a time.
    ///
    /// # Errors
    /// It is not there, or not fit.
    pub async fn reach(&self) -> Result<(), StoreError> {
        let keys = self.closed().keys.clone();
        match super::open(&self.place, keys, self.clock.clone()).await {
            Ok(store) => {
                let newest = self.closed().keys.clone();
                if !newest.is_empty() {
                    store.use_keys(newest)?;
                }
                let _ = self.opened.set(store); // one caller at a time: it was empty
                Ok(())
            }
            Err(error) => {
                self.closed().why = error.to_string();
                Err(error)
            }
        }
    }

    fn store(&self) -> Result<&Arc<dyn Store>, StoreError> {
        self.opened.get().ok_or_else(|| StoreError::Unavailable("it was not reached since the start".into()))
    }
}

/// An operation of the store, or that there is none yet.
macro_rules! pass {
    ($self:ident, $name:ident $(, $argument:expr)*) => {
        match $self.store() {
            Ok(store) => store.$name($($argument),*),
            Err(none) => Box::pin(std::future::ready(Err(none))),
        }
    };
}

impl Store for Late {
    fn unreached(&self) -> Option<String> {
        self.opened.get().is_none().then(|| self.closed().why.clone())
    }

    fn now(&self) -> Pending<'_, Timestamp> {
        pass!(self, now)
    }

    fn load<'a>(&'a self, key: &'a ConnectionKey) -> Pending<'a, Option<Record>> {
        pass!(self, load, key)
    }

    fn list<'a>(
        &'a self,
        filter: &'a Filter,
        after: Option<&'a ConnectionKey>,
        limit: u32,
    ) -> Pending<'a, Vec<Listed>> {
        pass!(self, list, filter, after, limit)
    }

    fn news(&self, since: Timestamp, limit: u32) -> Pending<'_, Vec<News>> {
        pass!(self, news, since, limit)
    }

    fn due(&self, ahead: Duration, limit: u32) -> Pending<'_, Vec<ConnectionKey>> {
        pass!(self, due, ahead, limit)
    }

    fn put(&self, records: Vec<Record>, existing: Existing, events: Vec<Event>) -> Pending<'_, Vec<Record>> {
        pass!(self, put, records, existing, events)
    }

    fn claim<'a>(&'a self, template: &'a Record, known: Known, owner: &'a str, term: Duration) -> Pending<'a, Claim> {
        pass!(self, claim, template, known, owner, term)
    }

    fn commit<'a>(
        &'a self,
        key: &'a ConnectionKey,
        version: u64,
        owner: &'a str,
        change: Change,
    ) -> Pending<'a, Committed> {
        pass!(self, commit, key, version, owner, change)
    }

    fn release<'a>(&'a self, key: &'a ConnectionKey, owner: &'a str) -> Pending<'a, ()> {
        pass!(self, release, key, owner)
    }

    fn revoke<'a>(&'a self, key: &'a ConnectionKey, events: Vec<Event>) -> Pending<'a, Option<Record>> {
        pass!(self, revoke, key, events)
    }

    fn used(&self, keys: Vec<ConnectionKey>) -> Pending<'_, ()> {
        pass!(self, used, keys)
    }

    fn begin_approval(&self, approval: Approval, term: Duration) -> Pending<'_, ()> {
        pass!(self, begin_approval, approval, term)
    }

    fn take_approval<'a>(&'a self, state: &'a [u8; 32]) -> Pending<'a, Option<Approval>> {
        pass!(self, take_approval, state)
    }

    fn tell(&self, events: Vec<Event>) -> Pending<'_, ()> {
        pass!(self, tell, events)
    }

    fn take_events(&self, limit: u32, term: Duration) -> Pending<'_, (Vec<Waiting>, u64)> {
        pass!(self, take_events, limit, term)
    }

    fn delivered<'a>(&'a self, id: &'a str) -> Pending<'a, ()> {
        pass!(self, delivered, id)
    }

    fn postpone<'a>(&'a self, id: &'a str, pause: Duration) -> Pending<'a, ()> {
        pass!(self, postpone, id, pause)
    }

    fn rekey(&self) -> Pending<'_, u64> {
        pass!(self, rekey)
    }

    fn use_keys(&self, keys: Vec<SecretBytes>) -> Result<(), StoreError> {
        self.closed().keys.clone_from(&keys);
        match self.opened.get() {
            Some(store) => store.use_keys(keys),
            None => Ok(()),
        }
    }

    fn close(&self) -> Pending<'_, ()> {
        match self.opened.get() {
            Some(store) => store.close(),
            None => Box::pin(std::future::ready(Ok(()))),
        }
    }
}
