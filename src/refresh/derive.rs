//! Second tokens (`derive`): made by a call to the platform with a connection's access token, kept in memory beside it,
//! made anew before they end, after a 401 and whenever the first one is another. Requests look them up or wait, as for
//! the first. Nothing is stored: each process makes its own, and a start makes them again.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout_at};
use zeroize::Zeroizing;

use super::endpoints::{Open, Pass, Shared};
use super::inner::{FAR, Inner, Running};
use super::scene::{Client, Scene};
use super::table::{Entry, NEVER};
use super::tokens::Tokens;
use super::view::{NoToken, NoTokenKind, Token, TokenKind, Want};
use crate::clock::Timestamp;
use crate::control::outward::{CallError, Lost, Unsent, authority};
use crate::sign::Signer;
use crate::sign::material::Material;
use crate::snapshot::credential::{Instance, Value};
use crate::token::answer::{Answer, Class, Refusal};
use crate::token::derive::{self, Derive, NoDerived};
use crate::token::record::{Reason, TokenSet};
use crate::token::{machine, times};

/// At most one second token of a connection is given up in this time because the upstream answered 401 to it.
const REFUSED_EVERY: Duration = Duration::from_secs(30);

/// The second token of a connection, and the one task that makes it.
#[derive(Debug)]
pub(super) struct Second {
    token: ArcSwapOption<Made>,
    /// From when, in milliseconds since 1970, a use starts a call; [`NEVER`].
    refresh_at: AtomicI64,
    busy: AtomicBool,
    ended: watch::Sender<u64>,
    last: Mutex<Last>,
}

/// A second token and what it was made by: it is used as long as both are the same.
#[derive(Debug)]
struct Made {
    token: Arc<Token>,
    by: Arc<Derive>,
}

/// How the last attempt ended, if without a token.
#[derive(Debug, Default)]
struct Last {
    none: Option<NoToken>,
    next: Option<Instant>,
    /// The failure counts for this first token and these settings alone; `None`: for all.
    of: Option<(u64, Arc<Derive>)>,
    failures: u32,
    refused_at: Option<Instant>,
}

/// Why there is no second token, and for how long nobody asks.
struct Stop {
    none: NoToken,
    pause: Duration,
    lasts: Lasts,
}

/// What ends a pause beside its time.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lasts {
    /// Nothing.
    Whatever,
    /// Another first token, or other settings.
    WhileSame,
}

/// The right to be the one task.
struct Busy(Arc<Entry>);

impl Drop for Busy {
    fn drop(&mut self) {
        let second = self.0.second();
        second.busy.store(false, Ordering::Release);
        second.ended.send_modify(|count| *count += 1);
    }
}

impl Default for Second {
    fn default() -> Self {
        Self {
            token: ArcSwapOption::empty(),
            refresh_at: AtomicI64::new(NEVER),
            busy: AtomicBool::new(false),
            ended: watch::Sender::new(0),
            last: Mutex::default(),
        }
    }
}

impl Second {
    fn usable(&self, first: &Token, by: &Arc<Derive>, now: Timestamp) -> Option<Arc<Token>> {
        let made = self.token.load();
        let made = made.as_ref()?;
        let same = made.token.version == first.version && (Arc::ptr_eq(&made.by, by) || made.by == *by);
        (same && now < made.token.usable_until && made.token.fits(&first.signer)).then(|| made.token.clone())
    }

    fn last(&self) -> MutexGuard<'_, Last> {
        // Nothing that runs under the lock can leave it half made.
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why nobody asks now, and until when.
    fn held(&self, first: &Token, by: &Arc<Derive>) -> Option<(NoToken, Instant)> {
        let last = self.last();
        let same = last.of.as_ref().is_none_or(|(version, made)| *version == first.version && *made == *by);
        let next = last.next.filter(|next| same && *next > Instant::now())?;
        Some((last.none.clone()?, next))
    }

    /// The upstream refused this one: nobody is given it any more. `false`: too soon after the last.
    fn give_up(&self, token: &Arc<Token>) -> bool {
        let mut last = self.last();
        let now = Instant::now();
        if last.refused_at.is_some_and(|at| now < at + REFUSED_EVERY) {
            return false;
        }
        last.refused_at = Some(now);
        if self.token.load().as_ref().is_some_and(|made| Arc::ptr_eq(&made.token, token)) {
            self.token.store(None);
        }
        true
    }
}

impl Tokens {
    /// The second token to send now. Takes no lock and waits for nothing; one near its end starts a call for another.
    pub fn usable_derived(&self, credential: &str, tenant: &str, now: Timestamp) -> Option<Arc<Token>> {
        let first = self.usable(credential, tenant, now)?;
        let (client, entry) = self.find(credential, tenant)?;
        let by = client.oauth.derive.as_ref()?;
        let second = entry.second();
        let token = second.usable(&first, by, now)?;
        if now.millis() >= second.refresh_at.load(Ordering::Relaxed) && second.held(&first, by).is_none() {
            derive_token(&self.inner, &client, &entry);
        }
        Some(token)
    }

    /// The second token, as soon as there is one; waits at most `refresh.wait`, for both together.
    ///
    /// # Errors
    /// A person must act, or the next try is later than that.
    pub async fn wait_derived(&self, want: &Want<'_>) -> Result<Arc<Token>, NoToken> {
        let (client, entry) = self.entry(want)?;
        let Some(by) = &client.oauth.derive else {
            let detail = Some("the configuration has just changed".to_owned());
            return Err(NoToken::unavailable(Reason::NotConnected, detail, 1));
        };
        let slow = || {
            let detail = Some("the platform has not given the second token yet".to_owned());
            NoToken::unavailable(Reason::Timeout, detail, 1)
        };
        let deadline = Instant::now() + client.oauth.refresh.wait;
        let second = entry.second();
        let mut ends = second.ended.subscribe();
        loop {
            ends.borrow_and_update();
            let first = timeout_at(deadline, self.wait(want)).await.map_err(|_| slow())??;
            if let Some(token) = second.usable(&first, by, self.inner.parts.clock.now()) {
                return Ok(token);
            }
            if let Some((none, next)) = second.held(&first, by) {
                if next >= deadline {
                    return Err(none);
                }
                tokio::select! {
                    () = sleep_until(next) => {}
                    _ = ends.changed() => {}
                }
                continue;
            }
            if self.inner.is_draining() {
                return Err(NoToken::unavailable(Reason::Timeout, Some("this process ends".to_owned()), 1));
            }
            derive_token(&self.inner, &client, &entry);
            if timeout_at(deadline, ends.changed()).await.is_err() {
                return Err(second.last().none.clone().unwrap_or_else(slow));
            }
        }
    }

    /// The upstream answered 401 to a second token: another one. `None`: the 401 is the answer.
    ///
    /// # Errors
    /// The connection has ended.
    pub async fn refused_derived(&self, want: &Want<'_>, token: &Arc<Token>) -> Result<Option<Arc<Token>>, NoToken> {
        let (_, entry) = self.entry(want)?;
        let now = self.inner.parts.clock.now();
        let other = self.usable_derived(want.credential, want.tenant, now).filter(|other| !Arc::ptr_eq(other, token));
        if other.is_some() || !entry.second().give_up(token) {
            return Ok(other);
        }
        match self.wait_derived(want).await {
            Ok(token) => Ok(Some(token)),
            Err(none) if none.kind == NoTokenKind::Reauthorize => Err(none),
            Err(_) => Ok(None),
        }
    }

    /// The same for a request that cannot be sent again: the next one will have another token.
    pub fn refused_derived_unreplayable(&self, want: &Want<'_>, token: &Arc<Token>) {
        if let Ok((client, entry)) = self.entry(want)
            && entry.second().give_up(token)
        {
            derive_token(&self.inner, &client, &entry);
        }
    }
}

/// Starts the task that makes the second token, unless it runs.
fn derive_token(inner: &Arc<Inner>, client: &Arc<Client>, entry: &Arc<Entry>) {
    let Some(by) = client.oauth.derive.clone() else { return };
    if inner.is_draining() || entry.second().busy.swap(true, Ordering::AcqRel) {
        return;
    }
    let (busy, running) = (Busy(entry.clone()), Running::new(inner));
    let (inner, client) = (inner.clone(), client.clone());
    tokio::spawn(async move {
        make(&inner, &client, &busy.0, &by).await;
        drop(running);
        drop(busy);
    });
}

/// Asks, and once more with a newer first token where the platform refuses the one that there is.
async fn make(inner: &Arc<Inner>, client: &Arc<Client>, entry: &Arc<Entry>, by: &Arc<Derive>) {
    // Without a first one whoever waits waits for that.
    let Some(first) = entry.usable(inner.parts.clock.now(), client) else { return };
    let stopped = match ask(inner, client, entry, by, &first).await {
        Err(Refused::First(detail)) => match newer(inner, client, entry, &first).await {
            Some(newer) => ask(inner, client, entry, by, &newer).await.map_err(|why| (newer, why)),
            None => Err((first, Refused::First(detail))),
        },
        Err(why) => Err((first, why)),
        Ok(()) => Ok(()),
    };
    let second = entry.second();
    let mut last = second.last();
    let Err((first, why)) = stopped else {
        if last.failures > 0 {
            tracing::info!(connection = %entry.key, "there is a second token again");
        }
        *last = Last { refused_at: last.refused_at, ..Last::default() };
        return;
    };
    let Stop { none, pause, lasts } = match why {
        Refused::Stop(stop) => stop,
        Refused::First(detail) => first_refused(entry, detail),
    };
    if last.failures == 0 {
        let (reason, detail) = (none.reason.as_str(), none.detail.as_deref());
        tracing::warn!(connection = %entry.key, reason, detail, "there is no second token");
    }
    last.failures = last.failures.saturating_add(1);
    last.next = Some(Instant::now() + pause);
    last.none = Some(none);
    last.of = (lasts == Lasts::WhileSame).then(|| (first.version, by.clone()));
}

/// The platform does not take the first token, and there is no newer one.
fn first_refused(entry: &Entry, detail: Option<String>) -> Stop {
    let ended = entry.slot().none.clone().filter(|none| none.kind == NoTokenKind::Reauthorize);
    let none = ended.unwrap_or_else(|| {
        NoToken::unavailable(Reason::BadAnswer, detail.or(Some("the first token was refused".to_owned())), 30)
    });
    Stop { none, pause: REFUSED_EVERY, lasts: Lasts::WhileSame }
}

/// A first token that is newer than this one, after its refresh.
async fn newer(inner: &Arc<Inner>, client: &Arc<Client>, entry: &Arc<Entry>, old: &Token) -> Option<Arc<Token>> {
    let newer = || entry.usable(inner.parts.clock.now(), client).filter(|token| token.version > old.version);
    if let Some(token) = newer() {
        return Some(token);
    }
    let mut ends = entry.ends();
    ends.borrow_and_update();
    inner.refuse(client, entry, old.version);
    if entry.is_busy() {
        // Two calls, and what the store takes.
        let limit = Instant::now() + 3 * client.oauth.refresh.timeout;
        let _ = timeout_at(limit, ends.changed()).await;
    }
    newer()
}

enum Refused {
    /// The platform does not accept the first token.
    First(Option<String>),
    Stop(Stop),
}

/// Makes the call and takes what came into use.
async fn ask(
    inner: &Arc<Inner>,
    client: &Arc<Client>,
    entry: &Arc<Entry>,
    by: &Arc<Derive>,
    first: &Arc<Token>,
) -> Result<(), Refused> {
    let scene = inner.scene.load_full();
    let policy = &client.oauth.refresh;
    let stop = |reason, detail: Option<String>, pause: Duration, lasts| {
        let seconds = pause.as_secs() + u64::from(pause.subsec_nanos() > 0);
        Refused::Stop(Stop { none: NoToken::unavailable(reason, detail, seconds), pause, lasts })
    };
    let passing = |reason, detail: Option<String>, asked| {
        let failures = entry.second().last().failures.saturating_add(1);
        stop(reason, detail, times::pause(failures, asked, policy, inner.random()), Lasts::Whatever)
    };
    let misfit = |detail: String| stop(Reason::BadAnswer, Some(detail), machine::RECHECK, Lasts::WhileSame);
    let keys = first.instance.value().map(|value| value.keys.to_vec()).unwrap_or_default();
    let request = call(&scene, client, entry, by, first, &keys).map_err(misfit)?;
    let mut pass = leave(inner, client, by, request.uri())
        .await
        .map_err(|Open { left, reason }| stop(reason, None, left.max(Duration::from_millis(50)), Lasts::Whatever))?;
    let way = scene.way(client, request.uri());
    let began = Instant::now();
    let answered = inner.parts.outward.call(request, &way, policy.timeout).await;
    inner.parts.metrics.calls().took(began.elapsed());
    let mut failed = |reason| {
        pass.failed(reason, inner.parts.clock.now(), inner.random());
        reason
    };
    let answer = match answered {
        Ok(answer) => answer,
        Err(CallError::Unsent { why, detail }) => {
            let reason = if why == Unsent::Timeout { Reason::Timeout } else { Reason::Refused };
            return Err(passing(failed(reason), Some(detail), None));
        }
        Err(CallError::Lost { why, detail }) => {
            let reason = match why {
                Lost::Timeout => Reason::Timeout,
                Lost::Broken => Reason::Refused,
                Lost::NotHttp | Lost::TooLarge => Reason::BadAnswer,
            };
            return Err(passing(failed(reason), Some(detail), None));
        }
    };
    if answer.status().is_server_error() {
        failed(Reason::Http5xx);
    } else {
        pass.answered();
    }
    drop(pass);
    let sent = texts(&keys);
    let seen = Answer { status: answer.status(), headers: answer.headers(), body: answer.body(), sent: &sent };
    match derive::read(by, &seen, inner.store_now()) {
        Ok(tokens) => {
            adopt(inner, client, entry, by, first, keys, &tokens);
            Ok(())
        }
        Err(NoDerived::First(detail)) => Err(Refused::First(detail)),
        Err(NoDerived::Refused(Refusal { reason, class, detail })) => Err(match class {
            Class::Passing { retry_after } => passing(reason, detail, retry_after),
            Class::Unread => passing(reason, detail, None),
            Class::Dead | Class::Client | Class::Configuration => misfit(detail.unwrap_or_default()),
        }),
    }
}

/// The request: proved by what the credential puts into requests that take the first token.
fn call(
    scene: &Scene,
    client: &Client,
    entry: &Entry,
    by: &Derive,
    first: &Token,
    keys: &[Material],
) -> Result<http::Request<bytes::Bytes>, String> {
    let Signer::Token(signer) = &*first.signer else { return Err("the credential has changed".to_owned()) };
    let tenant = Some(&*entry.key.tenant).filter(|tenant| !tenant.is_empty());
    let injection = signer.sign(keys, tenant).map_err(|error| error.to_string())?;
    let filled = Inner::filled(entry, None);
    let secrets = scene.secrets(client, &filled)?;
    let built = client.with_input(&secrets.value, &filled, |input| derive::request(input, by, &injection));
    built.map_err(|why| why.to_string())
}

/// The texts of a token, for what the platform says of it.
fn texts(keys: &[Material]) -> Vec<Zeroizing<String>> {
    let text = |key: &Material| match key {
        Material::Text(text) => std::str::from_utf8(text.expose()).ok().map(|text| Zeroizing::new(text.to_owned())),
        _ => None,
    };
    keys.iter().filter_map(text).collect()
}

async fn leave(inner: &Inner, client: &Client, by: &Derive, uri: &http::Uri) -> Result<Pass, Open> {
    let name = authority(uri).map(|name| format!("{}:{}", name.host, name.port)).unwrap_or_default();
    let shared = if by.url.url.variables().next().is_none() { Shared::One } else { Shared::Each };
    let permits = client.lane.permits.load_full();
    inner.endpoints.leave(&name, shared, &permits, client.oauth.refresh.timeout, || inner.parts.clock.now()).await
}

fn adopt(
    inner: &Inner,
    client: &Client,
    entry: &Entry,
    by: &Arc<Derive>,
    first: &Token,
    mut keys: Vec<Material>,
    tokens: &TokenSet,
) {
    keys.extend(tokens.access.clone().map(Material::Text));
    let until = times::usable_until(tokens).map_or(Timestamp::from_seconds(FAR), |end| inner.ours(end));
    let value = Value::of_token(keys, inner.parts.clock.now(), first.version);
    let token = Arc::new(Token {
        instance: Arc::new(Instance::of_token(Arc::new(value))),
        signer: first.signer.clone(),
        version: first.version,
        host: first.host.clone(),
        usable_until: until,
        kind: TokenKind::Derived,
    });
    let at = times::window_of(tokens, &client.oauth.refresh).map_or(NEVER, |window| {
        let spread = window.latest.since(window.earliest).mul_f64(inner.random());
        inner.ours(window.earliest.plus(spread)).millis()
    });
    let second = entry.second();
    second.refresh_at.store(at, Ordering::Relaxed);
    second.token.store(Some(Arc::new(Made { token, by: by.clone() })));
}
