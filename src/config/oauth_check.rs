//! What `oauth2` credentials have to do with routes, with `[state]`, and which secrets may be one file.

use std::collections::HashMap;

use super::credential;
use super::credential_hmac::Hole;
use super::fields::Mistakes;
use super::model::{Credential, Events, Span, Spanned, State, StateUrl};
use super::oauth_state::Consent;
use super::route;
use crate::secret::name::NamePattern;
use crate::token::grant::Per;

/// Whether tokens would be lost with the process for good.
pub(super) fn consent(credentials: &[credential::Declared]) -> Consent {
    let needs = |credential: &Credential| credential.oauth.as_ref().is_some_and(|oauth| oauth.grant.needs_consent());
    let any = credentials.iter().filter_map(|declared| declared.made.as_ref()).any(needs);
    if any { Consent::Given } else { Consent::None }
}

/// A connection is found by credential and tenant alone: what differs otherwise would mix connections up.
pub(super) fn together(routes: &[route::Declared], credentials: &[credential::Declared], mistakes: &Mistakes) {
    for declared in credentials {
        let Some(oauth) = declared.made.as_ref().and_then(|made| made.oauth.as_ref()) else { continue };
        if oauth.per == Per::Credential {
            for (variable, span) in taken(declared) {
                let message = format!(
                    "`per = \"credential\"` is one connection for all, and {{{variable}}} differs from request to request"
                );
                mistakes.hinted(
                    span,
                    message,
                    "write text in its place, or remove `per` for a connection for each tenant",
                );
            }
        }
    }
    for declared in routes {
        let Some(route) = declared.made.as_ref().filter(|route| route.tenant.is_none()) else { continue };
        for (index, span) in route.credentials.iter().zip(&declared.credential_spans) {
            let Some(found) = credentials.get(*index) else { continue };
            let tokens =
                found.made.as_ref().is_some_and(|made| made.oauth.as_ref().is_some_and(|o| o.per == Per::Tenant));
            let captured = |name: &str| route.host.captures().any(|capture| capture == name);
            let Some((capture, _)) = taken(found).into_iter().find(|(name, _)| tokens && captured(name)) else {
                continue;
            };
            let message = format!(
                "route `{}` uses credential `{}`, which needs {{{capture}}}, and has no `tenant`: all hosts would have one connection",
                route.name, found.name.value
            );
            mistakes.hinted(span.clone(), message, format!("add tenant = \"{{{capture}}}\" to the route"));
        }
    }
}

/// The variables that a credential takes from routes, in texts and in names of secrets.
fn taken(declared: &credential::Declared) -> Vec<(String, Span)> {
    let holes = declared.holes.iter().map(|hole| match &hole.value {
        Hole::Tenant => ("tenant".to_owned(), hole.span.clone()),
        Hole::Capture(name) => (name.clone(), hole.span.clone()),
    });
    let made = declared.made.iter().flat_map(|made| std::iter::once(made).chain(made.seed.as_deref()));
    let names = made.flat_map(|made| {
        let needs = made.signer.requirements().iter().zip(&made.secret_spans);
        needs.flat_map(|(need, span)| need.pattern.variables().map(move |name| (name.to_owned(), span.clone())))
    });
    holes.chain(names).collect()
}

/// Tokens are never written without a key.
pub(super) fn sealed(state: &State, credentials: &[credential::Declared], mistakes: &Mistakes) {
    if !state.keys.is_empty() || state.url == StateUrl::Memory {
        return;
    }
    let stores = |declared: &&credential::Declared| declared.made.as_ref().is_some_and(|made| made.oauth.is_some());
    if let Some(declared) = credentials.iter().find(stores) {
        let message =
            format!("credential `{}` stores tokens, and [state] has no `key` to seal them with", declared.name.value);
        let hint = "add key = \"state/key\" to [state], a file below [secrets] dir such as `openssl rand -hex 32` makes, or url = \"memory:\" to keep tokens no longer than the process";
        mistakes.hinted(declared.name.span.clone(), message, hint);
    }
}

/// A key of `[state]` seals tokens and is nothing else; the key of events is a text.
pub(super) fn kinds(
    state: &State,
    events: Option<&Events>,
    routes: &[route::Declared],
    credentials: &[credential::Declared],
    mistakes: &Mistakes,
) {
    let mut others: HashMap<&str, String> = HashMap::new();
    let of_routes = routes.iter().filter_map(|declared| declared.made.as_ref()).map(|route| &route.tls);
    let made = || credentials.iter().filter_map(|declared| declared.made.as_ref());
    let tls = of_routes.chain(made().filter_map(|made| made.token_tls.as_ref()));
    let pems = tls.flat_map(|tls| [&tls.client_cert, &tls.client_key, &tls.ca].into_iter().flatten());
    others.extend(pems.map(|name| (name.value.as_str(), "a key or certificate elsewhere".to_owned())));
    let said = |name: &Spanned<NamePattern>, here: &str, others: &HashMap<&str, String>| {
        if let Some(other) = others.get(name.value.as_str()) {
            let message = format!("the secret \"{}\" is {here} here and {other}", name.value);
            mistakes.hinted(name.span.clone(), message, "keep them in two files; kinds of secrets do not mix");
        }
    };
    if let Some(events) = events {
        said(&events.secret, "a text", &others);
        others.insert(events.secret.value.as_str(), "the key of [events]".to_owned());
    }
    for credential in made().flat_map(|made| std::iter::once(made).chain(made.seed.as_deref())) {
        let owner = format!("a secret of credential `{}`", credential.name);
        others.extend(credential.signer.requirements().iter().map(|need| (need.pattern.as_str(), owner.clone())));
    }
    for key in &state.keys {
        said(key, "the key of stored tokens", &others);
    }
}
