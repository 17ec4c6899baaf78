//! Host patterns: exact, one-label wildcard, captures.

use std::fmt;

/// The `host` of a route: `api.example.com`, `*.example.com`, `{shop}.myshopify.com`, each optionally with `:port`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct HostPattern {
    text: Box<str>,
    labels: Box<[Label]>,
    port: Option<u16>,
}

/// One label of a pattern: literals and captures in turn.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Label {
    Literal(Box<str>),
    Any,
    Mixed(Box<[Piece]>),
}

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
    /// Parses a pattern.
    pub fn parse(text: &str) -> Result<Self, HostError> {
        if text.is_empty() {
            return Err(HostError::Empty);
        }
        if text.contains(['/', '@', '?']) {
            return Err(HostError::NotAHost);
        }
        Ok(Self { text: text.to_ascii_lowercase().into(), labels: Box::default(), port: None })
    }

    /// The names of the captures.
    pub fn captures(&self) -> impl Iterator<Item = &str> {
        self.text.split('{').skip(1).filter_map(|part| part.split('}').next())
    }

    /// Whether it matches one host only.
    pub fn is_exact(&self) -> bool {
        !self.text.contains(['{', '*'])
    }

    /// That host, without a port.
    pub fn exact_name(&self) -> Option<&str> {
        if self.is_exact() { self.text.split(':').next() } else { None }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
