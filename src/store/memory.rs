//! A store that ends with its process: `memory:`, and tests of what stands on a store. Nothing is sealed, nothing is
//! written anywhere. Its clock is the process's. Made by `open`.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::rules::{Fate, Kept, Verdict, mark};
use super::time::{later, minute, moment, until};
use super::{
    APPROVALS, Approval, Change, Claim, Committed, EVENT_AGE, EVENTS, Existing, Filter, Known, Listed, News, Pending,
    Store, StoreError, Waiting, fresh_id,
};
use crate::clock::{SharedClock, Timestamp};
use crate::secret::value::SecretBytes;
use crate::token::{ConnectionKey, Event, Record};

/// The store.
pub struct Memory {
    clock: SharedClock,
    tables: Mutex<Tables>,
}

#[derive(Default)]
struct Tables {
    connections: BTreeMap<ConnectionKey, Kept>,
    approvals: BTreeMap<[u8; 32], (Approval, Timestamp)>,
    events: BTreeMap<String, Outgoing>,
}

struct Outgoing {
    event: Event,
    written: Timestamp,
    due: Timestamp,
    attempts: u32,
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Memory")
    }
}

/// What is at hand already, as the answer of a store.
fn ready<'a, T: Send + 'a>(value: Result<T, StoreError>) -> Pending<'a, T> {
    Box::pin(std::future::ready(value))
}

impl Memory {
    /// An empty one.
    pub fn new(clock: SharedClock) -> Self {
        Self { clock, tables: Mutex::default() }
    }

    fn time(&self) -> Timestamp {
        moment(self.clock.now().millis())
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tables {
    fn tell(&mut self, events: Vec<Event>, now: Timestamp) -> Result<(), StoreError> {
        for event in events {
            self.events.insert(fresh_id()?, Outgoing { event, written: now, due: now, attempts: 0 });
        }
        Ok(())
    }

    fn put(
        &mut self,
        records: &[Record],
        existing: Existing,
        mut events: Vec<Event>,
        now: Timestamp,
    ) -> Result<Vec<Record>, StoreError> {
        let mut table = BTreeMap::new(); // what was written so far, so that a refusal leaves nothing
        let mut written = Vec::with_capacity(records.len());
        for record in records {
            let before = table.get(&record.key).or_else(|| self.connections.get(&record.key));
            let kept = match (before, existing) {
                (Some(_), Existing::Refuse) => return Err(StoreError::Exists { key: record.key.clone() }),
                (Some(before), Existing::Replace) => {
                    let mut kept = before.clone();
                    kept.replace(record, now);
                    kept
                }
                (None, _) => Kept::fresh(record, 1, now),
            };
            mark(&mut events, &kept.record);
            written.push(kept.record.clone());
            table.insert(record.key.clone(), kept);
        }
        self.connections.append(&mut table);
        self.tell(events, now)?;
        Ok(written)
    }

    fn take_events(&mut self, limit: u32, term: Duration, now: Timestamp) -> (Vec<Waiting>, u64) {
        let before = self.events.len();
        self.events.retain(|_, event| until(event.written, now) <= EVENT_AGE);
        let mut order: Vec<_> = self.events.iter().map(|(id, event)| (event.written, id.clone())).collect();
        order.sort();
        for (_, id) in order.iter().take(order.len().saturating_sub(EVENTS)) {
            self.events.remove(id);
        }
        let dropped = before - self.events.len();
        let mut taken = Vec::new();
        for (_, id) in order {
            let Some(event) = self.events.get_mut(&id).filter(|event| event.due <= now) else { continue };
            if taken.len() >= limit as usize {
                break;
            }
            event.due = later(now, term);
            let age = until(event.written, now);
            taken.push(Waiting { id, event: event.event.clone(), attempts: event.attempts, age });
            event.attempts += 1;
        }
        (taken, dropped as u64)
    }
}

impl Store for Memory {
    fn now(&self) -> Pending<'_, Timestamp> {
        ready(Ok(self.time()))
    }

    fn load<'a>(&'a self, key: &'a ConnectionKey) -> Pending<'a, Option<Record>> {
        ready(Ok(self.tables().connections.get(key).map(|kept| kept.record.clone())))
    }

    fn list<'a>(
        &'a self,
        filter: &'a Filter,
        after: Option<&'a ConnectionKey>,
        limit: u32,
    ) -> Pending<'a, Vec<Listed>> {
        let tables = self.tables();
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let records = tables.connections.range((from, Bound::Unbounded)).map(|(_, kept)| &kept.record);
        let wanted = records.filter(|record| {
            filter.credential.as_ref().is_none_or(|name| **name == *record.key.credential)
                && filter.tenant.as_ref().is_none_or(|name| **name == *record.key.tenant)
                && filter.state.is_none_or(|state| state == record.state)
        });
        ready(Ok(wanted.take(limit as usize).map(|record| Listed { record: record.clone(), shut: None }).collect()))
    }

    fn news(&self, since: Timestamp, limit: u32) -> Pending<'_, Vec<News>> {
        let tables = self.tables();
        let records = tables.connections.values().map(|kept| &kept.record);
        let news = |r: &Record| News { key: r.key.clone(), version: r.version, at: r.updated_at };
        let mut news: Vec<News> = records.filter(|r| r.version > 0 && r.updated_at >= since).map(news).collect();
        news.sort_by(|a, b| (a.at, &a.key).cmp(&(b.at, &b.key)));
        if let Some(last) = (limit as usize).checked_sub(1).and_then(|last| news.get(last)).map(|last| last.at) {
            news.retain(|news| news.at <= last);
        }
        ready(Ok(news))
    }

    fn due(&self, ahead: Duration, limit: u32) -> Pending<'_, Vec<ConnectionKey>> {
        let now = self.time();
        let by = later(now, ahead);
        let tables = self.tables();
        let free = |r: &&Record| r.lease.as_ref().is_none_or(|lease| lease.until <= now);
        let records = tables.connections.values().map(|kept| &kept.record).filter(free);
        let mut due: Vec<_> =
            records.filter_map(|r| Some((r.next_refresh_at.filter(|at| *at <= by)?, &r.key))).collect();
        due.sort();
        ready(Ok(due.into_iter().take(limit as usize).map(|(_, key)| key.clone()).collect()))
    }

    fn put(&self, records: Vec<Record>, existing: Existing, events: Vec<Event>) -> Pending<'_, Vec<Record>> {
        ready(self.tables().put(&records, existing, events, self.time()))
    }

    fn claim<'a>(&'a self, template: &'a Record, known: Known, owner: &'a str, term: Duration) -> Pending<'a, Claim> {
        let now = self.time();
        let mut tables = self.tables();
        if !tables.connections.contains_key(&template.key) {
            if known != Known::Nothing {
                return ready(Ok(Claim::Absent));
            }
            tables.connections.insert(template.key.clone(), Kept::fresh(template, 0, now));
        }
        let Some(kept) = tables.connections.get_mut(&template.key) else { return ready(Ok(Claim::Absent)) };
        ready(Ok(match kept.claim(known, owner, term, now) {
            Verdict::Won { interrupted } => Claim::Won { record: Box::new(kept.record.clone()), interrupted },
            Verdict::Held { remaining, .. } => Claim::Held { remaining },
            Verdict::Moved => Claim::Moved(Box::new(kept.record.clone())),
        }))
    }

    fn commit<'a>(
        &'a self,
        key: &'a ConnectionKey,
        version: u64,
        owner: &'a str,
        mut change: Change,
    ) -> Pending<'a, Committed> {
        let now = self.time();
        let mut tables = self.tables();
        let Some(kept) = tables.connections.get_mut(key) else { return ready(Ok(Committed::Lost(None))) };
        let fate = kept.commit(version, owner, &mut change, now);
        let record = Box::new(kept.record.clone());
        let told = if fate == Fate::Written { tables.tell(change.events, now) } else { Ok(()) };
        ready(told.map(|()| match fate {
            Fate::Written | Fate::Again => Committed::Stored(record),
            Fate::Lost => Committed::Lost(Some(record)),
        }))
    }

    fn release<'a>(&'a self, key: &'a ConnectionKey, owner: &'a str) -> Pending<'a, ()> {
        if let Some(kept) = self.tables().connections.get_mut(key) {
            kept.release(owner);
        }
        ready(Ok(()))
    }

    fn revoke<'a>(&'a self, key: &'a ConnectionKey, mut events: Vec<Event>) -> Pending<'a, Option<Record>> {
        let now = self.time();
        let mut tables = self.tables();
        let Some(kept) = tables.connections.get_mut(key) else { return ready(Ok(None)) };
        let before = kept.record.clone();
        let ended = kept.revoke(now);
        mark(&mut events, &kept.record);
        let told = if ended { tables.tell(events, now) } else { Ok(()) };
        ready(told.map(|()| Some(before)))
    }

    fn used(&self, keys: Vec<ConnectionKey>) -> Pending<'_, ()> {
        let at = minute(self.time());
        let mut tables = self.tables();
        for key in keys {
            if let Some(kept) = tables.connections.get_mut(&key) {
                kept.record.last_used_at = kept.record.last_used_at.max(Some(at));
            }
        }
        ready(Ok(()))
    }

    fn begin_approval(&self, approval: Approval, term: Duration) -> Pending<'_, ()> {
        let now = self.time();
        let mut tables = self.tables();
        tables.approvals.retain(|_, (_, end)| *end > now);
        if tables.approvals.len() >= APPROVALS {
            return ready(Err(StoreError::TooManyApprovals));
        }
        tables.approvals.insert(approval.state, (approval, later(now, term)));
        ready(Ok(()))
    }

    fn take_approval<'a>(&'a self, state: &'a [u8; 32]) -> Pending<'a, Option<Approval>> {
        let now = self.time();
        let taken = self.tables().approvals.remove(state);
        ready(Ok(taken.filter(|(_, end)| *end > now).map(|(approval, _)| approval)))
    }

    fn tell(&self, events: Vec<Event>) -> Pending<'_, ()> {
        ready(self.tables().tell(events, self.time()))
    }

    fn take_events(&self, limit: u32, term: Duration) -> Pending<'_, (Vec<Waiting>, u64)> {
        ready(Ok(self.tables().take_events(limit, term, self.time())))
    }

    fn delivered<'a>(&'a self, id: &'a str) -> Pending<'a, ()> {
        self.tables().events.remove(id);
        ready(Ok(()))
    }

    fn postpone<'a>(&'a self, id: &'a str, pause: Duration) -> Pending<'a, ()> {
        let due = later(self.time(), pause);
        if let Some(event) = self.tables().events.get_mut(id) {
            event.due = due;
        }
        ready(Ok(()))
    }

    fn use_keys(&self, _: Vec<SecretBytes>) -> Result<(), StoreError> {
        Ok(())
    }

    fn rekey(&self) -> Pending<'_, u64> {
        ready(Ok(0))
    }

    fn close(&self) -> Pending<'_, ()> {
        ready(Ok(()))
    }
}
