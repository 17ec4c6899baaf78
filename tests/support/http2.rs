//! An upstream that offers HTTP/2 over TLS: served by the h2 library, or frame by frame where a scenario needs an
//! order that the library would not keep.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use h2::RecvStream;
use h2::server::{Builder, SendResponse};
use http::{HeaderMap, Request, Response};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::pki;
use super::wait::{until, within};

/// One connection after its TLS handshake.
pub(crate) struct Wire {
    pub(crate) stream: TlsStream<TcpStream>,
    /// Counts connections from 0.
    pub(crate) connection: usize,
    seen: Arc<Mutex<Vec<Seen>>>,
}

/// One request on a stream of its own.
pub(crate) struct Exchange {
    pub(crate) request: Request<RecvStream>,
    pub(crate) respond: SendResponse<Bytes>,
}

/// The head of a request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) connection: usize,
    /// The serial number of the client's certificate.
    pub(crate) serial: Option<String>,
    /// Whether the connection resumed a session.
    pub(crate) resumed: bool,
    pub(crate) uri: http::Uri,
    pub(crate) headers: HeaderMap,
}

impl Seen {
    #[track_caller]
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("no {name} in {self:?}")).to_str().unwrap()
    }
}

/// A listening upstream; ends with the runtime of its test.
pub(crate) struct Http2 {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    connections: Arc<AtomicUsize>,
    ended: Arc<AtomicUsize>,
}

impl Http2 {
    /// `script` holds one connection each, whatever protocol was chosen.
    pub(crate) async fn scripted<F: Future<Output = ()> + Send + 'static>(
        config: &rustls::ServerConfig,
        protocols: &[&str],
        script: impl Fn(Wire) -> F + Send + Sync + 'static,
    ) -> Self {
        let mut config = config.clone();
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        let config = Arc::new(config);
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let (connections, ended) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let address = listener.local_addr().unwrap();
        let upstream = Self { address, seen: Arc::default(), connections: connections.clone(), ended: ended.clone() };
        let (seen, script) = (upstream.seen.clone(), Arc::new(script));
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                tcp.set_nodelay(true).unwrap();
                let connection = connections.fetch_add(1, Ordering::SeqCst);
                let (config, script, seen, ended) = (config.clone(), script.clone(), seen.clone(), ended.clone());
                tokio::spawn(async move {
                    if let Ok(stream) = TlsAcceptor::from(config).accept(tcp).await {
                        script(Wire { stream, connection, seen }).await;
                    }
                    ended.fetch_add(1, Ordering::SeqCst);
                });
            }
        });
        upstream
    }

    /// HTTP/2 for anyone; every request is handled by `handle` in a task of its own.
    pub(crate) async fn serving<F: Future<Output = ()> + Send + 'static>(
        config: &rustls::ServerConfig,
        settings: &Builder,
        handle: impl Fn(Exchange) -> F + Clone + Send + Sync + 'static,
    ) -> Self {
        let settings = settings.clone();
        Self::scripted(config, &["h2", "http/1.1"], move |wire| {
            let (settings, handle) = (settings.clone(), handle.clone());
            async move { wire.serve(&settings, handle).await }
        })
        .await
    }

    /// A route to it in `proxy.toml`; its authority is the secret `ca.crt`.
    pub(crate) fn route(&self, more: &str) -> String {
        let address = self.address;
        format!(
            "[[route]]\nname = \"api\"\nhost = \"api.test\"\nupstream = \"https://{address}\"\n\
             tls = {{ ca = \"ca.crt\" }}\n{more}\n"
        )
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    #[track_caller]
    pub(crate) fn only(&self) -> Seen {
        let seen = self.seen();
        assert_eq!(seen.len(), 1, "{seen:#?}");
        seen.into_iter().next().unwrap()
    }

    /// Waits until this many requests have arrived.
    pub(crate) async fn arrived(&self, count: usize) {
        until("requests at the upstream", async || self.seen.lock().unwrap().len() >= count).await;
    }

    /// Connections that were accepted.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Connections that have ended.
    pub(crate) fn ended(&self) -> usize {
        self.ended.load(Ordering::SeqCst)
    }
}

impl Wire {
    /// Speaks HTTP/2 by the library until the proxy closes.
    pub(crate) async fn serve<F: Future<Output = ()> + Send + 'static>(
        self,
        settings: &Builder,
        handle: impl Fn(Exchange) -> F,
    ) {
        let Self { stream, connection, seen } = self;
        let certificate = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let serial = certificate.map(|certificate| pki::serial(certificate));
        let resumed = stream.get_ref().1.handshake_kind() == Some(rustls::HandshakeKind::Resumed);
        let Ok(mut http) = settings.handshake(stream).await else { return };
        while let Some(Ok((request, respond))) = http.accept().await {
            let (uri, headers) = (request.uri().clone(), request.headers().clone());
            seen.lock().unwrap().push(Seen { connection, serial: serial.clone(), resumed, uri, headers });
            tokio::spawn(handle(Exchange { request, respond }));
        }
    }

    /// Speaks HTTP/2 by hand: the preface and both SETTINGS are done.
    pub(crate) async fn by_hand(self) -> Frames {
        let mut frames = Frames { stream: self.stream };
        let mut preface = [0; 24];
        frames.stream.read_exact(&mut preface).await.unwrap();
        assert_eq!(&preface, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        frames.send(SETTINGS, 0, 0, &[]).await;
        frames
    }
}

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
const ACK: u8 = 1;
/// `:status: 200` in the static table (RFC 7541 appendix A).
pub(crate) const STATUS_200: &[u8] = &[0x88];
/// `:status: 103`, a literal with an indexed name (RFC 7541 section 6.2.2).
pub(crate) const STATUS_103: &[u8] = &[0x08, 3, b'1', b'0', b'3'];

/// A frame (RFC 9113 section 4.1).
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
}

/// A connection by hand.
pub(crate) struct Frames {
    stream: TlsStream<TcpStream>,
}

impl Frames {
    /// The next frame of this kind; SETTINGS are acknowledged and others are passed over. Nothing at the end.
    pub(crate) async fn next(&mut self, kind: u8) -> Option<Frame> {
        loop {
            let mut head = [0; 9];
            self.stream.read_exact(&mut head).await.ok()?;
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            self.stream.read_exact(&mut vec![0; length]).await.ok()?;
            let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
            let frame = Frame { kind: head[3], flags: head[4], stream };
            if frame.kind == SETTINGS && frame.flags & ACK == 0 {
                self.send(SETTINGS, ACK, 0, &[]).await;
            }
            if frame.kind == kind {
                return Some(frame);
            }
        }
    }

    pub(crate) async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
        bytes.extend([kind, flags]);
        bytes.extend(stream.to_be_bytes());
        bytes.extend(payload);
        let sent = async {
            let _ = self.stream.write_all(&bytes).await;
            let _ = self.stream.flush().await;
        };
        within("sending a frame", sent).await;
    }

    /// GOAWAY without an error: streams above `last` were not processed.
    pub(crate) async fn go_away(&mut self, last: u32) {
        self.send(GOAWAY, 0, 0, &[last.to_be_bytes(), [0; 4]].concat()).await;
    }
}

impl Exchange {
    /// Answers 200 with this body.
    pub(crate) fn ok(mut self, body: impl Into<Bytes>) {
        let mut body_up = self.respond.send_response(Response::new(()), false).unwrap();
        body_up.send_data(body.into(), true).unwrap();
    }

    /// Reads the request's body to its end, with its trailers.
    pub(crate) async fn body(&mut self) -> (Vec<u8>, Option<HeaderMap>) {
        let body = self.request.body_mut();
        let mut whole = Vec::new();
        while let Some(data) = body.data().await {
            let Ok(data) = data else { break };
            let _ = body.flow_control().release_capacity(data.len());
            whole.extend_from_slice(&data);
        }
        (whole, body.trailers().await.unwrap_or(None))
    }
}
