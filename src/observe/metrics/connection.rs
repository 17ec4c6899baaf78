//! What is counted for the connections of one credential, and for all of them together.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::histogram::Histogram;

/// Upper bounds of token calls, in microseconds.
const CALL_BOUNDS: &[u64] =
    &[10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000, 10_000_000, 20_000_000];

/// The metrics of one credential's connections. Moved by refreshes, never by requests.
#[derive(Debug, Default)]
pub struct ConnectionMetrics {
    /// `countersign_connections`: those in use by this process, by state.
    states: Mutex<BTreeMap<&'static str, i64>>,
    /// `countersign_refreshes_total`, by outcome.
    refreshes: Mutex<BTreeMap<&'static str, u64>>,
}

impl ConnectionMetrics {
    /// A connection went from one state to another; `None` is being in use no more, or not yet.
    pub fn moved(&self, from: Option<&'static str>, to: Option<&'static str>) {
        let mut states = lock(&self.states);
        if let Some(from) = from {
            *states.entry(from).or_default() -= 1;
        }
        if let Some(to) = to {
            *states.entry(to).or_default() += 1;
        }
    }

    /// A refresh ended; `outcome` is `ok` or a reason, from a closed set.
    pub fn refreshed(&self, outcome: &'static str) {
        *lock(&self.refreshes).entry(outcome).or_default() += 1;
    }

    pub(super) fn states(&self) -> BTreeMap<&'static str, i64> {
        lock(&self.states).clone()
    }

    pub(super) fn refreshes(&self) -> BTreeMap<&'static str, u64> {
        lock(&self.refreshes).clone()
    }
}

/// What is counted without regard to credentials.
#[derive(Debug)]
pub struct CallMetrics {
    /// `countersign_refresh_seconds`
    pub(super) time: Histogram,
    /// `countersign_events_total`, by outcome.
    events: Mutex<BTreeMap<&'static str, u64>>,
}

impl Default for CallMetrics {
    fn default() -> Self {
        Self { time: Histogram::new(CALL_BOUNDS), events: Mutex::default() }
    }
}

impl CallMetrics {
    /// A token call took so long.
    pub fn took(&self, time: Duration) {
        self.time.observe(time);
    }

    /// `count` attempts to deliver events ended: `delivered`, `failed` (tried again) or `dropped` (too old).
    pub fn events(&self, outcome: &'static str, count: u64) {
        if count > 0 {
            *lock(&self.events).entry(outcome).or_default() += count;
        }
    }

    pub(super) fn events_by_outcome(&self) -> BTreeMap<&'static str, u64> {
        lock(&self.events).clone()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
