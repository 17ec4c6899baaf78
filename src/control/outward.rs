//! Calls to platforms on the program's own account: token calls, revocations, deliveries of events. They take the way
//! that requests take: names resolved in process, the very address checked, `[connect_to]`, `[egress]`, the client
//! identity of the credential. Each call has a connection of its own, so that what was sent is known for certain.
//!
//! Callers: `refresh`, `cli`. What is sent and what an answer means is theirs.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::time::{Instant, timeout_at};

use super::is_this_machine;
use crate::config::model::{Authority, Config, Dns};
use crate::snapshot::identity::TlsClient;
use crate::upstream::address::Naming;
use crate::upstream::connect::{ConnectLimit, Destination, Offer, Security, connect};
use crate::upstream::egress::Egress;
use crate::upstream::error::{Fault, UpstreamError};
use crate::upstream::pool::refused;
use crate::upstream::resolve::Resolver;
use crate::upstream::stream::Stream;

/// Bytes of an answer at most; the rest is not read.
pub const ANSWER_LIMIT: usize = 1 << 20;

/// Makes calls outward; one per process.
#[derive(Debug, Default)]
pub struct Outward {
    resolver: Resolver,
    own: Vec<SocketAddr>,
}

/// How a call gets out.
#[derive(Clone, Debug, Default)]
pub struct Way {
    /// Who we are there and whom we trust; without one `https` cannot be called.
    pub client: Option<Arc<TlsClient>>,
    /// The name for SNI and verification instead of the URL's host.
    pub server_name: Option<String>,
    /// Whether `http` to another machine is allowed.
    pub plain: Plain,
    /// Where TCP goes instead of the URL's host and port.
    pub moved: Option<Authority>,
    /// The proxy that the way leads through.
    pub egress: Option<Arc<Egress>>,
}

/// Whether `http` to another machine is allowed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Plain {
    /// Only to this machine.
    #[default]
    Refused,
    /// `insecure_upstream = true`
    Allowed,
}

/// Why a call brought no answer. The texts are for logs: names and reasons, never content.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CallError {
    /// Nothing of the request was sent.
    #[error("{detail}")]
    Unsent {
        /// What kept it.
        why: Unsent,
        /// In words.
        detail: String,
    },
    /// It was sent, perhaps in part; whether it was acted on is not known.
    #[error("{detail}")]
    Lost {
        /// How the answer was lost.
        why: Lost,
        /// In words.
        detail: String,
    },
}

/// What kept a call from being sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsent {
    /// Name, address, connection, TLS, or the egress proxy.
    Refused,
    /// The time was over before there was a connection.
    Timeout,
}

/// How an answer was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// The connection ended.
    Broken,
    /// The time was over.
    Timeout,
    /// What came was no HTTP.
    NotHttp,
    /// It was over [`ANSWER_LIMIT`].
    TooLarge,
}

impl Way {
    /// The way to a URL under a configuration; identity and server name are the caller's.
    pub fn to(uri: &Uri, config: &Config, egress: Option<&Arc<Egress>>) -> Self {
        let Some(wanted) = authority(uri) else { return Self::default() };
        let moved = config.connect_to.iter().find(|(from, _)| *from == wanted).map(|(_, to)| to.clone());
        let host = moved.as_ref().map_or(&*wanted.host, |moved| &*moved.host);
        let leads = config.egress.as_ref().is_some_and(|egress| egress.leads_to(host));
        let egress = egress.filter(|_| leads && uri.scheme_str() == Some("https")).cloned();
        Self { moved, egress, ..Self::default() }
    }
}

/// The host (lower case, IPv6 without brackets) and port of a URL.
pub fn authority(uri: &Uri) -> Option<Authority> {
    let host = uri.host()?.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
    let port = uri.port_u16().or(match uri.scheme_str() {
        Some("https") => Some(443),
        Some("http") => Some(80),
        _ => None,
    })?;
    Some(Authority { host, port })
}

impl Outward {
    /// Never connects to `own`, the listeners of this process.
    pub fn new(own: Vec<SocketAddr>) -> Self {
        Self { resolver: Resolver::default(), own }
    }

    /// From now on names are resolved this way.
    pub fn resolve_by(&self, dns: &Dns) {
        self.resolver.set(dns);
    }

    /// One call, from resolving to the whole answer, within `limit`. Redirects are answers.
    pub async fn call(
        &self,
        request: Request<Bytes>,
        way: &Way,
        limit: Duration,
    ) -> Result<Response<Bytes>, CallError> {
        let deadline = Instant::now() + limit;
        let unsent = |error: UpstreamError| CallError::Unsent {
            why: if error.fault == Fault::Timeout { Unsent::Timeout } else { Unsent::Refused },
            detail: error.detail,
        };
        let destination = destination(request.uri(), way).map_err(unsent)?;
        let limits = ConnectLimit { whole: limit, deadline };
        let refuse = |address, naming| refused(address, naming, &self.own);
        let connected = connect(&destination, Offer::Http1, &self.resolver, limits, refuse).await.map_err(unsent)?;
        let sent = Arc::new(AtomicBool::new(false));
        let wire = Wire { io: TokioIo::new(connected.stream), sent: sent.clone() };
        match timeout_at(deadline, exchange(request, Once::new(wire))).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err((_, detail))) if !sent.load(Ordering::Relaxed) => {
                Err(CallError::Unsent { why: Unsent::Refused, detail })
            }
            Ok(Err((why, detail))) => Err(CallError::Lost { why, detail }),
            Err(_elapsed) => {
                let detail = format!("no whole answer within {limit:?} (refresh.timeout)");
                match sent.load(Ordering::Relaxed) {
                    true => Err(CallError::Lost { why: Lost::Timeout, detail }),
                    false => Err(CallError::Unsent { why: Unsent::Timeout, detail }),
                }
            }
        }
    }
}

fn destination(uri: &Uri, way: &Way) -> Result<Destination, UpstreamError> {
    let fail = |why: &str| UpstreamError::new(Fault::Forbidden, why);
    let wanted = authority(uri).ok_or_else(|| fail("the URL has no host"))?;
    let security = match uri.scheme_str() {
        Some("https") => {
            let client = way.client.as_ref().ok_or_else(|| fail("its client certificate or roots cannot be used"))?;
            match crate::tls::server_name(way.server_name.as_deref().unwrap_or(&wanted.host)) {
                Ok(name) => Security::Tls(client.clone(), name),
                Err(_) => Security::Impossible,
            }
        }
        Some("http") if way.plain == Plain::Allowed || is_this_machine(uri) => Security::Plain,
        _ => return Err(fail("plain http is for this machine alone")),
    };
    let target = way.moved.as_ref().unwrap_or(&wanted);
    Ok(Destination {
        host: target.host.as_str().into(),
        port: target.port,
        naming: Naming::of(&target.host),
        egress: way.egress.clone(),
        security,
    })
}

async fn exchange(request: Request<Bytes>, once: Once) -> Result<Response<Bytes>, (Lost, String)> {
    let mut builder = Client::builder(TokioExecutor::new());
    let client: Client<Once, Full<Bytes>> =
        builder.pool_max_idle_per_host(0).retry_canceled_requests(false).build(once);
    let answer = client.request(request.map(Full::new)).await.map_err(|error| {
        let words = causes(&error);
        match find::<hyper::Error>(&error) {
            Some(hyper) if hyper.is_parse() || hyper.is_parse_too_large() => (Lost::NotHttp, words),
            _ => (Lost::Broken, words),
        }
    })?;
    let (head, body) = answer.into_parts();
    let whole =
        Limited::new(body, ANSWER_LIMIT).collect().await.map_err(|error| match error.is::<LengthLimitError>() {
            true => (Lost::TooLarge, format!("the answer is over {ANSWER_LIMIT} bytes")),
            false => (Lost::Broken, format!("the answer broke off: {}", causes(&*error))),
        })?;
    Ok(Response::from_parts(head, whole.to_bytes()))
}

fn find<'e, T: std::error::Error + 'static>(error: &'e (dyn std::error::Error + 'static)) -> Option<&'e T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

/// An error and what caused it, in one line.
fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

/// Gives the one connection of a call to the HTTP client.
#[derive(Clone)]
struct Once(Arc<std::sync::Mutex<Option<Wire>>>);

impl Once {
    fn new(wire: Wire) -> Self {
        Self(Arc::new(std::sync::Mutex::new(Some(wire))))
    }
}

impl tower_service::Service<Uri> for Once {
    type Response = Wire;
    type Error = std::io::Error;
    type Future = std::future::Ready<Result<Wire, std::io::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let taken = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        std::future::ready(taken.ok_or_else(|| std::io::ErrorKind::NotConnected.into()))
    }
}

/// A connection that remembers whether anything was written to it.
struct Wire {
    io: TokioIo<Stream>,
    sent: Arc<AtomicBool>,
}

impl Connection for Wire {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl Write for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        self.sent.store(true, Ordering::Relaxed);
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
#[path = "outward_tests.rs"]
mod tests;
