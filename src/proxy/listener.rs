//! Listeners and the connections that arrive at them: bounded in number, drained at the end.

use std::future::{Future as _, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::EXPECT;
use http::{Method, Request};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{mpsc, watch};

use super::Proxy;
use super::callers::{Arrival, Peer};
use super::gate::{Gate, Share};
use super::http2;
use super::http2::opening::{self, Protocol};
use super::intercept::Rewound;
use super::intercept::connect::{self, Opened, Slot};
use super::intercept::handshake::{self, Tls};
use super::matching::{Entry, EntryKind};
use super::registry::Ending;
use super::request;
use super::rest::{self, Bed};
use super::worker_io::{Activity, WorkerIo};
use crate::config::model::{Limits, ListenAddr};
use crate::observe::Outcome;

/// Headers that the library parses without allocating.
const LIBRARY_HEADERS: usize = 100;
/// Pause after an accept that failed for want of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A bound listener.
#[derive(Debug)]
pub struct Bound {
    /// Where it listens and for whom.
    pub entry: Entry,
    socket: Socket,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener, SocketAddr),
    Unix(UnixListener, PathBuf),
}

/// Why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {error}{hint}")]
pub struct BindError {
    address: String,
    error: io::Error,
    hint: &'static str,
}

/// Tells listeners to end, and knows when the last connection has.
#[derive(Clone, Debug)]
pub struct Drain {
    begun: watch::Receiver<bool>,
    /// Held by every connection; the last one gone ends the drain.
    alive: mpsc::Sender<()>,
}

impl Drain {
    /// A drain that begins when `begin` says so; `done` ends when every connection is gone.
    pub fn new() -> (Self, watch::Sender<bool>, mpsc::Receiver<()>) {
        let (begin, begun) = watch::channel(false);
        let (alive, done) = mpsc::channel(1);
        (Self { begun, alive }, begin, done)
    }
}

impl Bound {
    /// Binds an address. A left-over socket file that nobody answers on is replaced.
    pub async fn bind(address: &ListenAddr, kind: EntryKind, socket_mode: u32) -> Result<Self, BindError> {
        let (socket, port) = match address {
            ListenAddr::Tcp(wanted) => {
                let listener = TcpListener::bind(wanted).await.map_err(|error| tcp_error(*wanted, error))?;
                let local = listener.local_addr().map_err(|error| tcp_error(*wanted, error))?;
                (Socket::Tcp(listener, local), Some(local.port()))
            }
            ListenAddr::Unix(path) => {
                let listener = bind_unix(path, socket_mode).map_err(|error| BindError {
                    address: format!("unix:{}", path.display()),
                    hint: if error.kind() == io::ErrorKind::AddrInUse {
                        " (another process answers there)"
                    } else {
                        ""
                    },
                    error,
                })?;
                (Socket::Unix(listener, path.clone()), None)
            }
        };
        Ok(Self { entry: Entry { address: address.clone(), port, kind }, socket })
    }

    /// The real TCP address.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        match &self.socket {
            Socket::Tcp(_, local) => Some(*local),
            Socket::Unix(..) => None,
        }
    }

    /// As people write it, with the real port.
    pub fn display(&self) -> String {
        match &self.socket {
            Socket::Tcp(_, local) => local.to_string(),
            Socket::Unix(_, path) => format!("unix:{}", path.display()),
        }
    }

    /// Accepts until the drain begins.
    pub async fn serve(self, proxy: Arc<Proxy>, connections: Gate, mut drain: Drain) {
        let entry = Arc::new(self.entry);
        loop {
            let accepted = tokio::select! {
                _ = drain.begun.wait_for(|begun| *begun) => break,
                accepted = self.socket.accept() => accepted,
            };
            match accepted {
                // Over the limit the connection is closed at once: nothing was read, so nothing is lost.
                Ok(stream) => {
                    if let Some(share) = connections.take(1) {
                        let work =
                            Worker { proxy: proxy.clone(), entry: entry.clone(), drain: drain.clone(), _share: share };
                        match stream {
                            Accepted::Tcp(tcp) => drop(tokio::spawn(work.serve(tcp, Peer::default()))),
                            Accepted::Unix(unix) => {
                                let peer = Peer::of(&unix);
                                drop(tokio::spawn(work.serve(unix, peer)));
                            }
                        }
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "accept failed");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        if let Socket::Unix(_, path) = &self.socket {
            // Best effort: a left-over is replaced at the next start.
            let _ = std::fs::remove_file(path);
        }
    }
}

enum Accepted {
    Tcp(tokio::net::TcpStream),
    Unix(tokio::net::UnixStream),
}

impl Socket {
    async fn accept(&self) -> io::Result<Accepted> {
        match self {
            Self::Tcp(listener, _) => {
                let (tcp, _) = listener.accept().await?;
                tcp.set_nodelay(true)?;
                Ok(Accepted::Tcp(tcp))
            }
            Self::Unix(listener, _) => listener.accept().await.map(|(unix, _)| Accepted::Unix(unix)),
        }
    }
}

struct Worker {
    proxy: Arc<Proxy>,
    entry: Arc<Entry>,
    drain: Drain,
    _share: Share,
}

impl Worker {
    /// One connection of a worker, until it ends: HTTP, or TLS and HTTP within it.
    async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(self, stream: S, peer: Peer) {
        let Self { proxy, entry, drain, _share } = self;
        let _alive = drain.alive;
        let activity = Activity::new();
        let ending = proxy.connections.add(activity.clone());
        let line = Line { proxy, activity, ending };
        // What is inside TLS is boxed: a connection that rests must not have room for it.
        if entry.kind == EntryKind::TlsByName {
            Box::pin(async {
                let inside = handshake::by_name(&line.proxy, &line.ending, &entry, stream).await;
                line.inside(inside, peer).await;
            })
            .await;
            return;
        }
        let arrival = Arc::new(Arrival { entry: entry.clone(), peer });
        if let Some(opened) = line.plain(arrival, stream).await {
            Box::pin(async {
                let peer = opened.peer.clone();
                let inside = handshake::in_tunnel::<Rewound<S>>(&line.proxy, &line.ending, &entry, opened).await;
                line.inside(inside, peer).await;
            })
            .await;
        }
    }
}

/// What belongs to a connection, inside and outside TLS.
struct Line {
    proxy: Arc<Proxy>,
    activity: Arc<Activity>,
    ending: Arc<Ending>,
}

impl Line {
    /// Whichever HTTP was agreed on within TLS that ended here.
    async fn inside(&self, inside: Option<(Entry, Tls)>, peer: Peer) {
        let Some((entry, tls)) = inside else { return };
        let arrival = Arc::new(Arrival { entry: Arc::new(entry), peer });
        match handshake::protocol(&tls) {
            Protocol::Http1 => drop(self.http1(arrival, tls).await),
            Protocol::Http2 => self.http2(arrival, tls).await,
        }
    }

    /// Whichever HTTP the worker speaks.
    async fn plain<S>(&self, arrival: Arc<Arrival>, stream: S) -> Option<Opened>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        match opening::look(stream, &self.ending).await? {
            (Protocol::Http1, stream) => self.http1(arrival, stream).await,
            (Protocol::Http2, stream) => {
                self.http2(arrival, stream).await;
                None
            }
        }
    }

    /// HTTP/2 until it ends. Boxed: few connections speak it, and all others would have to have room for it.
    async fn http2<S>(&self, arrival: Arc<Arrival>, stream: S)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        Box::pin(http2::serve(&self.proxy, &self.activity, &self.ending, arrival, stream)).await;
    }

    /// HTTP/1.1 until it ends, or until a CONNECT was accepted. While the connection rests, none of it is in memory.
    async fn http1<S>(&self, arrival: Arc<Arrival>, mut stream: S) -> Option<Opened>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut first = Bytes::new();
        loop {
            let bed = self.proxy.connections.awake.bed();
            let opened = Box::pin(self.awake(arrival.clone(), (stream, first), bed.share())).await;
            let left = bed.take();
            if let Some(tunnel) = self.activity.take_tunnel() {
                Box::pin(tunnel.run(&self.ending)).await;
                return None;
            }
            let Some(left) = left else { return opened };
            (stream, first) = rest::until_read(left, &self.ending).await?;
        }
    }

    /// HTTP/1.1 until it ends or goes to rest.
    async fn awake<S>(&self, arrival: Arc<Arrival>, (stream, first): (S, Bytes), bed: Bed<S>) -> Option<Opened>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Self { proxy, activity, ending } = self;
        let slot = Slot::default();
        let io = WorkerIo::new(stream, first, activity.clone(), bed);
        let replaced = io.replaced.clone();
        let limits = proxy.live.load().snapshot.plan.config.limits.clone();
        let service = {
            let context = (proxy.clone(), arrival, activity.clone(), slot.clone());
            // One reference for each request instead of four.
            let context = Arc::new(context);
            service_fn(move |mut request: Request<Incoming>| {
                let context = context.clone();
                let (_, _, activity, _) = &*context;
                activity.request_begins();
                if activity.has_body_begun() {
                    request.headers_mut().remove(EXPECT);
                }
                async move {
                    let (proxy, arrival, activity, slot) = &*context;
                    let answer = if request.method() == Method::CONNECT {
                        connect::answer(proxy, arrival, request, slot)
                    } else {
                        request::answer(proxy, arrival, request).await
                    };
                    Ok::<_, std::convert::Infallible>(answer.map(|body| body.with_activity(activity.clone())))
                }
            })
        };
        let done = {
            let mut connection = pin!(server(&limits).serve_connection(TokioIo::new(io), service).with_upgrades());
            let mut told = false;
            poll_fn(|cx| {
                ending.wake_with(cx.waker());
                if ending.is_told() && !told {
                    told = true;
                    connection.as_mut().graceful_shutdown();
                }
                connection.as_mut().poll(cx)
            })
            .await
        };
        if let Err(error) = done {
            tracing::debug!(%error, "a worker's connection ended");
        }
        // What the library refused by itself is counted too.
        if let Some(&name) =
            Outcome::ALL.get((replaced.load(std::sync::atomic::Ordering::Relaxed) as usize).wrapping_sub(1))
        {
            proxy.metrics.unmatched().count(name);
        }
        slot.take()
    }
}

fn server(limits: &Limits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder.max_buf_size(limits.head.max(8192)).auto_date_header(false).half_close(false);
    if limits.headers != LIBRARY_HEADERS {
        builder.max_headers(limits.headers);
    }
    builder
}

fn tcp_error(address: SocketAddr, error: io::Error) -> BindError {
    let hint = match error.kind() {
        io::ErrorKind::AddrInUse => " (another process listens there; port 0 takes a free one)",
        io::ErrorKind::PermissionDenied => " (ports below 1024 need CAP_NET_BIND_SERVICE)",
        io::ErrorKind::AddrNotAvailable => " (no interface of this machine has that address)",
        _ => "",
    };
    BindError { address: address.to_string(), error, hint }
}

fn bind_unix(path: &Path, mode: u32) -> io::Result<UnixListener> {
    if let Ok(found) = std::fs::symlink_metadata(path) {
        if !found.file_type().is_socket() {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "a file that is no socket is in the way"));
        }
        if std::os::unix::net::UnixStream::connect(path).is_ok() {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        std::fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    Ok(listener)
}
