//! Signers: from a request and secrets to what is put into the request. PURE: no I/O, no clock,
//! no randomness of its own; the same input gives the same bytes.
//!
//! One file per scheme. A [`Signer`] is built once when the configuration loads; its secrets are
//! [`Requirement`]s that the snapshot resolves to [`Material`]; [`Signer::sign`] turns a
//! [`Signable`] into an [`Injection`]. Callers: `snapshot` (loading), `proxy` and `explain` (signing).

pub mod api_key;
pub mod basic;
pub mod bearer;
pub mod hmac;
mod hmac_compile;
pub mod key;
mod keyed;
pub mod material;
pub mod seal;
pub mod spoken;
pub mod target;
#[cfg(test)]
mod tests;
mod text;
pub mod token;
#[cfg(test)]
mod vectors;

use http::{HeaderMap, HeaderName, HeaderValue};
use zeroize::Zeroize as _;

use crate::clock::Timestamp;
use crate::secret::name::NamePattern;
use material::{Kind, Material};

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

/// What a signer wants done to the request, in this order. The request path applies it and changes nothing after.
#[derive(Debug, Default)]
pub struct Injection {
    /// Headers to set (each name once; [`Slot`]s of these names were removed before).
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Query parameters to append, already percent-encoded `name=value`.
    pub query: Vec<String>,
    /// Cookies to add, `name=value`.
    pub cookies: Vec<String>,
}

impl Injection {
    /// One header.
    pub fn header(name: HeaderName, value: HeaderValue) -> Self {
        let mut one = Self::default();
        one.headers.push((name, value));
        one
    }

    /// One query parameter, already percent-encoded.
    pub fn query(pair: String) -> Self {
        let mut one = Self::default();
        one.query.push(pair);
        one
    }

    /// One cookie, `name=value`.
    pub fn cookie(pair: String) -> Self {
        let mut one = Self::default();
        one.cookies.push(pair);
        one
    }
}

impl Drop for Injection {
    /// Injections may be kept for as long as their secrets are; the buffers of headers wipe themselves ([`text`]).
    fn drop(&mut self) {
        self.query.zeroize();
        self.cookies.zeroize();
    }
}

/// A place in the request that a credential fills. What the worker sends there is dropped.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Slot {
    /// A header of this name, in any case or with `_` for `-`.
    Header(HeaderName),
    /// Every query parameter with this decoded name.
    Query(String),
    /// The cookie of this name.
    Cookie(String),
}
/// One credential's scheme with its parameters, built when the configuration loads. A closed set.
#[derive(Debug)]
pub enum Signer {
    /// `api_key`
    ApiKey(Box<api_key::ApiKey>),
    /// `bearer`
    Bearer(bearer::Bearer),
    /// `basic`
    Basic(Box<basic::Basic>),
    /// `hmac`
    Hmac(Box<hmac::Hmac>),
    /// `oauth2`
    Token(Box<token::Token>),
}

/// A secret that a signer needs, in the order in which [`Signer::sign`] takes its [`Material`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// Which file.
    pub pattern: NamePattern,
    /// How its bytes are checked and prepared.
    pub kind: Kind,
    /// Where in the credential's table it was named.
    pub place: Place,
}

/// A key of a credential's table, for messages that point at it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// `secret`
    Secret,
    /// `client_id`
    ClientId,
    /// `client_secret`
    ClientSecret,
    /// `username`
    Username,
    /// `password`
    Password,
    /// `sign`
    Sign,
    /// `values.NAME`
    Value(String),
    /// `set.NAME`
    Set(String),
    /// `set_query.NAME`
    SetQuery(String),
}

/// What a signature covers, to refuse a later credential that would change it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Covers {
    /// The query, or the whole target or URL.
    pub query: bool,
    /// The body.
    pub body: bool,
}

/// Why a request could not be signed with good secrets. Shown to the worker as `bad_request`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// A variable that this request does not have and that may not be empty.
    #[error("the request has no {0}, which the credential's template needs")]
    Missing(String),
    /// The result cannot stand in a header.
    #[error("the text for header {0} would have a byte that no header may have")]
    NotAHeader(String),
    /// A private key did not sign: no randomness, or its numbers do not belong together.
    #[error("the private key did not sign")]
    Key,
}

/// What was signed, for `explain`: secrets are masked in both texts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Transcript {
    /// The canonical text.
    pub text: String,
    /// The text that the key was applied to, where it differs from the canonical text.
    pub string_to_sign: String,
}

impl Signer {
    /// The key of the scheme in the configuration, `"hmac"`.
    pub fn scheme(&self) -> &'static str {
        match self {
            Self::ApiKey(_) => "api_key",
            Self::Bearer(_) => "bearer",
            Self::Basic(_) => "basic",
            Self::Hmac(_) => "hmac",
            Self::Token(_) => "oauth2",
        }
    }

    /// The secrets that it needs.
    pub fn requirements(&self) -> &[Requirement] {
        match self {
            Self::ApiKey(scheme) => scheme.requirements(),
            Self::Bearer(scheme) => scheme.requirements(),
            Self::Basic(scheme) => scheme.requirements(),
            Self::Hmac(scheme) => scheme.requirements(),
            Self::Token(scheme) => scheme.requirements(),
        }
    }

    /// Every place that it fills; what the worker sends there is dropped.
    pub fn slots(&self) -> &[Slot] {
        match self {
            Self::ApiKey(scheme) => scheme.slots(),
            Self::Bearer(_) | Self::Basic(_) => authorization(),
            Self::Hmac(scheme) => scheme.slots(),
            Self::Token(scheme) => scheme.slots(),
        }
    }

    /// Whether [`Signable::body`] must hold the whole body.
    pub fn needs_body(&self) -> bool {
        self.covers().body
    }

    /// Whether [`SignContext::random`] is used, so that it must hold fresh random bytes.
    pub fn needs_random(&self) -> bool {
        match self {
            Self::ApiKey(_) | Self::Bearer(_) | Self::Basic(_) | Self::Token(_) => false,
            Self::Hmac(scheme) => scheme.needs_random(),
        }
    }

    /// Whether [`Signer::sign`] depends on its keys alone: one injection serves every request.
    pub fn is_constant(&self) -> bool {
        match self {
            Self::ApiKey(_) | Self::Bearer(_) | Self::Basic(_) => true,
            Self::Hmac(_) => false,
            Self::Token(scheme) => scheme.is_constant(),
        }
    }

    /// What the signature covers.
    pub fn covers(&self) -> Covers {
        match self {
            Self::ApiKey(_) | Self::Bearer(_) | Self::Basic(_) | Self::Token(_) => Covers::default(),
            Self::Hmac(scheme) => scheme.covers(),
        }
    }

    /// Signs. `keys` are the materials of [`Signer::requirements`], in that order; of [`Signer::Token`] the parts of a
    /// token, in the order of [`token::Token::parts`].
    pub fn sign(
        &self,
        request: &Signable<'_>,
        keys: &[Material],
        context: &SignContext<'_>,
    ) -> Result<Injection, SignError> {
        match self {
            Self::ApiKey(scheme) => scheme.sign(keys),
            Self::Bearer(scheme) => scheme.sign(keys),
            Self::Basic(scheme) => scheme.sign(keys),
            Self::Hmac(scheme) => scheme.sign(request, keys, context),
            Self::Token(scheme) => scheme.sign(keys, context.tenant),
        }
    }

    /// What [`Signer::sign`] would cover with the same input, secrets masked as `[NAME]`; `None` for schemes without a text.
    pub fn transcript(
        &self,
        request: &Signable<'_>,
        keys: &[Material],
        context: &SignContext<'_>,
    ) -> Result<Option<Transcript>, SignError> {
        match self {
            Self::ApiKey(_) | Self::Bearer(_) | Self::Basic(_) | Self::Token(_) => Ok(None),
            Self::Hmac(scheme) => scheme.transcript(request, keys, context).map(Some),
        }
    }

    /// What [`Signer::sign`] would put into the request, for people to read: secrets and what is
    /// made of them are `[NAME]`, signatures stand as they are.
    pub fn masked(
        &self,
        request: &Signable<'_>,
        keys: &[Material],
        context: &SignContext<'_>,
    ) -> Result<Injection, SignError> {
        match self {
            Self::ApiKey(scheme) => scheme.masked(),
            Self::Bearer(scheme) => scheme.masked(),
            Self::Basic(scheme) => scheme.masked(),
            Self::Hmac(scheme) => scheme.masked(request, keys, context),
            Self::Token(scheme) => scheme.masked(keys, context.tenant),
        }
    }
}

fn authorization() -> &'static [Slot] {
    static AUTHORIZATION: [Slot; 1] = [Slot::Header(http::header::AUTHORIZATION)];
    &AUTHORIZATION
}
