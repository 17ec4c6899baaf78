//! The pool: unused HTTP/1.1 connections per origin, checked before they are used again, retired with their identity.
//! HTTP/2 connections, which many requests share, are in [`super::http2`]; which of both an origin speaks is here.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::address::{Naming, forbidden, reaches};
use super::connect::{ConnectLimit, Destination, Offer, Protocol, Security, connect};
use super::error::{Fault, UpstreamError};
use super::http1::{Connection, OneUse};
use super::http2;
use super::lease::Lease;
use super::resolve::Resolver;
use crate::config::model::Dns;
use crate::snapshot::identity::TlsClient;

/// Unused connections kept per origin at most; the oldest goes first.
const IDLE_PER_ORIGIN: usize = 128;
/// No connection takes a new request after this age, so that DNS changes are followed.
pub(super) const MAX_AGE: Duration = Duration::from_secs(600);
/// Origins that the pool remembers at most, used ones apart.
const ORIGINS: usize = 16_384;

/// What makes connections interchangeable.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OriginKey {
    /// The name or address that TCP connects to.
    pub host: Arc<str>,
    /// The port that TCP connects to.
    pub port: u16,
    /// The name that the certificate must have; `None` is plain HTTP.
    pub server_name: Option<Arc<str>>,
    /// [`TlsClient::id`], 0 for plain HTTP.
    pub identity: u64,
    /// Whether the configuration means this very address.
    pub naming: Naming,
    /// [`super::egress::Egress::id`], 0 for a direct connection.
    pub egress: u64,
}

/// One upstream as one client identity sees it, with its unused connections.
#[derive(Debug)]
pub struct Origin {
    destination: Destination,
    client: Option<Arc<TlsClient>>,
    /// Whether new requests look for HTTP/1.1 connections: without TLS, and once the upstream chose it.
    prefers_http1: AtomicBool,
    idle: Mutex<Vec<Idle>>,
    shared: Arc<http2::Shared>,
    active: AtomicUsize,
    connecting: AtomicUsize,
}

#[derive(Debug)]
struct Idle {
    connection: Box<Connection>,
    until: Instant,
}

/// All origins of the process.
#[derive(Debug, Default)]
pub struct Pool {
    origins: Mutex<HashMap<OriginKey, Arc<Origin>>>,
    resolver: Resolver,
    own: Mutex<Arc<[SocketAddr]>>,
}

impl Pool {
    /// The addresses that this process listens on: a connection to one of them is a loop.
    pub fn set_own_addresses(&self, own: impl Into<Arc<[SocketAddr]>>) {
        *lock(&self.own) = own.into();
    }

    /// How names are resolved from now on; open connections stay.
    pub fn set_dns(&self, dns: &Dns) {
        self.resolver.set(dns);
    }

    /// The origin of a key, made by `destination` when it is new.
    pub fn origin(
        &self,
        key: &OriginKey,
        client: Option<&Arc<TlsClient>>,
        destination: impl FnOnce() -> Destination,
    ) -> Arc<Origin> {
        let mut origins = lock(&self.origins);
        if let Some(origin) = origins.get(key) {
            return origin.clone();
        }
        if origins.len() >= ORIGINS {
            origins.retain(|_, origin| !origin.is_unused());
        }
        let origin = Arc::new(Origin::new(destination(), client.cloned()));
        origins.insert(key.clone(), origin.clone());
        origin
    }

    /// An unused HTTP/1.1 connection, where there is one: what costs no time. Whether it is still open shows when the
    /// request is handed to it, before anything of it is sent.
    pub fn at_once(
        &self,
        origin: &Arc<Origin>,
        freshness: Freshness,
        now: Instant,
        unused_for: Duration,
    ) -> Option<Lease> {
        if !freshness.takes_used() || !origin.prefers_http1() {
            return None;
        }
        let connection = origin.take_idle(now)?;
        Some(Lease::http1(OneUse::new(connection, origin.clone(), unused_for)))
    }

    /// What [`Pool::at_once`] did not have: a stream of an HTTP/2 connection, else a new connection within `limit`.
    /// `unused_for` is how long the connection may then wait for its next use.
    pub async fn checkout(
        &self,
        origin: &Arc<Origin>,
        freshness: Freshness,
        limit: Duration,
        unused_for: Duration,
    ) -> Result<Lease, UpstreamError> {
        let prefers_http1 = origin.prefers_http1();
        let limit = ConnectLimit::from_now(limit);
        if freshness == Freshness::Http1 {
            return self.connect(origin, Offer::Http1, limit, unused_for, None).await;
        }
        if prefers_http1 {
            return self.connect(origin, Offer::Both, limit, unused_for, None).await;
        }
        self.share(origin, freshness, limit, unused_for).await
    }

    /// A stream, where the upstream speaks HTTP/2 or might. One request connects at a time and others wait for
    /// what comes of it, so that a burst makes few connections; that wait is part of `limit`. After a failure
    /// they do not wait for each other again.
    async fn share(
        &self,
        origin: &Arc<Origin>,
        freshness: Freshness,
        limit: ConnectLimit,
        unused_for: Duration,
    ) -> Result<Lease, UpstreamError> {
        let failures = origin.shared.failures();
        loop {
            let mut changed = pin!(origin.shared.changed());
            changed.as_mut().enable();
            match origin.shared.turn(origin, freshness, failures, unused_for) {
                http2::Turn::Stream(stream) => return Ok(Lease::http2(stream)),
                http2::Turn::Connect(turn) => {
                    return self.connect(origin, Offer::Both, limit, unused_for, Some(turn)).await;
                }
                http2::Turn::Wait => {}
            }
            if timeout_at(limit.deadline, changed).await.is_err() {
                return Err(origin.shared.all_in_use().unwrap_or_else(|| limit.exceeded(&origin.destination)));
            }
            if origin.prefers_http1() {
                if freshness.takes_used()
                    && let Some(connection) = origin.take_idle(Instant::now())
                {
                    return Ok(Lease::http1(OneUse::new(connection, origin.clone(), unused_for)));
                }
                return self.connect(origin, Offer::Both, limit, unused_for, None).await;
            }
        }
    }

    /// A new connection, and what it is depends on what the upstream chooses.
    async fn connect(
        &self,
        origin: &Arc<Origin>,
        offer: Offer,
        limit: ConnectLimit,
        unused_for: Duration,
        turn: Option<http2::Connecting>,
    ) -> Result<Lease, UpstreamError> {
        let own = lock(&self.own).clone();
        let refuse = |address, naming| refused(address, naming, &own);
        let connecting = Connecting::begin(origin);
        let connected = connect(&origin.destination, offer, &self.resolver, limit, refuse).await;
        let connected = match connected {
            Ok(connected) => connected,
            Err(error) => {
                turn.into_iter().for_each(http2::Connecting::fail);
                return Err(error);
            }
        };
        let http1 = connected.protocol == Protocol::Http1;
        if offer == Offer::Both {
            origin.prefers_http1.store(http1, Ordering::Relaxed);
        }
        let lease = if http1 {
            drop(turn);
            let connection = Connection::open(connected).await?;
            Lease::http1(OneUse::new(Box::new(connection), origin.clone(), unused_for))
        } else {
            Lease::http2(http2::open(connected, origin, turn, unused_for).await?)
        };
        drop(connecting);
        Ok(lease)
    }

    /// Closes what is over its time or was closed by the upstream, and forgets origins that nobody uses.
    /// Called about once a second.
    pub fn sweep(&self) {
        let origins: Vec<Arc<Origin>> = lock(&self.origins).values().cloned().collect();
        for origin in &origins {
            origin.sweep();
        }
        drop(origins);
        lock(&self.origins).retain(|_, origin| Arc::strong_count(origin) > 1 || !origin.is_unused());
    }

    /// Closes every unused connection; for the end of the process.
    pub fn close(&self) {
        for (_, origin) in lock(&self.origins).drain() {
            lock(&origin.idle).clear();
            origin.shared.close();
        }
    }
}

/// Counts a connection while it is being made.
struct Connecting<'o>(&'o Origin);

impl<'o> Connecting<'o> {
    fn begin(origin: &'o Origin) -> Self {
        origin.connecting.fetch_add(1, Ordering::Relaxed);
        Self(origin)
    }
}

impl Drop for Connecting<'_> {
    fn drop(&mut self) {
        self.0.connecting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Whether a connection that is there will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// One that was used before, if there is one.
    Any,
    /// The same, after a shared connection has refused the request.
    Other,
    /// A new one: a used one has just turned out to be closed.
    New,
    /// A new one that speaks HTTP/1.1, for what HTTP/2 cannot carry.
    Http1,
}

impl Freshness {
    pub(super) fn takes_used(self) -> bool {
        matches!(self, Self::Any | Self::Other)
    }
}

impl Origin {
    pub(super) fn new(destination: Destination, client: Option<Arc<TlsClient>>) -> Self {
        let prefers_http1 = AtomicBool::new(matches!(destination.security, Security::Plain));
        Self {
            destination,
            client,
            prefers_http1,
            idle: Mutex::default(),
            shared: Arc::default(),
            active: AtomicUsize::new(0),
            connecting: AtomicUsize::new(0),
        }
    }

    fn prefers_http1(&self) -> bool {
        self.prefers_http1.load(Ordering::Relaxed)
    }

    pub(super) fn shared(&self) -> &Arc<http2::Shared> {
        &self.shared
    }

    /// Connections with a request on them; one of HTTP/2 counts once, however many it has.
    pub fn active(&self) -> usize {
        self.active.load(Ordering::Relaxed)
    }

    /// Connections that are being made.
    pub fn connecting(&self) -> usize {
        self.connecting.load(Ordering::Relaxed)
    }

    /// Connections that wait for one.
    pub fn idle(&self) -> usize {
        lock(&self.idle).len() + self.shared.idle()
    }

    pub(super) fn count_active(&self) {
        self.active.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn uncount_active(&self) {
        self.active.fetch_sub(1, Ordering::Relaxed);
    }

    /// Puts a connection back whose answer was read to the end.
    pub(super) fn put_idle(&self, connection: Box<Connection>, unused_for: Duration) {
        let now = Instant::now();
        let promised = connection.keep_alive().map_or(unused_for, |promised| promised.min(unused_for));
        let until = (now + promised).min(connection.opened() + MAX_AGE);
        if until <= now || self.is_retired() {
            return;
        }
        let mut idle = lock(&self.idle);
        if idle.len() >= IDLE_PER_ORIGIN {
            idle.remove(0);
        }
        idle.push(Idle { connection, until });
    }

    /// The connection used last that is not over its time.
    fn take_idle(&self, now: Instant) -> Option<Box<Connection>> {
        let mut idle = lock(&self.idle);
        if self.is_retired() {
            idle.clear();
            return None;
        }
        while let Some(Idle { connection, until }) = idle.pop() {
            if until > now {
                return Some(connection);
            }
        }
        None
    }

    fn sweep(&self) {
        self.shared.sweep(self.is_retired());
        let mut idle = lock(&self.idle);
        if self.is_retired() {
            idle.clear();
            return;
        }
        let now = Instant::now();
        idle.retain_mut(|one| one.until > now && one.connection.is_open());
        idle.shrink_to(8);
    }

    pub(super) fn is_retired(&self) -> bool {
        self.client.as_ref().is_some_and(|client| client.is_retired())
    }

    fn is_unused(&self) -> bool {
        self.active() == 0 && self.idle() == 0 && self.connecting() == 0
    }
}

/// Why this address must not be used.
pub fn refused(address: SocketAddr, naming: Naming, own: &[SocketAddr]) -> Option<UpstreamError> {
    if own.iter().any(|listener| reaches(address, *listener)) {
        let fault = if naming == Naming::Address { Fault::Loop } else { Fault::Forbidden };
        return Some(UpstreamError::new(fault, format!("{address} is a listener of this proxy itself")));
    }
    let why = forbidden(address.ip(), naming)?;
    Some(UpstreamError::new(Fault::Forbidden, format!("{address} is never connected to: it is {why}")))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while a lock is held; should it ever, the data is still whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
