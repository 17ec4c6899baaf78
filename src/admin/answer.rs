//! Responses of the admin and health listeners: bodies with the headers that all of them carry.

use bytes::Bytes;
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue, REFERRER_POLICY,
    WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::{Response, StatusCode};
use http_body_util::Full;
use serde::Serialize;

use super::guard::Refusal;

/// A response of the admin and health listeners.
pub type Answer = Response<Full<Bytes>>;

/// Nothing may be loaded, framed or submitted; the page has its own, slightly wider policy.
const POLICY: HeaderValue = HeaderValue::from_static("default-src 'none'; base-uri 'none'; frame-ancestors 'none'");

/// A body with a type.
pub(super) fn body(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(CONTENT_SECURITY_POLICY, POLICY);
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    let site = HeaderName::from_static("cross-origin-resource-policy");
    headers.insert(site, HeaderValue::from_static("same-origin"));
    let opener = HeaderName::from_static("cross-origin-opener-policy");
    headers.insert(opener, HeaderValue::from_static("same-origin"));
    answer
}

/// Plain text.
pub(super) fn text(status: StatusCode, content: impl Into<Bytes>) -> Answer {
    body(status, "text/plain; charset=utf-8", content)
}

/// JSON.
pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Answer {
    match serde_json::to_vec(value) {
        Ok(content) => body(status, "application/json", content),
        // Maps with odd keys only; the views have none.
        Err(_) => problem(StatusCode::INTERNAL_SERVER_ERROR, "the answer cannot be written as JSON"),
    }
}

/// A problem document (RFC 9457).
pub(super) fn problem(status: StatusCode, detail: &str) -> Answer {
    problem_with(status, detail, &[])
}

/// A problem document with the messages that explain it.
pub(super) fn problem_with(status: StatusCode, detail: &str, messages: &[String]) -> Answer {
    let mut document = serde_json::json!({
        "type": "about:blank",
        "title": status.canonical_reason().unwrap_or_default(),
        "status": status.as_u16(),
        "detail": detail,
    });
    if !messages.is_empty() {
        document["messages"] = messages.into();
    }
    body(status, "application/problem+json", document.to_string())
}

/// 405 with what is allowed.
pub(super) fn method_not_allowed(allow: &'static str) -> Answer {
    let mut answer = problem(StatusCode::METHOD_NOT_ALLOWED, &format!("this path takes {allow}"));
    answer.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
    answer
}

/// The answer to a request that the guard refused.
pub(super) fn refused(refusal: Refusal) -> Answer {
    let status = match refusal {
        Refusal::Host => StatusCode::BAD_REQUEST,
        Refusal::Misdirected => StatusCode::MISDIRECTED_REQUEST,
        Refusal::CrossSite | Refusal::Off | Refusal::Unusable => StatusCode::FORBIDDEN,
        Refusal::NoToken | Refusal::WrongToken => StatusCode::UNAUTHORIZED,
    };
    let mut answer = problem(status, &refusal.to_string());
    let challenge = match refusal {
        Refusal::NoToken => "Bearer realm=\"countersign\"",
        Refusal::WrongToken => "Bearer realm=\"countersign\", error=\"invalid_token\"", // RFC 6750 section 3.1
        _ => return answer,
    };
    answer.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    answer
}
