//! The playground's upstream: a real HTTP/1.1 server on loopback that demands what partners demand.
//!
//! It wants a client certificate of a known authority and the headers
//! `X-Timestamp: SECONDS` and `X-Signature: hex(HMAC-SHA256(key, "{method}\n{target}\n{timestamp}\n{body|sha256|hex}"))`,
//! refuses with 401 and JSON that says what is wrong, and otherwise answers 200 with JSON that
//! echoes the request. It remembers which key and which certificate each request came with.
//! Callers: `run` (for `[playground]`), `demo`, tests.

mod check;
mod config;
#[cfg(test)]
mod tests;
mod tls;

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;

pub use check::{KEYS, Refusal, SIGNATURE, TIMESTAMP, WINDOW};
use check::{Keys, Signed};
pub use config::{Clients, Signature, StartError, Transport, UpstreamConfig};
use tls::{Peer, Tls};

use crate::clock::SharedClock;
use crate::secret::value::SecretBytes;

/// Records that are kept; the oldest go first.
pub const SEEN: usize = 65_536;
/// Bytes of a body that is held for its signature.
pub const BODY: usize = 16 * 1024 * 1024;
/// Connections at one time; further ones wait in the listener's queue.
pub const CONNECTIONS: usize = 1024;
/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long a request's head may take.
const HEAD: Duration = Duration::from_secs(60);
/// How long requests in flight are awaited when the upstream stops.
const GRACE: Duration = Duration::from_secs(5);
/// How long accepting pauses after an error such as "too many open files".
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What is remembered of one request.
#[derive(Clone, Debug)]
pub struct Seen {
    /// When it had arrived whole.
    pub at: Instant,
    /// Counts connections from 0.
    pub connection: u64,
    /// The method.
    pub method: http::Method,
    /// Path and query as received.
    pub target: String,
    /// Which key signed it; counts accepted keys from 0.
    pub key: Option<usize>,
    /// The serial number of the client's certificate, lower-case hexadecimal.
    pub serial: Option<Arc<str>>,
    /// Why it was refused, if it was.
    pub refused: Option<Refusal>,
}

/// A running upstream; stops when dropped: idle connections close at once, requests in flight
/// have 5 s to finish.
pub struct Upstream {
    address: SocketAddr,
    state: Arc<State>,
    stop: watch::Sender<()>,
}

struct State {
    tls: Option<Tls>,
    keys: Option<Keys>,
    clock: SharedClock,
    seen: Mutex<VecDeque<Seen>>,
    connections: AtomicU64,
}

impl Upstream {
    /// Listens and serves in the background of the current runtime.
    pub async fn start(config: UpstreamConfig) -> Result<Self, StartError> {
        let tls = match config.transport {
            Transport::Plain => None,
            Transport::Tls { certificate, key, clients } => Some(Tls::new(certificate, key, clients)?),
        };
        let keys = match config.signature {
            Signature::Unchecked => None,
            Signature::Hmac(keys) => Some(Keys::new(keys, None)),
            Signature::HmacFile(file) => Some(Keys::new(Vec::new(), Some(file))),
        };
        let listen = |error| StartError::Listen(config.listen, error);
        let listener = TcpListener::bind(config.listen).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let (stop, stopping) = watch::channel(());
        let (seen, connections) = (Mutex::default(), AtomicU64::new(0));
        let state = Arc::new(State { tls, keys, clock: config.clock, seen, connections });
        tokio::spawn(accept(listener, state.clone(), stopping));
        Ok(Self { address, state, stop })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts a further key beside those before; its index. At most [`KEYS`] are remembered.
    pub fn accept_key(&self, key: SecretBytes) -> Option<usize> {
        self.state.keys.as_ref().map(|keys| keys.accept(key))
    }

    /// Refuses a key from now on.
    pub fn withdraw_key(&self, index: usize) {
        if let Some(keys) = &self.state.keys {
            keys.withdraw(index);
        }
    }

    /// Accepts clients of a further authority (PEM), from the next handshake on.
    pub fn accept_authority(&self, pem: &str) -> Result<(), StartError> {
        self.state.tls.as_ref().map_or(Ok(()), |tls| tls.accept_authority(pem))
    }

    /// The requests so far, in the order of their arrival; the last [`SEEN`] of them.
    pub fn seen(&self) -> Vec<Seen> {
        self.state.lock_seen().iter().cloned().collect()
    }

    /// As [`Upstream::seen`], and forgets them.
    pub fn take_seen(&self) -> Vec<Seen> {
        std::mem::take(&mut *self.state.lock_seen()).into()
    }

    /// Stops and waits until the last connection is closed.
    pub async fn stop(self) {
        self.stop.send_replace(());
        self.stop.closed().await;
    }
}

async fn accept(listener: TcpListener, state: Arc<State>, mut stopping: watch::Receiver<()>) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let next = async {
            let slot = slots.clone().acquire_owned().await;
            (slot, listener.accept().await)
        };
        let (slot, accepted) = tokio::select! {
            _ = stopping.changed() => return,
            next = next => next,
        };
        match accepted {
            Ok((stream, _)) => {
                let (state, stopping) = (state.clone(), stopping.clone());
                tokio::spawn(async move {
                    let _slot = slot;
                    connection(stream, state, stopping).await;
                });
            }
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

async fn connection(stream: TcpStream, state: Arc<State>, mut stopping: watch::Receiver<()>) {
    let _ = stream.set_nodelay(true); // only slower without
    let Some(tls) = &state.tls else {
        return serve(stream, Peer::default(), state, stopping).await;
    };
    let handshake = tokio::time::timeout(HANDSHAKE, TlsAcceptor::from(tls.config()).accept(stream));
    let stream = tokio::select! {
        _ = stopping.changed() => return,
        done = handshake => match done {
            Ok(Ok(stream)) => stream,
            _ => return, // the client was told by a TLS alert
        },
    };
    let peer = Peer::of(stream.get_ref().1);
    serve(stream, peer, state, stopping).await;
}

async fn serve<S>(stream: S, peer: Peer, state: Arc<State>, mut stopping: watch::Receiver<()>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let number = state.connections.fetch_add(1, Ordering::Relaxed);
    let service = service_fn(move |request| {
        let (state, peer) = (state.clone(), peer.clone());
        async move { Ok::<_, Infallible>(answer(request, &state, &peer, number).await) }
    });
    let mut http = hyper::server::conn::http1::Builder::new();
    let connection =
        http.timer(TokioTimer::new()).header_read_timeout(HEAD).serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    tokio::select! {
        _ = connection.as_mut() => return,
        _ = stopping.changed() => connection.as_mut().graceful_shutdown(),
    }
    let _ = tokio::time::timeout(GRACE, connection).await;
}

async fn answer(request: Request<Incoming>, state: &State, peer: &Peer, connection: u64) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let target = head.uri.path_and_query().map_or_else(|| head.uri.to_string(), ToString::to_string);
    let checked = match read(body, state.keys.is_some()).await {
        Err(refusal) => Err(refusal),
        Ok((held, body_bytes)) => match &state.keys {
            None => Ok((None, body_bytes)),
            Some(keys) => {
                let signed =
                    Signed { method: head.method.as_str(), target: &target, headers: &head.headers, body: &held };
                keys.check(&signed, state.clock.now()).await.map(|key| (Some(key), body_bytes))
            }
        },
    };
    let (status, json) = match &checked {
        Ok((key, body_bytes)) => {
            let host = head.headers.get(header::HOST).map(|host| String::from_utf8_lossy(host.as_bytes()));
            let signature = if key.is_some() { "valid" } else { "unchecked" };
            let echo = json!({
                "method": head.method.as_str(), "target": target, "host": host, "client": peer.name.as_deref(),
                "signature": signature, "key": key, "headers": shown(&head.headers), "body_bytes": body_bytes,
            });
            (StatusCode::OK, echo)
        }
        Err(refusal) => {
            let status = match refusal {
                Refusal::BodyTooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
                Refusal::BodyBroken => StatusCode::BAD_REQUEST,
                _ => StatusCode::UNAUTHORIZED,
            };
            (status, json!({ "error": refusal.word(), "detail": refusal.to_string() }))
        }
    };
    state.remember(Seen {
        at: Instant::now(),
        connection,
        method: head.method,
        target,
        key: checked.as_ref().ok().and_then(|(key, _)| *key),
        serial: peer.serial.clone(),
        refused: checked.err(),
    });
    respond(status, &json)
}

/// The body where it is needed, and its length. Without a signature nothing is held.
async fn read(mut body: Incoming, hold: bool) -> Result<(Bytes, u64), Refusal> {
    if hold {
        let whole = Limited::new(body, BODY).collect().await.map_err(|error| {
            if error.is::<LengthLimitError>() { Refusal::BodyTooLarge(BODY) } else { Refusal::BodyBroken }
        })?;
        let bytes = whole.to_bytes();
        let length = bytes.len() as u64;
        return Ok((bytes, length));
    }
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Refusal::BodyBroken)?;
        length += frame.data_ref().map_or(0, |data| data.len() as u64);
    }
    Ok((Bytes::new(), length))
}

/// Headers by name, several values joined by a comma, without the signature.
fn shown(headers: &HeaderMap) -> BTreeMap<&str, String> {
    let one = |name: &HeaderName| {
        let values: Vec<_> = headers.get_all(name).iter().map(|v| String::from_utf8_lossy(v.as_bytes())).collect();
        values.join(", ")
    };
    headers.keys().filter(|name| *name != SIGNATURE).map(|name| (name.as_str(), one(name))).collect()
}

fn respond(status: StatusCode, json: &Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(format!("{json}\n"))));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
    response
}

impl State {
    fn lock_seen(&self) -> MutexGuard<'_, VecDeque<Seen>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remember(&self, seen: Seen) {
        let mut all = self.lock_seen();
        if all.len() == SEEN {
            all.pop_front();
        }
        all.push_back(seen);
    }
}
