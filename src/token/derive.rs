//! A second token, which a platform gives for the first (`derive`; a restricted data token of Amazon's Selling Partner
//! API is the model): the call for it and its answer. PURE: nothing is sent here. Who calls, keeps and uses it is
//! `refresh::derive`.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, COOKIE, USER_AGENT};
use http::{HeaderValue, Method, Request, Uri};
use zeroize::Zeroizing;

use super::answer::{self, Answer, Class, Refusal};
use super::call::{CallError, CallInput, called, filled};
use super::fill::Fill;
use super::grant::{AnswerShape, Endpoint};
use super::record::{Reason, TokenSet};
use crate::clock::Timestamp;
use crate::route::endpoint;
use crate::sign::Injection;

/// `derive = { .. }`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Derive {
    /// `url`
    pub url: Endpoint,
    /// `method`
    pub method: Method,
    /// `body`
    pub body: Option<Fill>,
    /// `content_type` of the body.
    pub content_type: HeaderValue,
    /// `answer`
    pub answer: AnswerShape,
    /// `ttl`: how long it is used at most; what the answer says wins where it is shorter.
    pub ttl: Option<Duration>,
    /// `endpoints`: where it is used.
    pub endpoints: Vec<endpoint::Endpoint>,
}

impl Derive {
    /// Whether a request is one that needs the second token; `path` as it leaves, without its query.
    pub fn is_for(&self, method: &Method, path: &str) -> bool {
        self.endpoints.iter().any(|endpoint| endpoint.matches(method, path))
    }
}

/// Why there is no second token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoDerived {
    /// The platform does not accept the first token.
    First(Option<String>),
    /// Anything else.
    Refused(Refusal),
}

/// The call: what the credential puts into requests proves who is asking.
///
/// # Errors
/// A variable without a value, or a URL that must not be called.
pub fn request(input: &CallInput<'_>, derive: &Derive, first: &Injection) -> Result<Request<Bytes>, CallError> {
    let mut uri = called(&derive.url, "derive.url", input, &[])?;
    if !first.query.is_empty() {
        let mut text = Zeroizing::new(uri.to_string());
        for pair in &first.query {
            let joint = if text.contains('?') { '&' } else { '?' };
            text.push(joint);
            text.push_str(pair);
        }
        uri = text.parse::<Uri>().map_err(|_| CallError::Url { key: "derive.url" })?;
    }
    let body = derive.body.as_ref().map(|body| filled(body, "derive.body", input)).transpose()?;
    let mut request = Request::new(Bytes::from(body.unwrap_or_default()));
    let headers = request.headers_mut();
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    headers.insert(USER_AGENT, HeaderValue::from_static(concat!("countersign/", env!("CARGO_PKG_VERSION"))));
    if derive.body.is_some() {
        headers.insert(CONTENT_TYPE, derive.content_type.clone());
    }
    for (name, value) in &first.headers {
        headers.insert(name, value.clone());
    }
    if !first.cookies.is_empty() {
        let mut value = HeaderValue::from_str(&first.cookies.join("; "))
            .map_err(|_| CallError::Header(COOKIE.as_str().to_owned()))?;
        value.set_sensitive(true);
        headers.insert(COOKIE, value);
    }
    (*request.method_mut(), *request.uri_mut()) = (derive.method.clone(), uri);
    Ok(request)
}

/// Reads the answer: the second token is the access token of what comes out, and `expires_at` its end: what the answer
/// says, or `ttl`, whichever is earlier.
///
/// # Errors
/// Whatever is no token.
pub fn read(derive: &Derive, answer: &Answer<'_>, now: Timestamp) -> Result<TokenSet, NoDerived> {
    let mut tokens = answer::read_shaped(&derive.answer, answer, now).map_err(|refusal| match refusal.class {
        // Only the first token says who is asking.
        Class::Dead | Class::Client => NoDerived::First(refusal.detail),
        _ => NoDerived::Refused(refusal),
    })?;
    let most = derive.ttl.map(|ttl| now.plus(ttl));
    tokens.expires_at = [tokens.expires_at, most].into_iter().flatten().min();
    if tokens.expires_at.is_some_and(|end| end <= now) {
        let detail = Some("the second token had ended when it came; is the clock right?".to_owned());
        let class = Class::Passing { retry_after: None };
        return Err(NoDerived::Refused(Refusal { reason: Reason::BadAnswer, class, detail }));
    }
    Ok(tokens)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use http::{HeaderMap, StatusCode};

    use super::*;
    use crate::token::grant::Insecure;
    use crate::token::vectors;

    /// As the reference of the Tokens API of the Selling Partner API has it (`createRestrictedDataToken`, 2021-03-01).
    const BODY: &str =
        r#"{"restrictedResources":[{"method":"GET","path":"/orders/v0/orders","dataElements":["buyerInfo"]}]}"#;
    const ANSWER: &[u8] = br#"{"expiresIn": 3600, "restrictedDataToken": "Atz.sprdt|AYABeDXi"}"#;

    fn derive() -> Derive {
        let url = "https://sellingpartnerapi-eu.amazon.com/tokens/2021-03-01/restrictedDataToken";
        Derive {
            url: Endpoint { url: Fill::parse(url).unwrap(), insecure: Insecure::Refused },
            method: Method::POST,
            body: Some(Fill::literal(BODY)),
            content_type: HeaderValue::from_static("application/json"),
            answer: AnswerShape {
                access_token: Some("/restrictedDataToken".to_owned()),
                expires_in: Some("/expiresIn".to_owned()),
                ..AnswerShape::default()
            },
            ttl: None,
            endpoints: vec![endpoint::Endpoint::parse("GET /orders/v0/orders").unwrap()],
        }
    }

    fn input(oauth: &super::super::OAuth, then: impl FnOnce(&CallInput<'_>)) {
        let fill = |_: &str| None;
        then(&CallInput { oauth, client_id: None, client_secret: None, username: None, password: None, fill: &fill });
    }

    #[test]
    fn the_call_has_the_first_token_where_requests_have_it() {
        let oauth = vectors::oauth(&serde_json::json!({
            "grant": "client_credentials", "token_url": "https://a.test/token", "client_id": "c", "client_auth": "none",
        }));
        let mut first = Injection::default();
        first.headers = vec![("x-amz-access-token".parse().unwrap(), HeaderValue::from_static("Atza|A"))];
        first.query = vec!["t=A".to_owned()];
        first.cookies = vec!["s=A".to_owned()];
        input(&oauth, |input| {
            let request = request(input, &derive(), &first).unwrap();
            let url = "https://sellingpartnerapi-eu.amazon.com/tokens/2021-03-01/restrictedDataToken?t=A";
            assert_eq!((request.method(), request.uri().to_string().as_str()), (&Method::POST, url));
            let header = |name: &str| request.headers()[name].to_str().unwrap();
            assert_eq!((header("x-amz-access-token"), header("cookie")), ("Atza|A", "s=A"));
            assert_eq!((header("content-type"), &**request.body()), ("application/json", BODY.as_bytes()));
        });
    }

    fn answered(derive: &Derive, status: u16, body: &[u8]) -> Result<TokenSet, NoDerived> {
        let headers = HeaderMap::new();
        let status = StatusCode::from_u16(status).unwrap();
        read(derive, &Answer { status, headers: &headers, body, sent: &[] }, Timestamp::from_seconds(1000))
    }

    #[test]
    fn the_answer_and_ttl_say_when_it_ends() {
        let ttl = |seconds: Option<u64>| Derive { ttl: seconds.map(Duration::from_secs), ..derive() };
        let end = |ttl: &Derive, body: &[u8]| answered(ttl, 200, body).unwrap().expires_at.map(|end| end.seconds);
        assert_eq!(answered(&derive(), 200, ANSWER).unwrap().access.unwrap().expose(), b"Atz.sprdt|AYABeDXi");
        assert_eq!(end(&ttl(None), ANSWER), Some(4600));
        assert_eq!(end(&ttl(Some(600)), ANSWER), Some(1600));
        assert_eq!(end(&ttl(Some(7200)), ANSWER), Some(4600));
        assert_eq!(end(&ttl(None), br#"{"restrictedDataToken": "x"}"#), None);
        assert_eq!(end(&ttl(Some(600)), br#"{"restrictedDataToken": "x"}"#), Some(1600));
    }

    #[test]
    fn who_is_to_blame() {
        // The form of errors of the Selling Partner API.
        let unauthorized =
            br#"{"errors":[{"message":"Access to requested resource is denied.","code":"Unauthorized"}]}"#;
        assert!(matches!(answered(&derive(), 401, unauthorized), Err(NoDerived::First(_))));
        assert!(matches!(answered(&derive(), 400, br#"{"error":"invalid_grant"}"#), Err(NoDerived::First(_))));
        let refused = |status, body: &[u8]| match answered(&derive(), status, body) {
            Err(NoDerived::Refused(refusal)) => (refusal.reason, refusal.class),
            other => panic!("{other:?}"),
        };
        assert_eq!(refused(403, unauthorized), (Reason::BadAnswer, Class::Configuration));
        assert_eq!(refused(429, b""), (Reason::RateLimited, Class::Passing { retry_after: None }));
        assert_eq!(refused(200, b"{}"), (Reason::BadAnswer, Class::Unread));
    }
}
