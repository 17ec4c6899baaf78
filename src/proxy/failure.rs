//! The one table of the proxy's own answers (RFC 9457), told apart from the upstream's by `Countersign-Error`.

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, PROXY_AUTHENTICATE, RETRY_AFTER};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use serde::Serialize;

use crate::observe::Outcome;
use crate::snapshot::credential::Unavailable;
use crate::token::record::Reason;
use crate::upstream::error::{Fault, UpstreamError, WorkerBody};

/// The header that names the error.
pub const ERROR_HEADER: HeaderName = HeaderName::from_static("countersign-error");

/// Seconds after which an overloaded proxy may be asked again.
const OVERLOADED_RETRY_AFTER: u32 = 1;

/// Why the proxy, not the upstream, answers.
#[derive(Debug, Clone)]
pub struct Failure {
    /// The name; also the outcome of the request.
    pub name: Outcome,
    /// For people; no content of the request or of a secret.
    pub detail: String,
    /// Whether the connection to the worker ends, because what follows on it cannot be trusted.
    pub then: Then,
    /// The credential that the failure is about.
    pub credential: Option<String>,
    /// Whether the worker is asked for a proof instead.
    pub challenge: Challenge,
    /// The connection that has no usable token.
    pub connection: Option<Box<Connection>>,
}

/// What a worker, and the people behind it, need to know of a connection without a usable token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    /// The tenant; `None` where the credential has one connection for all.
    pub tenant: Option<String>,
    /// Why, in the words of `connections show`.
    pub reason: Reason,
    /// Seconds until the next attempt, where there will be one.
    pub retry_after: Option<u32>,
}

/// Whether a refused caller is asked for its token (RFC 9110 section 11.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Challenge {
    /// The refusal stands.
    None,
    /// 407: a client of a forward proxy sends its token when it is asked, not before.
    Proxy,
}

/// What becomes of the worker's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// It may carry another request.
    KeepOpen,
    /// It is closed.
    Close,
}

impl Failure {
    /// A failure after which the connection stays usable.
    pub fn new(name: Outcome, detail: impl Into<String>) -> Self {
        Self {
            name,
            detail: detail.into(),
            then: Then::KeepOpen,
            credential: None,
            challenge: Challenge::None,
            connection: None,
        }
    }

    /// A request that cannot be understood safely; the connection is closed.
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self { then: Then::Close, ..Self::new(Outcome::BadRequest, detail) }
    }

    /// No route claims it.
    pub fn no_route(detail: impl Into<String>) -> Self {
        Self::new(Outcome::NoRoute, detail)
    }

    /// A limit of this process.
    pub fn overloaded(detail: impl Into<String>) -> Self {
        Self::new(Outcome::Overloaded, detail)
    }

    /// The credential has no usable value.
    pub fn unavailable(credential: &str, why: &Unavailable) -> Self {
        Self {
            credential: Some(credential.to_owned()),
            ..Self::new(
                Outcome::CredentialUnavailable,
                format!("credential {credential}: secret {}: {}", why.secret, why.reason),
            )
        }
    }

    /// The status of the answer.
    pub fn status(&self) -> StatusCode {
        match self.challenge {
            Challenge::None => status_of(self.name),
            Challenge::Proxy => StatusCode::PROXY_AUTHENTICATION_REQUIRED,
        }
    }

    fn retry_after(&self) -> Option<u32> {
        let connection = self.connection.as_ref().and_then(|connection| connection.retry_after);
        connection.or((self.name == Outcome::Overloaded).then_some(OVERLOADED_RETRY_AFTER))
    }

    /// The answer's head and body.
    pub fn answer(&self, route: Option<&str>) -> Response<Bytes> {
        let status = self.status();
        let problem = Problem {
            kind: format!("urn:countersign:error:{}", self.name.as_str()),
            title: title_of(self.name),
            status: status.as_u16(),
            detail: &self.detail,
            route,
            credential: self.credential.as_deref(),
            tenant: self.connection.as_ref().and_then(|connection| connection.tenant.as_deref()),
            reason: self.connection.as_ref().map(|connection| connection.reason.as_str()),
        };
        // The shape has no map with odd keys and no failing writer: it always serialises.
        let body = Bytes::from(serde_json::to_vec(&problem).unwrap_or_default());
        let mut response = Response::new(body);
        *response.status_mut() = status;
        let length = response.body().len();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        headers.insert(ERROR_HEADER, HeaderValue::from_static(self.name.as_str()));
        if let Some(seconds) = self.retry_after() {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.challenge == Challenge::Proxy {
            headers.insert(PROXY_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"countersign\""));
        }
        if self.then == Then::Close {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

impl From<UpstreamError> for Failure {
    fn from(error: UpstreamError) -> Self {
        let name = match error.fault {
            Fault::Unreachable | Fault::Forbidden => Outcome::UpstreamUnreachable,
            Fault::Tls => Outcome::UpstreamTls,
            Fault::Protocol => Outcome::UpstreamProtocol,
            Fault::Timeout => Outcome::UpstreamTimeout,
            Fault::Full => Outcome::Overloaded,
            Fault::Loop => Outcome::Loop,
            Fault::WorkerBody(WorkerBody::TooLarge) => {
                let detail = "the request body is over limits.request_body of the route";
                return Self { then: Then::Close, ..Self::new(Outcome::BodyTooLarge, detail) };
            }
            Fault::WorkerBody(WorkerBody::Broken) => {
                return Self::bad_request("the request body is malformed or ended early");
            }
            Fault::WorkerBody(WorkerBody::Chunks) => {
                return Self::bad_request("the aws-chunked framing of the request body is malformed");
            }
            Fault::WorkerBody(WorkerBody::Stalled) => return Self::bad_request(error.detail),
        };
        Self::new(name, error.detail)
    }
}

#[derive(Serialize)]
struct Problem<'a> {
    #[serde(rename = "type")]
    kind: String,
    title: &'static str,
    status: u16,
    detail: &'a str,
    route: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    credential: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
}

/// The status of each name; never 401, which is the upstream's word.
pub fn status_of(name: Outcome) -> StatusCode {
    match name {
        Outcome::BadRequest | Outcome::TenantUnknown | Outcome::TenantAmbiguous => StatusCode::BAD_REQUEST,
        Outcome::ClientDenied | Outcome::Reauthorize => StatusCode::FORBIDDEN,
        Outcome::NoRoute => StatusCode::MISDIRECTED_REQUEST,
        Outcome::BodyTooLarge | Outcome::BodyTooLargeToSign => StatusCode::PAYLOAD_TOO_LARGE,
        Outcome::HeadersTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        Outcome::CredentialUnavailable | Outcome::TokenUnavailable | Outcome::Overloaded => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        Outcome::UpstreamUnreachable | Outcome::UpstreamTls | Outcome::UpstreamProtocol => StatusCode::BAD_GATEWAY,
        Outcome::UpstreamTimeout => StatusCode::GATEWAY_TIMEOUT,
        Outcome::Loop => StatusCode::LOOP_DETECTED,
        Outcome::Success | Outcome::Redirection | Outcome::ClientError | Outcome::ServerError | Outcome::Canceled => {
            StatusCode::INTERNAL_SERVER_ERROR
        }
    }
}

fn title_of(name: Outcome) -> &'static str {
    match name {
        Outcome::BadRequest => "The request is malformed or ambiguous",
        Outcome::TenantUnknown => "The request names no tenant",
        Outcome::TenantAmbiguous => "The request names two tenants",
        Outcome::ClientDenied => "This caller may not do this",
        Outcome::NoRoute => "No route claims this request",
        Outcome::BodyTooLarge => "The request body is too large",
        Outcome::BodyTooLargeToSign => "The request body is too large to be signed",
        Outcome::HeadersTooLarge => "The request head is too large",
        Outcome::CredentialUnavailable => "The credential has no usable value",
        Outcome::Reauthorize => "A person must approve this connection again",
        Outcome::TokenUnavailable => "No usable token now; refreshing it fails",
        Outcome::Overloaded => "The proxy is at one of its limits",
        Outcome::UpstreamUnreachable => "The upstream cannot be reached",
        Outcome::UpstreamTls => "TLS with the upstream failed",
        Outcome::UpstreamProtocol => "The upstream did not speak HTTP",
        Outcome::UpstreamTimeout => "The upstream did not answer in time",
        Outcome::Loop => "The request would come back to this proxy",
        Outcome::Success | Outcome::Redirection | Outcome::ClientError | Outcome::ServerError | Outcome::Canceled => {
            "Internal error"
        }
    }
}
