//! A new connection: resolve, race the addresses (RFC 8305), TLS, all within the connect timeout.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;

use super::address::{Naming, is_local};
use super::egress::Egress;
use super::error::{Fault, UpstreamError, find_cause, io_words};
use super::resolve::Resolver;
use super::stream::Stream;
use crate::snapshot::identity::TlsClient;
use crate::tls::HTTP_2;

/// RFC 8305 section 5: the pause before the next address is tried beside the first.
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);
/// At most so many addresses of one name are tried.
const ADDRESSES_TRIED: usize = 8;

/// Where to connect, and how to make sure that it is the right one.
#[derive(Clone, Debug)]
pub struct Destination {
    /// The name or address that TCP connects to.
    pub host: Arc<str>,
    /// The port that TCP connects to.
    pub port: u16,
    /// Whether the configuration means this very address.
    pub naming: Naming,
    /// The proxy that the way there leads through.
    pub egress: Option<Arc<Egress>>,
    /// Whether and how TLS is spoken.
    pub security: Security,
}

/// Whether and how TLS is spoken.
#[derive(Clone, Debug)]
pub enum Security {
    /// `http://`
    Plain,
    /// `https://`: who we are there and the name to verify.
    Tls(Arc<TlsClient>, ServerName<'static>),
    /// `https://` with a name that no certificate can have: every connection fails.
    Impossible,
}

/// The protocols that an upstream may choose from (ALPN, RFC 7301). Without TLS it is HTTP/1.1 always.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    /// HTTP/2, else HTTP/1.1.
    Both,
    /// HTTP/1.1, for what HTTP/2 cannot carry.
    Http1,
}

/// What a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1, also where the upstream did not choose.
    Http1,
    /// HTTP/2
    Http2,
}

/// Until when a connection must be there; the whole time is for the words of the error.
#[derive(Clone, Copy, Debug)]
pub struct ConnectLimit {
    /// `timeouts.connect`
    pub whole: Duration,
    /// When that is over.
    pub deadline: Instant,
}

impl ConnectLimit {
    /// Beginning now.
    pub fn from_now(whole: Duration) -> Self {
        Self { whole, deadline: Instant::now() + whole }
    }

    /// There is no connection in time.
    pub(super) fn exceeded(&self, destination: &Destination) -> UpstreamError {
        let (Destination { host, port, .. }, limit) = (destination, self.whole);
        let why = format!("no connection to {host}:{port} within {limit:?} (timeouts.connect)");
        UpstreamError::new(Fault::Timeout, why)
    }
}

/// A connection and where it leads.
#[derive(Debug)]
pub struct Connected {
    /// The bytes.
    pub stream: Stream,
    /// What it speaks.
    pub protocol: Protocol,
    /// The very address used; the egress proxy's, where the way leads through one.
    pub peer: SocketAddr,
    /// Whether the upstream is on this machine or in a private network.
    pub is_local: bool,
}

/// Connects within `limit`. `refuse` says of an address why it must not be used.
pub async fn connect(
    destination: &Destination,
    offer: Offer,
    resolver: &Resolver,
    limit: ConnectLimit,
    refuse: impl Fn(SocketAddr, Naming) -> Option<UpstreamError>,
) -> Result<Connected, UpstreamError> {
    let deadline = limit.deadline;
    match timeout_at(deadline, connect_unbounded(destination, offer, resolver, deadline, refuse)).await {
        Ok(done) => done,
        Err(_elapsed) => Err(limit.exceeded(destination)),
    }
}

async fn connect_unbounded(
    destination: &Destination,
    offer: Offer,
    resolver: &Resolver,
    deadline: Instant,
    refuse: impl Fn(SocketAddr, Naming) -> Option<UpstreamError>,
) -> Result<Connected, UpstreamError> {
    let Destination { host, port, naming, .. } = destination;
    let (tcp, peer) = match &destination.egress {
        None => reach(host, *port, resolver, |address| refuse(address, *naming)).await?,
        // Whose fault a silent proxy is must be said before the time of the whole connection is over.
        Some(egress) => match timeout_at(deadline, through(egress, destination, resolver, refuse)).await {
            Ok(done) => done?,
            Err(_elapsed) => return Err(egress.failed("no tunnel in time (timeouts.connect)")),
        },
    };
    let is_local = match &destination.egress {
        None => is_local(peer.ip()),
        Some(_) => host.parse().is_ok_and(is_local),
    };
    tcp.set_nodelay(true).ok(); // only a matter of speed
    let stream = match &destination.security {
        Security::Plain => Stream::Plain(tcp),
        Security::Tls(client, name) => {
            let config = match offer {
                Offer::Both => client.config(),
                Offer::Http1 => client.http1_config(),
            };
            Stream::Tls(Box::new(handshake(config, name, tcp).await?))
        }
        Security::Impossible => {
            let why = format!("{host} is no name that a certificate can have");
            return Err(UpstreamError::new(Fault::Tls, why));
        }
    };
    let protocol = match &stream {
        Stream::Tls(tls) if tls.get_ref().1.alpn_protocol() == Some(HTTP_2) => Protocol::Http2,
        _ => Protocol::Http1,
    };
    Ok(Connected { stream, protocol, peer, is_local })
}

/// A tunnel through the egress proxy. It resolves the name; what can be checked here is an address.
async fn through(
    egress: &Egress,
    destination: &Destination,
    resolver: &Resolver,
    refuse: impl Fn(SocketAddr, Naming) -> Option<UpstreamError>,
) -> Result<(TcpStream, SocketAddr), UpstreamError> {
    let Destination { host, port, naming, .. } = destination;
    if let Ok(ip) = host.parse()
        && let Some(why) = refuse(SocketAddr::new(ip, *port), *naming)
    {
        return Err(why);
    }
    let of_proxy = Naming::of(&egress.host);
    let reached = reach(&egress.host, egress.port, resolver, |address| refuse(address, of_proxy)).await;
    let (mut tcp, peer) =
        reached.map_err(|error| UpstreamError { detail: egress.failed(&error.detail).detail, ..error })?;
    egress.tunnel(&mut tcp, host, *port).await?;
    Ok((tcp, peer))
}

/// Resolves, leaves out what must not be used, and takes the first address that accepts.
async fn reach(
    host: &str,
    port: u16,
    resolver: &Resolver,
    refuse: impl Fn(SocketAddr) -> Option<UpstreamError>,
) -> Result<(TcpStream, SocketAddr), UpstreamError> {
    let addresses = resolver.addresses(host).await?;
    let mut allowed = Vec::with_capacity(addresses.len());
    let mut refused = None;
    for ip in addresses.into_iter().take(ADDRESSES_TRIED) {
        let address = SocketAddr::new(ip, port);
        match refuse(address) {
            None => allowed.push(address),
            Some(why) => refused = Some(why),
        }
    }
    if allowed.is_empty()
        && let Some(why) = refused
    {
        return Err(why);
    }
    race(&allowed).await.map_err(|error| {
        // Where one of the name's addresses was refused, that is the better answer.
        refused
            .unwrap_or_else(|| UpstreamError::new(Fault::Unreachable, format!("{host}:{port}: {}", io_words(&error))))
    })
}

/// The first address that accepts wins; the next one starts when one failed or is slow.
async fn race(addresses: &[SocketAddr]) -> std::io::Result<(TcpStream, SocketAddr)> {
    if let [only] = addresses {
        return TcpStream::connect(only).await.map(|tcp| (tcp, *only));
    }
    let mut attempts = JoinSet::new();
    let mut rest = addresses.iter().copied();
    let mut last = std::io::Error::from(std::io::ErrorKind::NotFound);
    let start = |attempts: &mut JoinSet<_>, address: SocketAddr| {
        attempts.spawn(async move { TcpStream::connect(address).await.map(|tcp| (tcp, address)) });
    };
    if let Some(first) = rest.next() {
        start(&mut attempts, first);
    }
    loop {
        tokio::select! {
            done = attempts.join_next() => match done {
                Some(Ok(Ok(won))) => return Ok(won),
                Some(Ok(Err(error))) => {
                    last = error;
                    if let Some(next) = rest.next() { start(&mut attempts, next); }
                }
                Some(Err(_aborted)) => {}
                None => match rest.next() {
                    Some(next) => start(&mut attempts, next),
                    None => return Err(last),
                },
            },
            () = tokio::time::sleep(ATTEMPT_DELAY), if rest.len() > 0 => {
                if let Some(next) = rest.next() { start(&mut attempts, next); }
            }
        }
    }
}

async fn handshake(
    config: &Arc<ClientConfig>,
    name: &ServerName<'static>,
    tcp: TcpStream,
) -> Result<tokio_rustls::client::TlsStream<TcpStream>, UpstreamError> {
    TlsConnector::from(config.clone()).connect(name.clone(), tcp).await.map_err(|error| {
        match find_cause::<rustls::Error>(&error) {
            Some(tls) => UpstreamError::new(Fault::Tls, crate::tls::TlsFailure::of(tls).to_string()),
            None => UpstreamError::new(Fault::Unreachable, format!("during the TLS handshake: {}", io_words(&error))),
        }
    })
}
