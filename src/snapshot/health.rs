//! The health of a credential or identity, in the words of the admin interface.

use crate::secret::name::SecretName;
use crate::secret::value::BadReason;

/// `health` of `/api/credentials`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Health {
    /// The newest value is in use.
    Ok,
    /// The upstream refused the newest value; the previous one is used.
    Fallback,
    /// The directory holds something unusable; the last good value is in use.
    Stale,
    /// A certificate is past its end.
    Expired,
    /// There never was a good value, or it was deleted under `on_missing = "fail"`.
    Missing,
}

impl Health {
    /// As it is spelled in answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Fallback => "fallback",
            Self::Stale => "stale",
            Self::Expired => "expired",
            Self::Missing => "missing",
        }
    }
}

/// A secret that cannot be used, and which credential needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The credential's name, or `route:NAME/client_cert`, `route:NAME/ca`, `intercept/ca`.
    pub credential: String,
    /// The file.
    pub secret: SecretName,
    /// Why.
    pub reason: BadReason,
    /// Whether an earlier good value goes on serving.
    pub last_good: bool,
}
