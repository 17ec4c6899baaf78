//! `[state]` and `[events]`: how they are read.

use std::path::{Path, PathBuf};

use toml::de::DeValue;

use super::fields::{Fields, Mistakes};
use super::model::{Events, Span, Spanned, State, StateUrl};
use super::oauth_text::check_url;
use super::units::nearest;
use crate::secret::name::NamePattern;
use crate::sign::basic::PublicValue;
use crate::token::EventKind;
use crate::token::grant::Insecure;

/// Where connections are kept by default; `[intercept]` keeps its key beside it.
const DEFAULT: &str = "/var/lib/countersign/state.db";

/// Whether a credential has a grant that is lost with its tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Consent {
    /// None: tokens can be fetched anew.
    None,
    /// A person would have to approve again.
    Given,
}

/// `[state]`
pub(super) fn state(fields: &Fields<'_, '_>, folder: &Path, consent: Consent) -> State {
    let keys = keys(fields);
    let url = match fields.value("url") {
        Some(_) => url(fields, folder),
        None if consent == Consent::Given || fields.value("key").is_some() => None,
        None => Some(StateUrl::Memory),
    };
    let url = url.unwrap_or_else(|| StateUrl::Sqlite(PathBuf::from(DEFAULT)));
    State { url, keys, single: fields.flag("single") }
}

fn url(fields: &Fields<'_, '_>, folder: &Path) -> Option<StateUrl> {
    let mistakes = fields.mistakes();
    let value = fields.value("url")?;
    let text = match value.get_ref() {
        DeValue::String(text) => &**text,
        DeValue::Table(table) => {
            let name = plain(fields.secret_table("url", value, table)?, mistakes);
            return Some(StateUrl::Postgres(PublicValue::Secret(name.value)));
        }
        _ => return fields.mismatch("url", value),
    };
    if text == "memory:" {
        return Some(StateUrl::Memory);
    }
    if let Some(path) = text.strip_prefix("sqlite:") {
        let path = path.strip_prefix("//").unwrap_or(path);
        if path.is_empty() || path.ends_with('/') || path.contains(['?', '\0']) || path == ":memory:" {
            let hint = "write \"sqlite:PATH\" with the path of a file, or \"memory:\" to keep nothing";
            mistakes.hinted(value.span(), "`url` names no file", hint);
            return None;
        }
        return Some(StateUrl::Sqlite(folder.join(path)));
    }
    if text.starts_with("postgres://") || text.starts_with("postgresql://") {
        return postgres(text, value.span(), mistakes);
    }
    mistakes.mask(value.span());
    let message = "`url` must begin with sqlite:, postgres:// or memory:";
    mistakes.hinted(
        value.span(),
        message,
        "write \"sqlite:state/connections.db\", \"postgres://USER@HOST/DATABASE\" or \"memory:\"",
    );
    None
}

/// A URL of PostgreSQL. One with a password is a secret as a whole.
fn postgres(text: &str, span: Span, mistakes: &Mistakes) -> Option<StateUrl> {
    let rest = text.split_once("://").map_or("", |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let user = authority.rsplit_once('@').map_or("", |(user, _)| user);
    let query = rest.split_once('?').map_or("", |(_, query)| query);
    let password_in_query = query.split('&').any(|pair| pair.split('=').next().is_some_and(|name| name == "password"));
    if user.contains(':') || authority.matches('@').count() > 1 || password_in_query {
        mistakes.mask(span.clone());
        let message = "`url` has a password, which is secret and cannot be written into the configuration";
        let hint = "put the whole URL into a file below [secrets] dir and name that file: url = { secret = \"NAME\" }";
        mistakes.hinted(span, message, hint);
        return None;
    }
    Some(StateUrl::Postgres(PublicValue::Literal(text.to_owned())))
}

/// `key`: a name, `{ secret = ".." }`, or a list of names.
fn keys(fields: &Fields<'_, '_>) -> Vec<Spanned<NamePattern>> {
    let mistakes = fields.mistakes();
    let found: Vec<Spanned<NamePattern>> = match fields.value("key").map(toml::Spanned::get_ref) {
        Some(DeValue::Array(_)) => {
            let texts = fields.texts("key").unwrap_or_default();
            if texts.is_empty() {
                mistakes.hinted(
                    fields.span_of("key"),
                    "`key` is an empty list",
                    "name a secret, such as \"state/key\"",
                );
            }
            texts.into_iter().filter_map(|text| fields.secret_name(text.value, text.span)).collect()
        }
        _ => fields.secret("key").into_iter().collect(),
    };
    let mut keys: Vec<Spanned<NamePattern>> = Vec::new();
    for key in found.into_iter().map(|key| plain(key, mistakes)) {
        if keys.iter().any(|other| other.value == key.value) {
            mistakes.hinted(key.span.clone(), "this key is listed twice", "remove one of them");
        }
        keys.push(key);
    }
    keys
}

/// What belongs to no request has a plain name.
fn plain(name: Spanned<NamePattern>, mistakes: &Mistakes) -> Spanned<NamePattern> {
    if name.value.as_static().is_none() {
        let message = "this secret belongs to no route, so its name cannot have variables";
        mistakes.hinted(name.span.clone(), message, "write a plain name such as \"state/key\"");
    }
    name
}

/// `[events]`
pub(super) fn events(root: &Fields<'_, '_>) -> Option<Events> {
    root.value("events")?;
    let fields = root.table("events");
    let mistakes = fields.mistakes();
    let insecure = if fields.flag("insecure_upstream") { Insecure::Allowed } else { Insecure::Refused };
    let secret = fields.secret("secret").map(|name| plain(name, mistakes));
    let types = types(&fields);
    let timeout = fields.wait("timeout");
    let text = fields.text("url")?;
    let url = match check_url("url", text.value, insecure) {
        Ok(()) => text.value.parse().ok(),
        Err((message, hint)) => {
            if text.value.contains('@') {
                mistakes.mask(text.span.clone());
            }
            mistakes.hinted(text.span.clone(), message, hint);
            return None;
        }
    };
    if url.is_none() {
        mistakes.hinted(
            text.span,
            "`url` has a character that no URL has",
            "braces have no meaning here; percent-encode them",
        );
    }
    Some(Events { url: url?, secret: secret?, types, timeout })
}

/// Every type that one of the patterns matches, in their own order.
fn types(fields: &Fields<'_, '_>) -> Vec<EventKind> {
    let mistakes = fields.mistakes();
    let Some(texts) = fields.texts("types") else {
        return EventKind::ALL
            .into_iter()
            .filter(|kind| matches(fields.default_text("types"), kind.as_str()))
            .collect();
    };
    if texts.is_empty() {
        mistakes.hinted(
            fields.span_of("types"),
            "`types` is empty, so that nothing would be sent",
            "remove it for \"connection.*\"",
        );
    }
    for text in texts.iter().filter(|text| !EventKind::ALL.iter().any(|kind| matches(text.value, kind.as_str()))) {
        let hint = match nearest(text.value, EventKind::ALL.iter().map(|kind| kind.as_str())) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => "write a type such as \"connection.reauthorize\", or \"connection.*\" or \"*\"".to_owned(),
        };
        mistakes.hinted(text.span.clone(), format!("no event has the type \"{}\"", text.value), hint);
    }
    let wanted = |kind: &EventKind| texts.iter().any(|text| matches(text.value, kind.as_str()));
    EventKind::ALL.into_iter().filter(wanted).collect()
}

/// Whether a word has the form of a pattern in which `*` is any text.
fn matches(pattern: &str, word: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == word };
    let Some(mut word) = word.strip_prefix(first) else { return false };
    let (middle, last) = rest.rsplit_once('*').unwrap_or(("", rest));
    for piece in middle.split('*') {
        match word.find(piece) {
            Some(at) => word = &word[at + piece.len()..],
            None => return false,
        }
    }
    word.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn a_star_is_any_text() {
        for pattern in ["connection.*", "*", "*.revoked", "c*.*d", "connection.revoked", "*con*rev*"] {
            assert!(matches(pattern, "connection.revoked"), "{pattern}");
        }
        for pattern in ["connection", "connection.", "*.", "credential.*", "", "c*x"] {
            assert!(!matches(pattern, "connection.revoked"), "{pattern}");
        }
    }
}
