//! What is sent to a token endpoint: token requests of every grant and dialect, and revocation (RFC 7009). PURE: the
//! secrets are given, nothing is sent here. Not here: what a person's browser is sent ([`super::approve`]), what comes
//! back ([`super::answer`]).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, Uri};
use zeroize::Zeroizing;

use super::fill::Fill;
use super::grant::{BodyForm, ClientAuth, Endpoint, Grant, Insecure, OAuth};
use crate::sign::basic::PublicValue;
use crate::template::encode;

/// The longest URL of a token call, in bytes.
const URL_LIMIT: usize = 16 * 1024;

/// What a call is made of.
#[derive(Clone, Copy)]
pub struct CallInput<'a> {
    /// The credential.
    pub oauth: &'a OAuth,
    /// `client_id`, from the configuration or a secret.
    pub client_id: Option<&'a str>,
    /// `client_secret`
    pub client_secret: Option<&'a str>,
    /// `username`
    pub username: Option<&'a str>,
    /// `password`
    pub password: Option<&'a str>,
    /// The value of `tenant` and of captures.
    pub fill: &'a dyn Fn(&str) -> Option<&'a str>,
}

/// Which token request.
#[derive(Clone, Copy)]
pub enum Ask<'a> {
    /// RFC 6749 section 4.4.
    Client,
    /// RFC 6749 section 4.3.
    Password,
    /// RFC 6749 section 6.
    Refresh {
        /// The refresh token.
        token: &'a str,
    },
    /// RFC 6749 section 4.1.3, RFC 7636 section 4.5.
    Code {
        /// From the callback.
        code: &'a str,
        /// The PKCE verifier.
        verifier: &'a str,
        /// The same as at the beginning of the approval.
        redirect_url: &'a str,
    },
}

/// Why a call cannot be made. No text has a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// A variable that has no value for this connection.
    #[error("{key}: {{{variable}}} has no value here")]
    Variable {
        /// The key of the configuration.
        key: &'static str,
        /// The variable.
        variable: String,
    },
    /// With its variables filled in it is no URL that can be called.
    #[error("{key}: with its variables filled in this is no https:// URL with a host and without user name")]
    Url {
        /// The key of the configuration.
        key: &'static str,
    },
    /// Over 16 KiB.
    #[error("{key}: the URL would be longer than 16 KiB")]
    TooLong {
        /// The key of the configuration.
        key: &'static str,
    },
    /// The value of a header has a byte that a header cannot carry.
    #[error("headers.{0}: the value cannot stand in a header")]
    Header(String),
    /// A secret that the call needs is not there.
    #[error("{0} is needed for this call and has no value")]
    Missing(&'static str),
}

/// A name and a value to send; wiped.
type Parameter = (String, Zeroizing<String>);

/// A token request. Its body is a copy of secrets that is not wiped once it was handed over.
///
/// # Errors
/// A variable without a value, a secret that is missing, or a URL that must not be called.
pub fn token_request(input: &CallInput<'_>, ask: &Ask<'_>) -> Result<Request<Bytes>, CallError> {
    let oauth = input.oauth;
    let refresh = oauth.refresh_url.as_ref().filter(|_| matches!(ask, Ask::Refresh { .. }));
    let (endpoint, key) = refresh.map_or((&oauth.token_url, "token_url"), |url| (url, "refresh_url"));
    let mut parts = Parts::default();
    for (name, value) in standard(input, ask)? {
        parts.add(oauth, name, value);
    }
    parts.authenticate(input)?;
    for (name, value) in &oauth.extra {
        let value = Zeroizing::new(filled(value, "extra", input)?);
        // What the configuration writes takes the place of what would be sent by itself.
        for list in [&mut parts.body, &mut parts.query] {
            list.retain(|(other, _)| other != name);
        }
        parts.body.push((name.clone(), value));
    }
    parts.into_request(input, endpoint, key, oauth.request.method.clone())
}

/// The request that ends a token at the platform; `None` where the credential has no `revoke_url`. `hint` is
/// `refresh_token` or `access_token`.
///
/// # Errors
/// As [`token_request`].
pub fn revoke_request(
    input: &CallInput<'_>,
    token: &str,
    hint: &'static str,
) -> Result<Option<Request<Bytes>>, CallError> {
    let Some(endpoint) = &input.oauth.revoke_url else { return Ok(None) };
    let mut parts = Parts::default();
    parts.body.push(("token".to_owned(), Zeroizing::new(token.to_owned())));
    parts.body.push(("token_type_hint".to_owned(), Zeroizing::new(hint.to_owned())));
    parts.authenticate(input)?;
    parts.into_request(input, endpoint, "revoke_url", Method::POST).map(Some)
}

/// Every secret that a call sends, for [`super::answer::Answer::sent`]: what a platform says may repeat them.
pub fn sent(input: &CallInput<'_>, ask: &Ask<'_>) -> Vec<Zeroizing<String>> {
    let mut secrets: Vec<&str> = [input.client_secret, input.password].into_iter().flatten().collect();
    for (value, written) in [(input.client_id, &input.oauth.client_id), (input.username, &input.oauth.username)] {
        secrets.extend(value.filter(|_| matches!(written, Some(PublicValue::Secret(_)))));
    }
    match *ask {
        Ask::Refresh { token } => secrets.push(token),
        Ask::Code { code, verifier, .. } => secrets.extend([code, verifier]),
        Ask::Client | Ask::Password => {}
    }
    let mut secrets: Vec<Zeroizing<String>> = secrets.into_iter().map(|one| Zeroizing::new(one.to_owned())).collect();
    if let (Some(id), Some(secret)) = (input.client_id, input.client_secret) {
        secrets.push(basic(ClientAuth::Basic, id, secret));
        secrets.push(basic(ClientAuth::BasicRaw, id, secret));
    }
    secrets
}

/// The parameters of the grant by their standard names.
fn standard(input: &CallInput<'_>, ask: &Ask<'_>) -> Result<Vec<(&'static str, Zeroizing<String>)>, CallError> {
    let oauth = input.oauth;
    let own = |value: &str| Zeroizing::new(value.to_owned());
    let mut list: Vec<(&'static str, Zeroizing<String>)> = Vec::new();
    let scope = own(&oauth.scope.join(&oauth.scope_separator));
    let scoped = match *ask {
        Ask::Client => {
            list.push(("grant_type", own("client_credentials")));
            true
        }
        Ask::Password => {
            list.push(("grant_type", own("password")));
            list.push(("username", own(input.username.ok_or(CallError::Missing("username"))?)));
            list.push(("password", own(input.password.ok_or(CallError::Missing("password"))?)));
            true
        }
        Ask::Refresh { token } => {
            list.push(("grant_type", own("refresh_token")));
            list.push(("refresh_token", own(token)));
            // After an approval it was asked for there, and many platforms refuse it here.
            oauth.grant == Grant::RefreshToken
        }
        Ask::Code { code, verifier, redirect_url } => {
            list.push(("grant_type", own("authorization_code")));
            list.push(("code", own(code)));
            list.push(("redirect_uri", own(redirect_url)));
            list.push(("code_verifier", own(verifier)));
            false
        }
    };
    if scoped && !scope.is_empty() {
        list.push(("scope", scope));
    }
    if let Some(audience) = oauth.audience.as_ref().filter(|_| matches!(ask, Ask::Client | Ask::Password)) {
        list.push(("audience", Zeroizing::new(filled(audience, "audience", input)?)));
    }
    if let Some(resource) = &oauth.resource {
        list.push(("resource", Zeroizing::new(filled(resource, "resource", input)?)));
    }
    Ok(list)
}

pub(super) fn filled(text: &Fill, key: &'static str, input: &CallInput<'_>) -> Result<String, CallError> {
    text.fill(|name| (input.fill)(name)).map_err(|variable| CallError::Variable { key, variable: variable.to_owned() })
}

/// The parameters of a call, by where they go.
#[derive(Default)]
struct Parts {
    body: Vec<Parameter>,
    query: Vec<Parameter>,
    authorization: Option<Zeroizing<String>>,
    json: Option<BodyForm>,
}

impl Parts {
    /// Adds a parameter under the name that the platform has for it, if it wants it at all.
    fn add(&mut self, oauth: &OAuth, name: &str, value: Zeroizing<String>) {
        let name = renamed(oauth, name);
        if !name.is_empty() {
            self.body.push((name.to_owned(), value));
        }
    }

    fn authenticate(&mut self, input: &CallInput<'_>) -> Result<(), CallError> {
        let oauth = input.oauth;
        let own = |value: &str| Zeroizing::new(value.to_owned());
        let id = || input.client_id.ok_or(CallError::Missing("client_id"));
        let secret = || input.client_secret.ok_or(CallError::Missing("client_secret"));
        match oauth.client_auth {
            ClientAuth::Basic | ClientAuth::BasicRaw => {
                self.authorization = Some(basic(oauth.client_auth, id()?, secret()?));
            }
            ClientAuth::Post | ClientAuth::Json => {
                self.add(oauth, "client_id", own(id()?));
                self.add(oauth, "client_secret", own(secret()?));
                self.json = (oauth.client_auth == ClientAuth::Json).then_some(BodyForm::Json);
            }
            ClientAuth::Query => {
                for (name, value) in [("client_id", id()?), ("client_secret", secret()?)] {
                    let name = renamed(oauth, name);
                    if !name.is_empty() {
                        self.query.push((name.to_owned(), own(value)));
                    }
                }
            }
            ClientAuth::None => {
                if let Some(id) = input.client_id {
                    self.add(oauth, "client_id", own(id));
                }
            }
        }
        Ok(())
    }

    fn into_request(
        mut self,
        input: &CallInput<'_>,
        endpoint: &Endpoint,
        key: &'static str,
        method: Method,
    ) -> Result<Request<Bytes>, CallError> {
        let oauth = input.oauth;
        let form = if method == Method::GET { BodyForm::Query } else { self.json.unwrap_or(oauth.request.body) };
        if form == BodyForm::Query {
            self.query.append(&mut self.body);
        }
        let uri = called(endpoint, key, input, &self.query)?;
        let (content_type, body) = match form {
            BodyForm::Form => (Some("application/x-www-form-urlencoded"), form_body(&self.body)),
            BodyForm::Json => (Some("application/json"), json_body(&self.body)),
            BodyForm::Query => (None, Vec::new()),
        };
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("countersign/", env!("CARGO_PKG_VERSION"))));
        for (name, value) in &oauth.headers {
            let value = Zeroizing::new(filled(value, "headers", input)?);
            let bad = |_| CallError::Header(name.as_str().to_owned());
            headers.insert(name.clone(), HeaderValue::from_str(&value).map_err(bad)?);
        }
        if let Some(content_type) = content_type {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        }
        if let Some(value) = &self.authorization {
            let bad = |_| CallError::Header(AUTHORIZATION.as_str().to_owned());
            let mut value = HeaderValue::from_str(value).map_err(bad)?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let mut request = Request::new(Bytes::from(body));
        (*request.method_mut(), *request.uri_mut(), *request.headers_mut()) = (method, uri, headers);
        Ok(request)
    }
}

fn renamed<'a>(oauth: &'a OAuth, name: &'a str) -> &'a str {
    oauth.request.rename.iter().find(|(from, _)| from == name).map_or(name, |(_, to)| to)
}

/// `Basic ..`: RFC 6749 section 2.3.1 encodes both parts as a form does; many platforms want them as they are.
fn basic(how: ClientAuth, id: &str, secret: &str) -> Zeroizing<String> {
    let mut pair = Zeroizing::new(Vec::with_capacity((id.len() + secret.len()) * 3 + 1));
    if how == ClientAuth::BasicRaw {
        pair.extend_from_slice(id.as_bytes());
        pair.push(b':');
        pair.extend_from_slice(secret.as_bytes());
    } else {
        encode::form(id.as_bytes(), &mut pair);
        pair.push(b':');
        encode::form(secret.as_bytes(), &mut pair);
    }
    let mut value = Zeroizing::new(String::with_capacity("Basic ".len() + pair.len().div_ceil(3) * 4));
    value.push_str("Basic ");
    STANDARD.encode_string(pair.as_slice(), &mut value);
    value
}

/// A URL with its variables filled in, percent-encoded, and `query` appended.
pub(super) fn called(
    endpoint: &Endpoint,
    key: &'static str,
    input: &CallInput<'_>,
    query: &[Parameter],
) -> Result<Uri, CallError> {
    let mut encoded = Vec::new();
    for name in endpoint.url.variables() {
        let value = (input.fill)(name);
        let value = value.ok_or_else(|| CallError::Variable { key, variable: name.to_owned() })?;
        let mut out = Vec::with_capacity(value.len());
        encode::url(value.as_bytes(), &mut out);
        encoded.push((name, String::from_utf8_lossy(&out).into_owned()));
    }
    let value = |name: &str| encoded.iter().find(|(other, _)| *other == name).map(|(_, value)| value.as_str());
    let url = endpoint.url.fill(value).map_err(|_| CallError::Url { key })?;
    let mut url = Zeroizing::new(url.split_once('#').map_or(url.as_str(), |(before, _)| before).to_owned());
    for (name, value) in query {
        let joint = if url.contains('?') { '&' } else { '?' };
        url.push(joint);
        url.push_str(&Zeroizing::new(encode::query_pair(name, value.as_bytes())));
    }
    if url.len() > URL_LIMIT {
        return Err(CallError::TooLong { key });
    }
    let uri: Uri = url.parse().map_err(|_| CallError::Url { key })?;
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err(CallError::Url { key });
    };
    let secure = scheme == "https"
        || (scheme == "http" && (endpoint.insecure == Insecure::Allowed || is_this_machine(authority.host())));
    // A user name in it would hide which host is called; a `%` is a variable that is no name of a host.
    if !secure || authority.host().is_empty() || authority.as_str().contains(['@', '%']) {
        return Err(CallError::Url { key });
    }
    Ok(uri)
}

fn is_this_machine(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare.eq_ignore_ascii_case("localhost")
        || bare.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn form_body(parameters: &[Parameter]) -> Vec<u8> {
    let size = parameters.iter().map(|(name, value)| 3 * (name.len() + value.len()) + 2).sum();
    let mut out = Vec::with_capacity(size);
    for (name, value) in parameters {
        if !out.is_empty() {
            out.push(b'&');
        }
        encode::form(name.as_bytes(), &mut out);
        out.push(b'=');
        encode::form(value.as_bytes(), &mut out);
    }
    out
}

fn json_body(parameters: &[Parameter]) -> Vec<u8> {
    let size = parameters.iter().map(|(name, value)| 6 * (name.len() + value.len()) + 6).sum::<usize>();
    let mut out = Vec::with_capacity(size + 2);
    out.push(b'{');
    for (name, value) in parameters {
        if out.len() > 1 {
            out.push(b',');
        }
        for (text, end) in [(name.as_str(), b':'), (value.as_str(), 0)] {
            out.push(b'"');
            encode::json(text.as_bytes(), &mut out);
            out.push(b'"');
            if end != 0 {
                out.push(end);
            }
        }
    }
    out.push(b'}');
    out
}
