//! The tokens of a request: looked up, waited for, and asked for anew after the upstream's 401. No token call is made
//! here (`refresh` does that, apart from requests). Called by `request`.

use std::sync::Arc;

use http::request::Parts;

use super::Proxy;
use super::failure::{Connection, Failure};
use super::live::Live;
use super::matching::Matched;
use super::ready::{self, Ready};
use crate::clock::Timestamp;
use crate::config::model::Credential;
use crate::observe::Outcome;
use crate::refresh::{NoToken, NoTokenKind, Token, TokenKind, Tokens, Want};
use crate::token::derive::Derive;
use crate::token::grant::Per;

/// A usable token of one credential of the route.
#[derive(Clone, Debug)]
pub struct Obtained {
    /// The place of the credential in the configuration.
    pub credential: usize,
    /// The token.
    pub token: Arc<Token>,
}

/// A usable token for each credential of the route that has tokens. Waits for the refresher where one is not there,
/// at most `refresh.wait` of its credential.
pub async fn obtain(
    proxy: &Proxy,
    live: &Live,
    matched: &Matched<'_>,
    (parts, tenant): (&Parts, Option<&str>),
    now: Timestamp,
) -> Result<Vec<Obtained>, Failure> {
    let mut found = Vec::new();
    for credential in with_tokens(live, matched.route) {
        let (tokens, want) = want(proxy, live, credential, tenant, &[], now)?;
        let kind = kind(&live.snapshot.plan.config.credentials[credential], matched, parts);
        let usable = match kind {
            TokenKind::Access => tokens.usable(want.credential, want.tenant, now),
            TokenKind::Derived => tokens.usable_derived(want.credential, want.tenant, now),
        };
        let token = match usable {
            Some(token) => token,
            None => {
                let want = Want { captures: &captures(matched), ..want };
                let came = match kind {
                    TokenKind::Access => Box::pin(tokens.wait(&want)).await,
                    TokenKind::Derived => Box::pin(tokens.wait_derived(&want)).await,
                };
                came.map_err(|none| refused(&want, none))?
            }
        };
        found.push(Obtained { credential, token });
    }
    Ok(found)
}

/// Which token of a credential a request needs.
pub fn kind(credential: &Credential, matched: &Matched<'_>, parts: &Parts) -> TokenKind {
    let derive = credential.oauth.as_ref().and_then(|oauth| oauth.derive.as_ref());
    let is_for = |derive: &Arc<Derive>| {
        let target = ready::target(&parts.uri, matched.cut);
        let path = target.as_str().split('?').next().unwrap_or_default();
        derive.is_for(&parts.method, path)
    };
    if derive.is_some_and(is_for) { TokenKind::Derived } else { TokenKind::Access }
}

/// After the upstream's 401: newer tokens, in place of those that it refused. `None`: its word stands.
pub async fn renew(proxy: &Proxy, live: &Live, ready: &Ready<'_>) -> Result<Option<Vec<Obtained>>, Failure> {
    let captures = captures(&ready.matched);
    let now = proxy.clock.now();
    let (mut all, mut newer) = (Vec::with_capacity(ready.tokens.len()), false);
    for obtained in &ready.tokens {
        let tenant = ready.tenant.as_deref();
        let (tokens, want) = want(proxy, live, obtained.credential, tenant, &captures, now)?;
        let version = obtained.token.version;
        let renewed = match obtained.token.kind {
            TokenKind::Access => Box::pin(tokens.refused(&want, version)).await,
            TokenKind::Derived => Box::pin(tokens.refused_derived(&want, &obtained.token)).await,
        };
        let renewed = renewed.map_err(|none| refused(&want, none))?;
        newer |= renewed.is_some();
        let token = renewed.unwrap_or_else(|| obtained.token.clone());
        all.push(Obtained { credential: obtained.credential, token });
    }
    Ok(newer.then_some(all))
}

/// After the upstream's 401 to a request that cannot be repeated: the next one will have a newer token.
pub fn renew_later(proxy: &Proxy, live: &Live, ready: &Ready<'_>) {
    let captures = captures(&ready.matched);
    let now = proxy.clock.now();
    for obtained in &ready.tokens {
        let tenant = ready.tenant.as_deref();
        if let Ok((tokens, want)) = want(proxy, live, obtained.credential, tenant, &captures, now) {
            match obtained.token.kind {
                TokenKind::Access => tokens.refused_unreplayable(&want, obtained.token.version),
                TokenKind::Derived => tokens.refused_derived_unreplayable(&want, &obtained.token),
            }
        }
    }
}

/// For the URLs of token calls.
fn captures<'m>(matched: &'m Matched<'_>) -> Vec<(&'m str, &'m str)> {
    matched.captures.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

/// The credentials of a route that have tokens.
fn with_tokens(live: &Live, route: usize) -> impl Iterator<Item = usize> {
    let config = &live.snapshot.plan.config;
    let all = config.routes[route].credentials.iter().copied();
    all.filter(|&index| config.credentials[index].oauth.is_some())
}

fn want<'w>(
    proxy: &'w Proxy,
    live: &'w Live,
    credential: usize,
    tenant: Option<&'w str>,
    captures: &'w [(&'w str, &'w str)],
    now: Timestamp,
) -> Result<(&'w Arc<Tokens>, Want<'w>), Failure> {
    let config = &live.snapshot.plan.config.credentials[credential];
    let none = || Failure::new(Outcome::CredentialUnavailable, format!("credential {} has no store", config.name));
    let tokens = proxy.tokens.as_ref().ok_or_else(none)?;
    let per = config.oauth.as_ref().map_or(Per::Tenant, |oauth| oauth.per);
    let tenant = tenant.filter(|_| per == Per::Tenant).unwrap_or_default();
    Ok((tokens, Want { credential: &config.name, tenant, captures, now }))
}

/// The worker's view of a connection without a usable token.
fn refused(want: &Want<'_>, none: NoToken) -> Failure {
    let tenant = Some(want.tenant).filter(|tenant| !tenant.is_empty()).map(str::to_owned);
    let whose = tenant.as_deref().map_or(String::new(), |tenant| format!(", tenant {tenant}"));
    let credential = want.credential;
    let said = none.detail.as_deref().map_or(String::new(), |detail| format!(": {detail}"));
    let reason = none.reason.as_str();
    let (name, detail, retry_after) = match none.kind {
        NoTokenKind::Reauthorize => {
            let detail = format!(
                "credential {credential}{whose}: {reason}{said}; approve it with `countersign connect {credential}`"
            );
            (Outcome::Reauthorize, detail, None)
        }
        NoTokenKind::Unavailable => {
            let detail = format!("credential {credential}{whose}: no usable token now, {reason}{said}");
            (Outcome::TokenUnavailable, detail, Some(none.retry_after))
        }
    };
    let connection = Connection { tenant, reason: none.reason, retry_after };
    Failure {
        credential: Some(credential.to_owned()),
        connection: Some(Box::new(connection)),
        ..Failure::new(name, detail)
    }
}
