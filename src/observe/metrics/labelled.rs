//! The metrics that have labels, and how they are written.
//!
//! Kept in ordered maps of our own, so that the output is ordered and rows can be removed.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};

use super::connection::{CallMetrics, ConnectionMetrics};
use super::credential::{CredentialMetrics, CredentialNow};
use super::route::{PoolState, RouteMetrics};
use crate::observe::outcome::Outcome;

/// Written a row at a time: a route's when it is called for the first time, a credential's when it has changed.
/// Requests hold their rows and come here no more.
pub(super) type Named<T> = RwLock<BTreeMap<Arc<str>, Arc<T>>>;

pub(super) fn resolve<T>(map: &Named<T>, name: &str, make: impl Fn() -> T) -> Arc<T> {
    if let Some(found) = rows(map).get(name) {
        return found.clone();
    }
    map.write().unwrap_or_else(PoisonError::into_inner).entry(name.into()).or_insert_with(|| Arc::new(make())).clone()
}

pub(super) fn keep<T>(map: &Named<T>, wanted: impl Fn(&str) -> bool) {
    map.write().unwrap_or_else(PoisonError::into_inner).retain(|name, _| wanted(name));
}

/// Nothing that runs under the lock can leave a row half made, so a poisoned one is as good.
fn rows<T>(map: &Named<T>) -> RwLockReadGuard<'_, BTreeMap<Arc<str>, Arc<T>>> {
    map.read().unwrap_or_else(PoisonError::into_inner)
}

/// What has labels.
#[derive(Debug)]
pub(super) struct Labelled {
    version: &'static str,
    pub(super) routes: Named<RouteMetrics>,
    pub(super) unmatched: Arc<RouteMetrics>,
    /// What a route shows that was never called.
    uncalled: Arc<RouteMetrics>,
    pub(super) credentials: Named<CredentialMetrics>,
    pub(super) connections: Named<ConnectionMetrics>,
    pub(super) calls: CallMetrics,
    pub(super) watching_events: Gauge,
    pub(super) watching_poll: Gauge,
    pub(super) config_ok: Counter,
    pub(super) config_error: Counter,
}

impl Labelled {
    pub(super) fn new(version: &'static str) -> Self {
        Self {
            version,
            routes: RwLock::default(),
            unmatched: Arc::new(RouteMetrics::new()),
            uncalled: Arc::new(RouteMetrics::new()),
            credentials: RwLock::default(),
            connections: RwLock::default(),
            calls: CallMetrics::default(),
            watching_events: Gauge::default(),
            watching_poll: Gauge::default(),
            config_ok: Counter::default(),
            config_error: Counter::default(),
        }
    }

    fn encode_routes(&self, encoder: &mut DescriptorEncoder<'_>, routes: &[Box<str>]) -> std::fmt::Result {
        let called = rows(&self.routes);
        let row = |name| called.get(name).unwrap_or(&self.uncalled);
        let named = || routes.iter().map(|name| (&**name, row(&**name)));
        let all = || named().chain([("", &self.unmatched)]);

        let mut family = counter(encoder, "countersign_requests", "Requests by route and how they ended")?;
        for (name, route) in all() {
            for outcome in Outcome::ALL {
                let count = route.requests(*outcome);
                // A route that was never called shows one zero, not one for every way to fail.
                if count > 0 || (*outcome == Outcome::Success && !name.is_empty()) {
                    count_row(&mut family, &[("route", name), ("outcome", outcome.as_str())], count)?;
                }
            }
        }
        let help = "Time that requests spent in this process, without waiting for the upstream";
        let mut family = encoder.encode_descriptor("countersign_proxy_seconds", help, None, MetricType::Histogram)?;
        for (name, route) in all() {
            route.proxy_time.encode(family.encode_family(&[("route", name)])?)?;
        }
        let help = "Time from asking for a connection to the head of the upstream's answer, all attempts together";
        let mut family =
            encoder.encode_descriptor("countersign_upstream_seconds", help, None, MetricType::Histogram)?;
        for (name, route) in named() {
            route.upstream_time.encode(family.encode_family(&[("route", name)])?)?;
        }
        let mut family = gauge(encoder, "countersign_upstream_connections", "Connections to upstreams")?;
        for (name, route) in named() {
            for state in PoolState::ALL {
                let labels = [("route", name), ("state", state.as_str())];
                gauge_row(&mut family, &labels, route.connections(state).get())?;
            }
        }
        let help = "The upstream's clock less this machine's, by the Date of its answers";
        let mut family = gauge(encoder, "countersign_clock_offset_seconds", help)?;
        for (name, offset) in named().filter_map(|(name, route)| Some((name, route.clock_offset()?))) {
            ConstGauge::new(offset).encode(family.encode_family(&[("route", name)])?)?;
        }
        Ok(())
    }

    fn encode_credentials(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        credentials: &[CredentialNow],
    ) -> std::fmt::Result {
        let counted = rows(&self.credentials);
        let help = "New values of secrets that were taken or refused";
        let mut family = counter(encoder, "countersign_secret_reloads", help)?;
        for now in credentials {
            let Some(credential) = counted.get(&*now.name) else { continue };
            for ((result, reason), count) in credential.reloads().iter() {
                let labels = [("credential", &*now.name), ("result", result.as_str()), ("reason", reason)];
                count_row(&mut family, &labels, *count)?;
            }
        }
        let help = "Requests that were accepted only with the previous value";
        let mut family = counter(encoder, "countersign_credential_fallbacks", help)?;
        for now in credentials {
            let count = counted.get(&*now.name).map_or(0, |credential| credential.fallbacks.get());
            count_row(&mut family, &[("credential", &now.name)], count)?;
        }
        let help = "1 while the newest value cannot be used";
        let mut family = gauge(encoder, "countersign_credential_stale", help)?;
        for now in credentials {
            gauge_row(&mut family, &[("credential", &now.name)], i64::from(now.stale))?;
        }
        let help = "When the value in use was loaded";
        let mut family = gauge(encoder, "countersign_credential_loaded_timestamp_seconds", help)?;
        for (now, at) in credentials.iter().filter_map(|now| Some((now, now.loaded?))) {
            gauge_row(&mut family, &[("credential", &now.name)], at.seconds)?;
        }
        let help = "When the certificate in use expires";
        let mut family = gauge(encoder, "countersign_certificate_not_after_timestamp_seconds", help)?;
        for (now, at) in credentials.iter().filter_map(|now| Some((now, now.not_after?))) {
            gauge_row(&mut family, &[("credential", &now.name)], at.seconds)?;
        }
        Ok(())
    }

    /// Nothing where no credential has connections.
    fn encode_connections(&self, encoder: &mut DescriptorEncoder<'_>) -> std::fmt::Result {
        let connections = rows(&self.connections);
        if connections.is_empty() {
            return Ok(());
        }
        let help = "Connections that are in use here, by state";
        let mut family = gauge(encoder, "countersign_connections", help)?;
        for (name, connection) in connections.iter() {
            for (state, count) in connection.states() {
                gauge_row(&mut family, &[("credential", &**name), ("state", state)], count)?;
            }
        }
        let help = "Refreshes of tokens by how they ended";
        let mut family = counter(encoder, "countersign_refreshes", help)?;
        for (name, connection) in connections.iter() {
            for (outcome, count) in connection.refreshes() {
                count_row(&mut family, &[("credential", &**name), ("outcome", outcome)], count)?;
            }
        }
        let help = "Time of token calls, from connecting to the whole answer";
        let family = encoder.encode_descriptor("countersign_refresh_seconds", help, None, MetricType::Histogram)?;
        self.calls.time.encode(family)?;
        let mut family = counter(encoder, "countersign_events", "Deliveries of events by how they ended")?;
        for (outcome, count) in self.calls.events_by_outcome() {
            count_row(&mut family, &[("outcome", outcome)], count)?;
        }
        Ok(())
    }

    fn encode_process_wide(&self, encoder: &mut DescriptorEncoder<'_>) -> std::fmt::Result {
        let mut family = gauge(encoder, "countersign_watch_mode", "How changes of secrets are noticed")?;
        gauge_row(&mut family, &[("mode", "events")], self.watching_events.get())?;
        gauge_row(&mut family, &[("mode", "poll")], self.watching_poll.get())?;
        let mut family = counter(encoder, "countersign_config_reloads", "Readings of proxy.toml after the first")?;
        count_row(&mut family, &[("result", "ok")], self.config_ok.get())?;
        count_row(&mut family, &[("result", "error")], self.config_error.get())?;
        let mut family = gauge(encoder, "countersign_build_info", "The version that runs")?;
        gauge_row(&mut family, &[("version", self.version)], 1)
    }
}

/// Everything that has labels, for these routes and credentials.
#[derive(Debug)]
pub(super) struct Rows {
    pub(super) labelled: Arc<Labelled>,
    /// Every configured route, sorted.
    pub(super) routes: Vec<Box<str>>,
    /// Every credential and identity, sorted by name.
    pub(super) credentials: Vec<CredentialNow>,
}

impl Collector for Rows {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> std::fmt::Result {
        self.labelled.encode_routes(&mut encoder, &self.routes)?;
        self.labelled.encode_credentials(&mut encoder, &self.credentials)?;
        self.labelled.encode_connections(&mut encoder)?;
        self.labelled.encode_process_wide(&mut encoder)
    }
}

fn counter<'e>(encoder: &'e mut DescriptorEncoder<'_>, name: &'e str, help: &str) -> Encoded<'e> {
    encoder.encode_descriptor(name, help, None, MetricType::Counter)
}

fn gauge<'e>(encoder: &'e mut DescriptorEncoder<'_>, name: &'e str, help: &str) -> Encoded<'e> {
    encoder.encode_descriptor(name, help, None, MetricType::Gauge)
}

type Encoded<'e> = Result<MetricEncoder<'e>, std::fmt::Error>;

fn count_row<const N: usize>(
    family: &mut MetricEncoder<'_>,
    labels: &[(&str, &str); N],
    value: u64,
) -> std::fmt::Result {
    ConstCounter::new(value).encode(family.encode_family(labels)?)
}

fn gauge_row<const N: usize>(
    family: &mut MetricEncoder<'_>,
    labels: &[(&str, &str); N],
    value: i64,
) -> std::fmt::Result {
    ConstGauge::new(value).encode(family.encode_family(labels)?)
}
