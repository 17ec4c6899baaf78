//! The variables: their names, their types, and how their values come from a request.

use std::borrow::Cow;

use http::HeaderName;

use super::eval::Input;
use super::media::{self, Media};
use super::moment::Moment;
use super::nonce::Nonce;
use super::pairs::Pairs;
use super::{Type, encode, json};
use crate::sign::material::Material;
use crate::sign::{SignContext, SignError, Signable};

/// Where a hole's value comes from.
#[derive(Debug)]
pub(super) enum Source {
    /// A variable that is a single word.
    Plain(Plain),
    /// `nonce`, `nonce(..)`
    Nonce(Nonce),
    /// `query.NAME`: the decoded value of the first parameter of that name.
    QueryParameter(Box<str>),
    /// `form.NAME`: the same of a form that is the body.
    FormField(Box<str>),
    /// `json.NAME`, `json./POINTER`: a value of a JSON body.
    Json(Box<str>),
    /// `header.NAME`: the values of all lines of that name, joined with `, `.
    Header(HeaderName),
    /// `capture.NAME`
    Capture(Box<str>),
    /// `timestamp` and what is made of it.
    Moment(Moment),
    /// `secret:NAME`: the place in the list of secrets, and the name as it is shown.
    Secret(usize, Box<str>),
    /// `value.NAME`: the place in the list of values.
    Value(usize),
    /// `params(..)`, `headers(..)`, `sorted_query`
    Pairs(Box<Pairs>),
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
    Millis,
    Uuid,
    Tenant,
    AccessToken,
    Signature,
}

/// Every variable that is a single word; but for nonces, times and lists.
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
    ("timestamp_ms", Plain::Millis, Type::Text),
    ("uuid", Plain::Uuid, Type::Text),
    ("tenant", Plain::Tenant, Type::Text),
    ("access_token", Plain::AccessToken, Type::Text),
    ("signature", Plain::Signature, Type::Text),
];

impl Source {
    /// Whether the value depends on the query as sent.
    pub(super) fn reads_query(&self) -> bool {
        match self {
            Self::QueryParameter(_) | Self::Plain(Plain::Query | Plain::Target | Plain::Url) => true,
            Self::Pairs(pairs) => pairs.reads_query(),
            _ => false,
        }
    }

    /// Whether the value depends on the body.
    pub(super) fn reads_body(&self) -> bool {
        match self {
            Self::FormField(_) | Self::Json(_) | Self::Plain(Plain::Body) => true,
            Self::Pairs(pairs) => pairs.reads_body(),
            _ => false,
        }
    }

    /// The value; borrowed wherever the request has it in one piece.
    pub(super) fn value<'i>(&'i self, input: &Input<'i>) -> Result<Cow<'i, [u8]>, SignError> {
        let context = input.context;
        Ok(match self {
            Self::Plain(plain) => return plain.value(input),
            Self::Nonce(nonce) => match context.fixed_nonce {
                Some(fixed) => Cow::Borrowed(fixed.as_bytes()),
                None => Cow::Owned(nonce.text(context)),
            },
            Self::QueryParameter(name) => parameter(input.request.query.unwrap_or_default().as_bytes(), name),
            Self::FormField(name) => match body_of(input.request, Media::Form) {
                Some(body) => parameter(body, name),
                None => Cow::Borrowed(&[]),
            },
            Self::Json(place) => match body_of(input.request, Media::Json) {
                Some(body) => json::find(body, place)?.unwrap_or_default(),
                None => Cow::Borrowed(&[]),
            },
            Self::Header(name) => header(input.request, name),
            Self::Capture(name) => {
                let found = context.captures.iter().find(|(known, _)| **known == **name);
                let (_, value) = found.ok_or_else(|| SignError::Missing(format!("capture.{name}")))?;
                Cow::Borrowed(value.as_bytes())
            }
            Self::Moment(moment) => {
                let text = moment.text(context.now).ok_or_else(|| SignError::Missing("timestamp".to_owned()))?;
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
            // `eval` writes a list where its text is wiped.
            Self::Pairs(_) => Cow::Borrowed(&[]),
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
            Self::Millis => Cow::Owned(context.now.millis().to_string().into_bytes()),
            Self::Uuid => Cow::Owned(uuid(context)),
            Self::Tenant => borrowed(context.tenant.ok_or_else(|| SignError::Missing("tenant".to_owned()))?),
            Self::AccessToken => {
                Cow::Borrowed(context.access_token.ok_or_else(|| SignError::Missing("access token".to_owned()))?)
            }
            Self::Signature => borrowed(input.signature.unwrap_or_default()),
        })
    }
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

/// The body, if it is said to be of this kind.
fn body_of<'i>(request: &Signable<'i>, media: Media) -> Option<&'i [u8]> {
    request.body.filter(|body| !body.is_empty() && media::of(request.headers) == Some(media))
}

/// The decoded value of the first parameter of this decoded name; empty where there is none.
fn parameter<'i>(text: &'i [u8], name: &str) -> Cow<'i, [u8]> {
    for pair in text.split(|byte| *byte == b'&') {
        let (key, value) = match memchr::memchr(b'=', pair) {
            Some(at) => (&pair[..at], &pair[at + 1..]),
            None => (pair, &[][..]),
        };
        if *encode::form_decode(key) == *name.as_bytes() {
            return encode::form_decode(value);
        }
    }
    Cow::Borrowed(&[])
}
