//! Signers: from a request and secrets to what is put into the request. PURE: no I/O, no clock,
//! no randomness of its own; the same input gives the same bytes.
//!
//! One file per scheme. A [`Signer`] is built once when the configuration loads; its secrets are
//! [`Requirement`]s that the snapshot resolves to [`Material`]; [`Signer::sign`] turns a
//! [`Signable`] into an [`Injection`]. Callers: `snapshot` (loading), `proxy` and `explain` (signing).

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::clock::Timestamp;

/// The request as it will leave, as far as signatures cover it.
#[derive(Clone, Copy, Debug)]
pub struct Signable<'a> {
    /// Upper case as sent.
    pub method: &'a str,
    /// `https` or `http`.
    pub scheme: &'a str,
    /// The Host that is sent: lower case, a port only where it is not the default.
    pub host: &'a str,
    /// The path as sent, never decoded; begins with `/`.
    pub path: &'a str,
    /// The query as sent, without `?`.
    pub query: Option<&'a str>,
    /// The headers that leave, after hop-by-hop and slots were removed.
    pub headers: &'a HeaderMap,
    /// The whole body when [`Signer::needs_body`], else `None`.
    pub body: Option<&'a [u8]>,
}

/// What a signature may depend on beside the request.
#[derive(Clone, Copy, Debug)]
pub struct SignContext<'a> {
    /// The time of this attempt.
    pub now: Timestamp,
    /// Random bytes of this attempt; `nonce` and `uuid` are made from them (two independent halves).
    pub random: [u8; 32],
    /// The nonce to use instead, where `explain --nonce` gave one.
    pub fixed_nonce: Option<&'a str>,
    /// The tenant of the request.
    pub tenant: Option<&'a str>,
    /// What the route's host pattern captured, by name.
    pub captures: &'a [(&'a str, &'a str)],
}
