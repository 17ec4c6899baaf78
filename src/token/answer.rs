//! What a token endpoint answered: tokens, or why not, in every dialect that `answer` describes. Reads bytes that anybody
//! may have written: never panics, and what it tells has nothing of what was sent. PURE. Not here: what follows
//! ([`super::machine`]).

use std::collections::BTreeMap;
use std::time::Duration;

use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, StatusCode};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::detail;
use super::expiry;
use super::grant::{AnswerShape, OAuth};
use super::record::{Reason, TokenSet};
use super::times::RETRY_AFTER_MAX;
use crate::clock::Timestamp;
use crate::secret::value::SecretBytes;
use crate::template::encode;

/// The longest answer that is read, in bytes. What is longer is an answer that cannot be understood.
pub const ANSWER_LIMIT: usize = 256 * 1024;
/// The longest token, in bytes: what fits into a header everywhere is a quarter of it.
const TOKEN_LIMIT: usize = 32 * 1024;
/// Most parameters of a form-encoded answer.
const PARAMETERS: usize = 256;
/// Most scopes that are kept.
const SCOPES: usize = 256;

/// A whole answer.
#[derive(Clone, Copy)]
pub struct Answer<'a> {
    /// Its status.
    pub status: StatusCode,
    /// Its header fields.
    pub headers: &'a HeaderMap,
    /// Its body; [`ANSWER_LIMIT`] is the reader's to hold.
    pub body: &'a [u8],
    /// The secrets that were sent ([`super::call::sent`]): no text that comes out of here has one of them.
    pub sent: &'a [Zeroizing<String>],
}

/// Why there are no new tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// For the record.
    pub reason: Reason,
    /// What to do.
    pub class: Class,
    /// What the platform said: at most 300 characters, no control characters, no secret.
    pub detail: Option<String>,
}

/// What to do about a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// It may pass: again after a pause.
    Passing {
        /// The pause that the platform asked for; at most an hour.
        retry_after: Option<Duration>,
    },
    /// A status of success with nothing that can be read: the same, and the refresh token may have been used up.
    Unread,
    /// The grant is dead: a person must approve again.
    Dead,
    /// The platform does not accept the client.
    Client,
    /// The platform does not accept the form of the call: the configuration does not fit.
    Configuration,
}

/// Reads an answer. `before` are the tokens that the call was made with: what an answer leaves out stays.
///
/// # Errors
/// Whatever is no new access token.
pub fn read(oauth: &OAuth, answer: &Answer<'_>, before: &TokenSet, now: Timestamp) -> Result<TokenSet, Refusal> {
    let reader = Reader { shape: &oauth.answer, dead: &oauth.dead, separator: &oauth.scope_separator, answer, now };
    reader.read(before)
}

/// Reads an answer that has this shape, and nothing that was before.
///
/// # Errors
/// Whatever is no token.
pub(super) fn read_shaped(shape: &AnswerShape, answer: &Answer<'_>, now: Timestamp) -> Result<TokenSet, Refusal> {
    Reader { shape, dead: &[], separator: " ", answer, now }.read(&TokenSet::default())
}

#[derive(Clone, Copy)]
struct Reader<'a> {
    shape: &'a AnswerShape,
    dead: &'a [String],
    separator: &'a str,
    answer: &'a Answer<'a>,
    now: Timestamp,
}

impl Reader<'_> {
    fn read(self, before: &TokenSet) -> Result<TokenSet, Refusal> {
        let status = self.answer.status;
        if status.is_redirection() {
            let text = format!("answered {} with a redirect, which is never followed", status.as_u16());
            return Err(self.refusal(Reason::BadAnswer, Class::Passing { retry_after: None }, &text));
        }
        let body = self.parse();
        let document = body.as_ref().unwrap_or(&Value::Null);
        if !status.is_success() {
            return Err(self.refused(document));
        }
        if let Err(what) = &body {
            return Err(self.refusal(Reason::BadAnswer, Class::Unread, what));
        }
        match &self.shape.ok {
            Some(ok) if text_at(document, &ok.pointer).as_deref() != Some(ok.value.as_str()) => {
                return Err(self.refused(document));
            }
            None if self.code(document).is_some() => return Err(self.refused(document)),
            _ => {}
        }
        self.tokens(document, before)
    }

    fn tokens(self, document: &Value, before: &TokenSet) -> Result<TokenSet, Refusal> {
        let shape = self.shape;
        let access = at_or(document, &shape.access_token, &["/access_token"]).and_then(token);
        let Some(access) = access else {
            let text = "a good answer without an access token that can be sent";
            return Err(self.refusal(Reason::BadAnswer, Class::Unread, text));
        };
        let given = at_or(document, &shape.refresh_token, &["/refresh_token"]).and_then(token);
        let unit = shape.expires_unit;
        let end = |written: &Option<String>, usual: &[&str], kind| {
            let value = at_or(document, written, usual).and_then(plain)?;
            expiry::read(&value, unit, kind, self.now)
        };
        let expires_at = end(&shape.expires_in, &["/expires_in"], expiry::Kind::Span)
            .or_else(|| end(&shape.expires_at, &["/expires_at"], expiry::Kind::Moment));
        let usual = ["/refresh_token_expires_in", "/refresh_expires_in", "/refresh_token_expires_at"];
        let told = end(&shape.refresh_expires_in, &usual[..2], expiry::Kind::Span)
            .or_else(|| end(&None, &usual[2..], expiry::Kind::Moment));
        let same = given.is_none() || same(given.as_ref(), before.refresh.as_ref());
        let scopes = at_or(document, &shape.scope, &["/scope"]).map(|value| self.scopes(value));
        let mut values: BTreeMap<String, SecretBytes> = before.values.clone();
        for (name, pointer) in &shape.values {
            let value = at(document, pointer).and_then(plain).filter(|value| value.len() <= TOKEN_LIMIT);
            if let Some(value) = value {
                values.insert(name.clone(), SecretBytes::copy_of(value.as_bytes()));
            }
        }
        let host = shape.host.as_ref().and_then(|pointer| at(document, pointer)).and_then(Value::as_str);
        Ok(TokenSet {
            access: Some(access),
            refresh: given.or_else(|| before.refresh.clone()),
            values,
            host: host.and_then(host_of).or_else(|| before.host.clone()),
            scopes: scopes.filter(|scopes| !scopes.is_empty()).unwrap_or_else(|| before.scopes.clone()),
            issued_at: Some(self.now),
            expires_at,
            refresh_expires_at: told.or(before.refresh_expires_at.filter(|_| same)),
        })
    }

    fn scopes(self, value: &Value) -> Vec<String> {
        let split = |text: &str| -> Vec<String> {
            let parts = text.split(char::is_whitespace);
            let parts = parts.flat_map(|part| match self.separator.trim() {
                "" => vec![part],
                separator => part.split(separator).collect(),
            });
            parts.filter(|scope| !scope.is_empty()).map(str::to_owned).collect()
        };
        let mut scopes = match value {
            Value::String(text) => split(text),
            Value::Array(list) => list.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            _ => Vec::new(),
        };
        scopes.retain(|scope| scope.len() <= 256 && !scope.chars().any(char::is_control));
        scopes.truncate(SCOPES);
        scopes
    }

    /// The body as JSON; a form becomes an object of texts. What is neither, in words.
    fn parse(self) -> Result<Value, String> {
        let body = self.answer.body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(self.answer.body).trim_ascii();
        if body.is_empty() {
            return Err("an empty answer".to_owned());
        }
        if body.len() > ANSWER_LIMIT {
            return Err("an answer that is too long".to_owned());
        }
        let cause = match serde_json::from_slice::<Value>(body) {
            Ok(value) => return Ok(value),
            Err(error) if error.is_eof() => "JSON that breaks off",
            Err(_) if body.starts_with(b"<") => "HTML or XML where JSON was expected",
            Err(_) => "no JSON",
        };
        let kind = self.answer.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        let may_be_form = !matches!(body[0], b'<' | b'{' | b'[' | b'"') && body.contains(&b'=');
        if may_be_form && matches!(kind, "application/x-www-form-urlencoded" | "text/plain" | "text/html" | "") {
            return Ok(form(body));
        }
        let kind: String = kind.chars().take(64).collect();
        Err(if kind.is_empty() { cause.to_owned() } else { format!("{cause} ({kind})") })
    }

    /// The error code of a document; none where it has none or one that says "no error".
    fn code(self, document: &Value) -> Option<String> {
        let value = at_or(document, &self.shape.error, &["/error"])?;
        let value = match value {
            Value::Object(inner) => ["code", "type", "status", "message"].iter().find_map(|name| inner.get(*name))?,
            value => value,
        };
        let code = plain(value)?;
        let none = matches!(code.as_str(), "" | "0" | "false" | "null");
        (!none).then(|| code.to_string())
    }

    fn refused(self, document: &Value) -> Refusal {
        let status = self.answer.status;
        let code = self.code(document);
        let word = code.as_deref().unwrap_or_default();
        let (reason, class) = self.judge(word);
        let usual = ["/error_description", "/error_message", "/message", "/msg", "/error/message", "/detail"];
        let said = at_or(document, &self.shape.error_detail, &usual).and_then(plain);
        let said = said.as_ref().map_or("", |said| said.as_str());
        let mut text = Zeroizing::new(String::new());
        if !status.is_success() {
            text.push_str(&format!("status {}", status.as_u16()));
        }
        for part in [word, said].into_iter().filter(|part| !part.is_empty()) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(part);
        }
        if text.is_empty() {
            text.push_str("an answer that is not the good one");
        }
        self.refusal(reason, class, &text)
    }

    /// What an error code means, then what the status means.
    fn judge(self, code: &str) -> (Reason, Class) {
        let status = self.answer.status.as_u16();
        if self.dead.iter().any(|dead| dead == code) || code == "invalid_grant" {
            return (Reason::InvalidGrant, Class::Dead);
        }
        let passing = Class::Passing { retry_after: retry_after(self.answer.headers, self.now) };
        match (code, status) {
            ("slow_down", _) | (_, 429) => (Reason::RateLimited, passing),
            ("temporarily_unavailable" | "server_error", _) | (_, 500..) => (Reason::Http5xx, passing),
            ("invalid_client" | "unauthorized_client", _) => (Reason::InvalidClient, Class::Client),
            ("invalid_scope" | "invalid_request" | "unsupported_grant_type" | "invalid_target", _) => {
                (Reason::BadAnswer, Class::Configuration)
            }
            (_, 401) => (Reason::InvalidClient, Class::Client),
            (_, 408 | 425 | 200..300) => (Reason::BadAnswer, passing),
            _ => (Reason::BadAnswer, Class::Configuration),
        }
    }

    fn refusal(self, reason: Reason, class: Class, text: &str) -> Refusal {
        Refusal { reason, class, detail: detail::clean(text, self.answer.sent) }
    }
}

/// `Retry-After` (RFC 9110 section 10.2.3): seconds or a date, at most an hour.
pub fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let pause = match value.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => expiry::http_date(value)?.since(now),
    };
    Some(pause.min(RETRY_AFTER_MAX))
}

/// The value at a pointer of the configuration: a JSON pointer, or the name of a member. Empty is the whole document.
fn at<'v>(document: &'v Value, pointer: &str) -> Option<&'v Value> {
    let found =
        if pointer.is_empty() || pointer.starts_with('/') { document.pointer(pointer) } else { document.get(pointer) };
    found.filter(|value| !value.is_null())
}

fn at_or<'v>(document: &'v Value, written: &Option<String>, usual: &[&str]) -> Option<&'v Value> {
    match written {
        Some(pointer) => at(document, pointer),
        None => usual.iter().find_map(|pointer| at(document, pointer)),
    }
}

/// A text, number or boolean as text.
fn plain(value: &Value) -> Option<Zeroizing<String>> {
    match value {
        Value::String(text) => Some(Zeroizing::new(text.clone())),
        Value::Number(number) => Some(Zeroizing::new(number.to_string())),
        Value::Bool(yes) => Some(Zeroizing::new(yes.to_string())),
        _ => None,
    }
}

fn text_at(document: &Value, pointer: &str) -> Option<String> {
    at(document, pointer).and_then(plain).map(|text| text.to_string())
}

/// A token: a text of visible ASCII, so that it can stand in a header.
fn token(value: &Value) -> Option<SecretBytes> {
    let text = value.as_str().filter(|text| !text.is_empty() && text.len() <= TOKEN_LIMIT)?;
    let good = text.bytes().all(|byte| (0x20..0x7F).contains(&byte)) && text.trim() == text;
    good.then(|| SecretBytes::copy_of(text.as_bytes()))
}

fn same(one: Option<&SecretBytes>, other: Option<&SecretBytes>) -> bool {
    one.map(SecretBytes::expose) == other.map(SecretBytes::expose)
}

/// A host, with its port if it has one, out of a host or an `https://` URL.
fn host_of(text: &str) -> Option<String> {
    let authority = match text.split_once("://") {
        Some(("https", rest)) => rest.split(['/', '?', '#']).next()?,
        Some(_) => return None,
        None => text.strip_suffix('/').unwrap_or(text),
    };
    let (host, port) = authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port)));
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let good = host.len() <= 253 && host.split('.').all(label) && port.is_none_or(|port| port.parse::<u16>().is_ok());
    good.then(|| authority.to_ascii_lowercase())
}

fn form(body: &[u8]) -> Value {
    let text = |bytes: &[u8]| String::from_utf8_lossy(&encode::form_decode(bytes)).into_owned();
    let mut members = Map::new();
    for pair in body.split(|byte| *byte == b'&').take(PARAMETERS) {
        let at = pair.iter().position(|byte| *byte == b'=');
        let (name, value) = at.map_or((pair, &[][..]), |at| (&pair[..at], &pair[at + 1..]));
        members.insert(text(name), Value::String(text(value)));
    }
    Value::Object(members)
}
