//! Schemes that the upstream asks for (`digest`): its 401 is read, and the request goes once more with what it asked for.
//!
//! A request to an upstream that has asked before is signed at once, under a nonce that lies beside the secrets; its
//! body streams. Without one the body is held, the request leaves without proof, and what comes back is the challenge.
//! Never more than [`ATTEMPTS`]; a 401 to a right and fresh answer is the upstream's word. Called by `request`
//! (reserving) and `exchange`.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http_body_util::BodyExt as _;

use super::exchange::{Attempt, Word, note_accepted};
use super::failure::Failure;
use super::live::Live;
use super::ready::Ready;
use super::tally::Tally;
use crate::observe::Outcome;
use crate::sign::digest::{At, Challenge, Turn};
use crate::sign::seal::Draft;
use crate::snapshot::credential::Value;
use crate::upstream::body::RequestBody;
use crate::upstream::lease::Answer;

/// Attempts with one set of secrets: without proof or under a nonce from before, under a new one, and once more where that
/// was too old when it arrived.
const ATTEMPTS: usize = 3;
/// Of the body of a 401 so much is read, in bytes, so that its connection can be used again.
const REST: usize = 64 * 1024;
/// For so long.
const REST_WAIT: Duration = Duration::from_secs(1);

/// The right to sign a request at once. Nothing: the upstream has not asked yet.
pub(super) fn reserve(live: &Live, ready: &Ready<'_>, draft: &Draft) -> Option<Turn> {
    let place = live.snapshot.plan.routes[ready.index].challenged?;
    let newest = ready.instances.get(place)?.current.as_ref()?;
    newest.nonces.take(At { tls: draft.tls, host: draft.host.as_str() })
}

/// The upstream's word on these values, of which the one at `place` waits for its challenge.
pub(super) async fn said(
    attempt: &Attempt<'_>,
    place: usize,
    draft: Draft,
    (mut body, held): (RequestBody, Option<&Bytes>),
    values: &[&Arc<Value>],
    tally: &mut Tally,
) -> Result<(Answer, Word), Failure> {
    let none = || Failure::new(Outcome::CredentialUnavailable, "a credential of the route has no value");
    let nonces = &values.get(place).ok_or_else(none)?.nonces;
    let host = draft.host.clone();
    let at = At { tls: draft.tls, host: host.as_str() };
    // What was reserved is a nonce of the newest value's, which is tried first.
    let reserved = if tally.attempts == 0 { attempt.ready.turn.clone() } else { None };
    let mut turn = reserved.or_else(|| nonces.take(at));
    let mut left = ATTEMPTS;
    loop {
        left -= 1;
        let again = body.spare().filter(|_| left > 0);
        let answer = attempt.once(draft.clone(), body, held, values, turn.as_ref(), tally).await?;
        if answer.status() != StatusCode::UNAUTHORIZED {
            // Of a request without proof the upstream has said nothing about the secrets.
            if let Some(turn) = &turn {
                nonces.accepted(at, turn, answer.headers());
                note_accepted(&answer, values);
            }
            return Ok((answer, Word::Accepted));
        }
        if let Some(turn) = &turn {
            nonces.refused(at, turn);
        }
        let asked = Challenge::strongest(answer.headers())
            .filter(|asked| turn.as_ref().is_none_or(|turn| !turn.is_fresh() || asked.is_stale()));
        let Some(asked) = asked else { return Ok((answer, Word::Refused)) };
        let mut session = [0; 16];
        session.copy_from_slice(&super::random()?[..16]);
        let Some(again) = again else {
            // The next request will answer it.
            nonces.learned(at, asked, session);
            return Ok((answer, Word::Refused));
        };
        consume(answer).await;
        body = again;
        turn = Some(Turn::first(asked, session));
    }
}

/// Reads what is left of an answer that nobody wants.
async fn consume(answer: Answer) {
    let mut body = answer.into_body();
    let read = async {
        let mut left = REST;
        while let Some(Ok(frame)) = body.frame().await {
            match left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) {
                Some(rest) => left = rest,
                None => break,
            }
        }
    };
    // What is not read ends with its connection.
    let _ = tokio::time::timeout(REST_WAIT, read).await;
}
