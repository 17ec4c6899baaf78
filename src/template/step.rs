//! What functions do to text: one step after the other, each from its input to its output. Compiled by `call`,
//! run by `eval` and, within the formats of lists, by `pairs`.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use sha2::Digest;
use zeroize::Zeroizing;

use super::eval::Input;
use super::functions::Function;
use super::media::{self, Media};
use super::{decode, encode};
use crate::sign::SignError;
use crate::sign::hmac::Key;
use crate::sign::material::{HashAlgorithm, Material};

/// One function with its arguments, ready to run.
#[derive(Debug)]
pub(super) enum Step {
    /// A function without arguments.
    Plain(Function),
    /// `hmac_*(..)`
    Hmac(HashAlgorithm, HmacKey),
    /// `urlencode("..")`: the bytes that stay as they are beside the unreserved ones.
    UrlEncode(Box<[u8]>),
    /// A function of one text.
    Text(Function, Box<str>),
    /// `replace("..","..")`
    Replace(Box<str>, Box<str>),
    /// `first(N)`, `last(N)`
    Cut(Function, usize),
    /// `if(..)`, `unless(..)`
    When(Keep, Box<[Condition]>),
}

/// Where the key of an HMAC comes from.
#[derive(Debug)]
pub(super) enum HmacKey {
    /// Its place in the list of secrets, and its name.
    Secret(usize, Box<str>),
    /// Its place in the list of values.
    Value(usize),
}

/// When a text stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keep {
    /// One of the conditions holds.
    If,
    /// None of them holds.
    Unless,
}

/// What `if` and `unless` ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Condition {
    /// The body is of this kind, by its Content-Type.
    Media(Media),
    /// There is a body that is not empty.
    Body,
    /// There is a query that is not empty.
    Query,
    /// The method.
    Method(Box<str>),
    /// The text that comes in is this one.
    Text(Box<str>),
}

impl Condition {
    fn holds(&self, text: &[u8], input: &Input<'_>) -> bool {
        let request = input.request;
        match self {
            Self::Media(media) => media::of(request.headers) == Some(*media),
            Self::Body => request.body.is_some_and(|body| !body.is_empty()),
            Self::Query => request.query.is_some_and(|query| !query.is_empty()),
            Self::Method(method) => request.method == &**method,
            Self::Text(wanted) => text == wanted.as_bytes(),
        }
    }
}

impl Step {
    /// Whether it asks for the body.
    pub(super) fn reads_body(&self) -> bool {
        matches!(self, Self::When(_, conditions) if conditions.contains(&Condition::Body))
    }

    /// Whether it asks for the query.
    pub(super) fn reads_query(&self) -> bool {
        matches!(self, Self::When(_, conditions) if conditions.contains(&Condition::Query))
    }

    /// The place of the value that it uses.
    pub(super) fn value(&self) -> Option<usize> {
        match self {
            Self::Hmac(_, HmacKey::Value(index)) => Some(*index),
            _ => None,
        }
    }

    /// Appends the result for `text` to `out`.
    pub(super) fn apply(&self, text: &[u8], input: &Input<'_>, out: &mut Vec<u8>) -> Result<(), SignError> {
        match self {
            Self::Plain(function) => return plain(*function, text, out),
            Self::Hmac(algorithm, key) => return hmac(*algorithm, key, text, input, out),
            Self::UrlEncode(kept) => encode::url_but(text, kept, out),
            Self::Text(function, argument) => of_text(*function, argument.as_bytes(), text, out),
            Self::Replace(from, to) => replace(text, from.as_bytes(), to.as_bytes(), out),
            Self::Cut(Function::First, count) => out.extend_from_slice(&text[..text.len().min(*count)]),
            Self::Cut(_, count) => out.extend_from_slice(&text[text.len().saturating_sub(*count)..]),
            Self::When(keep, conditions) => {
                let holds = conditions.iter().any(|condition| condition.holds(text, input));
                if holds == (*keep == Keep::If) {
                    out.extend_from_slice(text);
                }
            }
        }
        Ok(())
    }
}

fn hmac(
    algorithm: HashAlgorithm,
    key: &HmacKey,
    text: &[u8],
    input: &Input<'_>,
    out: &mut Vec<u8>,
) -> Result<(), SignError> {
    match key {
        HmacKey::Secret(index, name) => match input.keys.get(*index) {
            Some(Material::Hmac(key)) => key.sign(text, out),
            _ => return Err(SignError::Missing(format!("secret:{name}"))),
        },
        HmacKey::Value(index) => {
            let key = input.values.get(*index).filter(|key| !key.is_empty());
            let key = key.ok_or_else(|| SignError::Unreadable("the key of an HMAC would be empty".to_owned()))?;
            Key::new(algorithm, key).sign(text, out);
        }
    }
    Ok(())
}

fn plain(function: Function, text: &[u8], out: &mut Vec<u8>) -> Result<(), SignError> {
    let decoded = match function {
        Function::DecodeHex => decode::hex(text, out).ok_or("hex"),
        Function::DecodeBase64 => decode::base64(text, out).ok_or("base64"),
        _ => {
            always(function, text, out);
            Ok(())
        }
    };
    decoded.map_err(|what| SignError::Unreadable(format!("a text that the template decodes is no {what}")))
}

/// The functions that know a result for every text.
fn always(function: Function, text: &[u8], out: &mut Vec<u8>) {
    match function {
        Function::Lower => out.extend(text.iter().map(u8::to_ascii_lowercase)),
        Function::Upper => out.extend(text.iter().map(u8::to_ascii_uppercase)),
        Function::Trim => out.extend_from_slice(text.trim_ascii()),
        Function::Squeeze => squeeze(text, out),
        Function::Hex => encode::hex(text, out),
        Function::HexUpper => encode::hex_upper(text, out),
        Function::Base64 => out.extend_from_slice(Zeroizing::new(STANDARD.encode(text)).as_bytes()),
        Function::Base64Url => out.extend_from_slice(Zeroizing::new(URL_SAFE_NO_PAD.encode(text)).as_bytes()),
        Function::UrlEncode => encode::url(text, out),
        Function::FormEncode => encode::form(text, out),
        Function::UrlDecode => encode::percent_decode(text, b'+', out),
        Function::FormDecode => out.extend_from_slice(&encode::form_decode(text)),
        Function::Json => encode::json(text, out),
        Function::Digest(algorithm) => digest(algorithm, text, out),
        // The others become a step or a source of their own when the template is compiled.
        _ => out.extend_from_slice(text),
    }
}

/// Functions of one text.
fn of_text(function: Function, argument: &[u8], text: &[u8], out: &mut Vec<u8>) {
    let found = || find(text, argument);
    match function {
        Function::CutPrefix => out.extend_from_slice(text.strip_prefix(argument).unwrap_or(text)),
        Function::CutSuffix => out.extend_from_slice(text.strip_suffix(argument).unwrap_or(text)),
        Function::Before => out.extend_from_slice(found().map_or(text, |at| &text[..at])),
        Function::After => out.extend_from_slice(found().map_or(&[], |at| &text[at + argument.len()..])),
        Function::Default if text.is_empty() => out.extend_from_slice(argument),
        Function::Prepend if !text.is_empty() => {
            out.extend_from_slice(argument);
            out.extend_from_slice(text);
        }
        Function::Append if !text.is_empty() => {
            out.extend_from_slice(text);
            out.extend_from_slice(argument);
        }
        _ => out.extend_from_slice(text),
    }
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    memchr::memmem::find(text, wanted)
}

fn replace(text: &[u8], from: &[u8], to: &[u8], out: &mut Vec<u8>) {
    let mut rest = text;
    while let Some(at) = find(rest, from) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(to);
        rest = &rest[at + from.len()..];
    }
    out.extend_from_slice(rest);
}

/// White space at both ends away, every run of it within one space.
fn squeeze(text: &[u8], out: &mut Vec<u8>) {
    let mut words = text.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    if let Some(first) = words.next() {
        out.extend_from_slice(first);
    }
    for word in words {
        out.push(b' ');
        out.extend_from_slice(word);
    }
}

fn digest(algorithm: HashAlgorithm, text: &[u8], out: &mut Vec<u8>) {
    match algorithm {
        HashAlgorithm::Md5 => out.extend_from_slice(&md5::Md5::digest(text)),
        HashAlgorithm::Sha1 => out.extend_from_slice(&sha1::Sha1::digest(text)),
        HashAlgorithm::Sha256 => out.extend_from_slice(&sha2::Sha256::digest(text)),
        HashAlgorithm::Sha384 => out.extend_from_slice(&sha2::Sha384::digest(text)),
        HashAlgorithm::Sha512 => out.extend_from_slice(&sha2::Sha512::digest(text)),
    }
}
