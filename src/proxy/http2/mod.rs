//! HTTP/2 from workers (RFC 9113): by prior knowledge on plain listeners, by ALPN inside interception.
//!
//! The library reads frames, `proxy::guard::frames` watches the same bytes and bounds what a worker may make of them;
//! each stream takes the request path that every HTTP/1.1 request takes, in a task of its own. Here: the connection
//! ([`serve`]) and what differs in one request ([`answer`]). Caller: `listener`.

mod frame_io;
pub mod head;
pub mod opening;

use std::convert::Infallible;
use std::error::Error as _;
use std::future::{Future as _, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::header::CONNECTION;
use http::{Method, Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Sleep, sleep};

use super::Proxy;
use super::answer::WorkerAnswer;
use super::callers::Arrival;
use super::guard::frames::{Bounds, Frames};
use super::registry::Ending;
use super::request;
use super::tally::Tally;
use super::worker_io::Activity;
use crate::config::model::Limits;
use crate::observe::Outcome;
use frame_io::{FrameIo, Seen};

/// Requests at one time on a connection; a worker that wants more waits or opens another.
const STREAMS: u32 = 100;
/// What a worker may send of one body before it is read: what is held of it while its upstream is slow, in bytes.
const STREAM_WINDOW: u32 = 64 * 1024;
/// The same for all bodies of a connection.
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// What is held of one answer for a worker that does not read, in bytes.
const SEND_BUFFER: usize = 64 * 1024;
/// How far over `limits.head` a head still gets our own answer instead of the library's bare one.
const HEAD_FACTOR: usize = 4;
/// What a field counts beside its bytes (RFC 9113 section 6.5.2).
const FIELD_OVERHEAD: usize = 32;
/// Streams that a worker has reset before they were looked at, and that are remembered until they are.
const RESET_UNSEEN: usize = 100;
/// Streams that are reset from here in the life of a connection, because they break the protocol (CVE-2025-8671) or are
/// more than [`STREAMS`], which a worker that is quick may not know yet.
const RESET_HERE: usize = 500;
/// After so long without a frame a worker is asked whether it is still there.
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(60);
/// A client that blocks its own thread while it works does not read, and does not answer, for long.
const KEEP_ALIVE_PATIENCE: Duration = Duration::from_secs(300);
/// A connection that is told to end, and has no stream open for that long, ends though its worker is silent.
const FAREWELL: Duration = Duration::from_secs(2);

/// One request over HTTP/2, from its head until its answer was handed over.
#[derive(Debug)]
pub struct Stream {
    activity: Arc<Activity>,
}

impl Stream {
    /// A request's head was read.
    pub fn begin(activity: Arc<Activity>) -> Self {
        activity.stream_begins();
        Self { activity }
    }

    /// A part of its answer was handed over.
    pub fn gives(&self) {
        self.activity.stream_gives();
    }

    /// Its answer was handed over to the end.
    pub fn is_answered(&self) {
        self.activity.stream_is_answered();
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.activity.stream_ends();
    }
}

/// HTTP/2 until the connection ends.
pub async fn serve<S>(proxy: &Arc<Proxy>, activity: &Arc<Activity>, ending: &Ending, arrival: Arc<Arrival>, stream: S)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let limits = proxy.live.load().snapshot.plan.config.limits.clone();
    let list = list_limit(&limits);
    let seen = Arc::new(Seen::default());
    let io = FrameIo::new(stream, Frames::new(Bounds::of_list(list)), activity.clone(), seen.clone());
    let service = {
        let (proxy, activity) = (proxy.clone(), activity.clone());
        service_fn(move |request: Request<Incoming>| {
            let stream = Stream::begin(activity.clone());
            let (proxy, arrival) = (proxy.clone(), arrival.clone());
            async move {
                let answer = answer(&proxy, &arrival, request).await;
                Ok::<_, Infallible>(answer.map(|body| body.with_stream(stream)))
            }
        })
    };
    let mut connection = pin!(server(list).serve_connection(TokioIo::new(io), service));
    let mut farewell = None;
    let done = poll_fn(|cx| {
        ending.wake_with(cx.waker());
        if ending.is_told() {
            if !seen.has_begun() {
                return Poll::Ready(Ok(()));
            }
            let farewell = farewell.get_or_insert_with(|| {
                connection.as_mut().graceful_shutdown();
                Farewell::of(activity)
            });
            if farewell.poll_over(activity, cx).is_ready() {
                return Poll::Ready(Ok(()));
            }
        }
        connection.as_mut().poll(cx)
    })
    .await;
    let refusal = seen.refusal();
    // What the library refused by itself is counted too.
    if refusal.is_some() || done.as_ref().is_err_and(breaks_protocol) {
        proxy.metrics.unmatched().count(Outcome::BadRequest);
    }
    if let Some(refusal) = refusal {
        tracing::debug!(%refusal, "a worker's HTTP/2 connection was closed");
    } else if let Err(error) = done {
        tracing::debug!(%error, "a worker's HTTP/2 connection ended");
    }
}

/// Whether a connection ended neither because its bytes ended nor because nobody answered.
fn breaks_protocol(error: &hyper::Error) -> bool {
    !error.is_timeout() && error.source().is_none_or(|cause| !cause.is::<std::io::Error>())
}

/// Ends a connection that was told to end and whose worker does not answer: the library waits for its word.
struct Farewell {
    timer: Pin<Box<Sleep>>,
    /// Whether no stream was open when the timer was set.
    idle: Idle,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Idle {
    Yes,
    No,
}

impl Idle {
    fn of(activity: &Activity) -> Self {
        if activity.open_streams() == 0 { Self::Yes } else { Self::No }
    }
}

impl Farewell {
    fn of(activity: &Activity) -> Self {
        Self { timer: Box::pin(sleep(FAREWELL)), idle: Idle::of(activity) }
    }

    fn poll_over(&mut self, activity: &Activity, cx: &mut Context<'_>) -> Poll<()> {
        while self.timer.as_mut().poll(cx).is_ready() {
            let now = Idle::of(activity);
            if (self.idle, now) == (Idle::Yes, Idle::Yes) {
                return Poll::Ready(());
            }
            *self = Self { timer: Box::pin(sleep(FAREWELL)), idle: now };
        }
        Poll::Pending
    }
}

/// What the library reads of one head, decoded, in bytes as RFC 9113 section 6.5.2 counts them.
fn list_limit(limits: &Limits) -> u32 {
    let bytes = limits.head.saturating_mul(HEAD_FACTOR);
    let fields = limits.headers.saturating_mul(HEAD_FACTOR * FIELD_OVERHEAD);
    u32::try_from(bytes.saturating_add(fields)).unwrap_or(u32::MAX)
}

fn server(list: u32) -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .max_header_list_size(list)
        .max_pending_accept_reset_streams(RESET_UNSEEN)
        .max_local_error_reset_streams(RESET_HERE)
        .keep_alive_interval(KEEP_ALIVE_EVERY)
        .keep_alive_timeout(KEEP_ALIVE_PATIENCE)
        .auto_date_header(false);
    builder
}

/// Answers one request: the common path, with a head and an answer as HTTP/2 has them.
async fn answer(proxy: &Arc<Proxy>, arrival: &Arrival, request: Request<Incoming>) -> Response<WorkerAnswer> {
    let (mut parts, body) = request.into_parts();
    let is_head = parts.method == Method::HEAD;
    let mut answer = match head::translate(&mut parts) {
        Ok(()) => request::answer(proxy, arrival, Request::from_parts(parts, body)).await,
        Err(failure) => {
            let live = proxy.live.load_full();
            let tally = Box::new(Tally::start(proxy.clone(), live.clone(), &parts.method, &parts.uri));
            request::refuse(failure, &live, tally)
        }
    };
    // RFC 9113 section 8.2.2. A stream that is not to be trusted ends by itself, and its neighbours are none the worse.
    answer.headers_mut().remove(CONNECTION);
    // The library leaves the body of an answer to HEAD where it is.
    if is_head { answer.map(WorkerAnswer::without_own_body) } else { answer }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_with_an_open_stream_is_not_idle_and_its_requests_count() {
        let activity = Activity::new();
        assert_eq!(activity.idle_after(), Some(0));
        let (one, two) = (Stream::begin(activity.clone()), Stream::begin(activity.clone()));
        assert_eq!((activity.idle_after(), activity.open_streams()), (None, 2));
        one.gives();
        one.is_answered();
        drop(one);
        assert_eq!(activity.idle_after(), None);
        drop(two);
        assert_eq!(activity.idle_after(), Some(2));
        assert_eq!((activity.given().answers, activity.given().parts), (1, 1));
    }

    #[test]
    fn a_head_over_its_limit_is_read_far_enough_to_be_answered() {
        let limits = Limits { head: 1000, headers: 10, connections: 1, in_flight: 1, buffered: 0 };
        assert_eq!(list_limit(&limits), 4 * 1000 + 4 * 10 * 32);
        assert_eq!(list_limit(&Limits { head: usize::MAX, ..limits }), u32::MAX);
    }
}
