//! The one task of a connection: read the record, see whether the platform must be asked, ask, store, take into use.
//! The rules are `token::machine`'s; the lease is the store's.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::call::{self, Called};
use super::commit;
use super::endpoints::{Open, Pass};
use super::health::Turned;
use super::inner::Inner;
use super::scene::{Client, Filled, Scene, Secrets, seed_word};
use super::step::Step;
use super::table::{Busy, Entry};
use super::view::NoToken;
use crate::clock::Timestamp;
use crate::store::{Claim, Known, StoreError};
use crate::token::machine::{self, Attempt, Client as Says, Need, Next, Outside, Source};
use crate::token::record::{Reason, State};
use crate::token::{Event, EventKind, Record};

/// How often a record is looked at anew because others moved it, before the task gives up.
const ROUNDS: usize = 40;
/// How long a lease of another is left before it is looked at again.
const LOOK: Duration = Duration::from_millis(250);
/// When a store that did not answer is asked again.
const STORE_PAUSE: Duration = Duration::from_secs(1);
/// What a lease is longer than two calls.
const LEASE_SLACK: Duration = Duration::from_secs(5);
/// Clocks of processes and timers are this exact.
const SLACK: Duration = Duration::from_millis(50);

/// Why the task runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// A request has no usable token.
    Demand,
    /// A request used a token near its end.
    Early,
    /// `next_refresh_at` has come.
    Due,
    /// The upstream answered 401 to this version.
    Refused(u64),
    /// A person asked.
    Manual,
    /// Secrets or seeds may have changed, or another process wrote: only what that makes worth a call.
    Look,
}

/// Runs to the end, whoever waits. `guard` is dropped last but one; then the end is told.
pub(super) async fn run(inner: Arc<Inner>, client: Arc<Client>, busy: Busy, cause: Cause, guard: impl Send + 'static) {
    let entry = &busy.0;
    match refresh(&inner, &client, entry, cause).await {
        Ok(()) => {
            let mut slot = entry.slot();
            slot.next = None;
            if entry.token.load().is_some() {
                slot.none = None;
            }
        }
        Err(Stop { none, next }) => inner.note(entry, none, next.map(|pause| Instant::now() + pause)),
    }
    drop(guard);
}

/// Why there is no token, and when to try again.
struct Stop {
    none: NoToken,
    next: Option<Duration>,
}

impl Stop {
    fn final_(reason: Reason, detail: Option<String>) -> Self {
        Self { none: NoToken::reauthorize(reason, detail), next: None }
    }

    fn passing(reason: Reason, detail: Option<String>, pause: Duration) -> Self {
        let seconds = pause.as_secs() + u64::from(pause.subsec_nanos() > 0);
        Self { none: NoToken::unavailable(reason, detail, seconds), next: Some(pause) }
    }
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        tracing::warn!(%error, "the store of connections");
        Self::passing(Reason::Timeout, Some("the store of connections does not answer".to_owned()), STORE_PAUSE)
    }
}

async fn refresh(inner: &Arc<Inner>, client: &Arc<Client>, entry: &Arc<Entry>, cause: Cause) -> Result<(), Stop> {
    for _ in 0..ROUNDS {
        let record = inner.parts.store.load(&entry.key).await?;
        match &record {
            Some(record) => inner.adopt(client, entry, record),
            None => inner.forget(client, entry),
        }
        let scene = inner.scene.load_full();
        let filled = Inner::filled(entry, record.as_ref());
        let round = Round { inner, scene: &scene, client, entry, cause, filled: &filled };
        if let Some(end) = round.go(record).await? {
            return end;
        }
    }
    Err(Stop::passing(Reason::Timeout, Some("others keep refreshing this connection".to_owned()), STORE_PAUSE))
}

/// One look at the record, and what follows.
struct Round<'r> {
    inner: &'r Arc<Inner>,
    scene: &'r Scene,
    client: &'r Arc<Client>,
    entry: &'r Arc<Entry>,
    cause: Cause,
    filled: &'r Filled,
}

impl Round<'_> {
    /// `None`: others moved the record, look again.
    async fn go(&self, mut record: Option<Record>) -> Result<Option<Result<(), Stop>>, Stop> {
        let now = self.inner.store_now();
        if let Some(record) = &mut record {
            self.used_here(record);
        }
        let record = record.as_ref().filter(|record| record.version > 0);
        let seed = self.scene.seed(self.client, self.filled);
        let secrets = self.scene.secrets(self.client, self.filled);
        let newer = secrets.as_ref().is_ok_and(|secrets| self.client.lane.healths().are_newer(secrets));
        let outside = if newer || self.cause == Cause::Manual { Outside::Changed } else { Outside::Same };
        let need = machine::need(record, &self.client.oauth, seed_word(seed.as_ref()), outside, now);
        if !self.is_wanted(record, &need, outside, now) {
            return Ok(Some(verdict(record, &self.client.oauth.refresh, now)));
        }
        let attempt = match need {
            Need::Nothing => return Ok(Some(verdict(record, &self.client.oauth.refresh, now))),
            Need::Ended(change) => return self.end(record, *change).await,
            Need::Call(attempt) => attempt,
        };
        let held = record.map_or(Duration::ZERO, |record| machine::held(record, now));
        let fresh_seed = matches!(attempt.source, Source::Seed(_));
        if held > SLACK && outside == Outside::Same && !fresh_seed {
            let reason = record.and_then(|record| record.reason.or(record.last_refresh?.failed));
            let detail = record.and_then(|record| record.detail.clone());
            return Err(Stop::passing(reason.unwrap_or(Reason::Timeout), detail, held));
        }
        let secrets = secrets.map_err(|why| Stop::passing(Reason::InvalidClient, Some(why), machine::RECHECK))?;
        self.call(record, attempt, seed.map(|(seed, _)| seed), &secrets).await
    }

    /// Uses that the store was not told of yet.
    fn used_here(&self, record: &mut Record) {
        let used = self.entry.used.load(std::sync::atomic::Ordering::Relaxed);
        if used > 0 {
            record.last_used_at = record.last_used_at.max(Some(Timestamp::from_seconds(used)));
        }
    }

    fn is_wanted(&self, record: Option<&Record>, need: &Need, outside: Outside, now: Timestamp) -> bool {
        let policy = &self.client.oauth.refresh;
        let fresh_seed = matches!(need, Need::Call(Attempt { source: Source::Seed(_), .. }));
        let usable = record.is_some_and(|record| machine::usable_until(record, policy, now).is_some());
        if fresh_seed || matches!(need, Need::Ended(_)) {
            return true;
        }
        match (self.cause, record) {
            (Cause::Demand, _) => !usable,
            (Cause::Look, None) | (Cause::Due, None) => false,
            (Cause::Look, Some(_)) => outside == Outside::Changed && !usable,
            (Cause::Manual, _) | (_, None) => true,
            (Cause::Early, Some(record)) => !usable || machine::due_on_use(&record.tokens, policy, now),
            (Cause::Due, Some(record)) => record.next_refresh_at.is_some_and(|at| at <= now.plus(SLACK)),
            (Cause::Refused(version), Some(record)) => record.version <= version,
        }
    }

    /// What the record has is over.
    async fn end(&self, record: Option<&Record>, change: machine::Change) -> Result<Option<Result<(), Stop>>, Stop> {
        let (inner, owner) = (self.inner, self.inner.owner.as_str());
        let Some(record) = record else { return Ok(None) };
        match self.claim(record, Known::Version(record.version)).await? {
            Claim::Won { record, .. } => {
                let stored = commit::store(inner, self.client, self.entry, &record, change).await;
                Ok(stored.map(|record| verdict(Some(&record), &self.client.oauth.refresh, inner.store_now())))
            }
            Claim::Held { remaining } => {
                tokio::time::sleep(remaining.min(LOOK)).await;
                Ok(None)
            }
            Claim::Moved(_) | Claim::Absent => {
                tracing::debug!(owner, "moved meanwhile");
                Ok(None)
            }
        }
    }

    async fn claim(&self, template: &Record, known: Known) -> Result<Claim, Stop> {
        let term = self.term();
        let (store, owner) = (&self.inner.parts.store, self.inner.owner.as_str());
        match store.claim(template, known, owner, term).await {
            Ok(claim) => Ok(claim),
            Err(error) => {
                // Whether the lease was given is not known.
                let _ = store.release(&self.entry.key, owner).await;
                Err(error.into())
            }
        }
    }

    fn term(&self) -> Duration {
        2 * self.client.oauth.refresh.timeout + LEASE_SLACK
    }

    /// Waits for leave, claims, calls, stores.
    async fn call(
        &self,
        record: Option<&Record>,
        attempt: Attempt,
        seed: Option<crate::secret::value::SecretBytes>,
        secrets: &Secrets,
    ) -> Result<Option<Result<(), Stop>>, Stop> {
        let (inner, client, oauth) = (self.inner, self.client, &self.client.oauth);
        self.step(Step::Wanted).await;
        let asked = client.lane.healths().ask(secrets);
        asked.map_err(|(why, left)| Stop::passing(Reason::InvalidClient, why.detail, left))?;
        let mut pass = self.leave(attempt).await?;
        let now = inner.store_now();
        let captures: Vec<(&str, &str)> = self.filled.captures();
        let template = machine::template(self.entry.key.clone(), oauth, &captures, now);
        let known = record.map_or(Known::Nothing, |record| Known::Version(record.version));
        let began = Instant::now();
        let (mut record, interrupted) = match self.claim(record.unwrap_or(&template), known).await? {
            Claim::Won { record, interrupted } => (record, interrupted),
            Claim::Held { remaining } => {
                drop(pass);
                tokio::time::sleep(remaining.min(LOOK)).await;
                return Ok(None);
            }
            Claim::Moved(_) | Claim::Absent => return Ok(None),
        };
        self.used_here(&mut record);
        self.step(Step::Claimed).await;
        let mut attempt = if interrupted.is_some() { machine::after_interruption(attempt) } else { attempt };
        let last = began + (self.term() - oauth.refresh.timeout);
        loop {
            if Instant::now() > last {
                let _ = inner.parts.store.release(&self.entry.key, &inner.owner).await;
                let why = "too little of the lease was left for a call".to_owned();
                return Err(Stop::passing(Reason::Timeout, Some(why), STORE_PAUSE));
            }
            let called = Called { scene: self.scene, client, secrets, filled: self.filled, seed: seed.as_ref() };
            let answered = call::ask(inner, &called, &record, attempt, &mut pass).await;
            let (outcome, words) = (answered.outcome, answered.words);
            self.step(Step::Answered).await;
            let now = inner.store_now();
            match machine::after(&record, oauth, attempt, outcome, now, inner.random()) {
                Next::Again(again) => attempt = again,
                Next::Discard => return Ok(None),
                Next::Commit(step) => {
                    drop(pass); // others need not wait for the store
                    let change = commit::worded(step.change, words);
                    self.count(&change);
                    let told = self.health(step.client, &change, secrets);
                    let stored = commit::store(inner, client, self.entry, &record, change).await;
                    self.tell(told).await;
                    self.step(Step::Committed).await;
                    let Some(stored) = stored else { return Ok(None) };
                    inner.adopt(client, self.entry, &stored);
                    return Ok(Some(self.after(&stored)));
                }
            }
        }
    }

    /// The end of an attempt whose outcome is stored. An attempt that a usable token outlives has an end like any other.
    fn after(&self, record: &Record) -> Result<(), Stop> {
        let now = self.inner.store_now();
        let failed = record.last_refresh.and_then(|last| last.failed);
        if let Some(reason) = failed
            && matches!(record.state, State::Active | State::Degraded)
        {
            let held = machine::held(record, now).max(SLACK);
            return Err(Stop::passing(record.reason.unwrap_or(reason), record.detail.clone(), held));
        }
        verdict(Some(record), &self.client.oauth.refresh, now)
    }

    async fn leave(&self, attempt: Attempt) -> Result<Pass, Stop> {
        let (inner, oauth) = (self.inner, &self.client.oauth);
        let refresh = oauth.refresh_url.as_ref().filter(|_| attempt.source != Source::Own);
        let url = refresh.unwrap_or(&oauth.token_url).url.fill(|name| self.filled.value(name));
        // What has no value here is said by the call itself.
        let uri: Option<http::Uri> = url.ok().and_then(|url| url.parse().ok());
        let name = uri.as_ref().and_then(crate::control::outward::authority);
        let name = name.map(|name| format!("{}:{}", name.host, name.port)).unwrap_or_default();
        let permits = self.client.lane.permits.load_full();
        let now = || inner.parts.clock.now();
        let leave = inner.endpoints.leave(&name, self.client.shared(), &permits, oauth.refresh.timeout, now).await;
        leave.map_err(|Open { left, reason }| {
            let detail = format!("{name} fails for everybody and is left alone for a moment");
            Stop::passing(reason, Some(detail), left.max(SLACK))
        })
    }

    fn count(&self, change: &machine::Change) {
        let failed = change.last_refresh.and_then(|last| last.failed);
        let outcome = failed.map_or("ok", Reason::as_str);
        self.inner.parts.metrics.connections(&self.client.name).refreshed(outcome);
    }

    fn health(&self, says: Says, change: &machine::Change, secrets: &Secrets) -> Option<Event> {
        let now = self.inner.store_now();
        let detail = change.detail.clone();
        let mut healths = self.client.lane.healths();
        let turned = match says {
            Says::Accepted => healths.accepted(secrets),
            Says::Refused => healths.refused(secrets, detail.clone(), now),
            Says::Unknown => None,
        }?;
        let (kind, reason) = match turned {
            Turned::Unhealthy => (EventKind::Unhealthy, Some(Reason::InvalidClient)),
            Turned::Healthy => (EventKind::Healthy, None),
        };
        let key = crate::token::ConnectionKey::new(&self.client.name, "");
        let detail = detail.filter(|_| reason.is_some());
        Some(Event { kind, key, at: now, state: None, previous: None, reason, detail, version: 0 })
    }

    async fn tell(&self, event: Option<Event>) {
        let Some(event) = event else { return };
        self.inner.told(std::slice::from_ref(&event));
        if let Err(error) = self.inner.parts.store.tell(vec![event]).await {
            tracing::warn!(%error, "an event was not stored");
        }
        self.inner.told.notify_one();
    }

    async fn step(&self, step: Step) {
        if let Some(steps) = &self.inner.steps {
            steps.reached(step).await;
        }
    }
}

/// Whether there is a token now, by the record alone.
fn verdict(record: Option<&Record>, policy: &crate::token::grant::RefreshPolicy, now: Timestamp) -> Result<(), Stop> {
    let Some(record) = record else { return Err(Stop::final_(Reason::NotConnected, None)) };
    if machine::usable_until(record, policy, now).is_some() {
        return Ok(());
    }
    match record.state {
        State::Revoked => Err(Stop::final_(Reason::Revoked, None)),
        State::Reauthorize => Err(Stop::final_(record.reason.unwrap_or(Reason::NotConnected), record.detail.clone())),
        State::Active | State::Degraded => {
            let pause = machine::held(record, now).max(SLACK);
            Err(Stop::passing(record.reason.unwrap_or(Reason::Timeout), record.detail.clone(), pause))
        }
    }
}
