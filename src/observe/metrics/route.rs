//! What is counted for one route.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use prometheus_client::metrics::gauge::Gauge;

use super::histogram::Histogram;
use crate::observe::outcome::Outcome;

/// Buckets of time in this process: 50 µs to 1 s, in microseconds.
const PROXY_BOUNDS: &[u64] =
    &[50, 100, 200, 300, 500, 1_000, 2_000, 5_000, 10_000, 25_000, 100_000, 500_000, 1_000_000];
/// Buckets of time at the upstream: 5 ms to 60 s, in microseconds.
const UPSTREAM_BOUNDS: &[u64] = &[
    5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000, 10_000_000, 30_000_000,
    60_000_000,
];

/// What an upstream connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolState {
    /// It is being made.
    Connecting,
    /// It carries a request.
    Active,
    /// It waits in the pool.
    Idle,
}

impl PoolState {
    /// Every state, in the order of its index.
    pub const ALL: [Self; 3] = [Self::Connecting, Self::Active, Self::Idle];

    /// The value of the `state` label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Active => "active",
            Self::Idle => "idle",
        }
    }
}

/// The metrics of one route. Updating is atomics only.
#[derive(Debug)]
pub struct RouteMetrics {
    /// `countersign_proxy_seconds`
    pub proxy_time: Histogram,
    /// `countersign_upstream_seconds`
    pub upstream_time: Histogram,
    requests: [AtomicU64; Outcome::COUNT],
    connections: [Gauge; PoolState::ALL.len()],
    /// In milliseconds; the least number where nothing is known.
    clock_offset: AtomicI64,
}

impl RouteMetrics {
    pub(super) fn new() -> Self {
        Self {
            proxy_time: Histogram::new(PROXY_BOUNDS),
            upstream_time: Histogram::new(UPSTREAM_BOUNDS),
            requests: std::array::from_fn(|_| AtomicU64::new(0)),
            connections: Default::default(),
            clock_offset: AtomicI64::new(i64::MIN),
        }
    }

    /// Counts a request that ended.
    pub fn count(&self, outcome: Outcome) {
        self.requests[outcome.index()].fetch_add(1, Ordering::Relaxed);
    }

    /// How many requests ended so.
    pub fn requests(&self, outcome: Outcome) -> u64 {
        self.requests[outcome.index()].load(Ordering::Relaxed)
    }

    /// The upstream's clock less ours, in milliseconds.
    pub fn set_clock_offset(&self, milliseconds: i64) {
        self.clock_offset.store(milliseconds, Ordering::Relaxed);
    }

    /// In seconds; nothing where no answer has told the time yet.
    pub fn clock_offset(&self) -> Option<f64> {
        let milliseconds = self.clock_offset.load(Ordering::Relaxed);
        (milliseconds != i64::MIN).then(|| milliseconds as f64 / 1000.0)
    }

    /// The number of connections in a state, to be moved with `inc` and `dec`.
    pub fn connections(&self, state: PoolState) -> &Gauge {
        &self.connections[state as usize]
    }
}
