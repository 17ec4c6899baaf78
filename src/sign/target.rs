//! The request target on its way out, and the Host beside it: the worker's own bytes are shared for as long as nothing
//! changes them. Caller: `seal`, and `proxy`, which makes both.

use std::fmt;
use std::sync::Arc;

use http::uri::PathAndQuery;
use http::{HeaderValue, Uri};

/// The path and, after `?`, the query; byte for byte what leaves.
#[derive(Clone, PartialEq, Eq)]
pub struct Target(Bytes);

#[derive(Clone, PartialEq, Eq)]
enum Bytes {
    Shared(PathAndQuery),
    Own(String),
}

impl Target {
    /// The text.
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Bytes::Shared(target) => target.as_str(),
            Bytes::Own(text) => text,
        }
    }

    /// The text to be changed. What comes of it is checked by [`Target::into_uri`].
    pub(super) fn edit(&mut self) -> &mut String {
        if let Bytes::Shared(target) = &self.0 {
            self.0 = Bytes::Own(target.as_str().to_owned());
        }
        match &mut self.0 {
            Bytes::Own(text) => text,
            Bytes::Shared(_) => unreachable!("made its own above"),
        }
    }

    /// As the HTTP library takes it. Fails only when an edited text is no request target.
    pub(super) fn into_uri(self) -> Result<Uri, http::Error> {
        Ok(match self.0 {
            Bytes::Shared(target) => Uri::from(target),
            Bytes::Own(text) => Uri::try_from(text)?,
        })
    }
}

impl From<PathAndQuery> for Target {
    fn from(target: PathAndQuery) -> Self {
        Self(Bytes::Shared(target))
    }
}

impl From<String> for Target {
    fn from(text: String) -> Self {
        Self(Bytes::Own(text))
    }
}

impl From<&str> for Target {
    fn from(text: &str) -> Self {
        Self::from(text.to_owned())
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

/// The Host that is sent, made once for every route with one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    text: Arc<str>,
    value: HeaderValue,
}

impl Host {
    /// A host with a port where it is not the scheme's. Nothing for what cannot stand in a header.
    pub fn new(text: &str) -> Option<Self> {
        Some(Self { value: HeaderValue::from_str(text).ok()?, text: text.into() })
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The value of the header.
    pub(super) fn into_value(self) -> HeaderValue {
        self.value
    }
}
