//! What callers give to [`super::Tokens`] and get from it. No logic of refreshing.

use std::sync::Arc;

use crate::clock::Timestamp;
use crate::sign::Signer;
use crate::snapshot::credential::Instance;
use crate::store::StoreError;
use crate::token::Record;
use crate::token::record::Reason;

/// Which token a request needs.
#[derive(Clone, Copy, Debug)]
pub struct Want<'w> {
    /// The credential's name.
    pub credential: &'w str,
    /// The tenant of the request; empty where it has none. Credentials with one connection for all do not look at it.
    pub tenant: &'w str,
    /// What the route's host captured, for URLs of token calls.
    pub captures: &'w [(&'w str, &'w str)],
    /// The time of day.
    pub now: Timestamp,
}

/// A token that may be sent now.
#[derive(Debug)]
pub struct Token {
    /// What the signer takes, in the order of its parts.
    pub instance: Arc<Instance>,
    /// Whose parts those are.
    pub signer: Arc<Signer>,
    /// The version of the record that it came from.
    pub version: u64,
    /// The API's host, where the platform's answer named one.
    pub host: Option<Arc<str>>,
    /// From then on it is not sent, by this process's clock.
    pub usable_until: Timestamp,
    /// Which of a connection's tokens it is.
    pub kind: TokenKind,
}

/// Which of a connection's tokens one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenKind {
    /// The access token.
    Access,
    /// The access token and the second one that was derived with it.
    Derived,
}

impl Token {
    /// One that is looked at and never sent: what stands for a token where people read.
    pub fn shown(instance: Arc<Instance>, signer: &Arc<Signer>) -> Self {
        let signer = signer.clone();
        let (usable_until, kind) = (Timestamp::from_seconds(0), TokenKind::Access);
        Self { instance, signer, version: 0, host: None, usable_until, kind }
    }

    /// Whether a signer takes just the parts that this one has, in their order. After a reload it may take others.
    pub fn fits(&self, signer: &Arc<Signer>) -> bool {
        let same = || match (&*self.signer, &**signer) {
            (Signer::Token(one), Signer::Token(other)) => one.parts() == other.parts(),
            _ => false,
        };
        Arc::ptr_eq(&self.signer, signer) || same()
    }
}

/// Why there is no token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoToken {
    /// What the worker is answered.
    pub kind: NoTokenKind,
    /// Why.
    pub reason: Reason,
    /// What the platform said; no secret.
    pub detail: Option<String>,
    /// Seconds until the next try, 1 to 300.
    pub retry_after: u32,
}

/// What the worker is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoTokenKind {
    /// 403 `reauthorize`: a person must act.
    Reauthorize,
    /// 503 `token_unavailable`: it may pass.
    Unavailable,
}

impl NoToken {
    /// A person must act.
    pub fn reauthorize(reason: Reason, detail: Option<String>) -> Self {
        Self { kind: NoTokenKind::Reauthorize, reason, detail, retry_after: 300 }
    }

    /// It may pass; the next try is in so many seconds.
    pub fn unavailable(reason: Reason, detail: Option<String>, seconds: u64) -> Self {
        let retry_after = u32::try_from(seconds.clamp(1, 300)).unwrap_or(300);
        Self { kind: NoTokenKind::Unavailable, reason, detail, retry_after }
    }
}

/// That the platform does not accept a credential's client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unhealthy {
    /// Since when.
    pub since: Timestamp,
    /// What the platform said; no secret.
    pub detail: Option<String>,
}

/// A connection that was ended.
#[derive(Debug)]
pub struct Revoked {
    /// What it was; `None`: there was none.
    pub before: Option<Record>,
    /// What became of its tokens at the platform.
    pub platform: PlatformRevoked,
}

/// What became of tokens at the platform.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlatformRevoked {
    /// The platform has ended them.
    Revoked,
    /// It was asked and did not say so.
    Failed,
    /// It has no such endpoint, or there was no token.
    None,
}

impl PlatformRevoked {
    /// As `revoke` answers it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Revoked => "revoked",
            Self::Failed => "failed",
            Self::None => "none",
        }
    }
}

/// Why a connection was not steered.
#[derive(Debug, thiserror::Error)]
pub enum SteerError {
    /// The store did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No such credential, or it has no `oauth2`.
    #[error("there is no oauth2 credential of this name")]
    UnknownCredential,
    /// There is no token, and why.
    #[error("no token: {}", .0.reason.as_str())]
    NoToken(NoToken),
}
