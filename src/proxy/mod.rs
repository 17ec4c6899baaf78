//! The request path: listeners, checks, matching, credentials, sending, answers.
//!
//! [`request`] is the one straight function that a reader should begin with; each stage hands the
//! next one what it needs. Failures leave by one table, [`failure`]. Callers: `cli::run`, tests.

pub mod answer;
pub mod browser;
pub mod callers;
mod challenge;
pub mod exchange;
pub mod failure;
pub mod gate;
pub mod gates;
pub mod guard;
pub mod held;
pub mod hop;
pub mod http2;
pub mod inbound;
pub mod intercept;
pub mod links;
pub mod listener;
pub mod live;
pub mod matching;
pub mod names;
pub mod ready;
pub mod registry;
pub mod request;
pub mod rest;
pub mod shown;
pub mod skew;
pub mod stand_in;
pub mod tally;
pub mod tenant;
pub mod tokens;
mod transcript;
pub mod tunnel;
pub mod upgrade;
pub mod worker_io;

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::clock::{Sequences, SharedClock};
use crate::observe::access::AccessLog;
use crate::observe::metrics::Metrics;
use crate::refresh::Tokens;
use crate::upstream::pool::Pool;
use gate::Gate;
use live::Live;

/// What outlives a snapshot.
pub struct Proxy {
    /// The snapshot in use with what belongs to it.
    pub live: ArcSwap<Live>,
    /// Connections to upstreams.
    pub pool: Pool,
    /// The time of day.
    pub clock: SharedClock,
    /// Numbers of nonces that grow.
    pub sequences: Sequences,
    /// Counters and histograms.
    pub metrics: Arc<Metrics>,
    /// The access log; `None` where it is off.
    pub access: Option<AccessLog>,
    /// Open connections of workers.
    pub connections: registry::Registry,
    /// Requests at one time.
    pub in_flight: Gate,
    /// Bytes of held bodies.
    pub buffered: Gate,
    /// Tokens that refresh themselves; `None` where no credential has any.
    pub tokens: Option<Arc<Tokens>>,
    /// Leaves of interception.
    pub leaves: intercept::leaves::Leaves,
    /// `countersign-<random>`: how this process knows its own requests.
    pub via: String,
    /// The same as a line of `Via`.
    pub via_line: http::HeaderValue,
}

impl std::fmt::Debug for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Proxy")
    }
}

/// Random bytes for one attempt's nonces; none when the system has none.
pub(crate) fn random() -> Result<[u8; 32], failure::Failure> {
    use ring::rand::{SecureRandom, SystemRandom};
    let mut bytes = [0; 32];
    let filled = SystemRandom::new().fill(&mut bytes);
    filled.map(|()| bytes).map_err(|_| failure::Failure::overloaded("the system gives no random bytes"))
}
