//! What becomes of a connection: whether it may be used, whether its platform may be asked, and what an answer does to
//! it. PURE: record, answer, time and random number in; [`Change`] and events out. Not here: when ([`super::times`]),
//! what the answer was ([`super::answer`]), storing and calling (`store`, `refresh`). The machine is drawn in
//! `docs/CONNECTIONS.md`.

use std::collections::BTreeSet;
use std::time::Duration;

use super::answer::{Class, Refusal};
use super::event::{Event, EventKind};
use super::grant::{Grant, OAuth, RefreshPolicy};
use super::record::{LastRefresh, Reason, Record, State, TokenSet};
pub use super::step::{Attempt, Change, Client, Need, Next, Outcome, Outside, Seed, Source, Step, Turn};
use super::times::{self, Use};
use crate::clock::Timestamp;

/// How often a platform is asked again that does not accept the client itself, or the form of the call.
pub const RECHECK: Duration = Duration::from_secs(300);
/// `last_used_at` is kept to this.
const USED_STEP: Duration = Duration::from_secs(60);

/// Until when a record's access token may be sent. `None`: not at all now. `Some(None)`: until it is refused.
///
/// A token without a known end is used on under `Reauthorize` until `refresh.default_life` is over.
pub fn usable_until(record: &Record, policy: &RefreshPolicy, now: Timestamp) -> Option<Option<Timestamp>> {
    record.tokens.access.as_ref()?;
    let end = match (record.state, times::usable_until(&record.tokens)) {
        (State::Revoked, _) => return None,
        (State::Reauthorize, None) => Some(record.tokens.issued_at?.plus(policy.default_life)),
        (_, end) => end,
    };
    match end {
        Some(end) if end <= now => None,
        end => Some(end),
    }
}

/// Whether a use of this record's token now is reason to refresh it: its window has begun.
pub fn due_on_use(tokens: &TokenSet, policy: &RefreshPolicy, now: Timestamp) -> bool {
    times::window_of(tokens, policy).is_none_or(|window| window.earliest <= now)
}

/// For how long the platform must not be asked yet, after a failure. Nothing: it may be.
pub fn held(record: &Record, now: Timestamp) -> Duration {
    match record.next_refresh_at {
        Some(at) if record.failures > 0 => at.since(now),
        _ => Duration::ZERO,
    }
}

/// Whether the platform is to be asked for a connection, whose record may not exist yet (`None`). When it is time to is
/// the caller's question ([`times`], [`held`]).
pub fn need(record: Option<&Record>, oauth: &OAuth, seed: Seed, outside: Outside, now: Timestamp) -> Need {
    let call = |source, record: Option<&Record>| {
        Need::Call(Attempt { source, doubt: record.and_then(doubt), turn: Turn::First })
    };
    let Some(record) = record else {
        return match seed {
            _ if !oauth.grant.needs_consent() => call(Source::Own, None),
            Seed::Is(digest) => call(Source::Seed(digest), None),
            Seed::None => Need::Nothing,
        };
    };
    let dead = record.state == State::Reauthorize;
    if record.state == State::Revoked {
        return Need::Nothing;
    }
    if !oauth.grant.needs_consent() {
        let again = !dead || outside == Outside::Changed;
        return if again { call(Source::Own, Some(record)) } else { Need::Nothing };
    }
    let gone = dead || record.tokens.refresh.is_none();
    if let Seed::Is(digest) = seed {
        // A seed that was never tried makes way for what an approval or an import brought, as long as that works.
        let other = record.seed.is_some_and(|last| last != digest);
        if other || (gone && record.seed.is_none()) {
            // What was lost before was this seed's, if the record has no token of its own.
            return call(Source::Seed(digest), Some(record).filter(|record| record.tokens.refresh.is_none()));
        }
    }
    let over = |end: Option<Timestamp>| end.is_some_and(|end| end <= now);
    if dead {
        return match (&record.tokens.refresh, outside) {
            (Some(_), Outside::Changed) if !over(record.tokens.refresh_expires_at) => {
                call(Source::Stored, Some(record))
            }
            _ => Need::Nothing,
        };
    }
    match &record.tokens.refresh {
        Some(_) if !over(record.tokens.refresh_expires_at) => call(Source::Stored, Some(record)),
        Some(_) => Need::Ended(Box::new(ended(record, Reason::RefreshExpired, now))),
        None if record.tokens.access.is_none() => Need::Ended(Box::new(ended(record, Reason::NotConnected, now))),
        None if over(times::usable_until(&record.tokens)) => {
            Need::Ended(Box::new(ended(record, Reason::RefreshExpired, now)))
        }
        None => Need::Nothing,
    }
}

/// The same call, for a record whose earlier refresh was sent and its answer never stored.
#[must_use]
pub fn after_interruption(attempt: Attempt) -> Attempt {
    match attempt.source {
        Source::Own => attempt,
        _ => Attempt { doubt: Some(Reason::RefreshInterrupted), ..attempt },
    }
}

/// What to do after a call. `record` is what was claimed; `random` is from 0 to 1.
pub fn after(record: &Record, oauth: &OAuth, attempt: Attempt, outcome: Outcome, now: Timestamp, random: f64) -> Next {
    if record.state == State::Revoked {
        return Next::Discard;
    }
    let at = At { record, oauth, attempt, now, random };
    match outcome {
        Outcome::Fresh(tokens) => at.fresh(*tokens),
        Outcome::Refused(refusal) => match refusal.class {
            Class::Dead => at.dead(refusal),
            Class::Client => at.client(refusal),
            Class::Configuration => at.failed(refusal.reason, refusal.detail, RECHECK),
            Class::Passing { retry_after } => at.passing(refusal.reason, refusal.detail, retry_after),
            // The platform may have used up the refresh token.
            Class::Unread => {
                let at = At { attempt: Attempt { doubt: attempt.doubt.or(at.lost()), ..attempt }, ..at };
                at.passing(refusal.reason, refusal.detail, None)
            }
        },
        Outcome::Lost(_) if attempt.turn == Turn::First => {
            Next::Again(Attempt { doubt: attempt.doubt.or(at.lost()), turn: Turn::Second, source: attempt.source })
        }
        Outcome::Lost(reason) => at.passing(reason, Some("the answer was lost on its way, twice".to_owned()), None),
        Outcome::Unsent(reason) => at.passing(reason, None, None),
    }
}

/// The record that a first use or a seed makes; its version is 0.
pub fn template(key: super::ConnectionKey, oauth: &OAuth, captures: &[(&str, &str)], now: Timestamp) -> Record {
    Record {
        key,
        grant: oauth.grant,
        state: State::Active,
        reason: None,
        detail: None,
        tokens: TokenSet::default(),
        version: 0,
        failures: 0,
        next_refresh_at: None,
        last_refresh: None,
        seed: None,
        captures: captures.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        created_at: now,
        updated_at: now,
        last_used_at: None,
        lease: None,
        intent: None,
    }
}

/// What an approval or an import stores, over what was there before (if anything), and its events.
///
/// `seed` is kept from before, so that a seed's file counts as changed only when it is.
pub fn connected(
    before: Option<&Record>,
    mut record: Record,
    oauth: &OAuth,
    now: Timestamp,
    random: f64,
) -> (Record, Vec<Event>) {
    record.seed = record.seed.or(before.and_then(|before| before.seed));
    record.version = before.map_or(0, |before| before.version);
    (record.state, record.reason, record.detail, record.failures) = (State::Active, None, None, 0);
    record.last_refresh = Some(LastRefresh { at: now, failed: None });
    let next = times::next_refresh_in(&record.tokens, Use::Active, &oauth.refresh, now, random);
    record.next_refresh_at = next.map(|pause| now.plus(pause));
    let mut events = vec![event(&record, EventKind::Connected, now)];
    events[0].previous = before.map(|before| before.state);
    let old = before.map(|before| before.tokens.scopes.as_slice()).unwrap_or_default();
    events.extend(scope_event(&record, old, oauth, now));
    (record, events)
}

/// The event of a connection's end by `revoke`.
pub fn revoked(record: &Record, now: Timestamp) -> Event {
    let mut told = event(record, EventKind::Revoked, now);
    (told.state, told.previous, told.reason) = (Some(State::Revoked), Some(record.state), Some(Reason::Revoked));
    told
}

/// The reason that a refusal of the stored refresh token would have: an earlier answer of its platform was lost.
fn doubt(record: &Record) -> Option<Reason> {
    let failed = record.last_refresh.and_then(|last| last.failed)?;
    matches!(failed, Reason::AnswerLost | Reason::RefreshInterrupted).then_some(failed)
}

fn ended(record: &Record, reason: Reason, now: Timestamp) -> Change {
    let mut told = event(record, EventKind::Reauthorize, now);
    (told.state, told.reason, told.detail) = (Some(State::Reauthorize), Some(reason), None);
    Change {
        state: State::Reauthorize,
        reason: Some(reason),
        detail: None,
        tokens: None,
        failures: record.failures,
        next_refresh_in: None,
        last_refresh: record.last_refresh,
        seed: record.seed,
        events: vec![told],
    }
}

/// An event of a record as it is; its version is that of the write it belongs to.
fn event(record: &Record, kind: EventKind, now: Timestamp) -> Event {
    Event {
        kind,
        key: record.key.clone(),
        at: now,
        state: Some(record.state),
        previous: Some(record.state),
        reason: record.reason,
        detail: record.detail.clone(),
        version: record.version + 1,
    }
}

/// Tells that what is granted differs from what was, or, at the first time, from what is asked for.
fn scope_event(record: &Record, old: &[String], oauth: &OAuth, now: Timestamp) -> Option<Event> {
    let set = |scopes: &[String]| scopes.iter().cloned().collect::<BTreeSet<_>>();
    let granted = set(&record.tokens.scopes);
    let wanted = if old.is_empty() { set(&oauth.scope) } else { set(old) };
    if granted.is_empty() || wanted.is_empty() || granted == wanted {
        return None;
    }
    let list = |scopes: Vec<&String>| scopes.iter().map(|scope| scope.as_str()).collect::<Vec<_>>().join(" ");
    let (gone, new) = (wanted.difference(&granted).collect(), granted.difference(&wanted).collect());
    let mut told = event(record, EventKind::ScopeChanged, now);
    let text = format!("gone: {}; new: {}", list(gone), list(new));
    told.detail = Some(super::detail::cut(&text));
    Some(told)
}

/// One call's circumstances.
#[derive(Clone, Copy)]
struct At<'a> {
    record: &'a Record,
    oauth: &'a OAuth,
    attempt: Attempt,
    now: Timestamp,
    random: f64,
}

impl At<'_> {
    fn fresh(self, tokens: TokenSet) -> Next {
        let (record, policy) = (self.record, &self.oauth.refresh);
        let usable = times::usable_until(&tokens).is_none_or(|end| end > self.now);
        let mut change = self.change(State::Active, None, None);
        change.seed = self.seed();
        change.last_refresh = Some(LastRefresh { at: self.now, failed: None });
        if usable {
            change.failures = 0;
            change.next_refresh_in = times::next_refresh_in(&tokens, self.usage(), policy, self.now, self.random);
        } else {
            // Stored all the same: the refresh token may be a new one. Not asked again at once, or it never ends.
            change.state = State::Degraded;
            change.reason = Some(Reason::BadAnswer);
            change.detail = Some("the token had ended when it came; is the clock right?".to_owned());
            change.next_refresh_in = Some(times::pause(change.failures, None, policy, self.random));
        }
        let mut after = record.clone();
        (after.state, after.reason, after.detail) = (change.state, change.reason, change.detail.clone());
        after.tokens = tokens.clone();
        let kind = match (record.state, change.state) {
            (_, State::Degraded) => (record.state != State::Degraded).then_some(EventKind::Degraded),
            (State::Degraded, _) if record.tokens.access.is_some() => Some(EventKind::Recovered),
            (State::Active, _) if record.tokens.access.is_some() => None,
            _ => Some(EventKind::Connected),
        };
        change.events.extend(kind.map(|kind| Event { previous: Some(record.state), ..event(&after, kind, self.now) }));
        change.events.extend(scope_event(&after, &record.tokens.scopes, self.oauth, self.now));
        change.tokens = Some(tokens);
        self.commit(change, Client::Accepted)
    }

    fn dead(self, refusal: Refusal) -> Next {
        if let Source::Seed(digest) = self.attempt.source
            && self.record.tokens.refresh.is_some()
            && self.record.state != State::Reauthorize
        {
            // A bad seed takes nothing from a connection that works; it is not tried again.
            let mut change = self.change(self.record.state, self.record.reason, self.record.detail.clone());
            change.seed = Some(digest);
            change.failures = self.record.failures;
            change.last_refresh = Some(LastRefresh { at: self.now, failed: Some(refusal.reason) });
            change.next_refresh_in = self.planned();
            return self.commit(change, Client::Accepted);
        }
        let reason = self.attempt.doubt.unwrap_or(refusal.reason);
        let mut change = self.change(State::Reauthorize, Some(reason), refusal.detail);
        change.seed = self.seed();
        change.last_refresh = Some(LastRefresh { at: self.now, failed: Some(reason) });
        if self.record.state != State::Reauthorize {
            change.events = vec![self.told(EventKind::Reauthorize, &change)];
        }
        self.commit(change, Client::Accepted)
    }

    /// The connection stays what it is: the merchant has nothing to do with it.
    fn client(self, refusal: Refusal) -> Next {
        let mut change = self.change(self.record.state, self.record.reason, self.record.detail.clone());
        change.last_refresh = self.noted(refusal.reason);
        change.next_refresh_in = (change.state != State::Reauthorize).then_some(RECHECK);
        self.commit(change, Client::Refused)
    }

    fn passing(self, reason: Reason, detail: Option<String>, retry_after: Option<Duration>) -> Next {
        let failures = self.record.failures.saturating_add(1);
        self.failed(reason, detail, times::pause(failures, retry_after, &self.oauth.refresh, self.random))
    }

    fn failed(self, reason: Reason, detail: Option<String>, pause: Duration) -> Next {
        let mut change = self.change(State::Degraded, Some(reason), detail);
        change.last_refresh = self.noted(reason);
        change.next_refresh_in = Some(pause);
        if self.record.state != State::Degraded {
            change.events = vec![self.told(EventKind::Degraded, &change)];
        }
        self.commit(change, Client::Unknown)
    }

    /// This attempt's failure. That an answer was lost is kept until something else is known about the refresh token.
    fn noted(self, reason: Reason) -> Option<LastRefresh> {
        Some(LastRefresh { at: self.now, failed: self.attempt.doubt.or(Some(reason)) })
    }

    /// What a lost answer makes of a refresh token.
    fn lost(self) -> Option<Reason> {
        (self.attempt.source != Source::Own).then_some(Reason::AnswerLost)
    }

    fn usage(self) -> Use {
        let (record, tokens) = (self.record, &self.record.tokens);
        let used = match (record.last_used_at, tokens.issued_at) {
            // Made by a use, an approval or a seed: somebody wants it.
            _ if tokens.access.is_none() => true,
            (Some(used), Some(issued)) => used.plus(USED_STEP) >= issued,
            (used, _) => used.is_some(),
        };
        if used { Use::Active } else { Use::Idle }
    }

    fn planned(self) -> Option<Duration> {
        times::next_refresh_in(&self.record.tokens, self.usage(), &self.oauth.refresh, self.now, self.random)
    }

    fn seed(self) -> Option<[u8; 32]> {
        match self.attempt.source {
            Source::Seed(digest) => Some(digest),
            _ => self.record.seed,
        }
    }

    fn change(self, state: State, reason: Option<Reason>, detail: Option<String>) -> Change {
        Change {
            state,
            reason,
            detail,
            tokens: None,
            failures: self.record.failures.saturating_add(1),
            next_refresh_in: None,
            last_refresh: self.record.last_refresh,
            seed: self.record.seed,
            events: Vec::new(),
        }
    }

    fn told(self, kind: EventKind, change: &Change) -> Event {
        let mut told = event(self.record, kind, self.now);
        (told.state, told.reason, told.detail) = (Some(change.state), change.reason, change.detail.clone());
        told
    }

    fn commit(self, change: Change, client: Client) -> Next {
        Next::Commit(Box::new(Step { change, client }))
    }
}

/// Whether countersign itself makes a record at its first use.
pub fn made_at_use(grant: Grant) -> bool {
    !grant.needs_consent()
}
