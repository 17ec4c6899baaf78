//! TLS with a worker: the leaf is chosen by what the connection was opened for and by the name that the worker asks for.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use rustls::server::Acceptor;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use super::connect::Opened;
use super::{Rewound, Wire};
use crate::observe::Outcome;
use crate::proxy::Proxy;
use crate::proxy::http2::opening::Protocol;
use crate::proxy::matching::{Entry, EntryKind, Inside};
use crate::proxy::registry::Ending;
use crate::proxy::worker_io::WorkerIo;
use crate::tls::HTTP_2;

/// From the connection, or the 200 to CONNECT, to the end of the handshake.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// TLS with a worker.
pub type Tls = TlsStream<Box<dyn Wire>>;

/// Why a handshake was refused, as an alert (RFC 8446 section 6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum Refused {
    /// `unrecognized_name`
    #[error("the name that the worker asks for is not one that TLS ends for here")]
    Name = 112,
    /// `internal_error`
    #[error("there is no certificate for the name")]
    NoLeaf = 80,
}

impl Refused {
    /// A fatal alert in a record of its own; before the server's first flight it is plain text.
    fn record(self) -> [u8; 7] {
        [21, 3, 3, 0, 2, 2, self as u8]
    }
}

/// What is spoken inside: what was agreed on by ALPN (RFC 7301), and HTTP/1.1 where nothing was.
pub fn protocol(tls: &Tls) -> Protocol {
    if tls.get_ref().1.alpn_protocol() == Some(HTTP_2) { Protocol::Http2 } else { Protocol::Http1 }
}

/// TLS inside an accepted CONNECT.
pub async fn in_tunnel<S>(proxy: &Proxy, ending: &Ending, entry: &Entry, opened: Opened) -> Option<(Entry, Tls)>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Opened { inside, stream, .. } = opened;
    let (read, stream) = below_http::<S>(stream.await.ok()?)?;
    let choose = |name: Option<&str>| {
        if name.is_some_and(|name| name != inside.host) {
            return Err(Refused::Name);
        }
        Ok((inside.clone(), leaf(proxy, &inside.host)?))
    };
    handshake(proxy, ending, entry, Box::new(Rewound::new(read, stream)), choose).await
}

/// TLS on the listener that is told the name by SNI alone.
pub async fn by_name<S>(proxy: &Proxy, ending: &Ending, entry: &Entry, stream: S) -> Option<(Entry, Tls)>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let choose = |name: Option<&str>| {
        let name = name.ok_or(Refused::Name)?;
        if !proxy.live.load().snapshot.plan.table.knows(name) {
            return Err(Refused::Name);
        }
        Ok((Inside { host: name.to_owned(), port: None }, leaf(proxy, name)?))
    };
    handshake(proxy, ending, entry, Box::new(stream), choose).await
}

fn leaf(proxy: &Proxy, host: &str) -> Result<Arc<ServerConfig>, Refused> {
    let live = proxy.live.load();
    let ca = live.snapshot.authority.as_ref().and_then(|state| state.authority.as_ref()).ok_or(Refused::NoLeaf)?;
    if !ca.permits(host) {
        return Err(Refused::NoLeaf);
    }
    proxy.leaves.of(ca, host, proxy.clock.now()).map_err(|error| {
        tracing::error!(host, %error, "no certificate for an intercepted host");
        Refused::NoLeaf
    })
}

/// The connection below the guard and HTTP, and what HTTP had read of it already.
fn below_http<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(upgraded: Upgraded) -> Option<(Bytes, S)> {
    let parts = upgraded.downcast::<TokioIo<WorkerIo<S>>>().ok()?;
    Some((parts.read_buf, parts.io.into_inner().into_inner()?))
}

async fn handshake(
    proxy: &Proxy,
    ending: &Ending,
    entry: &Entry,
    wire: Box<dyn Wire>,
    choose: impl Fn(Option<&str>) -> Result<(Inside, Arc<ServerConfig>), Refused>,
) -> Option<(Entry, Tls)> {
    let work = async {
        let mut begun = LazyConfigAcceptor::new(Acceptor::default(), wire).await?;
        let name = begun.client_hello().server_name().map(str::to_ascii_lowercase);
        match choose(name.as_deref()) {
            Ok((inside, config)) => Ok((inside, begun.into_stream(config).await?)),
            Err(refused) => {
                proxy.metrics.unmatched().count(Outcome::NoRoute);
                begun.io.write_all(&refused.record()).await?;
                begun.io.shutdown().await?;
                Err(io::Error::new(io::ErrorKind::InvalidData, refused))
            }
        }
    };
    let done = tokio::select! {
        done = tokio::time::timeout(HANDSHAKE_TIMEOUT, work) => done.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())),
        () = ending.told() => return None,
    };
    match done {
        Ok((inside, tls)) => {
            let entry = Entry { address: entry.address.clone(), port: entry.port, kind: EntryKind::Inside(inside) };
            Some((entry, tls))
        }
        Err(error) => {
            tracing::debug!(%error, "TLS with a worker ended before its first request");
            None
        }
    }
}
