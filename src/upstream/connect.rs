//! A new connection: resolve, race the addresses (RFC 8305), TLS, all within the connect timeout.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use super::error::{Fault, UpstreamError, find_cause, io_words};
use super::resolve::Resolver;
use super::stream::Stream;

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
    /// Whether and how TLS is spoken.
    pub security: Security,
}

/// Whether and how TLS is spoken.
#[derive(Clone, Debug)]
pub enum Security {
    /// `http://`
    Plain,
    /// `https://`: parameters and the name to verify.
    Tls(Arc<ClientConfig>, ServerName<'static>),
    /// `https://` with a name that no certificate can have: every connection fails.
    Impossible,
}

/// A connection and where it leads.
#[derive(Debug)]
pub struct Connected {
    /// The bytes.
    pub stream: Stream,
    /// The very address used.
    pub peer: SocketAddr,
}

/// Connects within `limit`. `refuse` says of an address why it must not be used.
pub async fn connect(
    destination: &Destination,
    resolver: &Resolver,
    limit: Duration,
    refuse: impl Fn(SocketAddr) -> Option<UpstreamError>,
) -> Result<Connected, UpstreamError> {
    let Destination { host, port, .. } = destination;
    match tokio::time::timeout(limit, connect_unbounded(destination, resolver, refuse)).await {
        Ok(done) => done,
        Err(_elapsed) => Err(UpstreamError::new(
            Fault::Timeout,
            format!("no connection to {host}:{port} within {limit:?} (timeouts.connect)"),
        )),
    }
}

async fn connect_unbounded(
    destination: &Destination,
    resolver: &Resolver,
    refuse: impl Fn(SocketAddr) -> Option<UpstreamError>,
) -> Result<Connected, UpstreamError> {
    let addresses = resolver.addresses(&destination.host).await?;
    let mut allowed = Vec::with_capacity(addresses.len());
    let mut refused = None;
    for ip in addresses.into_iter().take(ADDRESSES_TRIED) {
        let address = SocketAddr::new(ip, destination.port);
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
    let (tcp, peer) = race(&allowed).await.map_err(|error| {
        // Where one of the name's addresses was refused, that is the better answer.
        refused.unwrap_or_else(|| {
            let why = format!("{}:{}: {}", destination.host, destination.port, io_words(&error));
            UpstreamError::new(Fault::Unreachable, why)
        })
    })?;
    tcp.set_nodelay(true).ok(); // only a matter of speed
    let stream = match &destination.security {
        Security::Plain => Stream::Plain(tcp),
        Security::Tls(config, name) => Stream::Tls(Box::new(handshake(config, name, tcp).await?)),
        Security::Impossible => {
            let why = format!("{} is no name that a certificate can have", destination.host);
            return Err(UpstreamError::new(Fault::Tls, why));
        }
    };
    Ok(Connected { stream, peer })
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

/// Loopback, private, link-local and unique-local addresses: not strangers.
pub fn is_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_private() || v4.is_link_local(),
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => is_local(IpAddr::V4(v4)),
            None => v6.is_loopback() || (v6.segments()[0] & 0xfe00) == 0xfc00 || (v6.segments()[0] & 0xffc0) == 0xfe80,
        },
    }
}
