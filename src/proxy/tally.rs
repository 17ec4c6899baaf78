//! One request's account: filled in along the path, written once at its end.

use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use tokio::time::Instant;

use super::Proxy;
use super::gate::Share;
use super::live::Live;
use crate::clock::Timestamp;
use crate::observe::Outcome;
use crate::observe::access::Access;
use crate::upstream::body::Progress;

/// What is known of a request so far. Writes its access line and counts when dropped.
pub struct Tally {
    proxy: Arc<Proxy>,
    live: Arc<Live>,
    /// When it arrived.
    pub at: Timestamp,
    started: Instant,
    method: http::Method,
    /// Only for the access line.
    uri: Option<Uri>,
    /// The index of the route.
    pub route: Option<usize>,
    /// The index of the client that called.
    pub client: Option<usize>,
    /// The tenant.
    pub tenant: Option<String>,
    /// The worker's `Countersign-Job`.
    pub job: Option<String>,
    /// The trace id of the worker's `traceparent`.
    pub trace_id: Option<String>,
    /// The status that the worker got.
    pub status: Option<u16>,
    /// The name of the error, when the proxy answered.
    pub error: Option<Outcome>,
    /// Body bytes up.
    pub progress: Arc<Progress>,
    /// Body bytes down.
    pub bytes_out: u64,
    /// Attempts at the upstream.
    pub attempts: u32,
    /// Whether the answer reached its end.
    pub complete: bool,
    /// From the start of an attempt to the head of its answer, all attempts together.
    upstream: Duration,
    /// Since when the upstream is being waited for.
    waiting_since: Option<Instant>,
    /// From the request's arrival to the answer's head.
    pub head_after: Option<Duration>,
    /// Shares of what is bounded; given back with the tally.
    pub shares: [Option<Share>; 2],
}

impl Tally {
    /// Begins the account of a request.
    pub fn start(proxy: Arc<Proxy>, live: Arc<Live>, method: &http::Method, uri: &Uri) -> Self {
        Self {
            at: proxy.clock.now(),
            uri: proxy.access.as_ref().map(|_| uri.clone()),
            proxy,
            live,
            started: Instant::now(),
            method: method.clone(),
            route: None,
            client: None,
            tenant: None,
            job: None,
            trace_id: None,
            status: None,
            error: None,
            progress: Arc::default(),
            bytes_out: 0,
            attempts: 0,
            complete: false,
            upstream: Duration::ZERO,
            waiting_since: None,
            head_after: None,
            shares: [None, None],
        }
    }

    /// Notes the moment at which the answer's head is there.
    pub fn head(&mut self, status: u16) {
        self.status = Some(status);
        self.head_after = Some(self.started.elapsed());
    }

    /// What follows is the upstream's time, until [`Self::upstream_ends`] or the worker hangs up.
    pub fn upstream_begins(&mut self, now: Instant) {
        self.waiting_since = Some(now);
    }

    /// What follows is our own time.
    pub fn upstream_ends(&mut self) {
        self.upstream += self.waiting_since.take().map_or(Duration::ZERO, |since| since.elapsed());
    }

    fn outcome(&self) -> Outcome {
        match (self.error, self.status) {
            (Some(error), _) => error,
            (None, Some(status)) if self.complete => Outcome::from_upstream(status),
            _ => Outcome::Canceled,
        }
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        self.upstream_ends();
        let outcome = self.outcome();
        let total = self.head_after.unwrap_or_else(|| self.started.elapsed());
        let own = total.saturating_sub(self.upstream);
        let live = self.route.map(|route| self.live.route(route));
        let metrics = live.map_or_else(|| self.proxy.metrics.unmatched(), |live| &live.metrics);
        metrics.count(outcome);
        metrics.proxy_time.observe(own);
        if self.attempts > 0 {
            metrics.upstream_time.observe(self.upstream);
        }
        let Some(access) = &self.proxy.access else { return };
        let config = self.route.map(|route| &self.live.snapshot.plan.config.routes[route]);
        access.write(&Access {
            at: self.at,
            route: config.map(|route| route.name.as_str()),
            tenant: self.tenant.as_deref(),
            client: self.client.map(|client| self.live.snapshot.plan.config.clients[client].name.as_str()),
            job: self.job.as_deref(),
            method: self.method.as_str(),
            path: self.uri.as_ref().map_or("", Uri::path),
            endpoint: None,
            credential: live.and_then(|live| live.credentials.as_deref()),
            status: self.status,
            outcome,
            error: self.error.map(Outcome::as_str),
            bytes_in: self.progress.bytes(),
            bytes_out: self.bytes_out,
            proxy_us: own.as_micros() as u64,
            upstream_us: self.upstream.as_micros() as u64,
            attempts: self.attempts,
            trace_id: self.trace_id.as_deref(),
        });
    }
}
