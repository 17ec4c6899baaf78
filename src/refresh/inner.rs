//! What every part of the refresher shares, and the two small acts that all of them do: taking a stored record into
//! use, and starting the one task of a connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use ring::rand::{SecureRandom, SystemRandom};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::attempt::{self, Cause};
use super::endpoints::Endpoints;
use super::scene::{Client, Filled, Scene};
use super::step::Steps;
use super::table::{Entry, NEVER};
use super::tokens::Parts;
use super::view::{NoToken, Token, TokenKind};
use crate::clock::Timestamp;
use crate::snapshot::credential::{Instance, Value};
use crate::token::record::{Reason, State};
use crate::token::{Event, Record, machine, times};

/// The end of a token that nobody knows the end of.
pub(super) const FAR: i64 = i64::MAX / 4;

/// What every part shares.
pub(super) struct Inner {
    pub(super) parts: Parts,
    pub(super) scene: ArcSwap<Scene>,
    /// This process's name in leases: random.
    pub(super) owner: String,
    pub(super) endpoints: Endpoints,
    /// Milliseconds that the store's clock is ahead of ours.
    skew: AtomicI64,
    draining: AtomicBool,
    /// Tasks of connections under way.
    pub(super) running: watch::Sender<usize>,
    /// Events may wait for their delivery.
    pub(super) told: Notify,
    seed: AtomicU64,
    pub(super) steps: Option<Arc<dyn Steps>>,
}

/// At most one refresh of a connection in this time is caused by an upstream's 401.
const REFUSED_EVERY: Duration = Duration::from_secs(30);

/// Counts a task while it lives.
pub(super) struct Running(Arc<Inner>);

impl Running {
    pub(super) fn new(inner: &Arc<Inner>) -> Self {
        inner.running.send_modify(|count| *count += 1);
        Self(inner.clone())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.send_modify(|count| *count -= 1);
    }
}

impl Inner {
    pub(super) fn new(parts: Parts, steps: Option<Arc<dyn Steps>>) -> Self {
        let mut random = [0; 24];
        // Without randomness the name is not unique, and neither leases nor jitter are worth anything; TLS would fail too.
        let _ = SystemRandom::new().fill(&mut random);
        let owner = random[..16].iter().map(|byte| format!("{byte:02x}")).collect();
        let mut seed = [0; 8];
        seed.copy_from_slice(&random[16..]);
        parts.outward.resolve_by(&parts.snapshot.plan.config.dns);
        let scene = ArcSwap::from_pointee(Scene::new(parts.snapshot.clone(), None));
        Self {
            parts,
            scene,
            owner,
            endpoints: Endpoints::default(),
            skew: AtomicI64::new(0),
            draining: AtomicBool::new(false),
            running: watch::Sender::new(0),
            told: Notify::new(),
            seed: AtomicU64::new(u64::from_le_bytes(seed)),
            steps,
        }
    }

    /// A number from 0 to 1 for jitter; no secret.
    pub(super) fn random(&self) -> f64 {
        // splitmix64
        let mut z = self.seed.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// The time of day by the store's clock, which all its processes share.
    pub(super) fn store_now(&self) -> Timestamp {
        shifted(self.parts.clock.now(), self.skew.load(Ordering::Relaxed))
    }

    pub(super) fn ours(&self, at: Timestamp) -> Timestamp {
        shifted(at, -self.skew.load(Ordering::Relaxed))
    }

    /// Compares the clocks.
    pub(super) async fn compare_clocks(&self) {
        let before = self.parts.clock.now().millis();
        let Ok(theirs) = self.parts.store.now().await else { return };
        let after = self.parts.clock.now().millis();
        let skew = theirs.millis() - (before + (after - before) / 2);
        // What is within the time of the question itself is no difference.
        let skew = if skew.abs() <= (after - before).max(5) { 0 } else { skew };
        self.skew.store(skew, Ordering::Relaxed);
    }

    /// No more tasks begin.
    pub(super) fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Starts the task of a connection, unless it runs.
    pub(super) fn kick(self: &Arc<Self>, client: &Arc<Client>, entry: &Arc<Entry>, cause: Cause) {
        if self.is_draining() {
            return;
        }
        let Some(busy) = entry.begin() else { return };
        let running = Running::new(self);
        tokio::spawn(attempt::run(self.clone(), client.clone(), busy, cause, running));
    }

    /// The platform refused this version: something newer is looked for, by a refresh at most once in [`REFUSED_EVERY`].
    pub(super) fn refuse(self: &Arc<Self>, client: &Arc<Client>, entry: &Arc<Entry>, version: u64) {
        let now = Instant::now();
        let cause = {
            let mut slot = entry.slot();
            match slot.refused_at {
                // What others may have stored is looked at all the same.
                Some(at) if now < at + REFUSED_EVERY => Cause::Look,
                _ => {
                    slot.refused_at = Some(now);
                    Cause::Refused(version)
                }
            }
        };
        self.kick(client, entry, cause);
    }

    /// Takes a stored record into use. Older ones than the known change nothing.
    pub(super) fn adopt(&self, client: &Client, entry: &Entry, record: &Record) {
        let mut slot = entry.slot();
        if record.version < entry.version.load(Ordering::Relaxed) {
            return;
        }
        let fresh = entry.version.swap(record.version, Ordering::Relaxed) != record.version;
        if slot.state != Some(record.state) {
            let metrics = self.parts.metrics.connections(&client.name);
            metrics.moved(slot.state.map(State::as_str), Some(record.state.as_str()));
            slot.state = Some(record.state);
        }
        slot.captures.clone_from(&record.captures);
        slot.ended = (record.state == State::Reauthorize)
            .then(|| NoToken::reauthorize(record.reason.unwrap_or(Reason::NotConnected), record.detail.clone()));
        let now = self.store_now();
        let policy = &client.oauth.refresh;
        let usable = machine::usable_until(record, policy, now);
        let Some(end) = usable else {
            entry.token.store(None);
            entry.refresh_at.store(NEVER, Ordering::Relaxed);
            return;
        };
        if !fresh && entry.token.load().as_ref().is_some_and(|token| token.fits(&client.signer)) {
            return;
        }
        let keys = match client.parts(&record.tokens) {
            Ok(keys) => keys,
            Err(part) => {
                let detail = Some(format!("the answer had no {part}, which inject wants"));
                slot.none = Some(NoToken::unavailable(Reason::BadAnswer, detail, 300));
                entry.token.store(None);
                return;
            }
        };
        slot.none = None;
        let usable_until = end.map_or(Timestamp::from_seconds(FAR), |end| self.ours(end));
        let value = Value::of_token(keys, self.parts.clock.now(), record.version);
        let token = Token {
            instance: Arc::new(Instance::of_token(Arc::new(value))),
            signer: client.signer.clone(),
            version: record.version,
            host: record.tokens.host.as_deref().map(Arc::from),
            usable_until,
            kind: TokenKind::Access,
        };
        entry.refresh_at.store(self.refresh_at(client, record, now), Ordering::Relaxed);
        entry.token.store(Some(Arc::new(token)));
    }

    /// From when a use starts a refresh, in milliseconds by our clock: somewhere in the window, or when the platform
    /// may be asked again.
    fn refresh_at(&self, client: &Client, record: &Record, now: Timestamp) -> i64 {
        let Some(window) = times::window_of(&record.tokens, &client.oauth.refresh) else { return NEVER };
        if matches!(record.state, State::Reauthorize | State::Revoked) {
            return NEVER;
        }
        let planned = record.next_refresh_at;
        let at = match planned {
            Some(at) if record.failures > 0 => at,
            Some(at) if at >= window.earliest && at <= window.latest => at,
            _ => window.earliest.plus(window.latest.since(window.earliest).mul_f64(self.random())),
        };
        self.ours(at.max(window.earliest).max(now.minus(Duration::from_secs(1)))).millis()
    }

    /// A record that is not there.
    pub(super) fn forget(&self, client: &Client, entry: &Entry) {
        let mut slot = entry.slot();
        let before = slot.state.take();
        slot.ended = None;
        self.parts.metrics.connections(&client.name).moved(before.map(State::as_str), None);
        entry.version.store(0, Ordering::Relaxed);
        entry.token.store(None);
        entry.refresh_at.store(NEVER, Ordering::Relaxed);
    }

    /// The values of a connection's variables.
    pub(super) fn filled(entry: &Entry, record: Option<&Record>) -> Filled {
        let captures = record.map_or_else(|| entry.slot().captures.clone(), |record| record.captures.clone());
        Filled::new(&entry.key.tenant, captures)
    }

    /// Notes how an attempt ended, for those who wait.
    pub(super) fn note(&self, entry: &Entry, none: NoToken, next: Option<Instant>) {
        let mut slot = entry.slot();
        if let Some(next) = next {
            let pause = i64::try_from((next - Instant::now()).as_millis()).unwrap_or(0);
            let at = entry.refresh_at.load(Ordering::Relaxed);
            entry.refresh_at.store(at.max(self.parts.clock.now().millis() + pause), Ordering::Relaxed);
        }
        (slot.none, slot.next) = (Some(none), next);
    }

    /// Events that were stored: a line of the log each, and their delivery.
    pub(super) fn told(&self, events: &[Event]) {
        for event in events {
            super::events::log(event);
        }
        if !events.is_empty() {
            self.told.notify_one();
        }
    }
}

fn shifted(at: Timestamp, millis: i64) -> Timestamp {
    match u64::try_from(millis) {
        Ok(forward) => at.plus(std::time::Duration::from_millis(forward)),
        Err(_) => at.minus(std::time::Duration::from_millis(millis.unsigned_abs())),
    }
}
