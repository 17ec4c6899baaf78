//! `[state]` and `[events]` as the program uses them: where connections are kept, and who is told what becomes of them.
//! What an `oauth2` credential says is [`crate::token::OAuth`].

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::model::Spanned;
use crate::secret::name::NamePattern;
use crate::sign::basic::PublicValue;
use crate::token::EventKind;

/// `[state]`
#[derive(Clone, Debug)]
pub struct State {
    /// Where connections are kept.
    pub url: StateUrl,
    /// `key`: the secrets that tokens are sealed with; the first seals, all open. Empty is right for
    /// [`StateUrl::Memory`] and where nothing is kept.
    pub keys: Vec<Spanned<NamePattern>>,
    /// That this is the only process for its tenants; default false.
    pub single: bool,
}

/// `[state] url`
#[derive(Clone, PartialEq, Eq)]
pub enum StateUrl {
    /// `sqlite:PATH`, made absolute.
    Sqlite(PathBuf),
    /// `postgres://..`: written, without a password, or in a secret.
    Postgres(PublicValue),
    /// `memory:`
    Memory,
}

/// `[events]`
#[derive(Clone, Debug)]
pub struct Events {
    /// Where events are sent; `https`, or `http` to this machine or where `insecure_upstream` allows it.
    pub url: http::Uri,
    /// The key of their signature (Standard Webhooks).
    pub secret: Spanned<NamePattern>,
    /// Those that are sent, each once.
    pub types: Vec<EventKind>,
    /// One delivery, from connecting to the answer; default 10 s.
    pub timeout: Duration,
}

impl fmt::Debug for StateUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "Sqlite({})", path.display()),
            Self::Postgres(PublicValue::Literal(url)) => write!(f, "Postgres({url})"),
            Self::Postgres(PublicValue::Secret(name)) => write!(f, "Postgres(secret {name})"),
            Self::Memory => f.write_str("Memory"),
        }
    }
}

impl PartialEq for State {
    /// Without the places in the file.
    fn eq(&self, other: &Self) -> bool {
        let keys = |state: &Self| state.keys.iter().map(|key| key.value.clone()).collect::<Vec<_>>();
        self.url == other.url && keys(self) == keys(other) && self.single == other.single
    }
}

impl Eq for State {}

impl PartialEq for Events {
    /// Without the places in the file.
    fn eq(&self, other: &Self) -> bool {
        (&self.url, &self.secret.value, &self.types, self.timeout)
            == (&other.url, &other.secret.value, &other.types, other.timeout)
    }
}

impl Eq for Events {}
