//! One `oauth2` credential as the configuration wrote it: plain, checked values. Built by `config`, read by everybody
//! who makes, keeps or uses its tokens. `docs/CONFIGURATION.md` has the keys.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, Method};

use super::derive::Derive;
use super::fill::Fill;
use crate::secret::name::NamePattern;
use crate::sign::basic::PublicValue;

/// `oauth2 = { .. }`
#[derive(Clone, Debug)]
pub struct OAuth {
    /// `grant`
    pub grant: Grant,
    /// `token_url`
    pub token_url: Endpoint,
    /// `refresh_url`; `token_url` by default.
    pub refresh_url: Option<Endpoint>,
    /// `authorize_url`, where a person approves.
    pub authorize_url: Option<Endpoint>,
    /// `revoke_url` (RFC 7009).
    pub revoke_url: Option<Endpoint>,
    /// `redirect_url`; default `http://127.0.0.1:0/callback`.
    pub redirect_url: String,
    /// `client_id`
    pub client_id: Option<PublicValue>,
    /// `client_secret`
    pub client_secret: Option<NamePattern>,
    /// `client_auth`
    pub client_auth: ClientAuth,
    /// `scope`, in the order written.
    pub scope: Vec<String>,
    /// `scope_separator`; one space by default.
    pub scope_separator: String,
    /// `audience`
    pub audience: Option<Fill>,
    /// `resource` (RFC 8707).
    pub resource: Option<Fill>,
    /// `username` of the password grant.
    pub username: Option<PublicValue>,
    /// `password` of the password grant.
    pub password: Option<NamePattern>,
    /// `refresh_token`: the file that the first refresh token comes from.
    pub seed: Option<NamePattern>,
    /// `extra`: parameters of every token request.
    pub extra: Vec<(String, Fill)>,
    /// `headers` of every token request.
    pub headers: Vec<(HeaderName, Fill)>,
    /// `request`: the form of the token request.
    pub request: RequestShape,
    /// `answer`: where the answer's parts are.
    pub answer: AnswerShape,
    /// `dead`: error codes beside `invalid_grant` that mean that a person must approve again.
    pub dead: Vec<String>,
    /// `derive`: a second token for some endpoints.
    pub derive: Option<Arc<Derive>>,
    /// `per`
    pub per: Per,
    /// `refresh`
    pub refresh: RefreshPolicy,
}

/// `grant`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Grant {
    /// RFC 6749 section 4.4; makes a connection at its first use.
    ClientCredentials,
    /// RFC 6749 section 6: the first refresh token comes from a seed, an import, or an approval.
    RefreshToken,
    /// RFC 6749 section 4.1 with PKCE (RFC 7636): a person approves.
    AuthorizationCode,
    /// RFC 6749 section 4.3; makes a connection at its first use.
    Password,
}

impl Grant {
    /// As the configuration and `connections` spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ClientCredentials => "client_credentials",
            Self::RefreshToken => "refresh_token",
            Self::AuthorizationCode => "authorization_code",
            Self::Password => "password",
        }
    }

    /// Whether a person's consent is behind it, so that countersign cannot make a connection by itself.
    pub const fn needs_consent(self) -> bool {
        matches!(self, Self::RefreshToken | Self::AuthorizationCode)
    }
}

/// A URL with `{tenant}` and captures; `https`, or `http` where that is allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The whole URL.
    pub url: Fill,
    /// Whether `http` to another machine is allowed (`insecure_upstream`).
    pub insecure: Insecure,
}

/// Whether `http` to another machine is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Insecure {
    /// Only to this machine.
    Refused,
    /// `insecure_upstream = true`
    Allowed,
}

/// `client_auth`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    /// RFC 6749 section 2.3.1: both parts form-encoded, then Basic.
    Basic,
    /// Basic over the parts as they are (eBay, Walmart, PayPal).
    BasicRaw,
    /// `client_id` and `client_secret` among the parameters of a form.
    Post,
    /// The same in a JSON body.
    Json,
    /// The same in the query (TikTok Shop).
    Query,
    /// `client_id` alone: a public client.
    None,
}

/// `request`: how parameters are sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestShape {
    /// Default POST.
    pub method: Method,
    /// Default form.
    pub body: BodyForm,
    /// Parameters by their standard name, with the name to send; an empty one leaves the parameter out.
    pub rename: Vec<(String, String)>,
}

/// `request.body`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyForm {
    /// `application/x-www-form-urlencoded`
    Form,
    /// `application/json`, every value a string.
    Json,
    /// In the query; no body.
    Query,
}

/// `answer`: JSON pointers (RFC 6901) into the answer. A pointer written without `/` is the name of a member.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AnswerShape {
    /// Default `/access_token`.
    pub access_token: Option<String>,
    /// Default `/refresh_token`.
    pub refresh_token: Option<String>,
    /// Default `/expires_in`.
    pub expires_in: Option<String>,
    /// Default `/expires_at`.
    pub expires_at: Option<String>,
    /// How `expires_in` and `expires_at` count.
    pub expires_unit: Option<ExpiresUnit>,
    /// Default `/refresh_token_expires_in`, then `/refresh_expires_in`.
    pub refresh_expires_in: Option<String>,
    /// Default `/scope`.
    pub scope: Option<String>,
    /// The API's host for this connection, learned from the answer: a host or a URL.
    pub host: Option<String>,
    /// Further values, kept encrypted and named `{value.NAME}` in `inject`.
    pub values: Vec<(String, String)>,
    /// `POINTER == VALUE` that holds for a good answer, where errors come with status 200.
    pub ok: Option<Condition>,
    /// Default `/error`.
    pub error: Option<String>,
    /// Default `/error_description`.
    pub error_detail: Option<String>,
}

/// `POINTER == VALUE`; numbers and booleans are compared by their text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// The pointer.
    pub pointer: String,
    /// The value.
    pub value: String,
}

/// `answer.expires_unit`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpiresUnit {
    /// Seconds from now.
    Seconds,
    /// Milliseconds from now.
    Millis,
    /// Seconds since 1970.
    Epoch,
    /// Milliseconds since 1970.
    EpochMillis,
    /// RFC 3339, or RFC 1123; without a zone UTC.
    Date,
    /// A date and time without zone, this many seconds east of UTC.
    Local(i32),
}

/// `per`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Per {
    /// A connection for each tenant of the route; one where the route has no tenant.
    Tenant,
    /// One connection for all.
    Credential,
}

/// `refresh`
#[derive(Clone, Debug, PartialEq)]
pub struct RefreshPolicy {
    /// Share of the token's life after which it is refreshed; default 0.8.
    pub at: f64,
    /// How long before the end it is refreshed at the latest; default 5 min.
    pub before: Duration,
    /// How long before the end at the earliest; default 0: no bound (Exact Online refuses what comes earlier than 30 s before).
    pub not_before: Duration,
    /// One token call, from connecting to the whole answer; default 20 s.
    pub timeout: Duration,
    /// How long a request waits for a usable token; default 10 s.
    pub wait: Duration,
    /// The life of a token whose answer says none; default 1 h.
    pub default_life: Duration,
    /// The first pause after a failure; default 1 s.
    pub first: Duration,
    /// The longest pause; default 5 min.
    pub max: Duration,
    /// An unused connection is refreshed once in this time; default 7 d.
    pub idle: Duration,
    /// Token calls of this credential at one time; default 16.
    pub parallel: usize,
}
