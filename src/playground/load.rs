//! A bounded load over plain HTTP/1.1: some keep-alive connections, a pace, and a tally at the end.
//!
//! Every request carries its number in the query (`?n=17`), so that what the upstream saw can be
//! laid beside what was sent. It says nothing about latency limits; callers judge. Called by
//! `demo` and tests.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval_at};

/// Requests of one load at most, because each leaves a record.
pub const REQUESTS: u64 = 1_000_000;
/// Connections of one load at most.
pub const CONNECTIONS: usize = 1024;
/// How long one request may take, connecting included.
pub const TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of an answer that are read.
const ANSWER: usize = 1024 * 1024;

/// What to send, and how.
#[derive(Clone, Debug)]
pub struct Load {
    /// Where the proxy listens.
    pub address: SocketAddr,
    /// The Host of every request.
    pub host: HeaderValue,
    /// The path of every request, without query.
    pub path: String,
    /// When given, every second request is a POST with this body; the others are GETs.
    pub body: Option<Bytes>,
    /// Keep-alive connections, at least 1, at most [`CONNECTIONS`].
    pub connections: usize,
    /// How fast.
    pub pace: Pace,
    /// For how long new requests are begun.
    pub length: Duration,
}

/// How fast requests are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// This many a second over all connections; what was missed is caught up with.
    PerSecond(u32),
    /// Each connection sends the next as soon as the last was answered.
    Unpaced,
}

/// One request that was sent.
#[derive(Clone, Debug)]
pub struct Sent {
    /// Its number, from 0; `n` in the query.
    pub number: u64,
    /// When it was begun.
    pub at: Instant,
    /// Until the whole answer had come, or the error.
    pub took: Duration,
    /// The status, or what went wrong.
    pub outcome: Result<StatusCode, LoadError>,
}

/// Why a request got no whole answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum LoadError {
    /// No connection to the proxy.
    #[error("cannot connect")]
    Connect,
    /// The connection broke before the answer's head.
    #[error("no answer")]
    NoAnswer,
    /// The answer broke off or was too long.
    #[error("broken answer")]
    BrokenAnswer,
    /// [`TIMEOUT`] passed.
    #[error("timed out")]
    Timeout,
    /// The load itself asks for what cannot be a request, such as a path with a space.
    #[error("not a request")]
    NotARequest,
}

/// All that was sent, in the order of the numbers.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// One record a request.
    pub sent: Vec<Sent>,
}

impl Tally {
    /// How many requests ended with each status.
    pub fn by_status(&self) -> BTreeMap<u16, u64> {
        count(self.sent.iter().filter_map(|sent| sent.outcome.ok()).map(|status| status.as_u16()))
    }

    /// How many requests ended with each error.
    pub fn by_error(&self) -> BTreeMap<LoadError, u64> {
        count(self.sent.iter().filter_map(|sent| sent.outcome.err()))
    }

    /// Requests without a 2xx answer.
    pub fn failed(&self) -> u64 {
        self.sent.iter().filter(|sent| !sent.outcome.is_ok_and(|status| status.is_success())).count() as u64
    }
}

fn count<K: Ord>(keys: impl Iterator<Item = K>) -> BTreeMap<K, u64> {
    keys.fold(BTreeMap::new(), |mut counts, key| {
        *counts.entry(key).or_default() += 1;
        counts
    })
}

/// Sends the load and waits for the last answer.
pub async fn run(load: Load) -> Tally {
    let connections = load.connections.clamp(1, CONNECTIONS);
    let shared = Arc::new(Shared { load, numbers: AtomicU64::new(0), start: Instant::now() });
    let mut lanes = JoinSet::new();
    for lane in 0..connections {
        lanes.spawn(run_lane(shared.clone(), lane as u32, connections as u32));
    }
    let mut sent: Vec<Sent> = lanes.join_all().await.into_iter().flatten().collect();
    sent.sort_by_key(|sent| sent.number);
    Tally { sent }
}

struct Shared {
    load: Load,
    numbers: AtomicU64,
    start: Instant,
}

type Connection = SendRequest<Full<Bytes>>;

async fn run_lane(shared: Arc<Shared>, lane: u32, lanes: u32) -> Vec<Sent> {
    let mut ticks = match shared.load.pace {
        Pace::Unpaced => None,
        Pace::PerSecond(rate) => {
            let apart = Duration::from_secs(1) / rate.max(1);
            let mut ticks = interval_at((shared.start + apart * lane).into(), apart * lanes);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
            Some(ticks)
        }
    };
    let end = shared.start + shared.load.length;
    let mut connection = None;
    let mut sent = Vec::new();
    loop {
        if let Some(ticks) = &mut ticks {
            ticks.tick().await;
        }
        if Instant::now() >= end {
            return sent;
        }
        let number = shared.numbers.fetch_add(1, Ordering::Relaxed);
        if number >= REQUESTS {
            return sent;
        }
        let at = Instant::now();
        let outcome = tokio::time::timeout(TIMEOUT, exchange(&shared.load, number, &mut connection)).await;
        let outcome = outcome.unwrap_or(Err(LoadError::Timeout));
        if outcome.is_err() {
            connection = None;
            tokio::task::yield_now().await; // an address that refuses at once must not starve the others
        }
        sent.push(Sent { number, at, took: at.elapsed(), outcome });
    }
}

async fn exchange(load: &Load, number: u64, kept: &mut Option<Connection>) -> Result<StatusCode, LoadError> {
    let request = request(load, number)?;
    let mut connection = match kept.take() {
        Some(mut connection) => match connection.ready().await {
            Ok(()) => connection,
            Err(_) => connect(load.address).await?, // it was closed while idle, which is no failure
        },
        None => connect(load.address).await?,
    };
    let answer = connection.send_request(request).await.map_err(|_| LoadError::NoAnswer)?;
    let status = answer.status();
    Limited::new(answer.into_body(), ANSWER).collect().await.map_err(|_| LoadError::BrokenAnswer)?;
    *kept = Some(connection);
    Ok(status)
}

async fn connect(address: SocketAddr) -> Result<Connection, LoadError> {
    let stream = TcpStream::connect(address).await.map_err(|_| LoadError::Connect)?;
    let _ = stream.set_nodelay(true); // only slower without
    let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(|_| LoadError::Connect)?;
    tokio::spawn(connection); // ends when the sender is dropped or the peer closes
    Ok(sender)
}

fn request(load: &Load, number: u64) -> Result<Request<Full<Bytes>>, LoadError> {
    let body = load.body.clone().filter(|_| number % 2 == 1);
    let method = if body.is_some() { Method::POST } else { Method::GET };
    Request::builder()
        .method(method)
        .uri(format!("{}?n={number}", load.path))
        .header(header::HOST, load.host.clone())
        .body(Full::new(body.unwrap_or_default()))
        .map_err(|_| LoadError::NotARequest)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use crate::playground::upstream::{Signature, Transport, Upstream, UpstreamConfig};

    async fn upstream(signature: Signature) -> Upstream {
        let listen = ([127, 0, 0, 1], 0).into();
        let config = UpstreamConfig { listen, transport: Transport::Plain, signature, clock: Arc::new(SystemClock) };
        Upstream::start(config).await.unwrap()
    }

    fn load(address: SocketAddr) -> Load {
        Load {
            address,
            host: HeaderValue::from_static("api.partner.example"),
            path: "/orders".to_owned(),
            body: Some(Bytes::from_static(b"{}")),
            connections: 3,
            pace: Pace::PerSecond(300),
            length: Duration::from_millis(100),
        }
    }

    #[tokio::test]
    async fn a_paced_load_counts_what_the_upstream_saw() {
        let upstream = upstream(Signature::Unchecked).await;
        let tally = run(load(upstream.address())).await;
        assert!((10..=30).contains(&tally.sent.len()), "{}", tally.sent.len());
        assert_eq!(tally.failed(), 0);
        assert_eq!(tally.by_status(), BTreeMap::from([(200, tally.sent.len() as u64)]));
        let seen = upstream.seen();
        assert_eq!(seen.len(), tally.sent.len());
        assert!(seen.iter().all(|seen| seen.connection < 3), "three connections are kept");
        let post = seen.iter().find(|seen| seen.method == Method::POST).unwrap();
        assert!(post.target.starts_with("/orders?n="), "{}", post.target);
        let numbers: Vec<u64> = tally.sent.iter().map(|sent| sent.number).collect();
        assert_eq!(numbers, (0..tally.sent.len() as u64).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn refusals_and_dead_addresses_are_failures() {
        let upstream = upstream(Signature::Hmac(Vec::new())).await;
        let address = upstream.address();
        let tally = run(load(address)).await;
        assert_eq!(tally.by_status().keys().copied().collect::<Vec<_>>(), [401]);
        assert_eq!(tally.failed(), tally.sent.len() as u64);
        upstream.stop().await;
        let tally = run(Load { length: Duration::from_millis(20), ..load(address) }).await;
        assert_eq!(tally.by_error().keys().copied().collect::<Vec<_>>(), [LoadError::Connect]);
    }
}
