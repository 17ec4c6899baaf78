//! What every store does with a record, once for all of them: who wins a lease, what a commit changes, when it is lost.
//! A store reads a record under its own lock, asks here, and writes what came of it. No I/O. Callers: `memory`, `ledger`.

use std::collections::HashMap;
use std::time::Duration;

use super::time::{later, until};
use super::{Change, Known};
use crate::clock::Timestamp;
use crate::token::record::{Lease, Reason, State, TokenSet};
use crate::token::{ConnectionKey, Event, Record};

/// A record with what only stores know of it. `record.intent` is the older of the two moments here.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    /// The record.
    pub(super) record: Record,
    /// When the live claim began.
    pub(super) began: Option<Timestamp>,
    /// When the oldest refresh began that was sent, perhaps, and of which nobody stored the answer.
    pub(super) interrupted: Option<Timestamp>,
    /// Whose commit made this version; empty where no commit did. A commit that is said again is known by it.
    pub(super) writer: String,
}

/// What is to be done about a claim.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It was given, and stands in the record.
    Won { interrupted: Option<Timestamp> },
    /// Somebody has it.
    Held { owner: String, remaining: Duration },
    /// Another version.
    Moved,
}

/// What is to be done about a commit.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It stands in the record, which has to be written.
    Written,
    /// This very commit was written before: its first answer was lost.
    Again,
    /// Nothing is to be written.
    Lost,
}

impl Kept {
    /// A record that nobody has refreshed yet, without lease and intent.
    pub(super) fn fresh(template: &Record, version: u64, now: Timestamp) -> Self {
        let record = Record {
            version,
            created_at: now,
            updated_at: now,
            last_used_at: None,
            lease: None,
            intent: None,
            ..template.clone()
        };
        Self { record, began: None, interrupted: None, writer: String::new() }
    }

    /// Asks for the lease.
    pub(super) fn claim(&mut self, known: Known, owner: &str, term: Duration, now: Timestamp) -> Verdict {
        let version = match known {
            Known::Version(version) => version,
            Known::Nothing => 0, // one that another process made and never filled is as good as none
        };
        if self.record.version != version {
            return Verdict::Moved;
        }
        if let Some(lease) = &self.record.lease
            && lease.until > now
        {
            return Verdict::Held { owner: lease.owner.clone(), remaining: until(now, lease.until) };
        }
        self.lapse();
        self.record.lease = Some(Lease { owner: owner.to_owned(), until: later(now, term) });
        self.began = Some(now);
        self.settle();
        Verdict::Won { interrupted: self.interrupted }
    }

    /// The holder is gone: what it had begun is interrupted.
    pub(super) fn lapse(&mut self) {
        self.record.lease = None;
        self.interrupted = self.interrupted.or(self.began);
        self.began = None;
        self.settle();
    }

    /// The holder never sent its call. Whether there was anything to give back.
    pub(super) fn release(&mut self, owner: &str) -> bool {
        if self.record.lease.as_ref().is_none_or(|lease| lease.owner != owner) {
            return false;
        }
        self.record.lease = None;
        self.began = None;
        self.settle();
        true
    }

    /// Stores what came of a refresh.
    pub(super) fn commit(&mut self, version: u64, owner: &str, change: &mut Change, now: Timestamp) -> Fate {
        if self.record.version == version + 1 && self.writer == owner {
            return Fate::Again;
        }
        let own = self.record.lease.as_ref().is_some_and(|lease| lease.owner == owner);
        if self.record.version != version || !own {
            return Fate::Lost;
        }
        let record = &mut self.record;
        record.state = change.state;
        record.reason = change.reason;
        record.detail = change.detail.take();
        if let Some(tokens) = change.tokens.take() {
            record.tokens = tokens;
        }
        record.failures = change.failures;
        record.next_refresh_at = change.next_refresh_in.map(|pause| later(now, pause));
        record.last_refresh = change.last_refresh;
        record.seed = change.seed.or(record.seed);
        owner.clone_into(&mut self.writer);
        self.moved(now);
        mark(&mut change.events, &self.record);
        Fate::Written
    }

    /// Ends the connection. Whether there was anything to end.
    pub(super) fn revoke(&mut self, now: Timestamp) -> bool {
        if self.record.state == State::Revoked {
            return false;
        }
        self.record.state = State::Revoked;
        self.record.reason = Some(Reason::Revoked);
        self.record.detail = None;
        self.record.tokens = TokenSet::default();
        self.record.failures = 0;
        self.record.next_refresh_at = None;
        self.writer.clear();
        self.moved(now);
        true
    }

    /// Puts a new record in the place of this one.
    pub(super) fn replace(&mut self, record: &Record, now: Timestamp) {
        let new = Self::fresh(record, self.record.version, now);
        let before = std::mem::replace(self, new);
        self.record.created_at = before.record.created_at;
        self.record.last_used_at = before.record.last_used_at;
        self.moved(now);
    }

    fn moved(&mut self, now: Timestamp) {
        self.record.version += 1;
        self.record.updated_at = now;
        self.record.lease = None;
        self.began = None;
        self.interrupted = None;
        self.settle();
    }

    fn settle(&mut self) {
        self.record.intent = self.interrupted.or(self.began);
    }
}

/// Events of the record that is written with them get its version.
pub(super) fn mark(events: &mut [Event], record: &Record) {
    mark_all(events, std::slice::from_ref(record));
}

/// The same for many: each event is looked at once.
pub(super) fn mark_all(events: &mut [Event], records: &[Record]) {
    let versions: HashMap<&ConnectionKey, u64> = records.iter().map(|record| (&record.key, record.version)).collect();
    for event in events {
        if let Some(version) = versions.get(&event.key) {
            event.version = *version;
        }
    }
}
