//! Host patterns: exact, one-label wildcard, captures.
//!
//! `api.example.com`, `*.example.com` (one label), `{shop}.myshopify.com`, `p{pid}.my.example.com`,
//! each optionally with `:port`. Patterns are parsed when the configuration loads; [`super::table`]
//! matches them.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

/// Longest host name in bytes (RFC 1035 section 2.3.4).
pub const NAME_LIMIT: usize = 253;
/// Longest label in bytes (RFC 1035 section 2.3.4).
pub const LABEL_LIMIT: usize = 63;

/// The `host` of a route.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct HostPattern {
    /// Of an exact host lower case and in its one form. Shared with the table of routes, whose key it is.
    text: Arc<str>,
    /// Empty for an exact host.
    labels: Box<[Label]>,
    port: Option<u16>,
}

/// One label of a pattern.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Label {
    Literal(Box<str>),
    Any,
    Mixed(Box<[Piece]>),
}

/// A part of a label with captures.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Piece {
    Literal(Box<str>),
    Capture(Box<str>),
}

/// Why a text is no host pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// Nothing there.
    #[error("the host is empty")]
    Empty,
    /// `https://..`, a path or user info.
    #[error("a host is a name without scheme, path or user, such as \"api.example.com\"")]
    NotAHost,
    /// A label that is empty, too long or has a character that no host name has.
    #[error("the label {0:?} is not valid in a host name")]
    Label(String),
    /// `*` beside other text, or not as the first label.
    #[error("\"*\" stands for exactly one whole label, the first")]
    Wildcard,
    /// Unbalanced braces or an empty or repeated capture.
    #[error("the capture {0:?} is malformed or occurs twice")]
    Capture(String),
    /// Not 1 to 65535.
    #[error("the port is not a number from 1 to 65535")]
    Port,
}

impl HostPattern {
    /// Parses a pattern; letters are made lower case.
    pub fn parse(text: &str) -> Result<Self, HostError> {
        if text.is_empty() {
            return Err(HostError::Empty);
        }
        if text.contains(['/', '@', '?', '#', '\\']) || text.chars().any(char::is_whitespace) {
            return Err(HostError::NotAHost);
        }
        let (name, port) = split_port(text)?;
        if name.len() > NAME_LIMIT {
            return Err(HostError::Label(name.to_owned()));
        }
        if !name.contains(['*', '{', '}']) {
            return Self::exact(name, port);
        }
        let labels = parse_labels(name)?;
        let text = if text.contains('{') { text.to_owned() } else { text.to_ascii_lowercase() };
        let pattern = Self { text: text.into(), labels: labels.into(), port };
        let mut seen = Vec::new();
        for capture in pattern.captures() {
            if seen.contains(&capture) {
                return Err(HostError::Capture(capture.to_owned()));
            }
            seen.push(capture);
        }
        Ok(pattern)
    }

    fn exact(name: &str, port: Option<u16>) -> Result<Self, HostError> {
        let mut text = if name.starts_with('[') {
            ipv6(name)?
        } else {
            name.split('.').try_for_each(|label| check_literal(label, label))?;
            name.to_ascii_lowercase()
        };
        if let Some(port) = port {
            text.push(':');
            text.push_str(&port.to_string());
        }
        Ok(Self { text: text.into(), labels: [].into(), port })
    }

    /// The names of the captures, in order.
    pub fn captures(&self) -> impl Iterator<Item = &str> {
        self.labels
            .iter()
            .flat_map(|label| match label {
                Label::Mixed(pieces) => pieces.iter(),
                _ => [].iter(),
            })
            .filter_map(|piece| match piece {
                Piece::Capture(name) => Some(&**name),
                Piece::Literal(_) => None,
            })
    }

    /// Whether it names exactly one host.
    pub fn is_exact(&self) -> bool {
        self.labels.is_empty()
    }

    /// The one host that it names, without port, lower case.
    pub fn exact_name(&self) -> Option<&str> {
        self.is_exact().then(|| self.without_port())
    }

    /// The pattern without its port.
    pub fn without_port(&self) -> &str {
        &self.text[..self.text.len() - self.port_text_len()]
    }

    /// The text of the pattern, shared; [`Self::without_port`] is its beginning.
    pub(super) fn shared_text(&self) -> Arc<str> {
        self.text.clone()
    }

    /// The port, where the pattern has one.
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// The same for two patterns that match the same hosts: captures and wildcards without their names.
    pub fn shape(&self) -> Cow<'_, str> {
        if self.is_exact() {
            return Cow::Borrowed(&self.text);
        }
        let mut shape = String::with_capacity(self.text.len());
        for (index, label) in self.labels.iter().enumerate() {
            if index > 0 {
                shape.push('.');
            }
            match label {
                Label::Literal(text) => shape.push_str(text),
                Label::Any => shape.push('*'),
                Label::Mixed(pieces) => pieces.iter().for_each(|piece| match piece {
                    Piece::Literal(text) => shape.push_str(text),
                    Piece::Capture(_) => shape.push('*'),
                }),
            }
        }
        if let Some(port) = self.port {
            shape.push(':');
            shape.push_str(&port.to_string());
        }
        Cow::Owned(shape)
    }

    /// The domain that all hosts of the pattern are in: the host itself, or what follows the last wildcard or capture.
    pub fn domain(&self) -> String {
        self.exact_name().map_or_else(|| self.literal_suffix(), str::to_owned)
    }

    /// The literal labels at the end, joined; where patterns are looked up by.
    pub(super) fn literal_suffix(&self) -> String {
        let count = self.labels.iter().rev().take_while(|label| matches!(label, Label::Literal(_))).count();
        let tail: Vec<&str> = self.labels[self.labels.len() - count..]
            .iter()
            .map(|label| match label {
                Label::Literal(text) => &**text,
                _ => "",
            })
            .collect();
        tail.join(".")
    }

    /// Literal bytes: the more, the more specific.
    pub(super) fn literal_bytes(&self) -> usize {
        self.labels
            .iter()
            .map(|label| match label {
                Label::Literal(text) => text.len(),
                Label::Any => 0,
                Label::Mixed(pieces) => {
                    pieces.iter().map(|p| if let Piece::Literal(t) = p { t.len() } else { 0 }).sum()
                }
            })
            .sum()
    }

    /// Whether a host, lower case and without port, is one of these.
    pub fn is_of(&self, host: &str) -> bool {
        self.matches(host, &mut Vec::new())
    }

    /// Matches a lower-case host without port. `found` receives the captures.
    pub(super) fn matches<'p, 'h>(&'p self, host: &'h str, found: &mut Vec<(&'p str, &'h str)>) -> bool {
        if self.is_exact() {
            return self.without_port() == host;
        }
        let mut parts = host.split('.');
        for label in &self.labels {
            match parts.next() {
                Some(part) if label.matches(part, found) => {}
                _ => return false,
            }
        }
        parts.next().is_none()
    }

    fn port_text_len(&self) -> usize {
        match self.port {
            Some(_) => self.text.len() - self.text.rfind(':').unwrap_or(self.text.len()),
            None => 0,
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Label {
    fn matches<'p, 'h>(&'p self, part: &'h str, found: &mut Vec<(&'p str, &'h str)>) -> bool {
        match self {
            Self::Literal(text) => &**text == part,
            Self::Any => !part.is_empty(),
            Self::Mixed(pieces) => walk(pieces, part, found),
        }
    }
}

/// Matches pieces from the left, each capture as short as possible and never empty.
fn walk<'p, 'h>(pieces: &'p [Piece], rest: &'h str, found: &mut Vec<(&'p str, &'h str)>) -> bool {
    match pieces.split_first() {
        None => rest.is_empty(),
        Some((Piece::Literal(text), more)) => rest.strip_prefix(&**text).is_some_and(|rest| walk(more, rest, found)),
        Some((Piece::Capture(name), [])) => {
            found.push((name, rest));
            !rest.is_empty()
        }
        Some((Piece::Capture(name), more)) => (1..=rest.len()).filter(|&end| rest.is_char_boundary(end)).any(|end| {
            let depth = found.len();
            found.push((name, &rest[..end]));
            let fits = walk(more, &rest[end..], found);
            if !fits {
                found.truncate(depth);
            }
            fits
        }),
    }
}

fn split_port(text: &str) -> Result<(&str, Option<u16>), HostError> {
    let from = text.rfind(']').map_or(0, |i| i + 1);
    match text[from..].rfind(':') {
        None => Ok((text, None)),
        Some(colon) => {
            let colon = from + colon;
            let port: u16 = text[colon + 1..].parse().map_err(|_| HostError::Port)?;
            if port == 0 { Err(HostError::Port) } else { Ok((&text[..colon], Some(port))) }
        }
    }
}

fn ipv6(name: &str) -> Result<String, HostError> {
    let inner = name.strip_prefix('[').and_then(|n| n.strip_suffix(']')).ok_or(HostError::NotAHost)?;
    let address: std::net::Ipv6Addr = inner.parse().map_err(|_| HostError::NotAHost)?;
    Ok(format!("[{address}]"))
}

fn parse_labels(name: &str) -> Result<Vec<Label>, HostError> {
    name.split('.').enumerate().map(|(index, label)| parse_label(index, label)).collect()
}

fn parse_label(index: usize, label: &str) -> Result<Label, HostError> {
    if label.contains('*') {
        return if label == "*" && index == 0 { Ok(Label::Any) } else { Err(HostError::Wildcard) };
    }
    if !label.contains(['{', '}']) {
        return Ok(Label::Literal(literal(label, label)?));
    }
    let mut pieces = Vec::new();
    let mut rest = label;
    while let Some(open) = rest.find('{') {
        if open > 0 {
            pieces.push(Piece::Literal(literal(&rest[..open], label)?));
        }
        let inner = &rest[open + 1..];
        let close = inner.find('}').ok_or_else(|| HostError::Capture(label.to_owned()))?;
        let capture = &inner[..close];
        let fits = !capture.is_empty() && capture.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        if !fits || matches!(pieces.last(), Some(Piece::Capture(_))) {
            return Err(HostError::Capture(capture.to_owned()));
        }
        pieces.push(Piece::Capture(capture.into()));
        rest = &inner[close + 1..];
    }
    if !rest.is_empty() {
        pieces.push(Piece::Literal(literal(rest, label)?));
    }
    Ok(Label::Mixed(pieces.into()))
}

fn literal(text: &str, label: &str) -> Result<Box<str>, HostError> {
    check_literal(text, label).map(|()| text.to_ascii_lowercase().into())
}

fn check_literal(text: &str, label: &str) -> Result<(), HostError> {
    let fits = !text.is_empty()
        && label.len() <= LABEL_LIMIT
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    if fits { Ok(()) } else { Err(HostError::Label(label.to_owned())) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn captures(pattern: &str, host: &str) -> Option<Vec<(String, String)>> {
        let pattern = HostPattern::parse(pattern).unwrap();
        let mut found = Vec::new();
        pattern
            .matches(host, &mut found)
            .then(|| found.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect())
    }

    #[test]
    fn patterns_match_whole_labels_only() {
        assert!(captures("api.example.com", "api.example.com").is_some());
        assert!(captures("API.example.com", "api.example.com").is_some());
        assert!(captures("api.example.com", "evilapi.example.com").is_none());
        assert!(captures("*.example.com", "a.example.com").is_some());
        assert!(captures("*.example.com", "a.b.example.com").is_none());
        assert!(captures("*.example.com", "example.com").is_none());
        assert_eq!(captures("{shop}.myshopify.com", "m1.myshopify.com"), Some(vec![("shop".into(), "m1".into())]));
        assert_eq!(captures("p{pid}.my.x", "p12.my.x"), Some(vec![("pid".into(), "12".into())]));
        assert!(captures("p{pid}.my.x", "p.my.x").is_none());
        let two = captures("{a}-{b}.adyen.com", "x-y-z.adyen.com").unwrap();
        assert_eq!(two, vec![("a".to_owned(), "x".to_owned()), ("b".to_owned(), "y-z".to_owned())]);
        assert!(captures("localhost", "localhost").is_some());
        assert!(captures("[::1]:8443", "[::1]").is_some());
        assert!(captures("[0:0::1]", "[::1]").is_some());
        assert!(captures("{a}", "one").is_some());
    }

    #[test]
    fn what_is_no_host_is_refused_with_its_reason() {
        let reason = |text: &str| HostPattern::parse(text).unwrap_err();
        assert_eq!(reason(""), HostError::Empty);
        assert_eq!(reason("https://x"), HostError::NotAHost);
        assert_eq!(reason("a..b"), HostError::Label(String::new()));
        assert_eq!(reason("a.*.b"), HostError::Wildcard);
        assert_eq!(reason("x*.b"), HostError::Wildcard);
        assert_eq!(reason("{a}{b}.c"), HostError::Capture("b".into()));
        assert_eq!(reason("{a}.{a}.c"), HostError::Capture("a".into()));
        assert_eq!(reason("{.c"), HostError::Capture("{".into()));
        assert_eq!(reason("a:0"), HostError::Port);
        assert_eq!(reason("a:70000"), HostError::Port);
    }

    #[test]
    fn exact_names_have_no_port_and_lower_case() {
        let pattern = HostPattern::parse("api.example.com:8443").unwrap();
        assert_eq!(pattern.exact_name(), Some("api.example.com"));
        assert_eq!(pattern.port(), Some(8443));
        assert_eq!(HostPattern::parse("{a}.b").unwrap().shape(), HostPattern::parse("*.b").unwrap().shape());
    }
}
