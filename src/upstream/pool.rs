//! The pool: unused connections per origin, checked before they are used again, retired with their identity.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};
use std::time::Duration;

use tokio::time::Instant;

use super::address::{Naming, forbidden, reaches};
use super::connect::{Destination, connect};
use super::error::{Fault, UpstreamError};
use super::lease::{Connection, Lease};
use super::resolve::Resolver;
use crate::config::model::Dns;
use crate::snapshot::identity::TlsClient;

/// Unused connections kept per origin at most; the oldest goes first.
const IDLE_PER_ORIGIN: usize = 128;
/// No connection takes a new request after this age, so that DNS changes are followed.
const MAX_AGE: Duration = Duration::from_secs(600);
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
    idle: Mutex<Vec<Idle>>,
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
        let origin = Arc::new(Origin {
            destination: destination(),
            client: client.cloned(),
            idle: Mutex::default(),
            active: AtomicUsize::new(0),
            connecting: AtomicUsize::new(0),
        });
        origins.insert(key.clone(), origin.clone());
        origin
    }

    /// A connection for one request: an unused one that is still open, else a new one within `limit`.
    /// `unused_for` is how long the connection may then wait for its next use.
    pub async fn checkout(
        &self,
        origin: &Arc<Origin>,
        freshness: Freshness,
        limit: Duration,
        unused_for: Duration,
    ) -> Result<Lease, UpstreamError> {
        if freshness == Freshness::Any
            && let Some(connection) = origin.take_idle()
        {
            return Ok(Lease::new(connection, origin.clone(), unused_for));
        }
        let own = lock(&self.own).clone();
        let _connecting = Connecting::begin(origin);
        let refuse = |address, naming| refused(address, naming, &own);
        let connected = connect(&origin.destination, &self.resolver, limit, refuse).await?;
        let connection = Connection::open(connected).await?;
        Ok(Lease::new(Box::new(connection), origin.clone(), unused_for))
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
        lock(&self.origins).clear();
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

/// Whether an unused connection will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// One that was used before, if there is one.
    Any,
    /// A new one: a used one has just turned out to be closed.
    New,
}

impl Origin {
    /// Connections with a request on them.
    pub fn active(&self) -> usize {
        self.active.load(Ordering::Relaxed)
    }

    /// Connections that are being made.
    pub fn connecting(&self) -> usize {
        self.connecting.load(Ordering::Relaxed)
    }

    /// Connections that wait for one.
    pub fn idle(&self) -> usize {
        lock(&self.idle).len()
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

    /// The connection used last that is still open.
    fn take_idle(&self) -> Option<Box<Connection>> {
        if self.is_retired() {
            lock(&self.idle).clear();
            return None;
        }
        let now = Instant::now();
        loop {
            let Idle { mut connection, until } = lock(&self.idle).pop()?;
            // Polling reads: what the upstream closed or garbled meanwhile shows here, not in the request.
            if until > now && connection.is_open(&mut Context::from_waker(Waker::noop())) {
                return Some(connection);
            }
        }
    }

    fn sweep(&self) {
        let mut idle = lock(&self.idle);
        if self.is_retired() {
            idle.clear();
            return;
        }
        let now = Instant::now();
        let mut cx = Context::from_waker(Waker::noop());
        idle.retain_mut(|one| one.until > now && one.connection.is_open(&mut cx));
        idle.shrink_to(8);
    }

    fn is_retired(&self) -> bool {
        self.client.as_ref().is_some_and(|client| client.is_retired())
    }

    fn is_unused(&self) -> bool {
        self.active() == 0 && self.idle() == 0 && self.connecting() == 0
    }
}

/// Why this address must not be used.
fn refused(address: SocketAddr, naming: Naming, own: &[SocketAddr]) -> Option<UpstreamError> {
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
