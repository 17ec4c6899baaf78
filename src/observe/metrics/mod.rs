//! The metrics of the process, in Prometheus text (format 0.0.4).
//!
//! [`Metrics`] is made once and lives as long as the process. What belongs to a route is made when it is called for
//! the first time ([`Metrics::route`]), so that ten thousand routes cost what is called of them; what belongs to a
//! credential when there is something to count ([`Metrics::credential`]). From then on the request path touches atomics only.
//! [`Metrics::retain`] forgets what a reload removed. No label is by tenant. The admin listener reads [`Metrics::text`].

pub mod connection;
pub mod credential;
pub mod histogram;
mod labelled;
mod process;
pub mod route;

use std::sync::Arc;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

pub use connection::{CallMetrics, ConnectionMetrics};
pub use credential::{CredentialMetrics, CredentialNow, Reload};
pub use route::{PoolState, RouteMetrics};

use self::labelled::{Labelled, Rows, keep, resolve};
use crate::clock::Timestamp;

/// What [`Metrics::text`] is to be served as.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// How changes in the secrets directory are noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchMode {
    /// File events, with polling as the net.
    Events,
    /// Polling alone.
    Poll,
}

/// What became of a reading of `proxy.toml`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigReload {
    /// It is in use.
    Ok,
    /// It had mistakes; the last good one stays.
    Error,
}

/// Every metric of the process. The public gauges and counters are handles for those who move them.
#[derive(Debug)]
pub struct Metrics {
    /// `countersign_requests_in_flight`
    pub in_flight: Gauge,
    /// `countersign_worker_connections`: open connections from workers.
    pub worker_connections: Gauge,
    /// `countersign_buffered_bytes`: all held bodies together.
    pub buffered_bytes: Gauge,
    /// `countersign_access_lines_dropped_total`
    pub access_lines_dropped: Counter,
    registry: Registry,
    labelled: Arc<Labelled>,
    started: Timestamp,
}

impl Metrics {
    /// Metrics of a process of this version that started at `started`.
    pub fn new(version: &'static str, started: Timestamp) -> Self {
        let mut metrics = Self {
            in_flight: Gauge::default(),
            worker_connections: Gauge::default(),
            buffered_bytes: Gauge::default(),
            access_lines_dropped: Counter::default(),
            registry: Registry::default(),
            labelled: Arc::new(Labelled::new(version)),
            started,
        };
        let registry = &mut metrics.registry;
        registry.register(
            "countersign_requests_in_flight",
            "Requests that are being served",
            metrics.in_flight.clone(),
        );
        registry.register(
            "countersign_worker_connections",
            "Open connections from workers",
            metrics.worker_connections.clone(),
        );
        registry.register(
            "countersign_buffered_bytes",
            "Bytes of request bodies held in memory",
            metrics.buffered_bytes.clone(),
        );
        registry.register(
            "countersign_access_lines_dropped",
            "Access lines lost because standard error did not take them in time",
            metrics.access_lines_dropped.clone(),
        );
        metrics
    }

    /// The metrics of a route, made at the first call with its name.
    pub fn route(&self, name: &str) -> Arc<RouteMetrics> {
        resolve(&self.labelled.routes, name, RouteMetrics::new)
    }

    /// The metrics of requests that no route claimed; their `route` label is empty.
    pub fn unmatched(&self) -> &Arc<RouteMetrics> {
        &self.labelled.unmatched
    }

    /// The metrics of a credential, made at the first call with its name. A route's own identity is
    /// named `route:NAME/client_cert` or `route:NAME/ca`.
    pub fn credential(&self, name: &str) -> Arc<CredentialMetrics> {
        resolve(&self.labelled.credentials, name, CredentialMetrics::default)
    }

    /// The metrics of a credential's connections, made at the first call with its name.
    pub fn connections(&self, name: &str) -> Arc<ConnectionMetrics> {
        resolve(&self.labelled.connections, name, ConnectionMetrics::default)
    }

    /// Token calls and deliveries of events.
    pub fn calls(&self) -> &CallMetrics {
        &self.labelled.calls
    }

    /// Forgets routes and credentials that are no longer configured: they vanish from the output.
    pub fn retain(&self, route: impl Fn(&str) -> bool, credential: impl Fn(&str) -> bool) {
        keep(&self.labelled.routes, route);
        keep(&self.labelled.credentials, &credential);
        keep(&self.labelled.connections, credential);
    }

    /// Says how changes of secrets are noticed now.
    pub fn set_watch_mode(&self, mode: WatchMode) {
        self.labelled.watching_events.set(i64::from(mode == WatchMode::Events));
        self.labelled.watching_poll.set(i64::from(mode == WatchMode::Poll));
    }

    /// Counts a reading of `proxy.toml`.
    pub fn config_reloaded(&self, result: ConfigReload) {
        match result {
            ConfigReload::Ok => self.labelled.config_ok.inc(),
            ConfigReload::Error => self.labelled.config_error.inc(),
        };
    }

    /// Everything in Prometheus text, to be served as [`CONTENT_TYPE`]. `routes` are those that are configured: each
    /// has its rows, called or not, and no other has. So have `credentials`, as they are now.
    pub fn text<'r>(&self, routes: impl IntoIterator<Item = &'r str>, mut credentials: Vec<CredentialNow>) -> String {
        let mut routes: Vec<Box<str>> = routes.into_iter().map(Into::into).collect();
        routes.sort_unstable();
        let mut rows = Registry::default();
        credentials.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        rows.register_collector(Box::new(Rows { labelled: self.labelled.clone(), routes, credentials }));
        rows.register_collector(Box::new(process::Process { started: self.started }));
        let mut text = String::with_capacity(16 * 1024);
        // Writing to a String cannot fail; what a collector could not say is left out.
        for registry in [&self.registry, &rows] {
            let _ = prometheus_client::encoding::text::encode_registry(&mut text, registry);
        }
        classic(&text)
    }
}

/// OpenMetrics names a counter's family without `_total`; the classic format wants the name of its samples.
fn classic(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 512);
    let mut help = None;
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ');
            continue;
        }
        let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) else {
            out.extend([line, "\n"]);
            continue;
        };
        let suffix = if kind == "counter" { "_total" } else { "" };
        if let Some((_, text)) = help.take() {
            out.extend(["# HELP ", name, suffix, " ", text, "\n"]);
        }
        out.extend(["# TYPE ", name, suffix, " ", kind, "\n"]);
    }
    out
}

#[cfg(test)]
mod tests;
