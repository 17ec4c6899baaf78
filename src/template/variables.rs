//! The variables: their names, their types, and how their values come from a request.

use std::borrow::Cow;

use http::HeaderName;
use sha2::Digest as _;

use super::eval::Input;
use super::{Type, encode};
use crate::clock::Timestamp;
use crate::sign::material::Material;
use crate::sign::{SignContext, SignError, Signable};

/// Where a hole's value comes from.
#[derive(Debug)]
pub(super) enum Source {
    /// A variable that is a single word.
    Plain(Plain),
    /// `nonce`, `nonce(N)`: N random bytes in hexadecimal.
    Nonce(usize),
    /// `query.NAME`: the decoded value of the first parameter of that name.
    QueryParameter(Box<str>),
    /// `header.NAME`: the values of all lines of that name, joined with `, `.
    Header(HeaderName),
    /// `capture.NAME`
    Capture(Box<str>),
    /// `{timestamp|format("..")}`
    Formatted(Box<str>),
    /// `secret:NAME`: the place in the list of secrets, and the name as it is shown.
    Secret(usize, Box<str>),
    /// `value.NAME`: the place in the list of values.
    Value(usize),
}

/// Variables that are a single word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plain {
    Method,
    Scheme,
    Host,
    Path,
    Query,
    Target,
    Url,
    Body,
    Seconds,
    Millis,
    Iso8601,
    Uuid,
    Tenant,
    Signature,
}

/// Every variable that is a single word, `nonce` aside.
pub(super) const PLAIN: &[(&str, Plain, Type)] = &[
    ("method", Plain::Method, Type::Text),
    ("scheme", Plain::Scheme, Type::Text),
    ("host", Plain::Host, Type::Text),
    ("path", Plain::Path, Type::Text),
    ("raw_path", Plain::Path, Type::Text),
    ("query", Plain::Query, Type::Text),
    ("target", Plain::Target, Type::Text),
    ("url", Plain::Url, Type::Text),
    ("body", Plain::Body, Type::Text),
    ("timestamp", Plain::Seconds, Type::Time),
    ("timestamp_ms", Plain::Millis, Type::Text),
    ("iso8601", Plain::Iso8601, Type::Text),
    ("uuid", Plain::Uuid, Type::Text),
    ("tenant", Plain::Tenant, Type::Text),
    ("signature", Plain::Signature, Type::Text),
];

/// Random bytes of `nonce` without an argument, and the fewest that `nonce(N)` takes: 128 bits never repeat.
pub(super) const NONCE_BYTES: usize = 16;
/// The most that `nonce(N)` takes.
pub(super) const NONCE_BYTES_MAX: usize = 48;

impl Source {
    /// Whether the value depends on the query as sent.
    pub(super) fn reads_query(&self) -> bool {
        matches!(self, Self::QueryParameter(_) | Self::Plain(Plain::Query | Plain::Target | Plain::Url))
    }

    /// The value; borrowed wherever the request has it in one piece.
    pub(super) fn value<'i>(&'i self, input: &Input<'i>) -> Result<Cow<'i, [u8]>, SignError> {
        let context = input.context;
        Ok(match self {
            Self::Plain(plain) => return plain.value(input),
            Self::Nonce(bytes) => match context.fixed_nonce {
                Some(nonce) => Cow::Borrowed(nonce.as_bytes()),
                None => Cow::Owned(nonce(context, *bytes)),
            },
            Self::QueryParameter(name) => query_parameter(input.request.query.unwrap_or_default(), name),
            Self::Header(name) => header(input.request, name),
            Self::Capture(name) => {
                let found = context.captures.iter().find(|(known, _)| **known == **name);
                let (_, value) = found.ok_or_else(|| SignError::Missing(format!("capture.{name}")))?;
                Cow::Borrowed(value.as_bytes())
            }
            Self::Formatted(format) => {
                let text = strftime(context.now, format).ok_or_else(|| SignError::Missing("timestamp".to_owned()))?;
                Cow::Owned(text.into_bytes())
            }
            Self::Secret(index, name) => match input.keys.get(*index) {
                Some(Material::Text(secret)) => Cow::Borrowed(secret.expose()),
                _ => return Err(SignError::Missing(format!("secret:{name}"))),
            },
            Self::Value(index) => {
                let value = input.values.get(*index).ok_or_else(|| SignError::Missing("value".to_owned()))?;
                Cow::Borrowed(value.as_slice())
            }
        })
    }
}

impl Plain {
    fn value<'i>(self, input: &Input<'i>) -> Result<Cow<'i, [u8]>, SignError> {
        let (request, context) = (input.request, input.context);
        let borrowed = |text: &'i str| Cow::Borrowed(text.as_bytes());
        Ok(match self {
            Self::Method => borrowed(request.method),
            Self::Scheme => borrowed(request.scheme),
            Self::Host => borrowed(request.host),
            Self::Path => borrowed(request.path),
            Self::Query => borrowed(request.query.unwrap_or_default()),
            Self::Target => match request.query {
                None => borrowed(request.path),
                Some(query) => Cow::Owned(format!("{}?{query}", request.path).into_bytes()),
            },
            Self::Url => {
                let mark = if request.query.is_some() { "?" } else { "" };
                let query = request.query.unwrap_or_default();
                let Signable { scheme, host, path, .. } = request;
                Cow::Owned(format!("{scheme}://{host}{path}{mark}{query}").into_bytes())
            }
            Self::Body => Cow::Borrowed(request.body.unwrap_or_default()),
            Self::Seconds => Cow::Owned(context.now.seconds.to_string().into_bytes()),
            Self::Millis => Cow::Owned(context.now.millis().to_string().into_bytes()),
            Self::Iso8601 => {
                let text = strftime(context.now, "%Y-%m-%dT%H:%M:%SZ");
                Cow::Owned(text.ok_or_else(|| SignError::Missing("timestamp".to_owned()))?.into_bytes())
            }
            Self::Uuid => Cow::Owned(uuid(context)),
            Self::Tenant => borrowed(context.tenant.ok_or_else(|| SignError::Missing("tenant".to_owned()))?),
            Self::Signature => borrowed(input.signature.unwrap_or_default()),
        })
    }
}

/// Formats a moment in UTC; `None` for a format that is none, or a year that no calendar has.
pub(super) fn strftime(time: Timestamp, format: &str) -> Option<String> {
    let moment = jiff::Timestamp::new(time.seconds, i32::try_from(time.nanos).ok()?).ok()?;
    jiff::fmt::strtime::format(format, moment).ok()
}

/// The first half of the attempt's random bytes, stretched where more are asked for; a longer
/// nonce begins with the shorter one.
fn nonce(context: &SignContext<'_>, bytes: usize) -> Vec<u8> {
    let half = &context.random[..NONCE_BYTES];
    let mut raw = half.to_vec();
    if bytes > NONCE_BYTES {
        raw.extend_from_slice(&sha2::Sha256::digest(half));
        raw.truncate(bytes);
    }
    let mut out = Vec::with_capacity(2 * raw.len());
    encode::hex(&raw, &mut out);
    out
}

/// RFC 9562 section 5.4, of the second half of the attempt's random bytes.
fn uuid(context: &SignContext<'_>) -> Vec<u8> {
    let mut bytes = [0_u8; 16];
    bytes.copy_from_slice(&context.random[16..]);
    bytes[6] = (bytes[6] & 0x0F) | 0x40;
    bytes[8] = (bytes[8] & 0x3F) | 0x80;
    let mut out = Vec::with_capacity(36);
    for group in [0..4, 4..6, 6..8, 8..10, 10..16] {
        if !out.is_empty() {
            out.push(b'-');
        }
        encode::hex(&bytes[group], &mut out);
    }
    out
}

/// RFC 9110 section 5.3: several lines of one name are one list.
fn header<'i>(request: &Signable<'i>, name: &HeaderName) -> Cow<'i, [u8]> {
    let mut lines = request.headers.get_all(name).iter();
    let Some(first) = lines.next() else {
        return Cow::Borrowed(&[]);
    };
    let mut joined = Cow::Borrowed(first.as_bytes());
    for line in lines {
        let joined = joined.to_mut();
        joined.extend_from_slice(b", ");
        joined.extend_from_slice(line.as_bytes());
    }
    joined
}

fn query_parameter<'i>(query: &'i str, name: &str) -> Cow<'i, [u8]> {
    for pair in query.split('&') {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        if *encode::form_decode(key.as_bytes()) == *name.as_bytes() {
            return encode::form_decode(value.as_bytes());
        }
    }
    Cow::Borrowed(&[])
}
