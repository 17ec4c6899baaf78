//! Who may call a token endpoint now: a breaker and a bound for each endpoint, so that one that fails or is slow holds
//! up nobody but those who need it. Used by `attempt`.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::clock::Timestamp;
use crate::token::breaker::{Breaker, Leave};
use crate::token::record::Reason;

/// Endpoints that are remembered at most; those that work and are not in use go first.
const ENDPOINTS: usize = 10_000;

/// Every endpoint that was called, by host and port.
#[derive(Debug, Default)]
pub(super) struct Endpoints(Mutex<HashMap<String, Arc<Endpoint>>>);

/// One token endpoint.
#[derive(Debug)]
pub(super) struct Endpoint {
    breaker: Mutex<(Breaker, Reason)>,
    /// Whether the last call brought no answer.
    suspect: AtomicBool,
}

/// Calls of one credential at one time.
#[derive(Debug)]
pub(super) struct Permits {
    /// `refresh.parallel`
    pub(super) parallel: usize,
    all: Arc<Semaphore>,
    /// Of these, those to endpoints that did not answer last time: the others are left to those that do.
    suspects: Arc<Semaphore>,
    /// A semaphore for each endpoint of this credential with calls under way.
    each: Mutex<HashMap<String, Arc<Semaphore>>>,
}

/// Whether a credential's tenants share their endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shared {
    /// One for all: it may have every permit.
    One,
    /// Each has its own: none may have more than a share.
    Each,
}

/// Leave to make one call. Its outcome is told by [`Pass::answered`] or [`Pass::failed`].
#[derive(Debug)]
pub(super) struct Pass {
    endpoint: Arc<Endpoint>,
    told: bool,
    _permits: Vec<OwnedSemaphorePermit>,
}

/// The endpoint must be left alone.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Open {
    /// For so long.
    pub(super) left: Duration,
    /// Why it failed last.
    pub(super) reason: Reason,
}

impl Permits {
    pub(super) fn new(parallel: usize) -> Self {
        let parallel = parallel.max(1);
        Self {
            parallel,
            all: Arc::new(Semaphore::new(parallel)),
            suspects: Arc::new(Semaphore::new((parallel / 2).max(1))),
            each: Mutex::default(),
        }
    }

    fn of(&self, endpoint: &str, shared: Shared) -> Arc<Semaphore> {
        let mut each = self.each.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = each.get(endpoint) {
            return found.clone();
        }
        // Those that nobody holds or waits for say nothing.
        if each.len() >= 2 * self.parallel {
            each.retain(|_, semaphore| Arc::strong_count(semaphore) > 1);
        }
        let bound = if shared == Shared::One { self.parallel } else { (self.parallel / 4).max(1) };
        each.entry(endpoint.to_owned()).or_insert_with(|| Arc::new(Semaphore::new(bound))).clone()
    }
}

impl Endpoints {
    fn get(&self, name: &str) -> Arc<Endpoint> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = all.get(name) {
            return found.clone();
        }
        if all.len() >= ENDPOINTS {
            all.retain(|_, endpoint| Arc::strong_count(endpoint) > 1 || endpoint.suspect.load(Ordering::Relaxed));
        }
        let fresh =
            || Endpoint { breaker: Mutex::new((Breaker::default(), Reason::Refused)), suspect: AtomicBool::new(false) };
        if all.len() >= ENDPOINTS {
            return Arc::new(fresh()); // remembered by nobody, but bounded
        }
        all.entry(name.to_owned()).or_insert_with(|| Arc::new(fresh())).clone()
    }

    /// Waits until a call may be made. An endpoint whose breaker is open is not waited for.
    pub(super) async fn leave(
        &self,
        name: &str,
        shared: Shared,
        permits: &Permits,
        timeout: Duration,
        now: impl Fn() -> Timestamp,
    ) -> Result<Pass, Open> {
        let endpoint = self.get(name);
        endpoint.check(now())?;
        let mut held = Vec::with_capacity(3);
        let suspect = endpoint.suspect.load(Ordering::Relaxed);
        let suspects = suspect.then(|| permits.suspects.clone());
        // Always in this order, so that nobody waits in a circle.
        for semaphore in [Some(permits.of(name, shared)), suspects, Some(permits.all.clone())].into_iter().flatten() {
            // They are never closed.
            held.extend(semaphore.acquire_owned().await.ok());
        }
        let leave = endpoint.lock().0.ask(now(), timeout);
        match leave {
            Leave::Go => Ok(Pass { endpoint, told: false, _permits: held }),
            Leave::Wait(left) => Err(Open { left, reason: endpoint.lock().1 }),
        }
    }
}

impl Endpoint {
    fn lock(&self) -> MutexGuard<'_, (Breaker, Reason)> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Without asking for leave.
    fn check(&self, now: Timestamp) -> Result<(), Open> {
        let mut held = self.lock();
        if !held.0.is_open(now) {
            return Ok(());
        }
        match held.0.ask(now, Duration::ZERO) {
            Leave::Wait(left) => Err(Open { left, reason: held.1 }),
            Leave::Go => {
                held.0.not_made();
                Ok(())
            }
        }
    }
}

impl Pass {
    /// The endpoint answered.
    pub(super) fn answered(&mut self) {
        self.told = true;
        self.endpoint.suspect.store(false, Ordering::Relaxed);
        self.endpoint.lock().0.answered();
    }

    /// It did not, or with 5xx.
    pub(super) fn failed(&mut self, reason: Reason, now: Timestamp, random: f64) {
        self.told = true;
        self.endpoint.suspect.store(true, Ordering::Relaxed);
        let mut held = self.endpoint.lock();
        held.0.failed(now, random);
        held.1 = reason;
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if !self.told {
            self.endpoint.lock().0.not_made();
        }
    }
}
