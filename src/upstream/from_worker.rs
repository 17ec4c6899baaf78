//! A worker's body as the library reads it, and where it really ends. Callers: `body` for what is passed on, `proxy` for
//! what is held.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::Version;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::body::WorkerBodyError;

/// A worker's body. It ends with an error where it was broken off.
#[derive(Debug)]
pub struct FromWorker {
    incoming: Incoming,
    end: End,
    /// Was taken already and comes once more.
    first: Option<Box<Frame<Bytes>>>,
}

/// What says that a body is whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// HTTP/1.1: the library, which knows the framing.
    Framed,
    /// HTTP/2: END_STREAM alone. The library takes a stream that was reset with NO_ERROR for one that has ended.
    Flagged,
}

impl FromWorker {
    /// The body of a request of this version.
    pub fn new(incoming: Incoming, version: Version) -> Self {
        let end = if version == Version::HTTP_2 { End::Flagged } else { End::Framed };
        Self { incoming, end, first: None }
    }

    /// Puts a part back that was the first to be taken.
    pub fn put_back(&mut self, first: Frame<Bytes>) {
        self.first = Some(Box::new(first));
    }
}

impl Body for FromWorker {
    type Data = Bytes;
    type Error = WorkerBodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, WorkerBodyError>>> {
        let this = self.get_mut();
        if let Some(first) = this.first.take() {
            return Poll::Ready(Some(Ok(*first)));
        }
        Poll::Ready(match ready!(Pin::new(&mut this.incoming).poll_frame(cx)) {
            Some(frame) => Some(frame.map_err(|_| WorkerBodyError)),
            None if this.end == End::Flagged && !this.incoming.is_end_stream() => Some(Err(WorkerBodyError)),
            None => None,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.incoming.size_hint();
        let first = self.first.as_deref().and_then(Frame::data_ref).map_or(0, |data| data.len() as u64);
        let mut hint = SizeHint::new();
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper + first);
        }
        hint.set_lower(rest.lower() + first);
        hint
    }
}
