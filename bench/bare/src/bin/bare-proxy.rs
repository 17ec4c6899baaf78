//! The least that hyper does as a signing proxy: it puts one bearer token into each request and sends it over TLS.
//!
//! No checks, no timeouts, no limits, no metrics, no log, no reload, hop-by-hop headers as they come: it is the measure
//! of what the library costs, and nobody's sidecar. One thread; the pool is a stack of connections.
//!
//!     bare-proxy --listen 127.0.0.1:8080 --upstream 127.0.0.1:8443 --name NAME --ca FILE --token FILE [--h2] [--cert FILE --key FILE]

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bare::{Failure, Words, client_config};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::header::{AUTHORIZATION, CONNECTION, HOST, HeaderValue};
use hyper::{Request, Response, Uri, Version};
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{LocalSet, spawn_local};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Where requests go and what they carry; one for the whole process.
struct Upstream {
    address: String,
    name: ServerName<'static>,
    tls: TlsConnector,
    authorization: HeaderValue,
    idle: RefCell<Vec<http1::SendRequest<Incoming>>>,
    /// The one HTTP/2 connection; `None` in HTTP/1.1 mode, or until it is made.
    shared: RefCell<Option<http2::SendRequest<Incoming>>>,
    h2: bool,
}

/// hyper's HTTP/2 tasks stay on this thread.
#[derive(Clone)]
struct Here;

impl<F: Future + 'static> hyper::rt::Executor<F> for Here {
    fn execute(&self, task: F) {
        spawn_local(async move {
            task.await;
        });
    }
}

/// The answer's body, which puts its connection back when it was read to its end.
struct Answer {
    body: Incoming,
    connection: Option<(Rc<Upstream>, http1::SendRequest<Incoming>)>,
}

impl Body for Answer {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = self.get_mut();
        let frame = ready!(Pin::new(&mut this.body).poll_frame(context));
        if (frame.is_none() || this.body.is_end_stream())
            && let Some((upstream, sender)) = this.connection.take()
        {
            upstream.idle.borrow_mut().push(sender);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Upstream {
    // Boxed where it is called: a connection that only waits need not have room for a handshake.
    async fn connect(&self) -> Result<TokioIo<TlsStream<TcpStream>>, Failure> {
        let stream = TcpStream::connect(&self.address).await?;
        stream.set_nodelay(true)?;
        Ok(TokioIo::new(self.tls.connect(self.name.clone(), stream).await?))
    }

    async fn idle_or_new(&self) -> Result<http1::SendRequest<Incoming>, Failure> {
        loop {
            let Some(mut sender) = self.idle.borrow_mut().pop() else { break };
            if sender.ready().await.is_ok() {
                return Ok(sender);
            }
        }
        let (sender, connection) = http1::handshake(Box::pin(self.connect()).await?).await?;
        spawn_local(connection);
        Ok(sender)
    }

    async fn multiplexed(&self) -> Result<http2::SendRequest<Incoming>, Failure> {
        if let Some(sender) = self.shared.borrow().as_ref().filter(|sender| !sender.is_closed()) {
            return Ok(sender.clone());
        }
        let (sender, connection) = http2::handshake(Here, Box::pin(self.connect()).await?).await?;
        spawn_local(connection);
        *self.shared.borrow_mut() = Some(sender.clone());
        Ok(sender)
    }
}

async fn answer(upstream: Rc<Upstream>, mut request: Request<Incoming>) -> Result<Response<Answer>, Failure> {
    request.headers_mut().insert(AUTHORIZATION, upstream.authorization.clone());
    request.headers_mut().remove(CONNECTION);
    if !upstream.h2 {
        let mut sender = upstream.idle_or_new().await?;
        let (head, body) = sender.send_request(request).await?.into_parts();
        let connection = Some((upstream, sender)).filter(|_| !body.is_end_stream());
        return Ok(Response::from_parts(head, Answer { body, connection }));
    }
    let host = request.headers_mut().remove(HOST).ok_or("a request without Host")?;
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    *request.uri_mut() = Uri::builder().scheme("https").authority(host.as_bytes()).path_and_query(path).build()?;
    *request.version_mut() = Version::HTTP_2;
    let (mut head, body) = upstream.multiplexed().await?.send_request(request).await?.into_parts();
    head.version = Version::HTTP_11;
    Ok(Response::from_parts(head, Answer { body, connection: None }))
}

async fn serve(listen: &str, upstream: Rc<Upstream>) -> Result<(), Failure> {
    let listener = TcpListener::bind(listen).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let upstream = Rc::clone(&upstream);
        let service = hyper::service::service_fn(move |request| answer(Rc::clone(&upstream), request));
        spawn_local(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

fn main() -> Result<(), Failure> {
    let words = Words::read()?;
    let h2 = words.value("h2").is_some();
    let token = std::fs::read_to_string(words.needed("token")?)?;
    let upstream = Rc::new(Upstream {
        address: words.needed("upstream")?.to_owned(),
        name: ServerName::try_from(words.needed("name")?.to_owned())?,
        tls: TlsConnector::from(Arc::clone(&client_config(&words, if h2 { b"h2" } else { b"http/1.1" })?)),
        authorization: HeaderValue::from_str(&format!("Bearer {}", token.trim_end()))?,
        idle: RefCell::default(),
        shared: RefCell::default(),
        h2,
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, serve(words.needed("listen")?, upstream))
}
