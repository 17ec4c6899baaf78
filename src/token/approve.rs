//! A person's approval (RFC 6749 section 4.1 with PKCE, RFC 7636): what the browser is sent to, and what it brings back.
//! PURE: random bytes are given. Not here: keeping an approval (`store`), the page and the listener (`cli`, `admin`).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Uri;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::call::{CallError, CallInput, called};
use super::detail;
use crate::template::encode;

/// Parameters of a callback that are looked at, at most.
const PARAMETERS: usize = 64;

/// A PKCE verifier of 43 characters (RFC 7636 section 4.1) from 32 random bytes.
pub fn verifier(random: &[u8; 32]) -> Zeroizing<String> {
    Zeroizing::new(URL_SAFE_NO_PAD.encode(random))
}

/// The S256 challenge of a verifier (RFC 7636 section 4.2).
pub fn challenge(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.as_bytes()))
}

/// A `state` parameter from 32 random bytes.
pub fn state(random: &[u8; 32]) -> String {
    URL_SAFE_NO_PAD.encode(random)
}

/// What an approval is kept under: SHA-256 of its `state`, so that who reads the store cannot finish it.
pub fn state_digest(state: &str) -> [u8; 32] {
    Sha256::digest(state.as_bytes()).into()
}

/// Where the browser is sent. Parameters that `authorize_url` itself has in its query are not added again.
///
/// # Errors
/// A variable without a value, no `authorize_url` or `client_id`, or a URL that must not be opened.
pub fn authorize_url(
    input: &CallInput<'_>,
    state: &str,
    challenge: &str,
    redirect_url: &str,
) -> Result<String, CallError> {
    const KEY: &str = "authorize_url";
    let oauth = input.oauth;
    let endpoint = oauth.authorize_url.as_ref().ok_or(CallError::Missing(KEY))?;
    let bare = called(endpoint, KEY, input, &[])?;
    let scope = oauth.scope.join(&oauth.scope_separator);
    let text = |text: &super::fill::Fill, key| {
        let value = text.fill(|name| (input.fill)(name));
        value.map_err(|variable| CallError::Variable { key, variable: variable.to_owned() })
    };
    let audience = oauth.audience.as_ref().map(|value| text(value, "audience")).transpose()?;
    let resource = oauth.resource.as_ref().map(|value| text(value, "resource")).transpose()?;
    let wanted = [
        ("response_type", Some("code")),
        ("client_id", Some(input.client_id.ok_or(CallError::Missing("client_id"))?)),
        ("redirect_uri", Some(redirect_url)),
        ("scope", Some(scope.as_str()).filter(|scope| !scope.is_empty())),
        ("state", Some(state)),
        ("code_challenge", Some(challenge)),
        ("code_challenge_method", Some("S256")),
        ("audience", audience.as_deref()),
        ("resource", resource.as_deref()),
    ];
    let there = names(&bare);
    let added: Vec<(String, Zeroizing<String>)> = wanted
        .into_iter()
        .filter(|(name, _)| !there.iter().any(|other| other == name))
        .filter_map(|(name, value)| Some((name.to_owned(), Zeroizing::new(value?.to_owned()))))
        .collect();
    called(endpoint, KEY, input, &added).map(|uri| uri.to_string())
}

fn names(uri: &Uri) -> Vec<String> {
    let pairs = uri.query().unwrap_or_default().split('&');
    pairs.map(|pair| decoded(pair.split_once('=').map_or(pair, |(name, _)| name))).collect()
}

fn decoded(text: &str) -> String {
    String::from_utf8_lossy(&encode::form_decode(text.as_bytes())).into_owned()
}

/// What a browser brought back.
pub struct Callback {
    /// The `state`, which names the approval; unchecked.
    pub state: String,
    /// What was decided.
    pub outcome: Decision,
    /// `iss` (RFC 9207), where the platform sends it.
    pub issuer: Option<String>,
}

/// What was decided at the platform.
pub enum Decision {
    /// Approved: a code, good once and for minutes.
    Approved(Zeroizing<String>),
    /// Not approved.
    Denied {
        /// The platform's code: `access_denied`.
        error: String,
        /// Its words, cleaned.
        detail: Option<String>,
    },
}

/// Why a query is no callback.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallbackError {
    /// One of the parameters that count stands there twice (RFC 6749 section 3.1).
    #[error("{0} stands in the callback more than once")]
    Twice(&'static str),
    /// Not there, or empty.
    #[error("the callback has no {0}")]
    Missing(&'static str),
    /// Over 64 parameters.
    #[error("the callback has too many parameters")]
    TooMany,
}

impl Callback {
    /// Reads the query of a callback, without its `?`. `code` is the name of the code's parameter: `code`, or what
    /// `request.rename` has for it.
    ///
    /// # Errors
    /// What is missing, or ambiguous.
    pub fn read(query: &str, code: &str) -> Result<Self, CallbackError> {
        if query.split('&').count() > PARAMETERS {
            return Err(CallbackError::TooMany);
        }
        let one = |wanted: &str, name: &'static str| {
            let mut found = query.split('&').filter_map(|pair| {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                (decoded(name) == wanted).then(|| decoded(value))
            });
            let first = found.next().filter(|value| !value.is_empty());
            if found.next().is_some() { Err(CallbackError::Twice(name)) } else { Ok(first) }
        };
        let state = one("state", "state")?.ok_or(CallbackError::Missing("state"))?;
        let (error, code_value) = (one("error", "error")?, one(code, "code")?);
        let outcome = match (error, code_value) {
            (Some(error), _) => {
                let said = one("error_description", "error_description")?.unwrap_or_default();
                let error = detail::clean(&error, &[]).unwrap_or_else(|| "error".to_owned());
                Decision::Denied { error, detail: detail::clean(&said, &[]) }
            }
            (None, Some(code)) => Decision::Approved(Zeroizing::new(code)),
            (None, None) => return Err(CallbackError::Missing("code")),
        };
        Ok(Self { state, outcome, issuer: one("iss", "iss")? })
    }
}
