//! What the admin listener shows of connections and is asked to do with them: plain values and their JSON, the trait
//! behind which the shell keeps stores and tokens, and the answers to `/api/connections..` and `/api/connect..`. The
//! field names are a contract with programs; the command line prints the same.

use std::future::Future;
use std::pin::Pin;

use http::{Method, StatusCode};
use serde::{Deserialize, Serialize};

use super::answer::{self, Answer};
use super::callback;
use super::view::rfc3339;
use crate::clock::Timestamp;

/// Rows of a list where nobody says how many.
pub const LIMIT_DEFAULT: u32 = 100;
/// The reason of a row whose tokens no key of `[state]` opens.
pub const SEALED: &str = "sealed";
/// Rows of a list at most.
pub const LIMIT_MAX: u32 = 1000;

/// One connection.
#[derive(Clone, Debug, Serialize)]
pub struct ConnectionView {
    /// The credential's name.
    pub credential: String,
    /// The tenant; `None` where the credential has one connection for all.
    pub tenant: Option<String>,
    /// The platform's name, where a recipe says it.
    pub platform: Option<String>,
    /// How it was granted.
    pub grant: String,
    /// `active`, `refreshing`, `degraded`, `reauthorize` or `revoked`.
    pub state: &'static str,
    /// Whether its access token would be sent now.
    pub usable: bool,
    /// Why it is not active.
    pub reason: Option<&'static str>,
    /// What the platform said; no secret.
    pub detail: Option<String>,
    /// What was granted; empty where the platform never says.
    pub scopes: Vec<String>,
    /// When the access token came.
    #[serde(serialize_with = "rfc3339")]
    pub issued_at: Option<Timestamp>,
    /// When it ends; `None` where nobody knows.
    #[serde(serialize_with = "rfc3339")]
    pub expires_at: Option<Timestamp>,
    /// When the refresh token ends; `None` where nobody knows.
    #[serde(serialize_with = "rfc3339")]
    pub refresh_expires_at: Option<Timestamp>,
    /// When it is refreshed next by itself.
    #[serde(serialize_with = "rfc3339")]
    pub next_refresh_at: Option<Timestamp>,
    /// 8 hex digits, keyed; says whether two tokens are the same and nothing else.
    pub access_token: Option<String>,
    /// The same of the refresh token.
    pub refresh_token: Option<String>,
    /// Moves with every write of tokens or state.
    pub version: u64,
    /// Failed refreshes in a row.
    pub failures: u32,
    /// The last attempt.
    pub last_refresh: Option<LastRefreshView>,
    /// When it was made.
    #[serde(serialize_with = "rfc3339")]
    pub created_at: Option<Timestamp>,
    /// When it was written last.
    #[serde(serialize_with = "rfc3339")]
    pub updated_at: Option<Timestamp>,
    /// When a request used it last.
    #[serde(serialize_with = "rfc3339")]
    pub last_used_at: Option<Timestamp>,
    /// The routes that use it.
    pub routes: Vec<String>,
}

/// The last attempt to refresh.
#[derive(Clone, Debug, Serialize)]
pub struct LastRefreshView {
    /// When.
    #[serde(serialize_with = "rfc3339")]
    pub at: Option<Timestamp>,
    /// `ok`, or the reason of its failure.
    pub outcome: &'static str,
}

/// A page of connections.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ConnectionList {
    /// Ordered by credential and tenant.
    pub connections: Vec<ConnectionView>,
    /// `after` of the next page; `None` on the last.
    pub next: Option<String>,
}

/// A connection that was ended.
#[derive(Clone, Debug, Serialize)]
pub struct RevokedView {
    /// The credential's name.
    pub credential: String,
    /// The tenant.
    pub tenant: Option<String>,
    /// `revoked`
    pub state: &'static str,
    /// What became of its tokens at the platform: `revoked`, `failed` or `none`.
    pub platform: &'static str,
    /// The routes that are stopped for it.
    pub routes: Vec<String>,
}

/// An approval that was begun.
#[derive(Clone, Debug, Serialize)]
pub struct ApprovalView {
    /// Where the merchant's browser is sent.
    pub approval_url: String,
    /// The `state` in it, by which the product's back end finds its own session again.
    pub state: String,
}

/// Which connections are listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListQuery {
    /// Of this credential alone.
    pub credential: Option<String>,
    /// Of this tenant alone.
    pub tenant: Option<String>,
    /// In this state alone; [`STATES`] has the words.
    pub state: Option<String>,
    /// Rows, 1 to [`LIMIT_MAX`].
    pub limit: u32,
    /// [`ConnectionList::next`] of the page before.
    pub after: Option<String>,
}

/// What `state` of a list takes. `active` and `degraded` are found by what is stored: while they are refreshed, those
/// rows say `refreshing`.
pub const STATES: [&str; 5] = ["active", "refreshing", "degraded", "reauthorize", "revoked"];

impl Default for ListQuery {
    fn default() -> Self {
        Self { credential: None, tenant: None, state: None, limit: LIMIT_DEFAULT, after: None }
    }
}

/// Which approval is begun.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BeginAsk {
    /// The credential's name.
    pub credential: String,
    /// The tenant, where the credential has one connection for each.
    #[serde(default)]
    pub tenant: Option<String>,
    /// Where the browser comes back to instead of the configured `redirect_url`.
    #[serde(default)]
    pub redirect_url: Option<String>,
}

/// What kind of trouble it was; decides the status of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The question is wrong: 400.
    Ask,
    /// There is no such credential or connection: 404.
    Unknown,
    /// It is used up, too old, or nobody began it: 409.
    Spent,
    /// A person must act: 403.
    PersonMustAct,
    /// The platform, or the proxy's own registration with it, does not do it: 502.
    Platform,
    /// It may pass, the store or the platform did not answer: 503.
    Passing,
}

/// Why something was not done.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct Refused {
    /// The kind.
    pub trouble: Trouble,
    /// One line for people; no secret.
    pub message: String,
}

impl Refused {
    /// A refusal.
    pub fn new(trouble: Trouble, message: impl Into<String>) -> Self {
        Self { trouble, message: message.into() }
    }

    fn answer(&self) -> Answer {
        let status = match self.trouble {
            Trouble::Ask => StatusCode::BAD_REQUEST,
            Trouble::Unknown => StatusCode::NOT_FOUND,
            Trouble::Spent => StatusCode::CONFLICT,
            Trouble::PersonMustAct => StatusCode::FORBIDDEN,
            Trouble::Platform => StatusCode::BAD_GATEWAY,
            Trouble::Passing => StatusCode::SERVICE_UNAVAILABLE,
        };
        answer::problem(status, &self.message)
    }
}

/// An answer, later.
pub type Later<'a, T> = Pin<Box<dyn Future<Output = Result<T, Refused>> + Send + 'a>>;

/// The connections of the running proxy.
pub trait Connections: Send + Sync {
    /// A page of them.
    fn list(&self, query: ListQuery) -> Later<'_, ConnectionList>;
    /// One; the tenant is empty where the credential has one connection for all.
    fn show<'a>(&'a self, credential: &'a str, tenant: &'a str) -> Later<'a, ConnectionView>;
    /// Refreshes one now; answers when that has ended.
    fn refresh<'a>(&'a self, credential: &'a str, tenant: &'a str) -> Later<'a, ConnectionView>;
    /// Ends one.
    fn revoke<'a>(&'a self, credential: &'a str, tenant: &'a str) -> Later<'a, RevokedView>;
    /// Begins an approval.
    fn begin(&self, ask: BeginAsk) -> Later<'_, ApprovalView>;
    /// Finishes an approval with the query that the browser brought back.
    fn finish<'a>(&'a self, query: &'a str) -> Later<'a, ConnectionView>;
    /// Whether a credential has one connection for all, rather than one for each tenant.
    fn is_single(&self, credential: &str) -> bool;
}

/// A path below `/api/connections`, `/api/connect`, or the callback.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Path {
    List,
    /// Credential; what follows is a tenant.
    One(String, Option<String>),
    Refresh(String, String),
    Revoke(String, String),
    Begin,
    Finish,
    Callback,
}

impl Path {
    /// What a path means for a method; a name that is no name is found nowhere.
    pub(super) fn find(path: &str, method: &Method) -> Option<Self> {
        match path {
            "/api/connections" => return Some(Self::List),
            "/api/connect" => return Some(Self::Begin),
            "/api/connect/finish" => return Some(Self::Finish),
            callback::PATH => return Some(Self::Callback),
            _ => {}
        }
        let rest = path.strip_prefix("/api/connections/")?;
        let parts: Vec<String> = rest.split('/').map(str::to_owned).collect();
        let good = |name: &str| name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
        if !parts.iter().all(|part| !part.is_empty() && part.len() <= 128 && good(part)) {
            return None;
        }
        let is_changing = !(method == Method::GET || method == Method::HEAD);
        match parts.as_slice() {
            [credential, verb] if is_changing => Self::verb(credential, "", verb),
            [credential, tenant, verb] => Self::verb(credential, tenant, verb),
            [credential] => Some(Self::One(credential.clone(), None)),
            [credential, tenant] => Some(Self::One(credential.clone(), Some(tenant.clone()))),
            _ => None,
        }
    }

    fn verb(credential: &str, tenant: &str, verb: &str) -> Option<Self> {
        match verb {
            "refresh" => Some(Self::Refresh(credential.to_owned(), tenant.to_owned())),
            "revoke" => Some(Self::Revoke(credential.to_owned(), tenant.to_owned())),
            _ => None,
        }
    }

    /// Whether it changes something, so that it needs the admin token.
    pub(super) fn is_changing(&self) -> bool {
        matches!(self, Self::Refresh(..) | Self::Revoke(..) | Self::Begin | Self::Finish)
    }

    /// The browser of a merchant has no admin token; the state in its query is what it shows.
    pub(super) fn is_callback(&self) -> bool {
        *self == Self::Callback
    }
}

/// Answers; `body` is that of a POST. `None`: no credential of the configuration keeps tokens.
pub(super) async fn answer(path: Path, query: &str, body: &[u8], from: Option<&dyn Connections>) -> Answer {
    let Some(from) = from else {
        return match path {
            Path::List => answer::json(StatusCode::OK, &ConnectionList::default()),
            Path::Callback => callback::failed("No approval was begun here."),
            _ => Refused::new(Trouble::Unknown, "no credential of the configuration has connections").answer(),
        };
    };
    match path {
        Path::List => match list_query(query) {
            Ok(query) => json_of(from.list(query).await),
            Err(refused) => refused.answer(),
        },
        Path::One(credential, None) if !from.is_single(&credential) => match list_query(query) {
            Ok(query) => json_of(from.list(ListQuery { credential: Some(credential), ..query }).await),
            Err(refused) => refused.answer(),
        },
        Path::One(credential, tenant) => json_of(from.show(&credential, tenant.as_deref().unwrap_or_default()).await),
        Path::Refresh(credential, tenant) => json_of(from.refresh(&credential, &tenant).await),
        Path::Revoke(credential, tenant) => json_of(from.revoke(&credential, &tenant).await),
        Path::Begin => match serde_json::from_slice::<BeginAsk>(body) {
            Ok(ask) => json_of(from.begin(ask).await),
            Err(_) => {
                Refused::new(Trouble::Ask, "send {\"credential\": .., \"tenant\": .., \"redirect_url\": ..}").answer()
            }
        },
        Path::Finish => match serde_json::from_slice::<FinishAsk>(body) {
            Ok(ask) => json_of(from.finish(ask.query.strip_prefix('?').unwrap_or(&ask.query)).await),
            Err(_) => Refused::new(Trouble::Ask, "send {\"query\": \"code=..&state=..\"}").answer(),
        },
        Path::Callback => match from.finish(query).await {
            Ok(done) => callback::approved(&done.credential, done.tenant.as_deref()),
            Err(refused) => callback::failed(&refused.message),
        },
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FinishAsk {
    query: String,
}

fn json_of<T: Serialize>(answered: Result<T, Refused>) -> Answer {
    match answered {
        Ok(view) => answer::json(StatusCode::OK, &view),
        Err(refused) => refused.answer(),
    }
}

fn list_query(query: &str) -> Result<ListQuery, Refused> {
    let mut list = ListQuery::default();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = || value.replace("%2F", "/").replace("%2f", "/"); // the one character of a cursor that is encoded
        match name {
            "credential" => list.credential = Some(value()),
            "tenant" => list.tenant = Some(value()),
            "state" => list.state = Some(value()),
            "after" => list.after = Some(value()),
            "limit" => {
                let limit = value().parse().ok().filter(|limit| (1..=LIMIT_MAX).contains(limit));
                let wrong = || Refused::new(Trouble::Ask, format!("limit is a number from 1 to {LIMIT_MAX}"));
                list.limit = limit.ok_or_else(wrong)?;
            }
            _ => {
                let known = "a list takes credential, tenant, state, limit and after";
                return Err(Refused::new(Trouble::Ask, known));
            }
        }
    }
    if list.state.as_deref().is_some_and(|state| !STATES.contains(&state)) {
        return Err(Refused::new(Trouble::Ask, format!("state is one of {}", STATES.join(", "))));
    }
    Ok(list)
}

#[cfg(test)]
#[path = "connections_tests.rs"]
mod tests;
