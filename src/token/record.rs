//! One connection as the store keeps it: a tenant's grant at a platform, with its tokens. No I/O, no time of its own.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::grant::Grant;
use crate::clock::Timestamp;
use crate::secret::value::SecretBytes;

/// Which connection: credential and tenant.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionKey {
    /// The credential's name.
    pub credential: Arc<str>,
    /// The tenant; empty where the credential has one connection for all.
    pub tenant: Arc<str>,
}

/// The stored states. `refreshing` is `Active` or `Degraded` while a lease is live.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// The grant is good, as far as anybody knows.
    Active,
    /// Refreshing fails for a passing cause.
    Degraded,
    /// A person must approve again.
    Reauthorize,
    /// It was ended here.
    Revoked,
}

/// Why a connection is not `Active`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// There is no record, or one without any token.
    NotConnected,
    /// The platform says that the grant is dead (RFC 6749 section 5.2, and its dialects).
    InvalidGrant,
    /// The refresh token's known life is over, or there is none and the access token has ended.
    RefreshExpired,
    /// A kill came between sending a refresh and storing its answer, and the old token was then refused.
    RefreshInterrupted,
    /// The answer to a refresh was lost on its way, and the old token was then refused.
    AnswerLost,
    /// Ended by `revoke`.
    Revoked,
    /// The platform does not accept the client itself.
    InvalidClient,
    /// No connection to the token endpoint.
    Refused,
    /// No answer in time.
    Timeout,
    /// Status 500 to 599.
    Http5xx,
    /// Status 429.
    RateLimited,
    /// An answer that cannot be understood.
    BadAnswer,
}

/// What a platform gave.
#[derive(Clone, Debug, Default)]
pub struct TokenSet {
    /// Sent with requests.
    pub access: Option<SecretBytes>,
    /// Sent to the token endpoint.
    pub refresh: Option<SecretBytes>,
    /// Further values by name (`answer.values`); secret like the tokens.
    pub values: BTreeMap<String, SecretBytes>,
    /// The API's host, where the answer named one (`answer.host`).
    pub host: Option<String>,
    /// What was granted; empty where the platform never says.
    pub scopes: Vec<String>,
    /// When the access token came.
    pub issued_at: Option<Timestamp>,
    /// When the access token ends; `None` where nobody knows.
    pub expires_at: Option<Timestamp>,
    /// When the refresh token ends; `None` where nobody knows.
    pub refresh_expires_at: Option<Timestamp>,
}

/// A connection.
#[derive(Clone, Debug)]
pub struct Record {
    /// Which.
    pub key: ConnectionKey,
    /// How it was granted.
    pub grant: Grant,
    /// Its state.
    pub state: State,
    /// Why it is not active.
    pub reason: Option<Reason>,
    /// What the platform said, cleaned and cut; no secret.
    pub detail: Option<String>,
    /// Its tokens.
    pub tokens: TokenSet,
    /// Moves with every write of tokens or state; 0 before the first.
    pub version: u64,
    /// Failed refreshes in a row.
    pub failures: u32,
    /// When it is refreshed next by itself; `None`: not.
    pub next_refresh_at: Option<Timestamp>,
    /// The last attempt.
    pub last_refresh: Option<LastRefresh>,
    /// Which seed its refresh token came from last: SHA-256 of the file's content.
    pub seed: Option<[u8; 32]>,
    /// The captures of the route's host at its making, for URLs of background calls.
    pub captures: BTreeMap<String, String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was written last, by the database's clock.
    pub updated_at: Timestamp,
    /// When a request used it last, to the minute.
    pub last_used_at: Option<Timestamp>,
    /// Who is refreshing it.
    pub lease: Option<Lease>,
    /// A refresh that was sent and not committed.
    pub intent: Option<Timestamp>,
}

/// The last attempt to refresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastRefresh {
    /// When.
    pub at: Timestamp,
    /// `None` is success.
    pub failed: Option<Reason>,
}

/// Who may refresh a connection, until when by the database's clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The process, a random name.
    pub owner: String,
    /// The end.
    pub until: Timestamp,
}

impl ConnectionKey {
    /// A key.
    pub fn new(credential: &str, tenant: &str) -> Self {
        Self { credential: credential.into(), tenant: tenant.into() }
    }
}

impl fmt::Display for ConnectionKey {
    /// `shop/m1`; `shop` for a connection without tenant.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.credential)?;
        if self.tenant.is_empty() { Ok(()) } else { write!(f, "/{}", self.tenant) }
    }
}

impl State {
    /// As it is stored and shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Degraded => "degraded",
            Self::Reauthorize => "reauthorize",
            Self::Revoked => "revoked",
        }
    }

    /// From [`Self::as_str`].
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Active, Self::Degraded, Self::Reauthorize, Self::Revoked].into_iter().find(|s| s.as_str() == word)
    }
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 12] = [
        Self::NotConnected,
        Self::InvalidGrant,
        Self::RefreshExpired,
        Self::RefreshInterrupted,
        Self::AnswerLost,
        Self::Revoked,
        Self::InvalidClient,
        Self::Refused,
        Self::Timeout,
        Self::Http5xx,
        Self::RateLimited,
        Self::BadAnswer,
    ];

    /// As it is stored and shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotConnected => "not_connected",
            Self::InvalidGrant => "invalid_grant",
            Self::RefreshExpired => "refresh_expired",
            Self::RefreshInterrupted => "refresh_interrupted",
            Self::AnswerLost => "answer_lost",
            Self::Revoked => "revoked",
            Self::InvalidClient => "invalid_client",
            Self::Refused => "refused",
            Self::Timeout => "timeout",
            Self::Http5xx => "http_5xx",
            Self::RateLimited => "rate_limited",
            Self::BadAnswer => "bad_answer",
        }
    }

    /// From [`Self::as_str`].
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == word)
    }
}
