//! Connections as JSON Lines: what `connections import` reads and `connections export` prints. No I/O, no store, no
//! configuration: whether a credential exists is the caller's question. Callers: `import` and `export` beside it.
//!
//! A mistake says its line and member, never a value: a line holds tokens.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde::ser::{SerializeMap as _, Serializer};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::clock::Timestamp;
use crate::observe::line::time_text;
use crate::secret::value::SecretBytes;
use crate::token::record::{ConnectionKey, Record, TokenSet};

/// Bytes of one line at most; four tokens of 64 KiB fit.
const LINE_LIMIT: usize = 512 * 1024;
/// Bytes of one token at most, as of any secret that is text.
const TOKEN_LIMIT: usize = crate::secret::value::TEXT_LIMIT as usize;
/// Members of `values`, and scopes, at most.
const ITEMS_LIMIT: usize = 256;
/// Bytes of a name of a credential, a tenant or a host at most.
const NAME_LIMIT: usize = 255;
/// Lives beyond this are a mistake in the unit: 100 years in seconds.
const LIFE_LIMIT: i64 = 100 * 366 * 86_400;

/// What a line may have.
const MEMBERS: &str =
    "credential, tenant, access_token, refresh_token, expires_at, expires_in, refresh_expires_at, scope, values, host";

/// One line, read.
#[derive(Clone, Debug)]
pub(super) struct Line {
    /// Counted from 1.
    pub(super) number: usize,
    /// Which connection.
    pub(super) key: ConnectionKey,
    /// Its tokens; an access token or a refresh token is there.
    pub(super) tokens: TokenSet,
}

/// A line that cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {number}: {mistake}")]
pub(super) struct LineError {
    /// Counted from 1.
    pub(super) number: usize,
    /// What is wrong with it.
    pub(super) mistake: Mistake,
}

/// What is wrong with a line. No text has any part of a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Mistake {
    /// Too long.
    #[error("longer than {LINE_LIMIT} bytes")]
    Long,
    /// Not UTF-8.
    #[error("not UTF-8")]
    Utf8,
    /// No JSON.
    #[error("not JSON (column {0})")]
    Json(usize),
    /// JSON, and something else than an object.
    #[error("not a JSON object")]
    Shape,
    /// A member that is none.
    #[error("an unknown member; known are {MEMBERS}")]
    Member,
    /// Twice in one line.
    #[error("a member stands twice")]
    Twice,
    /// A member that must be there.
    #[error("\"{0}\" is missing")]
    Missing(&'static str),
    /// A member of the wrong kind.
    #[error("\"{0}\" must be {1}")]
    Kind(&'static str, &'static str),
    /// No token at all.
    #[error("neither \"access_token\" nor \"refresh_token\"")]
    NoToken,
    /// Two members that say the same in two ways.
    #[error("\"expires_at\" and \"expires_in\" exclude each other")]
    Both,
    /// Two lines for one connection.
    #[error("the same connection as line {0}")]
    Same(usize),
    /// What the caller says of the connection.
    #[error("{0}")]
    Connection(String),
}

/// Reads a whole file. Empty lines are passed over. `now` is what `expires_in` counts from.
pub(super) fn read(bytes: &[u8], now: Timestamp) -> Result<Vec<Line>, LineError> {
    let mut lines = Vec::new();
    let mut seen = BTreeMap::new();
    for (index, raw) in bytes.split(|&byte| byte == b'\n').enumerate() {
        let number = index + 1;
        let at = |mistake| LineError { number, mistake };
        let raw = raw.trim_ascii();
        if raw.is_empty() {
            continue;
        }
        let (key, tokens) = read_line(raw, now).map_err(at)?;
        if let Some(first) = seen.insert(key.clone(), number) {
            return Err(at(Mistake::Same(first)));
        }
        lines.push(Line { number, key, tokens });
    }
    Ok(lines)
}

fn read_line(raw: &[u8], now: Timestamp) -> Result<(ConnectionKey, TokenSet), Mistake> {
    if raw.len() > LINE_LIMIT {
        return Err(Mistake::Long);
    }
    let text = std::str::from_utf8(raw).map_err(|_| Mistake::Utf8)?;
    // The library's own words would repeat what stands there.
    let members: Members = serde_json::from_str(text).map_err(|error| match error.to_string() {
        said if said.starts_with(TWICE) => Mistake::Twice,
        said if said.starts_with(SHAPE) => Mistake::Shape,
        _ => Mistake::Json(error.column()),
    })?;
    members.take(now)
}

/// A JSON value, its texts wiped after use.
enum Part {
    Text(SecretBytes),
    Number(f64),
    List(Vec<Part>),
    Table(BTreeMap<String, Part>),
    Null,
    Bool,
}

struct Members(BTreeMap<String, Part>);

const TWICE: &str = "a member stands twice";
const SHAPE: &str = "no object";
const TIME: &str = "a time such as \"2026-01-31T12:00:00Z\", or seconds since 1970";
const TOKEN: &str = "a text of visible characters that is not empty and at most 64 KiB long";

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Part::deserialize(deserializer)? {
            Part::Table(members) => Ok(Self(members)),
            _ => Err(D::Error::custom(SHAPE)),
        }
    }
}

impl<'de> Deserialize<'de> for Part {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Parts)
    }
}

struct Parts;

impl<'de> Visitor<'de> for Parts {
    type Value = Part;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Part, E> {
        Ok(Part::Text(SecretBytes::copy_of(text.as_bytes())))
    }

    fn visit_string<E: serde::de::Error>(self, text: String) -> Result<Part, E> {
        Ok(Part::Text(SecretBytes::new(text.into_bytes())))
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Part, E> {
        Ok(Part::Number(number as f64))
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Part, E> {
        Ok(Part::Number(number as f64))
    }

    fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<Part, E> {
        Ok(Part::Number(number))
    }

    fn visit_bool<E: serde::de::Error>(self, _: bool) -> Result<Part, E> {
        Ok(Part::Bool)
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Part, E> {
        Ok(Part::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Part, A::Error> {
        let mut parts = Vec::new();
        while let Some(part) = list.next_element()? {
            parts.push(part);
        }
        Ok(Part::List(parts))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Part, A::Error> {
        let mut members = BTreeMap::new();
        while let Some((name, part)) = map.next_entry::<String, Part>()? {
            if members.insert(name, part).is_some() {
                return Err(A::Error::custom(TWICE));
            }
        }
        Ok(Part::Table(members))
    }
}

impl Members {
    /// `null` is as good as absent.
    fn part(&mut self, name: &str) -> Option<Part> {
        self.0.remove(name).filter(|part| !matches!(part, Part::Null))
    }

    fn take(mut self, now: Timestamp) -> Result<(ConnectionKey, TokenSet), Mistake> {
        let credential = self.name("credential")?.ok_or(Mistake::Missing("credential"))?;
        let tenant = self.name("tenant")?.unwrap_or_default();
        let mut tokens = TokenSet {
            access: self.token("access_token")?,
            refresh: self.token("refresh_token")?,
            refresh_expires_at: self.time("refresh_expires_at")?,
            scopes: self.scopes()?,
            values: self.values()?,
            host: self.name("host")?,
            ..TokenSet::default()
        };
        let (at, life) = (self.time("expires_at")?, self.life(now)?);
        if at.is_some() && life.is_some() {
            return Err(Mistake::Both);
        }
        tokens.expires_at = at.or(life);
        tokens.issued_at = tokens.access.as_ref().map(|_| now);
        if !self.0.is_empty() {
            return Err(Mistake::Member);
        }
        if tokens.access.is_none() && tokens.refresh.is_none() {
            return Err(Mistake::NoToken);
        }
        Ok((ConnectionKey::new(&credential, &tenant), tokens))
    }

    fn name(&mut self, name: &'static str) -> Result<Option<String>, Mistake> {
        match self.part(name) {
            None => Ok(None),
            Some(Part::Text(text)) if text.expose().len() <= NAME_LIMIT => {
                Ok(std::str::from_utf8(text.expose()).ok().map(str::to_owned))
            }
            Some(_) => Err(Mistake::Kind(name, "a name")),
        }
    }

    fn token(&mut self, name: &'static str) -> Result<Option<SecretBytes>, Mistake> {
        self.part(name).map(|part| secret(part, name)).transpose()
    }

    fn time(&mut self, name: &'static str) -> Result<Option<Timestamp>, Mistake> {
        match self.part(name) {
            None => Ok(None),
            Some(Part::Number(seconds)) if seconds.abs() < 1e11 => Ok(Some(Timestamp::from_seconds(seconds as i64))),
            Some(Part::Text(text)) => {
                let text = std::str::from_utf8(text.expose()).unwrap_or_default();
                let time: jiff::Timestamp = text.parse().map_err(|_| Mistake::Kind(name, TIME))?;
                let nanos = time.as_nanosecond();
                let (seconds, rest) = (nanos.div_euclid(1_000_000_000), nanos.rem_euclid(1_000_000_000));
                Ok(Some(Timestamp { seconds: seconds as i64, nanos: rest as u32 }))
            }
            Some(_) => Err(Mistake::Kind(name, TIME)),
        }
    }

    fn life(&mut self, now: Timestamp) -> Result<Option<Timestamp>, Mistake> {
        let name = "expires_in";
        let seconds = match self.part(name) {
            None => return Ok(None),
            Some(Part::Number(seconds)) => seconds,
            Some(Part::Text(text)) => {
                let text = std::str::from_utf8(text.expose()).unwrap_or_default();
                text.parse().unwrap_or(f64::NAN)
            }
            Some(_) => f64::NAN,
        };
        if !(0.0..=LIFE_LIMIT as f64).contains(&seconds) {
            return Err(Mistake::Kind(name, "a number of seconds"));
        }
        Ok(Some(now.plus_seconds(seconds as i64)))
    }

    fn scopes(&mut self) -> Result<Vec<String>, Mistake> {
        let wrong = Mistake::Kind("scope", "a text with spaces between, or a list of texts");
        let text = |bytes: &SecretBytes| String::from_utf8_lossy(bytes.expose()).into_owned();
        let scopes: Vec<String> = match self.part("scope") {
            None => Vec::new(),
            Some(Part::Text(list)) => text(&list).split_ascii_whitespace().map(str::to_owned).collect(),
            Some(Part::List(parts)) => {
                let one = |part: &Part| if let Part::Text(one) = part { Some(text(one)) } else { None };
                parts.iter().map(one).collect::<Option<_>>().ok_or(wrong.clone())?
            }
            Some(_) => return Err(wrong),
        };
        let good = scopes.len() <= ITEMS_LIMIT && scopes.iter().all(|scope| !scope.chars().any(char::is_control));
        if good { Ok(scopes) } else { Err(wrong) }
    }

    fn values(&mut self) -> Result<BTreeMap<String, SecretBytes>, Mistake> {
        let name = "values";
        match self.part(name) {
            None => Ok(BTreeMap::new()),
            Some(Part::Table(parts)) if parts.len() <= ITEMS_LIMIT => {
                parts.into_iter().map(|(key, part)| Ok((key, secret(part, name)?))).collect()
            }
            Some(_) => Err(Mistake::Kind(name, "an object of texts")),
        }
    }
}

/// What will stand in a header or a form: no control character, no line end.
fn secret(part: Part, name: &'static str) -> Result<SecretBytes, Mistake> {
    match part {
        Part::Text(text)
            if !text.expose().is_empty()
                && text.expose().len() <= TOKEN_LIMIT
                && !text.expose().iter().any(u8::is_ascii_control) =>
        {
            Ok(text)
        }
        _ => Err(Mistake::Kind(name, TOKEN)),
    }
}

/// One line that [`read`] takes, with its line end; `None` for a connection without any token.
pub(super) fn written(record: &Record) -> Option<Zeroizing<Vec<u8>>> {
    if record.tokens.access.is_none() && record.tokens.refresh.is_none() {
        return None;
    }
    let mut out = Zeroizing::new(Vec::with_capacity(1024));
    serde_json::to_writer(&mut *out, &Written(record)).ok()?;
    out.push(b'\n');
    Some(out)
}

struct Written<'r>(&'r Record);

impl Serialize for Written<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Record { key, tokens, .. } = self.0;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("credential", &*key.credential)?;
        if !key.tenant.is_empty() {
            map.serialize_entry("tenant", &*key.tenant)?;
        }
        for (name, token) in [("access_token", &tokens.access), ("refresh_token", &tokens.refresh)] {
            if let Some(token) = token {
                map.serialize_entry(name, text(token))?;
            }
        }
        for (name, at) in [("expires_at", tokens.expires_at), ("refresh_expires_at", tokens.refresh_expires_at)] {
            if let Some(at) = at {
                map.serialize_entry(name, &time_text(at))?;
            }
        }
        if !tokens.scopes.is_empty() {
            map.serialize_entry("scope", &tokens.scopes)?;
        }
        if !tokens.values.is_empty() {
            let values: BTreeMap<&str, &str> =
                tokens.values.iter().map(|(name, value)| (&**name, text(value))).collect();
            map.serialize_entry("values", &values)?;
        }
        if let Some(host) = &tokens.host {
            map.serialize_entry("host", host)?;
        }
        map.end()
    }
}

/// Tokens came as JSON or text, so that they are UTF-8.
fn text(token: &SecretBytes) -> &str {
    std::str::from_utf8(token.expose()).unwrap_or_default()
}

#[cfg(test)]
#[path = "lines_tests.rs"]
mod tests;
