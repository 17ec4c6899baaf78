//! What the admin listener shows: plain values, and their JSON. The field names are a contract with programs.

use serde::{Serialize, Serializer};

use crate::clock::Timestamp;
use crate::observe::line::time_text;

/// `/api/status`
#[derive(Clone, Debug, Serialize)]
pub struct StatusView {
    /// Version of the program.
    pub version: String,
    /// Counts snapshots; starts at 1.
    pub generation: u64,
    /// Whole seconds since the start.
    pub uptime: u64,
    /// What listens where.
    pub listeners: Vec<ListenerView>,
}

/// One listening socket.
#[derive(Clone, Debug, Serialize)]
pub struct ListenerView {
    /// `proxy`, `route`, `admin` or `health`.
    pub kind: &'static str,
    /// `127.0.0.1:8080` with the real port, or `unix:/path`.
    pub address: String,
    /// The route that a `route` listener belongs to.
    pub route: Option<String>,
}

/// One row of `/api/routes`.
#[derive(Clone, Debug, Serialize)]
pub struct RouteView {
    /// The name.
    pub name: String,
    /// The host pattern.
    pub host: String,
    /// The path prefix to match.
    pub path: Option<String>,
    /// The methods; all when `None`.
    pub methods: Option<Vec<String>>,
    /// The way in by prefix.
    pub prefix: Option<String>,
    /// The way in by own port, with the real port.
    pub listen: Option<String>,
    /// Where requests go.
    pub upstream: String,
    /// The credentials in order; empty for `none`.
    pub credentials: Vec<String>,
    /// Whether every credential has a usable value.
    pub ready: bool,
}

/// How a credential is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// The newest value is in use.
    Ok,
    /// The upstream refuses the newest value; the previous one serves.
    Fallback,
    /// The newest value cannot be used; the last good one serves.
    Stale,
    /// There never was a good value: requests get 503.
    Missing,
    /// The certificate in use has expired.
    Expired,
}

impl Health {
    /// The word in JSON and on the page.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Fallback => "fallback",
            Self::Stale => "stale",
            Self::Missing => "missing",
            Self::Expired => "expired",
        }
    }
}

/// One row of `/api/credentials`.
#[derive(Clone, Debug, Serialize)]
pub struct CredentialView {
    /// The name; a route's own identity is `route:NAME/client_cert` or `route:NAME/ca`.
    pub name: String,
    /// The scheme's key in `proxy.toml`.
    pub scheme: String,
    /// 8 hex digits, keyed; says whether two values are the same and nothing else.
    pub fingerprint: Option<String>,
    /// How it is.
    pub health: Health,
    /// Why, when it is not `ok`; never any part of a value.
    pub reason: Option<String>,
    /// When the value in use was loaded.
    #[serde(serialize_with = "rfc3339")]
    pub loaded_at: Option<Timestamp>,
    /// When the certificate in use expires.
    #[serde(serialize_with = "rfc3339")]
    pub expires_at: Option<Timestamp>,
    /// Counts values; starts at 1, 0 when there never was one.
    pub generation: u64,
    /// The routes that use it.
    pub routes: Vec<String>,
}

/// `/readyz`
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    /// Whether requests are welcome.
    pub ready: bool,
    /// Why not.
    pub reasons: Vec<String>,
    /// Credentials that are not `ok`; they do not make the process unready.
    pub unhealthy: Vec<Unhealthy>,
}

/// One unhealthy credential.
#[derive(Clone, Debug)]
pub struct Unhealthy {
    /// The name.
    pub name: String,
    /// How it is.
    pub health: Health,
    /// Why.
    pub reason: Option<String>,
}

/// What came of `POST /api/reload`.
#[derive(Clone, Debug, Serialize)]
pub struct ReloadView {
    /// What happened.
    pub result: ReloadResult,
    /// The generation in force now.
    pub generation: u64,
    /// Mistakes, each with its place; or what needs a restart.
    pub messages: Vec<String>,
}

/// The outcome of a reload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ReloadResult {
    /// A new snapshot is in force.
    Ok,
    /// Nothing had changed.
    Unchanged,
    /// There were mistakes; the last good configuration stays.
    Failed,
}

pub(super) fn rfc3339<S: Serializer>(at: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => serializer.serialize_str(&time_text(*at)),
        None => serializer.serialize_none(),
    }
}
