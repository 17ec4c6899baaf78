//! [`Tokens`]: what requests and the server call. Steering single connections is in `steer`.

use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::attempt::Cause;
use super::background;
use super::inner::Inner;
use super::scene::{Client, Scene};
use super::step::Steps;
use super::table::{Entry, Found};
use super::view::{NoToken, NoTokenKind, Token, Unhealthy, Want};
use crate::clock::{SharedClock, Timestamp};
use crate::control::outward::Outward;
use crate::observe::metrics::Metrics;
use crate::snapshot::Snapshot;
use crate::store::Store;
use crate::token::ConnectionKey;
use crate::token::grant::Per;
use crate::token::record::Reason;

/// What a drain waits for beside the longest token call: the store.
const DRAIN_SLACK: Duration = Duration::from_secs(2);

/// What [`Tokens`] is made of.
pub struct Parts {
    /// Where connections are kept.
    pub store: Arc<dyn Store>,
    /// Whether other processes may write to it.
    pub sharing: Sharing,
    /// The snapshot in use.
    pub snapshot: Arc<Snapshot>,
    /// Makes token calls and delivers events.
    pub outward: Arc<Outward>,
    /// The time of day.
    pub clock: SharedClock,
    /// The metrics of the process.
    pub metrics: Arc<Metrics>,
}

/// Whether other processes may write to the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// Nobody else: `memory:`.
    Alone,
    /// Replicas, and the command line.
    Shared,
}

/// The usable tokens of every connection that is in use, and the tasks that keep them so.
pub struct Tokens {
    pub(super) inner: Arc<Inner>,
    tasks: Mutex<JoinSet<()>>,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tokens")
    }
}

impl Tokens {
    /// Begins: background tasks on the current runtime, until [`Self::drain`].
    pub fn start(parts: Parts) -> Arc<Self> {
        let tokens = Self::new(parts);
        tokens.run();
        tokens
    }

    /// Without background tasks: for single steps on a store ([`Self::refresh_now`], [`Self::revoke`]).
    pub fn new(parts: Parts) -> Arc<Self> {
        Self::with_steps(parts, None)
    }

    /// The same, with somebody who is told of every step of a refresh and may hold it up; for tests.
    pub fn with_steps(parts: Parts, steps: Option<Arc<dyn Steps>>) -> Arc<Self> {
        Arc::new(Self { inner: Arc::new(Inner::new(parts, steps)), tasks: Mutex::default() })
    }

    fn run(&self) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        let inner = &self.inner;
        tasks.spawn(background::due(inner.clone()));
        tasks.spawn(background::sweep(inner.clone()));
        tasks.spawn(super::events::deliver(inner.clone()));
        if inner.parts.sharing == Sharing::Shared {
            tasks.spawn(background::news(inner.clone()));
        }
    }

    /// The token to send now. Takes no lock and waits for nothing; a token near its end starts its refresh.
    pub fn usable(&self, credential: &str, tenant: &str, now: Timestamp) -> Option<Arc<Token>> {
        let scene = self.inner.scene.load();
        let client = scene.client(credential)?;
        let entry = client.lane.table.find(of(client, tenant))?;
        let token = entry.usable(now, client)?;
        entry.use_now(now);
        if now.millis() >= entry.refresh_at.load(Ordering::Relaxed) {
            self.inner.kick(client, &entry, Cause::Early);
        }
        Some(token)
    }

    /// A connection that is in use.
    pub(super) fn find(&self, credential: &str, tenant: &str) -> Option<(Arc<Client>, Arc<Entry>)> {
        let scene = self.inner.scene.load();
        let client = scene.client(credential)?;
        let entry = client.lane.table.find(of(client, tenant))?;
        Some((client.clone(), entry))
    }

    /// The token, as soon as there is one; waits for the refresher at most `refresh.wait`.
    ///
    /// # Errors
    /// A person must act, or the next try is later than that.
    pub async fn wait(&self, want: &Want<'_>) -> Result<Arc<Token>, NoToken> {
        let (client, entry) = self.entry(want)?;
        let deadline = Instant::now() + client.oauth.refresh.wait;
        let mut ends = entry.ends();
        loop {
            ends.borrow_and_update();
            if let Some(token) = entry.usable(self.inner.parts.clock.now(), &client) {
                entry.use_now(want.now);
                return Ok(token);
            }
            if self.inner.is_draining() {
                return Err(NoToken::unavailable(Reason::Timeout, Some("this process ends".to_owned()), 1));
            }
            self.inner.kick(&client, &entry, Cause::Demand);
            if timeout_at(deadline, ends.changed()).await.is_err() {
                let slot = entry.slot();
                let last = slot.none.clone().filter(|none| none.kind == NoTokenKind::Unavailable);
                let slow = || Some("the token endpoint has not answered yet".to_owned());
                return Err(last.unwrap_or_else(|| NoToken::unavailable(Reason::Timeout, slow(), 1)));
            }
            if entry.usable(self.inner.parts.clock.now(), &client).is_some() {
                continue;
            }
            let (none, next) = {
                let slot = entry.slot();
                (slot.none.clone(), slot.next)
            };
            match (none, next) {
                (Some(none), Some(next)) if next < deadline && none.kind == NoTokenKind::Unavailable => {
                    // Whoever is first after the pause tries; a token that came by other means ends the wait as well.
                    tokio::select! {
                        () = sleep_until(next) => {}
                        _ = ends.changed() => {}
                    }
                }
                (Some(none), _) => return Err(none),
                (None, _) if Instant::now() >= deadline => {
                    return Err(NoToken::unavailable(Reason::Timeout, None, 1));
                }
                (None, _) => {}
            }
        }
    }

    /// The upstream answered 401 to `version`: a newer token, from the store or by a refresh. `None`: the 401 is the answer.
    ///
    /// # Errors
    /// The connection has ended.
    pub async fn refused(&self, want: &Want<'_>, version: u64) -> Result<Option<Arc<Token>>, NoToken> {
        let (client, entry) = self.entry(want)?;
        let newer = || entry.usable(self.inner.parts.clock.now(), &client).filter(|token| token.version > version);
        if let Some(token) = newer() {
            return Ok(Some(token));
        }
        let mut ends = entry.ends();
        ends.borrow_and_update();
        self.inner.refuse(&client, &entry, version);
        if entry.is_busy() && timeout_at(Instant::now() + client.oauth.refresh.wait, ends.changed()).await.is_err() {
            return Ok(None);
        }
        if let Some(token) = newer() {
            return Ok(Some(token));
        }
        let slot = entry.slot();
        let ended = slot.none.as_ref().filter(|none| none.kind == NoTokenKind::Reauthorize);
        // One that was to be sent to its end and is refused before: only a person can help.
        match ended.or(slot.ended.as_ref()) {
            Some(none) => Err(none.clone()),
            None => Ok(None),
        }
    }

    /// The upstream answered 401 to `version` and the request cannot be sent again: the refresh runs, nobody waits.
    pub fn refused_unreplayable(&self, want: &Want<'_>, version: u64) {
        if let Ok((client, entry)) = self.entry(want) {
            self.inner.refuse(&client, &entry, version);
        }
    }

    /// Takes a new snapshot: changed secrets let unhealthy clients try again, changed seeds revive connections.
    pub fn update(&self, snapshot: Arc<Snapshot>) {
        let inner = &self.inner;
        inner.parts.outward.resolve_by(&snapshot.plan.config.dns);
        let before = inner.scene.load_full();
        let scene = Arc::new(Scene::new(snapshot, Some(&before)));
        inner.scene.store(scene.clone());
        for client in scene.clients() {
            let unhealthy = client.lane.healths().unhealthy().is_some();
            for entry in client.lane.table.all() {
                let filled = Inner::filled(&entry, None);
                let digest = |scene: &Scene, client| scene.seed(client, &filled).map(|(_, digest)| digest);
                let old = before.client(&client.name).and_then(|old| digest(&before, old));
                if unhealthy || digest(&scene, client) != old {
                    inner.kick(client, &entry, Cause::Look);
                }
            }
        }
    }

    /// The store.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.inner.parts.store
    }

    /// The snapshot in use.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.inner.scene.load().snapshot.clone()
    }

    /// The time of day by the clock of the store.
    pub fn now(&self) -> Timestamp {
        self.inner.store_now()
    }

    /// Why the platform does not accept a credential's client, while it does not.
    pub fn unhealthy(&self, credential: &str) -> Option<Unhealthy> {
        self.inner.scene.load().client(credential)?.lane.healths().unhealthy()
    }

    /// No new token calls; those under way may end, each within its own limit, and their answers are stored.
    pub async fn drain(&self) {
        let inner = &self.inner;
        inner.drain();
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
        let longest = inner.scene.load().clients().map(|client| client.oauth.refresh.timeout).max();
        let deadline = Instant::now() + longest.unwrap_or_default() + DRAIN_SLACK;
        let mut running = inner.running.subscribe();
        if timeout_at(deadline, running.wait_for(|count| *count == 0)).await.is_err() {
            tracing::warn!(calls = *inner.running.borrow(), "token calls did not end in time");
        }
        background::tell_used(inner).await;
    }

    pub(super) fn entry(&self, want: &Want<'_>) -> Result<(Arc<Client>, Arc<Entry>), NoToken> {
        let scene = self.inner.scene.load();
        let Some(client) = scene.client(want.credential) else {
            let detail = Some("no oauth2 credential of this name".to_owned());
            return Err(NoToken::unavailable(Reason::NotConnected, detail, 1));
        };
        let key = ConnectionKey { credential: client.name.clone(), tenant: of(client, want.tenant).into() };
        match client.lane.table.entry(key, want.captures, want.now) {
            Some(Found { entry, gone }) => {
                if let Some(gone) = gone {
                    self.inner.forget(client, &gone);
                }
                Ok((client.clone(), entry))
            }
            None => {
                let detail = Some("too many connections are in use here".to_owned());
                Err(NoToken::unavailable(Reason::Timeout, detail, 60))
            }
        }
    }
}

/// The tenant that a connection belongs to.
fn of<'t>(client: &Client, tenant: &'t str) -> &'t str {
    if client.oauth.per == Per::Credential { "" } else { tenant }
}
