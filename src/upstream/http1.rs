//! An HTTP/1.1 connection for one request. The holder drives the connection: there is no task behind it.

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::header::UPGRADE;
use http::{HeaderName, HeaderValue, Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::time::Instant;

use super::answer::AnswerBody;
use super::body::{Progress, RequestBody};
use super::connect::Connected;
use super::error::{Fault, UpstreamError, classify};
use super::lease::{Answer, Patience, SendFailure};
use super::pool::Origin;
use super::relay::Relay;
use super::stream::Stream;
use super::wait::{INTERIM_ANSWERS, Timer, Watch, blame, closed, is_event_stream, no_answer};

/// Bytes of an answer's head at most, and of the buffer that reads its body.
const READ_BUFFER: usize = 64 * 1024;
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");

/// The library's side of a connection, which moves only when it is polled. Gone once it has ended: polled
/// again it would go on in the middle of a message, and while it is there a request that it never took waits.
struct Driver {
    http: Option<Pin<Box<Http>>>,
    relay: Relay,
    at_end: AtEnd,
    /// What is left of it, where that was asked for.
    ended: Option<Pin<Box<Http>>>,
}

type Http = http1::Connection<TokioIo<Stream>, RequestBody>;

/// What becomes of a connection that is no HTTP any more.
#[derive(Clone, Copy, PartialEq, Eq)]
enum AtEnd {
    Drop,
    /// After a 101 its bytes are a tunnel.
    Keep,
}

impl Driver {
    /// Moves the connection. `task` is woken when it can move on, until [`Self::rest`].
    fn poll(&mut self, task: &Waker) -> Poll<hyper::Result<()>> {
        self.relay.lead_to(task);
        self.turn()
    }

    /// Nobody waits for it any more.
    fn rest(&self) {
        self.relay.end();
    }

    /// Moves the connection, for nobody.
    fn turn(&mut self) -> Poll<hyper::Result<()>> {
        let Some(connection) = self.http.as_mut() else { return Poll::Ready(Ok(())) };
        let polled = connection.as_mut().poll(&mut Context::from_waker(self.relay.waker()));
        if polled.is_ready() {
            let ended = self.http.take();
            self.ended = ended.filter(|_| self.at_end == AtEnd::Keep);
        }
        polled
    }
}

/// An open HTTP/1.1 connection.
pub(super) struct Connection {
    sender: SendRequest<RequestBody>,
    driver: Driver,
    peer: SocketAddr,
    is_local: bool,
    opened: Instant,
    keep_alive: Option<Duration>,
    used: bool,
    timer: Option<Timer>,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Connection({})", self.peer)
    }
}

impl Connection {
    /// Prepares a fresh connection for requests.
    pub(super) async fn open(connected: Connected) -> Result<Self, UpstreamError> {
        // The library's own bound of 100 headers stands: with another one it allocates for every head.
        let (sender, driver) = http1::Builder::new()
            .max_buf_size(READ_BUFFER)
            .handshake(TokioIo::new(connected.stream))
            .await
            .map_err(|error| classify(&error, "opening the connection"))?;
        Ok(Self {
            sender,
            driver: Driver { http: Some(Box::pin(driver)), relay: Relay::new(), at_end: AtEnd::Drop, ended: None },
            peer: connected.peer,
            is_local: connected.is_local,
            opened: Instant::now(),
            keep_alive: None,
            used: false,
            timer: None,
        })
    }

    pub(super) fn opened(&self) -> Instant {
        self.opened
    }

    pub(super) fn keep_alive(&self) -> Option<Duration> {
        self.keep_alive
    }

    /// Reads what arrived meanwhile; `false` when the connection cannot take a request any more.
    pub(super) fn is_open(&mut self) -> bool {
        self.driver.turn().is_pending() && self.sender.is_ready()
    }
}

/// A connection in use. Dropping it closes the connection, unless the answer was read to its end.
#[derive(Debug)]
pub(super) struct OneUse {
    connection: Option<Box<Connection>>,
    origin: Arc<Origin>,
    unused_for: Duration,
}

/// A connection that has become a tunnel. It is counted as active until it is dropped, and never pooled.
#[derive(Debug)]
pub struct Tunnel {
    /// What comes from and goes to the upstream.
    pub stream: Stream,
    /// What it has sent behind the head of its answer.
    pub early: Bytes,
    _use: OneUse,
}

impl OneUse {
    pub(super) fn new(connection: Box<Connection>, origin: Arc<Origin>, unused_for: Duration) -> Self {
        origin.count_active();
        Self { connection: Some(connection), origin, unused_for }
    }

    /// Whether the peer is on this machine or in a private network.
    pub(super) fn peer_is_local(&self) -> bool {
        self.connection.as_ref().is_some_and(|connection| connection.is_local)
    }

    /// Whether an earlier request used the same connection.
    pub(super) fn was_used(&self) -> bool {
        self.connection.as_ref().is_some_and(|connection| connection.used)
    }

    /// Sends a request and waits for the head of its answer. The body's `progress` is what `request` carries.
    pub(super) async fn send(
        mut self,
        mut request: Request<RequestBody>,
        progress: &Arc<Progress>,
        patience: Patience,
    ) -> Result<Answer, SendFailure> {
        let Some(connection) = self.connection.as_mut() else {
            return Err(SendFailure { error: closed(), unsent: Some(Box::new(request)) });
        };
        progress.attempt_begins();
        let noted = progress.clone();
        hyper::ext::on_informational(&mut request, move |head| noted.interim(head.status()));
        connection.used = true;
        let protocol = request.headers().get(UPGRADE).cloned();
        let mut response = pin!(connection.sender.try_send_request(request));
        let driver = &mut connection.driver;
        let mut watch = Watch::new(patience, progress, &mut connection.timer);
        if protocol.is_some() {
            driver.at_end = AtEnd::Keep;
        }
        let outcome = poll_fn(|cx| {
            let driven = driver.poll(cx.waker());
            // First of all: one read can bring any number of them, and the answer behind them.
            if progress.interim_answers() > INTERIM_ANSWERS {
                let why = format!("over {INTERIM_ANSWERS} interim answers");
                return Poll::Ready(Err(no_answer(UpstreamError::new(Fault::Protocol, why), progress)));
            }
            // It is the driver alone that brings it, so that this task need not be woken for it once more.
            let mut nobody = Context::from_waker(Waker::noop());
            let mut answer = response.as_mut().poll(&mut nobody);
            if answer.is_pending() && driven.is_ready() {
                // Ended without an answer: only now does the library say so.
                driver.ended = None;
                answer = response.as_mut().poll(&mut nobody);
            }
            if let Poll::Ready(answer) = answer {
                return Poll::Ready(answer.map_err(|failed| failed_send(failed, progress)));
            }
            if let Poll::Ready(Err(error)) = driven {
                return Poll::Ready(Err(no_answer(classify(&error, "waiting for the answer"), progress)));
            }
            watch.poll(cx, progress).map(|error| Err(no_answer(error, progress)))
        })
        .await?;
        if outcome.status() == http::StatusCode::SWITCHING_PROTOCOLS {
            return self.switched(outcome, protocol.as_ref());
        }
        if protocol.is_some() {
            // Whoever asked for a tunnel has a connection of its own.
            self.unused_for = Duration::ZERO;
            if let Some(connection) = self.connection.as_mut() {
                (connection.driver.at_end, connection.driver.ended) = (AtEnd::Drop, None);
            }
        }
        Ok(self.answered(outcome, patience))
    }

    /// A 101: the connection is no HTTP any more, once the library has let go of it.
    fn switched(self, response: Response<Incoming>, asked: Option<&HeaderValue>) -> Result<Answer, SendFailure> {
        let refused = |why: &str| Err(SendFailure { error: UpstreamError::new(Fault::Protocol, why), unsent: None });
        let Some(asked) = asked else { return refused("the upstream switched protocols without being asked") };
        let mut named = response.headers().get_all(UPGRADE).iter();
        let same = named.next().is_some_and(|name| name.as_bytes().eq_ignore_ascii_case(asked.as_bytes()));
        if !same || named.next().is_some() {
            return refused("the upstream switched to another protocol than it was asked for");
        }
        if self.connection.as_ref().is_none_or(|connection| connection.driver.ended.is_none()) {
            return refused("the upstream switched protocols before the whole request was sent");
        }
        let (head, body) = response.into_parts();
        Ok(Response::from_parts(head, AnswerBody::switched(body, self)))
    }

    /// The bytes of the connection after a 101, with those that were read behind its head.
    pub(super) fn into_tunnel(mut self) -> Option<Tunnel> {
        let connection = self.connection.take()?;
        let parts = Pin::into_inner(connection.driver.ended?).into_parts();
        Some(Tunnel { stream: parts.io.into_inner(), early: parts.read_buf, _use: self })
    }

    fn answered(mut self, response: Response<Incoming>, patience: Patience) -> Answer {
        if let Some(connection) = self.connection.as_mut() {
            connection.keep_alive = promised_keep_alive(response.headers());
        }
        let endless = is_event_stream(response.headers());
        let (head, body) = response.into_parts();
        let idle = if endless { None } else { patience.body };
        Response::from_parts(head, AnswerBody::http1(body, self, idle))
    }

    pub(super) fn drive(&mut self, task: &Waker) {
        if let Some(connection) = self.connection.as_mut() {
            // An error shows in the body, which is polled next.
            let _ = connection.driver.poll(task);
        }
    }

    /// Where the answer was read to its end, what is taken of it wakes nobody: the connection has nothing more to do.
    pub(super) fn rest_if_done(&self) {
        if let Some(connection) = self.connection.as_ref().filter(|connection| connection.sender.is_ready()) {
            connection.driver.rest();
        }
    }

    /// Gives the connection back after the answer's end, if it can take another request.
    pub(super) fn give_back(&mut self) {
        let Some(mut connection) = self.connection.take() else { return };
        connection.driver.rest();
        // The end of the body may still be in the state machine: turn it once or twice without waiting.
        for _ in 0..2 {
            if connection.sender.is_ready() {
                self.origin.put_idle(connection, self.unused_for);
                return;
            }
            if connection.driver.turn().is_ready() {
                return;
            }
        }
        if connection.sender.is_ready() {
            self.origin.put_idle(connection, self.unused_for);
        }
    }
}

impl Drop for OneUse {
    fn drop(&mut self) {
        self.origin.uncount_active();
    }
}

fn failed_send(mut failed: TrySendError<Request<RequestBody>>, progress: &Progress) -> SendFailure {
    let unsent = failed.take_message().map(Box::new);
    let error = classify(failed.error(), "sending the request");
    SendFailure { error: blame(error, progress), unsent }
}

/// `Keep-Alive: timeout=N` less one second, so that we close before the upstream does. Nothing where the
/// answer was framed twice: RFC 9112 section 6.1 has such a connection closed after it.
fn promised_keep_alive(headers: &http::HeaderMap) -> Option<Duration> {
    if headers.contains_key(http::header::TRANSFER_ENCODING) && headers.contains_key(http::header::CONTENT_LENGTH) {
        return Some(Duration::ZERO);
    }
    let value = headers.get(KEEP_ALIVE)?.to_str().ok()?;
    let seconds = value.split(',').find_map(|part| part.trim().strip_prefix("timeout="))?;
    let seconds: u64 = seconds.trim().parse().ok()?;
    Some(Duration::from_secs(seconds.saturating_sub(1)))
}
