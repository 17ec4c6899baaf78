//! Bodies that must be held whole: for a credential, or for a second attempt. All of them together are bounded.

use std::future::{Future as _, poll_fn};
use std::pin::Pin;
use std::task::Poll;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame};

use super::failure::{Failure, Then};
use super::gate::Share;
use crate::observe::Outcome;
use crate::upstream::from_worker::FromWorker;

/// Memory set aside before the first byte of a body came, at most.
const FIRST_PIECE: usize = 64 * 1024;

/// A body in memory and its share of the budget.
#[derive(Debug)]
pub struct Held {
    /// The body.
    pub bytes: Bytes,
    share: Share,
}

impl Held {
    /// Takes room for what is made of the body beside it.
    pub fn and_a_copy(&mut self) -> Result<(), Failure> {
        if self.share.grow(self.bytes.len()) { Ok(()) } else { Err(overloaded()) }
    }
}

/// The largest body that may be held, and the name of what is over it.
#[derive(Clone, Copy, Debug)]
pub struct Bound {
    /// In bytes.
    pub bytes: usize,
    /// Over `limits.request_body`, or over `limits.signed_body`.
    pub name: Outcome,
}

impl Bound {
    fn too_large(self) -> Failure {
        let limit = self.bytes;
        let why = match self.name {
            Outcome::BodyTooLargeToSign => {
                format!(
                    "a credential needs the whole body, of which at most {limit} bytes are held (limits.signed_body)"
                )
            }
            _ => format!("the request body has more than {limit} bytes (limits.request_body)"),
        };
        Failure { then: Then::Close, ..Failure::new(self.name, why) }
    }
}

/// Reads a body to its end, at most what `bound` allows; `share` of the common budget grows with it.
pub async fn hold(
    mut body: FromWorker,
    bound: Bound,
    mut share: Share,
    silence: Option<std::time::Duration>,
) -> Result<Held, Failure> {
    let announced = body.size_hint().exact();
    if announced.is_some_and(|length| length > bound.bytes as u64) {
        return Err(bound.too_large());
    }
    let mut whole = BytesMut::with_capacity(announced.map_or(0, |length| (length as usize).min(FIRST_PIECE)));
    while let Some(frame) = next_frame(&mut body, silence).await? {
        let Ok(data) = frame.into_data() else { continue };
        let length = whole.len() + data.len();
        if length > bound.bytes {
            return Err(bound.too_large());
        }
        let more = length.saturating_sub(share.amount());
        if more > 0 && !share.grow(more) {
            return Err(overloaded());
        }
        whole.extend_from_slice(&data);
        if body.is_end_stream() {
            break;
        }
    }
    Ok(Held { bytes: whole.freeze(), share })
}

/// There is no room for one more held body.
pub fn overloaded() -> Failure {
    Failure { then: Then::Close, ..Failure::overloaded("all held bodies together have reached limits.buffered") }
}

/// Whether a body has any content, found by waiting for the first of it, which stays there.
pub(super) async fn has_content(body: &mut FromWorker, silence: Option<std::time::Duration>) -> Result<bool, Failure> {
    while let Some(frame) = next_frame(body, silence).await? {
        if frame.data_ref().is_none_or(|data| !data.is_empty()) {
            body.put_back(frame);
            return Ok(true);
        }
    }
    Ok(false)
}

/// The next part of a body, within the silence that its route allows.
pub(super) async fn next_frame(
    body: &mut FromWorker,
    silence: Option<std::time::Duration>,
) -> Result<Option<Frame<Bytes>>, Failure> {
    let mut next = body.frame();
    // Mostly it is there already, and needs no timer.
    let frame = match (poll_fn(|cx| Poll::Ready(Pin::new(&mut next).poll(cx))).await, silence) {
        (Poll::Ready(frame), _) => frame,
        (Poll::Pending, None) => next.await,
        (Poll::Pending, Some(limit)) => tokio::time::timeout(limit, next)
            .await
            .map_err(|_| Failure::bad_request(format!("the request body was silent for {limit:?} (timeouts.body)")))?,
    };
    frame.transpose().map_err(|_| Failure::bad_request("the request body is malformed or ended early"))
}
