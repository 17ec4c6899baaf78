//! Bodies that credentials fill: fields of a form, members of a JSON object. Every other byte stays as the worker sent
//! it. Callers: `seal`, which strips and fills, and `oauth1`, which signs forms.

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use zeroize::{Zeroize as _, Zeroizing};

use super::json_object::Object;
use super::{SignError, Slot};
use crate::template::encode;

/// Headers that a body which was changed makes untrue (RFC 9530, RFC 1864, RFC 3230).
const DIGESTS: [HeaderName; 4] = [
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("content-md5"),
];

/// What a signer puts into the body. The places are [`Slot`]s, so that nothing of the worker's is in them any more.
#[derive(Debug, PartialEq, Eq)]
pub enum BodyChange {
    /// Fields of a form, each percent-encoded `name=value`.
    Form(Vec<String>),
    /// Members of the outermost JSON object: name and text, neither escaped.
    Json(Vec<(String, String)>),
}

impl Drop for BodyChange {
    fn drop(&mut self) {
        match self {
            Self::Form(pairs) => pairs.zeroize(),
            Self::Json(members) => members.iter_mut().for_each(|(_, text)| text.zeroize()),
        }
    }
}

/// Whether a scheme needs the whole body before it can sign.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Holds {
    /// It streams.
    #[default]
    Never,
    /// Only where its Content-Type is that of a form, whose fields are signed.
    Forms,
    /// What the request says of its body decides ([`super::Signer::holds_body`]).
    AsAsked,
    /// Always: the signature covers it, or a credential fills a field of it.
    Always,
}

/// What a body is, as far as fields of it can be filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyKind {
    /// `application/x-www-form-urlencoded`
    Form,
    /// `application/json`, or a type that ends in `+json`.
    Json,
}

/// Why a credential's field could not be put into a body. Shown to the worker.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BodyProblem {
    /// A method whose requests have no body, and none came.
    #[error("a {method} request without a body has no place for the field `{field}`, which the credential fills")]
    None {
        /// The method.
        method: String,
        /// The field.
        field: String,
    },
    /// Another Content-Type.
    #[error("the credential fills the field `{field}` of {}, and the body's Content-Type is {found}", wanted.words())]
    Type {
        /// The field.
        field: String,
        /// What was needed.
        wanted: BodyKind,
        /// What the worker said.
        found: String,
    },
    /// Compressed, for example.
    #[error("the credential needs the fields of the body, and its Content-Encoding is {0}")]
    Encoded(String),
    /// No JSON.
    #[error("the credential fills a member of a JSON body, and the body is not well-formed JSON")]
    Malformed,
    /// Bytes that a JSON string cannot have.
    #[error("the text for the JSON member `{0}` would not be UTF-8")]
    NotText(String),
    /// JSON, and no object.
    #[error("the credential fills a member of a JSON body, and the body is no object")]
    NoObject,
}

impl BodyKind {
    /// The body that a slot is in; nothing for the others.
    pub fn of(slot: &Slot) -> Option<Self> {
        match slot {
            Slot::Form(_) => Some(Self::Form),
            Slot::Json(_) => Some(Self::Json),
            Slot::Header(_) | Slot::Query(_) | Slot::Cookie(_) | Slot::Family(_) => None,
        }
    }

    /// For messages.
    pub fn words(self) -> &'static str {
        match self {
            Self::Form => "a form (application/x-www-form-urlencoded)",
            Self::Json => "a JSON body (application/json)",
        }
    }

    fn media_type(self) -> &'static str {
        match self {
            Self::Form => "application/x-www-form-urlencoded",
            Self::Json => "application/json",
        }
    }

    fn is(self, essence: &str) -> bool {
        let suffix = essence.len().checked_sub("+json".len()).and_then(|at| essence.get(at..));
        essence.eq_ignore_ascii_case(self.media_type())
            || (self == Self::Json && suffix.is_some_and(|suffix| suffix.eq_ignore_ascii_case("+json")))
    }
}

/// The media type without its parameters; nothing where there is no Content-Type, or more than one.
fn essence(headers: &HeaderMap) -> Option<&str> {
    let mut lines = headers.get_all(CONTENT_TYPE).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else { return None };
    Some(line.to_str().ok()?.split(';').next().unwrap_or_default().trim())
}

/// Whether the body is a form, by its Content-Type.
pub(super) fn is_form(headers: &HeaderMap) -> bool {
    essence(headers).is_some_and(|essence| BodyKind::Form.is(essence))
}

/// The body as its fields are read: nobody looks into one that is compressed.
pub(super) fn readable(headers: &HeaderMap) -> Result<(), BodyProblem> {
    match headers.get(CONTENT_ENCODING) {
        Some(coding) if !coding.as_bytes().eq_ignore_ascii_case(b"identity") => {
            Err(BodyProblem::Encoded(String::from_utf8_lossy(coding.as_bytes()).into_owned()))
        }
        _ => Ok(()),
    }
}

/// Whether `field` can be put into this body. One that is empty and has no type becomes what is needed.
fn fits(kind: BodyKind, field: &str, method: &Method, headers: &HeaderMap, body: &[u8]) -> Result<(), BodyProblem> {
    if body.is_empty() && matches!(*method, Method::GET | Method::HEAD) {
        return Err(BodyProblem::None { method: method.to_string(), field: field.to_owned() });
    }
    readable(headers)?;
    match essence(headers) {
        Some(essence) if kind.is(essence) => Ok(()),
        None if body.is_empty() && !headers.contains_key(CONTENT_TYPE) => Ok(()),
        found => {
            let found = found.map_or("not there, or there more than once".to_owned(), str::to_owned);
            Err(BodyProblem::Type { field: field.to_owned(), wanted: kind, found })
        }
    }
}

/// The body without what the worker put where credentials will stand; nothing where that changes nothing. Headers that
/// a change makes untrue are mended.
pub(super) fn strip<'s>(
    slots: impl Iterator<Item = &'s Slot>,
    method: &Method,
    headers: &mut HeaderMap,
    body: &[u8],
) -> Result<Option<Bytes>, SignError> {
    let mut filled = false;
    let (mut form, mut json, mut families) = (Vec::new(), Vec::new(), Vec::new());
    for slot in slots {
        let (kind, name, names) = match slot {
            Slot::Form(name) => (BodyKind::Form, name, &mut form),
            Slot::Json(name) => (BodyKind::Json, name, &mut json),
            Slot::Family(family) => {
                families.push(*family);
                continue;
            }
            Slot::Header(_) | Slot::Query(_) | Slot::Cookie(_) => continue,
        };
        fits(kind, name, method, headers, body)?;
        names.push(name.as_str());
        filled = true;
    }
    let stripped = if !json.is_empty() && !body.is_empty() {
        Object::read(body)?.without(&json)
    } else if !form.is_empty() || is_form(headers) {
        let filled = |name: &[u8]| form.iter().any(|filled| filled.as_bytes() == name);
        form_without(body, |name| filled(name) || families.iter().any(|family| family.has_field(name)))
    } else {
        None
    };
    if filled || stripped.is_some() {
        DIGESTS.iter().for_each(|name| drop(headers.remove(name)));
    }
    let stripped = stripped.map(Bytes::from);
    if let Some(stripped) = &stripped {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(stripped.len()));
    }
    Ok(stripped)
}

/// The body with a signer's fields in it, and the headers that go with it.
pub(super) fn fill(change: &BodyChange, headers: &mut HeaderMap, body: &[u8]) -> Result<Bytes, SignError> {
    let (kind, changed) = match change {
        BodyChange::Form(pairs) => (BodyKind::Form, form_with(body, pairs)),
        BodyChange::Json(members) => (BodyKind::Json, json_with(body, members)?),
    };
    headers.insert(CONTENT_LENGTH, HeaderValue::from(changed.len()));
    headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static(kind.media_type()));
    Ok(Bytes::from_owner(Wiped(changed)))
}

/// A body with a secret in it: wiped with its last copy.
struct Wiped(Zeroizing<Vec<u8>>);

impl AsRef<[u8]> for Wiped {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// The pairs of a form or a query, none of them empty.
pub(super) fn pairs(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty())
}

/// A form without the fields whose decoded name is `gone`; nothing where there is none.
fn form_without(body: &[u8], gone: impl Fn(&[u8]) -> bool) -> Option<Vec<u8>> {
    let gone = |pair: &&[u8]| gone(&encode::form_decode(name_of(pair)));
    if !body.split(|byte| *byte == b'&').any(|pair| gone(&pair)) {
        return None;
    }
    let kept: Vec<&[u8]> = body.split(|byte| *byte == b'&').filter(|pair| !gone(pair)).collect();
    Some(kept.join(&b'&'))
}

fn name_of(pair: &[u8]) -> &[u8] {
    pair.split(|byte| *byte == b'=').next().unwrap_or(pair)
}

fn form_with(body: &[u8], pairs: &[String]) -> Zeroizing<Vec<u8>> {
    let room = body.len() + pairs.iter().map(|pair| pair.len() + 1).sum::<usize>();
    let mut out = Zeroizing::new(Vec::with_capacity(room));
    out.extend_from_slice(body);
    for pair in pairs {
        if !out.is_empty() && !out.ends_with(b"&") {
            out.push(b'&');
        }
        out.extend_from_slice(pair.as_bytes());
    }
    out
}

fn json_with(body: &[u8], members: &[(String, String)]) -> Result<Zeroizing<Vec<u8>>, BodyProblem> {
    let body: &[u8] = if body.is_empty() { b"{}" } else { body };
    let (at, is_first) = Object::read(body)?.end();
    let longest = |text: &str| text.len() * 6 + 3; // every byte as \u00XX, quotes, and what stands between
    let room = body.len() + members.iter().map(|(name, text)| longest(name) + longest(text)).sum::<usize>();
    let mut out = Zeroizing::new(Vec::with_capacity(room));
    out.extend_from_slice(&body[..at]);
    for (turn, (name, text)) in members.iter().enumerate() {
        if turn > 0 || !is_first {
            out.push(b',');
        }
        out.push(b'"');
        encode::json(name.as_bytes(), &mut out);
        out.extend_from_slice(b"\":\"");
        encode::json(text.as_bytes(), &mut out);
        out.push(b'"');
    }
    out.extend_from_slice(&body[at..]);
    Ok(out)
}
