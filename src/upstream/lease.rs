//! A way to the upstream for one request: an HTTP/1.1 connection, or a stream of an HTTP/2 connection.
//!
//! Callers: `proxy`, which gets one from [`super::pool::Pool::checkout`].

use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use tokio::time::Instant;

use super::answer::AnswerBody;
use super::body::{Progress, RequestBody};
use super::error::UpstreamError;
use super::http1::OneUse;
pub use super::http1::Tunnel;
use super::http2::StreamUse;
use super::pool::Freshness;

/// What one request is sent on.
#[derive(Debug)]
pub struct Lease(Way);

#[derive(Debug)]
enum Way {
    Http1(OneUse),
    Http2(StreamUse),
}

/// How long to wait for what.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// When the attempt began.
    pub since: Instant,
    /// From the whole request sent to the head of the answer.
    pub response: Option<Duration>,
    /// Silence within a body.
    pub body: Option<Duration>,
}

/// Whether the worker takes trailers (`TE: trailers`, RFC 9110 section 10.1.4). HTTP/2 upstreams are told, since
/// gRPC servers insist; towards HTTP/1.1 the field is hop by hop and ends here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trailers {
    /// It said so.
    Welcome,
    /// It did not.
    Unmentioned,
}

/// The answer's head came.
pub type Answer = Response<AnswerBody>;

/// A request that failed, and the request itself where it may be repeated.
#[derive(Debug)]
pub struct SendFailure {
    /// Why.
    pub error: UpstreamError,
    /// The whole request, when not one byte of it was sent, or when the upstream says that it did not process any
    /// of it (RFC 9113 section 8.7) and its body is still whole.
    pub unsent: Option<Box<Request<RequestBody>>>,
}

impl Lease {
    pub(super) fn http1(one: OneUse) -> Self {
        Self(Way::Http1(one))
    }

    pub(super) fn http2(stream: StreamUse) -> Self {
        Self(Way::Http2(stream))
    }

    /// Whether the peer is on this machine or in a private network.
    pub fn peer_is_local(&self) -> bool {
        match &self.0 {
            Way::Http1(one) => one.peer_is_local(),
            Way::Http2(stream) => stream.peer_is_local(),
        }
    }

    /// What to ask the pool for when a request that was sent on this comes back whole; nothing when that would be
    /// once too often. `asked` is what this one was got by. An HTTP/1.1 connection that was never used tells
    /// enough about its upstream. One HTTP/2 connection can refuse many requests at one time (GOAWAY), and so can
    /// the next that they share: the last attempt has a connection of its own, where it is the first.
    pub fn after_refusal(&self, asked: Freshness) -> Option<Freshness> {
        match (&self.0, asked) {
            (Way::Http1(one), Freshness::Any | Freshness::Other) if one.was_used() => Some(Freshness::New),
            (Way::Http2(_), Freshness::Any) => Some(Freshness::Other),
            (Way::Http2(_), Freshness::Other) => Some(Freshness::New),
            _ => None,
        }
    }

    /// Sends a request and waits for the head of its answer. The body's `progress` is what `request` carries.
    pub async fn send(
        self,
        request: Request<RequestBody>,
        progress: &Arc<Progress>,
        patience: Patience,
        trailers: Trailers,
    ) -> Result<Answer, SendFailure> {
        match self.0 {
            Way::Http1(one) => one.send(request, progress, patience).await,
            Way::Http2(stream) => stream.send(request, progress, patience, trailers).await,
        }
    }
}
