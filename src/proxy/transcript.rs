//! What was signed, in the log at `debug`: the texts that `explain` shows, for a signed request that the upstream refused.
//! Callers: `exchange`.
//!
//! A worker may carry secrets of its own in headers: only those that credentials set, and those that say what the body
//! is, are shown with their values.

use std::sync::Arc;

use http::HeaderMap;
use http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, DATE};
use http::{HeaderName, HeaderValue, StatusCode};
use tracing::Level;

use super::ready::Ready;
use super::shown::{self, Masks, Signed};
use crate::sign::SignContext;
use crate::sign::seal::Draft;
use crate::snapshot::Snapshot;
use crate::snapshot::credential::Value;

/// Of the worker, and shown as they are.
const PLAIN: [HeaderName; 4] = [CONTENT_TYPE, CONTENT_LENGTH, CONTENT_ENCODING, DATE];

/// Stands for what a worker proves itself with where no credential does.
const WORKERS: &str = "[worker's]";

/// Shorter pieces of such a header are no secrets, and to hide them would spoil what is beside them.
const PIECE: usize = 6;

/// Whether it would be written. Costs one comparison where it would not.
pub(super) fn is_wanted() -> bool {
    tracing::event_enabled!(Level::DEBUG)
}

/// Whether an upstream that answers so may have refused a signature.
pub(super) fn is_refusal(status: StatusCode) -> bool {
    matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
}

/// Writes what was signed: a line for each credential that has a text. `draft` is the request before it was signed.
pub(super) fn write(
    snapshot: &Snapshot,
    ready: &Ready<'_>,
    draft: Draft,
    (values, body): (&[&Arc<Value>], Option<&[u8]>),
    context: &SignContext<'_>,
    status: StatusCode,
) {
    let mut people = draft.clone();
    let masks = hide(&mut people.headers);
    let before = people.headers.clone();
    // It was signed a moment ago with the same input.
    let Ok(signed) = shown::sign(snapshot, ready, values, (draft, people), masks, body, context) else { return };
    let (set, others) = headers(&signed, &before);
    for canonical in &signed.canonical {
        let differs = canonical.string_to_sign != canonical.text;
        tracing::debug!(
            route = ready.route.name,
            credential = canonical.credential,
            status = status.as_u16(),
            method = signed.shown.method.as_str(),
            target = signed.shown.target.as_str(),
            text = canonical.text,
            string_to_sign = differs.then_some(canonical.string_to_sign.as_str()),
            headers = set,
            other_headers = others,
            "the upstream refused a signed request; this was signed"
        );
    }
}

/// Hides what a worker may prove itself with. Gives what later texts may have taken from it.
fn hide(headers: &mut HeaderMap) -> Masks {
    let mut masks = Masks::new();
    for name in [AUTHORIZATION, COOKIE] {
        for value in headers.get_all(&name) {
            let text = String::from_utf8_lossy(value.as_bytes()).into_owned();
            // The longest first: a piece is part of the whole.
            let pieces = text.split([' ', ';', '=', ',']).filter(|piece| piece.len() >= PIECE).map(str::to_owned);
            let pieces: Vec<String> = pieces.collect();
            masks.extend(std::iter::once(text).chain(pieces).map(|text| (text, WORKERS.to_owned())));
        }
        if headers.contains_key(&name) {
            headers.insert(name, HeaderValue::from_static(WORKERS));
        }
    }
    masks
}

/// The headers that credentials set, as lines; and the names of the others.
fn headers(signed: &Signed, before: &HeaderMap) -> (String, String) {
    let (mut set, mut others) = (format!("host: {}", signed.shown.host.as_str()), Vec::new());
    for (name, value) in &signed.shown.headers {
        if before.get(name) != Some(value) || PLAIN.contains(name) {
            set.push_str(&format!("\n{name}: {}", String::from_utf8_lossy(value.as_bytes())));
        } else {
            others.push(name.as_str());
        }
    }
    (set, others.join(", "))
}
