//! Bodies that must be held whole: for a signature, or for a second attempt. All of them together are bounded.

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};

use super::failure::{Failure, Then};
use super::gate::{Gate, Share};
use crate::observe::Outcome;

/// Bytes taken from the common budget at a time.
const STEP: usize = 64 * 1024;

/// A body in memory and its share of the budget.
#[derive(Debug)]
pub struct Held {
    /// The body.
    pub bytes: Bytes,
    _shares: Vec<Share>,
}

/// Reads a body to its end, at most `limit` bytes of it.
pub async fn hold(
    mut body: Incoming,
    limit: usize,
    budget: &Gate,
    silence: Option<std::time::Duration>,
) -> Result<Held, Failure> {
    let too_large = || Failure {
        then: Then::Close,
        ..Failure::new(
            Outcome::BodyTooLargeToSign,
            format!("the signature covers the body, of which at most {limit} bytes are held (limits.signed_body)"),
        )
    };
    let announced = body.size_hint().exact();
    if announced.is_some_and(|length| length > limit as u64) {
        return Err(too_large());
    }
    let mut shares = Vec::new();
    let mut taken = 0;
    let mut whole = BytesMut::with_capacity(announced.map_or(0, |length| (length as usize).min(STEP)));
    while let Some(frame) = next_frame(&mut body, silence).await? {
        let Ok(data) = frame.into_data() else { continue };
        if whole.len() + data.len() > limit {
            return Err(too_large());
        }
        while taken < whole.len() + data.len() {
            let share = budget.take(STEP).ok_or_else(|| Failure {
                then: Then::Close,
                ..Failure::overloaded("all held bodies together have reached limits.buffered")
            })?;
            shares.push(share);
            taken += STEP;
        }
        whole.extend_from_slice(&data);
    }
    Ok(Held { bytes: whole.freeze(), _shares: shares })
}

async fn next_frame(
    body: &mut Incoming,
    silence: Option<std::time::Duration>,
) -> Result<Option<hyper::body::Frame<Bytes>>, Failure> {
    let frame = match silence {
        None => body.frame().await,
        Some(limit) => tokio::time::timeout(limit, body.frame())
            .await
            .map_err(|_| Failure::bad_request(format!("the request body was silent for {limit:?} (timeouts.body)")))?,
    };
    frame.transpose().map_err(|_| Failure::bad_request("the request body is malformed or ended early"))
}
