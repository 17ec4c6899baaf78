//! An upstream that records the exact bytes of what reaches it and answers as a script says.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, RwLock};

use rustls::HandshakeKind;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::http1::{Head, find_head};
use super::pki;
use super::wait::{until, within};

/// One request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// Counts connections from 0.
    pub(crate) connection: usize,
    pub(crate) head: Head,
    /// The body's bytes as they stood on the wire, chunk frames included.
    pub(crate) body: Vec<u8>,
    pub(crate) peer: Peer,
}

/// Who is at the other end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Peer {
    /// The serial number of the client's certificate, lower-case hexadecimal.
    pub(crate) serial: Option<String>,
    /// Whether the TLS session was resumed.
    pub(crate) resumed: bool,
    /// The name asked for.
    pub(crate) server_name: Option<String>,
}

/// A listening upstream; ends with the runtime of its test.
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    connections: Arc<AtomicUsize>,
    tls: Option<Arc<RwLock<Arc<rustls::ServerConfig>>>>,
}

type Script = Arc<dyn Fn(Conversation) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// `200 OK` with the body `ok`.
pub(crate) const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

impl Upstream {
    /// Plain HTTP; answers every request with [`OK`].
    pub(crate) async fn ok() -> Self {
        Self::answering(OK).await
    }

    /// Plain HTTP; answers every request with these bytes and keeps the connection.
    pub(crate) async fn answering(answer: impl Into<Vec<u8>>) -> Self {
        let answer: Arc<[u8]> = answer.into().into();
        Self::scripted(move |conversation| always(conversation, answer.clone())).await
    }

    /// Plain HTTP; `script` holds one connection each.
    pub(crate) async fn scripted<F: Future<Output = ()> + Send + 'static>(
        script: impl Fn(Conversation) -> F + Send + Sync + 'static,
    ) -> Self {
        Self::listen(None, Arc::new(move |conversation| Box::pin(script(conversation)))).await
    }

    /// TLS; answers every request with [`OK`].
    pub(crate) async fn tls(config: Arc<rustls::ServerConfig>) -> Self {
        let answer: Arc<[u8]> = OK.as_bytes().into();
        Self::tls_scripted(config, move |conversation| always(conversation, answer.clone())).await
    }

    /// TLS; `script` holds one connection each.
    pub(crate) async fn tls_scripted<F: Future<Output = ()> + Send + 'static>(
        config: Arc<rustls::ServerConfig>,
        script: impl Fn(Conversation) -> F + Send + Sync + 'static,
    ) -> Self {
        Self::listen(Some(config), Arc::new(move |conversation| Box::pin(script(conversation)))).await
    }

    /// Another certificate or other clients from the next handshake on.
    pub(crate) fn set_tls(&self, config: Arc<rustls::ServerConfig>) {
        *self.tls.as_ref().unwrap().write().unwrap() = config;
    }

    async fn listen(config: Option<Arc<rustls::ServerConfig>>, script: Script) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let tls = config.map(|config| Arc::new(RwLock::new(config)));
        let (seen, connections) = (Arc::<Mutex<Vec<Seen>>>::default(), Arc::<AtomicUsize>::default());
        let upstream = Self { address, seen: seen.clone(), connections: connections.clone(), tls: tls.clone() };
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                tcp.set_nodelay(true).unwrap();
                let (seen, script, tls) = (seen.clone(), script.clone(), tls.clone());
                let connection = connections.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(async move {
                    let (wire, peer) = match tls {
                        None => (Wire::Plain(tcp), Peer::default()),
                        Some(tls) => {
                            let config = tls.read().unwrap().clone();
                            // A client that does not like this server says so on its own side.
                            let Ok(stream) = TlsAcceptor::from(config).accept(tcp).await else { return };
                            let peer = Peer::of(stream.get_ref().1);
                            (Wire::Tls(Box::new(stream)), peer)
                        }
                    };
                    script(Conversation { wire, connection, peer, seen, buffer: Vec::new() }).await;
                });
            }
        });
        upstream
    }

    /// `http://127.0.0.1:PORT`, or `https://` where TLS is spoken.
    pub(crate) fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// The requests so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// The one request that arrived.
    pub(crate) fn only(&self) -> Seen {
        let seen = self.seen();
        assert_eq!(seen.len(), 1, "{seen:#?}");
        seen.into_iter().next().unwrap()
    }

    /// The last request.
    pub(crate) fn last(&self) -> Seen {
        self.seen().pop().expect("no request arrived")
    }

    /// Connections that were accepted.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Waits until this many requests have arrived.
    pub(crate) async fn arrived(&self, count: usize) {
        until("requests at the upstream", async || self.seen.lock().unwrap().len() >= count).await;
    }
}

/// Answers every request with the same bytes.
async fn always(mut conversation: Conversation, answer: Arc<[u8]>) {
    while conversation.request().await.is_some() {
        conversation.send(&answer).await;
    }
}

impl Peer {
    fn of(session: &rustls::ServerConnection) -> Self {
        let certificate = session.peer_certificates().and_then(<[_]>::first);
        Self {
            serial: certificate.map(|certificate| pki::serial(certificate)),
            resumed: session.handshake_kind() == Some(HandshakeKind::Resumed),
            server_name: session.server_name().map(str::to_owned),
        }
    }
}

enum Wire {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

trait Bytes: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Bytes for T {}

impl Wire {
    fn bytes(&mut self) -> &mut (dyn Bytes + Send) {
        match self {
            Self::Plain(tcp) => tcp,
            Self::Tls(tls) => tls,
        }
    }

    fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(tcp) => tcp,
            Self::Tls(tls) => tls.get_ref().0,
        }
    }
}

/// One connection in the hands of a script.
pub(crate) struct Conversation {
    wire: Wire,
    pub(crate) connection: usize,
    pub(crate) peer: Peer,
    seen: Arc<Mutex<Vec<Seen>>>,
    buffer: Vec<u8>,
}

impl Conversation {
    /// Reads and records the next whole request; nothing when the proxy closes.
    pub(crate) async fn request(&mut self) -> Option<Seen> {
        let head = self.head().await?;
        let body = self.body(&head).await?;
        Some(self.record(head, body))
    }

    /// Records a request that was read by parts.
    pub(crate) fn record(&self, head: Head, body: Vec<u8>) -> Seen {
        let seen = Seen { connection: self.connection, head, body, peer: self.peer.clone() };
        self.seen.lock().unwrap().push(seen.clone());
        seen
    }

    pub(crate) async fn head(&mut self) -> Option<Head> {
        loop {
            if let Some(head) = find_head(&mut self.buffer) {
                return Some(head);
            }
            if !self.more().await {
                return None;
            }
        }
    }

    /// The raw bytes of a body; nothing when the proxy closes within it.
    async fn body(&mut self, head: &Head) -> Option<Vec<u8>> {
        let chunked = head.header("transfer-encoding").is_some();
        let length: usize = head.header("content-length").map_or(0, |length| length.parse().unwrap());
        loop {
            let end = match chunked {
                true => self.buffer.windows(5).position(|five| five == b"0\r\n\r\n").map(|at| at + 5),
                false => (self.buffer.len() >= length).then_some(length),
            };
            if let Some(end) = end {
                return Some(self.buffer.drain(..end).collect());
            }
            if !self.more().await {
                return None;
            }
        }
    }

    /// Reads more; false at the end. A connection may be idle for as long as its test runs.
    pub(crate) async fn more(&mut self) -> bool {
        let Self { wire, buffer, .. } = self;
        wire.bytes().read_buf(buffer).await.is_ok_and(|count| count > 0)
    }

    /// What was read and not taken yet.
    pub(crate) fn unread(&self) -> &[u8] {
        &self.buffer
    }

    /// Takes what was read.
    pub(crate) fn take_unread(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.buffer)
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let wire = self.wire.bytes();
        let sent = async {
            let _ = wire.write_all(bytes.as_ref()).await;
            let _ = wire.flush().await;
        };
        within("answering as the upstream", sent).await;
    }

    /// Ends the connection in order.
    pub(crate) async fn close(mut self) {
        let _ = self.wire.bytes().shutdown().await;
    }

    /// Ends the connection with a TCP reset.
    pub(crate) fn reset(self) {
        self.wire.tcp().set_zero_linger().unwrap();
    }
}
