//! Signers: from a request and secrets to what is put into the request. PURE: no I/O, no clock,
//! no randomness of its own; the same input gives the same bytes.
//!
//! One file per scheme. A [`Signer`] is built once when the configuration loads; its secrets are
//! [`Requirement`]s that the snapshot resolves to [`Material`]; [`Signer::sign`] turns a
//! [`Signable`] into an [`Injection`]. Callers: `snapshot` (loading), `proxy` and `explain` (signing).

mod account;
pub mod api_key;
pub mod basic;
pub mod bearer;
pub mod body;
pub mod digest;
pub mod hmac;
mod hmac_compile;
mod hmac_own;
pub mod http_signature;
mod json_object;
pub mod key;
mod keyed;
pub mod material;
pub mod oauth1;
mod reframing;
pub mod seal;
pub mod sigv4;
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

use crate::clock::{Sequence, Timestamp};
use crate::secret::name::NamePattern;
use body::{BodyChange, BodyProblem, Holds};
use material::{Kind, Material};
pub use reframing::{Length, Reframing};

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
    /// The whole body where it is held ([`Signer::holds`]), without what stood in slots; else `None`.
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
    /// The numbers of this attempt, where [`Signer::needs_sequence`]; else zero.
    pub sequence: Sequence,
    /// The access token that an earlier credential of the route put in. Sealing says it.
    pub access_token: Option<&'a [u8]>,
    /// What the upstream has asked of `digest`, where it has.
    pub turn: Option<&'a digest::Turn>,
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
    /// What goes into the body; boxed, since most signers leave it alone.
    pub body: Option<Box<BodyChange>>,
    /// How the body is changed while it streams.
    pub reframing: Option<Box<Reframing>>,
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
    /// Every field of a form body with this decoded name.
    Form(String),
    /// The member of this name of a JSON body's outermost object.
    Json(String),
    /// Everything that a worker's own signing would put in. Dropped, and not filled by itself.
    Family(Family),
}

/// The places of a way of signing, in the head and in a form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// `Authorization`, and every parameter of the query and of a form whose name begins with `oauth_`.
    OAuth1,
}

impl Family {
    fn strip(self, headers: &mut HeaderMap, target: &mut target::Target) {
        match self {
            Self::OAuth1 => oauth1::strip::head(headers, target),
        }
    }

    /// Whether it has the field of a form with this decoded name.
    fn has_field(self, name: &[u8]) -> bool {
        match self {
            Self::OAuth1 => oauth1::strip::is_own(name),
        }
    }

    /// The header that it empties.
    pub fn header(self) -> HeaderName {
        match self {
            Self::OAuth1 => http::header::AUTHORIZATION,
        }
    }
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
    /// `digest`
    Digest(Box<digest::Digest>),
    /// `hmac`
    Hmac(Box<hmac::Hmac>),
    /// `http_signature`
    HttpSignature(Box<http_signature::HttpSignature>),
    /// `aws_sigv4`
    SigV4(Box<sigv4::SigV4>),
    /// `oauth2`
    Token(Box<token::Token>),
    /// `oauth1`
    OAuth1(Box<oauth1::OAuth1>),
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
    /// `key`
    Key,
    /// `key_id`
    KeyId,
    /// `client_id`
    ClientId,
    /// `client_secret`
    ClientSecret,
    /// `username`
    Username,
    /// `password`
    Password,
    /// `access_key_id`
    AccessKeyId,
    /// `secret_access_key`
    SecretAccessKey,
    /// `session_token`
    SessionToken,
    /// `consumer_key`
    ConsumerKey,
    /// `consumer_secret`
    ConsumerSecret,
    /// `token`
    Token,
    /// `token_secret`
    TokenSecret,
    /// `realm`
    Realm,
    /// `sign`
    Sign,
    /// `values.NAME`
    Value(String),
    /// `set.NAME`
    Set(String),
    /// `set_query.NAME`
    SetQuery(String),
    /// `set_form.NAME`
    SetForm(String),
    /// `set_json.NAME`
    SetJson(String),
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
    /// Something of the request that a template reads is not what it is said to be.
    #[error("the request cannot be signed: {0}")]
    Unreadable(String),
    /// What a signature covers is not there.
    #[error("the request has no {0}, which the signature covers")]
    Absent(String),
    /// What a signature covers is there in a form that it cannot cover.
    #[error("the {0} cannot be signed: {1}")]
    Uncoverable(String, &'static str),
    /// The result cannot stand in a header.
    #[error("the text for header {0} would have a byte that no header may have")]
    NotAHeader(String),
    /// A field has no place in this body.
    #[error(transparent)]
    Body(#[from] BodyProblem),
    /// The request itself is none that the scheme can sign.
    #[error("{0}")]
    Unfit(&'static str),
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
            Self::Digest(_) => "digest",
            Self::Hmac(_) => "hmac",
            Self::HttpSignature(_) => "http_signature",
            Self::SigV4(_) => "aws_sigv4",
            Self::Token(_) => "oauth2",
            Self::OAuth1(_) => "oauth1",
        }
    }

    /// The secrets that it needs.
    pub fn requirements(&self) -> &[Requirement] {
        match self {
            Self::ApiKey(scheme) => scheme.requirements(),
            Self::Bearer(scheme) => scheme.requirements(),
            Self::Basic(scheme) => scheme.requirements(),
            Self::Digest(scheme) => scheme.requirements(),
            Self::Hmac(scheme) => scheme.requirements(),
            Self::HttpSignature(scheme) => scheme.requirements(),
            Self::SigV4(scheme) => scheme.requirements(),
            Self::Token(scheme) => scheme.requirements(),
            Self::OAuth1(scheme) => scheme.requirements(),
        }
    }

    /// Every place that it fills; what the worker sends there is dropped.
    pub fn slots(&self) -> &[Slot] {
        match self {
            Self::ApiKey(scheme) => scheme.slots(),
            Self::Bearer(_) | Self::Basic(_) | Self::Digest(_) => authorization(),
            Self::Hmac(scheme) => scheme.slots(),
            Self::HttpSignature(scheme) => scheme.slots(),
            Self::SigV4(scheme) => scheme.slots(),
            Self::Token(scheme) => scheme.slots(),
            Self::OAuth1(scheme) => scheme.slots(),
        }
    }

    /// Whether the whole body must be there: the signature covers it, or a field of it is filled.
    pub fn holds(&self) -> Holds {
        match self {
            Self::OAuth1(scheme) => scheme.holds(),
            Self::SigV4(_) if self.covers().body => Holds::AsAsked,
            _ if self.covers().body || self.edits_body() => Holds::Always,
            _ => Holds::Never,
        }
    }

    /// Whether it fills fields of the body, or drops some.
    pub fn edits_body(&self) -> bool {
        self.slots().iter().any(|slot| matches!(slot, Slot::Form(_) | Slot::Json(_) | Slot::Family(_)))
    }

    /// Whether it must, for a request with these headers.
    pub fn holds_body(&self, headers: &HeaderMap) -> bool {
        match self {
            Self::SigV4(scheme) => scheme.holds_body(headers),
            _ => match self.holds() {
                Holds::Never | Holds::AsAsked => false,
                Holds::Forms => body::is_form(headers),
                Holds::Always => true,
            },
        }
    }

    /// Whether it may change the framing of a body that streams.
    pub fn reframes(&self) -> bool {
        matches!(self, Self::SigV4(_))
    }

    /// Whether [`SignContext::random`] is used, so that it must hold fresh random bytes.
    pub fn needs_random(&self) -> bool {
        match self {
            Self::ApiKey(_) | Self::Bearer(_) | Self::Basic(_) | Self::Token(_) | Self::SigV4(_) => false,
            Self::Digest(_) => true,
            Self::Hmac(scheme) => scheme.needs_random(),
            Self::HttpSignature(scheme) => scheme.needs_random(),
            Self::OAuth1(_) => true,
        }
    }

    /// Whether [`SignContext::sequence`] is used, so that it must hold numbers that were never used before.
    pub fn needs_sequence(&self) -> bool {
        matches!(self, Self::Hmac(scheme) if scheme.needs_sequence())
    }

    /// Whether [`SignContext::access_token`] is used, so that a credential before this one must have tokens.
    pub fn needs_token(&self) -> bool {
        matches!(self, Self::Hmac(scheme) if scheme.needs_token())
    }

    /// Whether [`Signer::sign`] depends on its keys alone: one injection serves every request.
    pub fn is_constant(&self) -> bool {
        match self {
            Self::ApiKey(_) | Self::Bearer(_) | Self::Basic(_) => true,
            Self::Digest(_) | Self::Hmac(_) | Self::HttpSignature(_) | Self::SigV4(_) | Self::OAuth1(_) => false,
            Self::Token(scheme) => scheme.is_constant(),
        }
    }

    /// What the signature covers.
    pub fn covers(&self) -> Covers {
        match self {
            Self::ApiKey(_) | Self::Bearer(_) | Self::Basic(_) | Self::Token(_) => Covers::default(),
            // The target as it leaves.
            Self::Digest(_) => Covers { query: true, body: false },
            Self::Hmac(scheme) => scheme.covers(),
            Self::HttpSignature(scheme) => scheme.covers(),
            Self::SigV4(scheme) => scheme.covers(),
            Self::OAuth1(scheme) => scheme.covers(),
        }
    }

    /// The headers that the signature covers as an earlier credential or the worker wrote them.
    pub fn covered_headers(&self) -> Vec<&HeaderName> {
        match self {
            Self::HttpSignature(scheme) => scheme.covered_headers().collect(),
            _ => Vec::new(),
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
            Self::Digest(scheme) => scheme.sign(request, keys, context),
            Self::Hmac(scheme) => scheme.sign(request, keys, context),
            Self::HttpSignature(scheme) => scheme.sign(request, keys, context),
            Self::SigV4(scheme) => scheme.sign(request, keys, context),
            Self::Token(scheme) => scheme.sign(keys, context.tenant),
            Self::OAuth1(scheme) => scheme.sign(request, keys, context),
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
            Self::Digest(scheme) => scheme.transcript(request, keys, context).map(Some),
            Self::Hmac(scheme) => scheme.transcript(request, keys, context).map(Some),
            Self::HttpSignature(scheme) => scheme.transcript(request, keys, context).map(Some),
            Self::SigV4(scheme) => scheme.transcript(request, keys, context).map(Some),
            Self::OAuth1(scheme) => scheme.transcript(request, keys, context),
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
            Self::Digest(scheme) => scheme.masked(request, keys, context),
            Self::Hmac(scheme) => scheme.masked(request, keys, context),
            Self::HttpSignature(scheme) => scheme.masked(request, keys, context),
            Self::SigV4(scheme) => scheme.masked(request, keys, context),
            Self::Token(scheme) => scheme.masked(keys, context.tenant),
            Self::OAuth1(scheme) => scheme.masked(request, keys, context),
        }
    }
}

fn authorization() -> &'static [Slot] {
    static AUTHORIZATION: [Slot; 1] = [Slot::Header(http::header::AUTHORIZATION)];
    &AUTHORIZATION
}
