//! From `[credential.*]` tables to [`Signer`]s.

use std::collections::HashMap;
use std::sync::Arc;

use http::HeaderName;
use toml::de::{DeTable, DeValue};

use super::credential_hmac::{Hole, hmac, holes};
use super::credential_http_signature::http_signature;
use super::fields::{Fields, Mistakes, in_order};
use super::hints::{mask_value, names, type_name};
use super::keys_route::CREDENTIAL;
use super::model::{Credential, Span, Spanned};
use super::schema::Kind;
use super::units::nearest;
use super::{oauth, oauth_text};
use crate::secret::name::NamePattern;
use crate::sign::api_key::ApiKey;
use crate::sign::basic::{Basic, PublicValue};
use crate::sign::bearer::Bearer;
use crate::sign::digest::Digest;
use crate::sign::{Place, Signer, Slot};

/// A `[credential.NAME]` table; `made` is `None` when it has mistakes.
pub(super) struct Declared {
    pub name: Spanned<String>,
    pub made: Option<Credential>,
    /// What its templates take from the route.
    pub holes: Vec<Spanned<Hole>>,
}

/// Where the parts of a credential were written.
pub(super) type Places = HashMap<Place, Span>;

/// All credentials, in the order of the file.
pub(super) fn credentials(root: &Fields<'_, '_>, text: &str) -> Vec<Declared> {
    let mistakes = root.mistakes();
    let mut declared = Vec::new();
    for (name, value) in root.entries("credential") {
        check_name(&name, mistakes);
        let mut taken = Vec::new();
        let made = match value.get_ref() {
            DeValue::Table(table) => one_scheme(table, &name, mistakes).and_then(|scheme| {
                let fields = Fields::open(table, value.span(), &CREDENTIAL, mistakes).table(scheme);
                mask_unknown(table.get(scheme)?.get_ref().as_table()?, scheme, mistakes); // no table: it was said
                if scheme == "oauth2" {
                    return with_tokens(&fields, text, &name, &mut taken);
                }
                let (signer, places) = signer(scheme, &fields, text)?;
                if scheme == "hmac" {
                    taken = holes(&fields, text);
                }
                let secret_spans = secret_spans(&signer, &places, text, &name.span);
                Some(Credential::plain(name.value.to_owned(), name.span.clone(), signer, secret_spans))
            }),
            other => {
                mask_value(value, mistakes);
                let message = format!("credential `{}` must be a table, not {}", name.value, type_name(other));
                let hint =
                    format!("write [credential.{}] and below it the scheme, one of {}", name.value, names(&CREDENTIAL));
                mistakes.hinted(value.span(), message, hint);
                None
            }
        };
        let name = Spanned { value: name.value.to_owned(), span: name.span };
        declared.push(Declared { name, made, holes: taken });
    }
    declared
}

impl Declared {
    /// Moves every place by as much as the text that it is in stands behind the beginning of the file.
    pub(super) fn shift(&mut self, by: usize) {
        if let Some(made) = &mut self.made {
            let seed =
                made.seed.iter_mut().flat_map(|seed| std::iter::once(&mut seed.span).chain(&mut seed.secret_spans));
            let tls =
                made.token_tls.iter_mut().flat_map(|tls| [&mut tls.client_cert, &mut tls.client_key, &mut tls.ca]);
            let tls = tls.flatten().map(|name| &mut name.span);
            let own = std::iter::once(&mut made.span).chain(&mut made.secret_spans);
            own.chain(seed).chain(tls).for_each(|span| shift(span, by));
        }
        let holes = self.holes.iter_mut().map(|hole| &mut hole.span);
        holes.chain([&mut self.name.span]).for_each(|span| shift(span, by));
    }
}

/// Moves a place.
pub(super) fn shift(span: &mut Span, by: usize) {
    *span = span.start + by..span.end + by;
}

/// Names of credentials and routes: they stand in logs, metrics and answers.
pub(super) fn check_name(name: &Spanned<&str>, mistakes: &Mistakes) {
    let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    if name.value.is_empty() || name.value.len() > 128 || !name.value.bytes().all(good) {
        mistakes.hinted(
            name.span.clone(),
            format!("\"{}\" cannot be a name", name.value),
            "use 1 to 128 letters, digits, \".\", \"_\" and \"-\"",
        );
    }
    if name.value == "none" {
        mistakes.hinted(
            name.span.clone(),
            "the name `none` is taken: it says that a route has no credential",
            "choose another name",
        );
    }
}

/// The one key that names the scheme. None, several or an unknown one is recorded.
fn one_scheme(table: &DeTable<'_>, name: &Spanned<&str>, mistakes: &Mistakes) -> Option<&'static str> {
    let entries = in_order(table);
    let mut schemes = entries.iter().filter_map(|(key, _)| CREDENTIAL.key(key.value).map(|known| (known.name, key)));
    let first = schemes.next();
    if let (Some((one, _)), Some((two, key))) = (first, schemes.next()) {
        let message = format!("credential `{}` has two schemes, `{one}` and `{two}`", name.value);
        mistakes.hinted(key.span.clone(), message, "give each its own [credential.NAME] and list both in the route");
        return None;
    }
    if entries.is_empty() {
        let message = format!("credential `{}` has no scheme", name.value);
        mistakes.hinted(name.span.clone(), message, format!("add one of {}", names(&CREDENTIAL)));
    }
    if first.is_none() {
        // No scheme to read, but the unknown keys are still said.
        for (key, value) in &entries {
            let meant = nearest(key.value, CREDENTIAL.keys.iter().map(|key| key.name));
            match (meant, value.get_ref()) {
                _ if CREDENTIAL.later.contains(&key.value) => {}
                (Some(scheme), DeValue::Table(inner)) => mask_unknown(inner, scheme, mistakes),
                _ => mask_value(value, mistakes),
            }
        }
        Fields::open(table, name.span.clone(), &CREDENTIAL, mistakes);
    }
    first.map(|(scheme, _)| scheme)
}

/// An `oauth2` credential.
fn with_tokens(
    fields: &Fields<'_, '_>,
    text: &str,
    name: &Spanned<&str>,
    holes: &mut Vec<Spanned<Hole>>,
) -> Option<Credential> {
    let made = oauth::oauth2(&mut oauth_text::Reader { fields, text, holes })?;
    let secret_spans = secret_spans(&made.signer, &made.places, text, &name.span);
    let plain = Credential::plain(name.value.to_owned(), name.span.clone(), made.signer, secret_spans);
    Some(Credential {
        seed: made.seed.map(|seed| Box::new(oauth::seed(name.value, &name.span, seed))),
        oauth: Some(Arc::new(made.oauth)),
        token_tls: Some(made.tls),
        ..plain
    })
}

/// A mistyped key of a scheme may hold a secret: its value is not printed unless the key that was
/// probably meant is a public one.
fn mask_unknown(inner: &DeTable<'_>, scheme: &str, mistakes: &Mistakes) {
    let Some(Kind::Table(section)) = CREDENTIAL.key(scheme).map(|key| key.kind) else { return };
    for (key, value) in inner {
        if section.key(key.get_ref()).is_some() || section.later.contains(&&**key.get_ref()) {
            continue;
        }
        let meant = nearest(key.get_ref(), section.keys.iter().map(|key| key.name)).and_then(|name| section.key(name));
        if meant.is_none_or(|key| matches!(key.kind, Kind::SecretOnly)) {
            mask_value(value, mistakes);
        }
    }
}

fn signer(scheme: &str, fields: &Fields<'_, '_>, text: &str) -> Option<(Signer, Places)> {
    match scheme {
        "api_key" => api_key(fields),
        "bearer" => {
            let secret = fields.secret("secret")?;
            Some((Signer::Bearer(Bearer::new(secret.value)), Places::from([(Place::Secret, secret.span)])))
        }
        "basic" => basic(fields),
        "digest" => {
            let (username, password, places) = account(fields)?;
            Some((Signer::Digest(Box::new(Digest::new(username, password))), places))
        }
        "http_signature" => http_signature(fields),
        _ => hmac(fields, text),
    }
}

/// The keys that say where something is put.
pub(super) const PLACES: [&str; 5] = ["header", "query", "cookie", "form", "json"];

fn api_key(fields: &Fields<'_, '_>) -> Option<(Signer, Places)> {
    let mistakes = fields.mistakes();
    let secret = fields.secret("secret");
    let mut slots: Vec<(&str, Spanned<&str>)> = Vec::new();
    for place in PLACES {
        slots.extend(fields.text(place).map(|text| (place, text)));
    }
    slots.sort_by_key(|(_, text)| text.span.start);
    if let [(one, _), (two, text), ..] = &slots[..] {
        let message = format!("`api_key` has both `{one}` and `{two}`, but the key goes to one place");
        mistakes.hinted(text.span.clone(), message, "keep one of them; for two places write two credentials");
        return None;
    }
    let prefix = fields.text_or_default("prefix");
    let Some((place, text)) = slots.pop() else {
        if PLACES.iter().all(|place| fields.value(place).is_none()) {
            mistakes.hinted(
                fields.span(),
                "`api_key` does not say where the key goes",
                "add header = \"X-API-Key\", or query = \"..\", or cookie = \"..\"",
            );
        }
        return None;
    };
    let slot = slot(place, &text, mistakes);
    let printable = prefix.value.bytes().all(|b| (0x20..0x7f).contains(&b));
    let cookie_octets = prefix.value.bytes().all(|b| b > 0x20 && b < 0x7f && !b"\",;\\".contains(&b));
    let good = match place {
        "header" => printable,
        "cookie" => cookie_octets,
        _ => !prefix.value.chars().any(char::is_control),
    };
    if !good {
        let message = format!("`prefix` has a character that a {place} cannot carry");
        let hint = match place {
            "cookie" => "use visible ASCII without space, quotes, comma, semicolon and backslash",
            _ => "use visible ASCII characters and spaces",
        };
        mistakes.hinted(prefix.span.clone(), message, hint);
        return None;
    }
    let secret = secret?;
    let places = Places::from([(Place::Secret, secret.span)]);
    Some((Signer::ApiKey(Box::new(ApiKey::new(secret.value, slot?, prefix.value.to_owned()))), places))
}

pub(super) fn slot(place: &str, text: &Spanned<&str>, mistakes: &Mistakes) -> Option<Slot> {
    match place {
        "header" => header(text, mistakes).map(Slot::Header),
        "cookie" => {
            if HeaderName::from_bytes(text.value.as_bytes()).is_ok() {
                return Some(Slot::Cookie(text.value.to_owned()));
            }
            let message = format!("\"{}\" is no name of a cookie", text.value);
            mistakes.hinted(text.span.clone(), message, "use letters, digits, \"-\" and \"_\"");
            None
        }
        "form" => field_name(text, "form field", mistakes).map(Slot::Form),
        "json" => field_name(text, "member of a JSON body", mistakes).map(Slot::Json),
        _ => field_name(text, "query parameter", mistakes).map(Slot::Query),
    }
}

/// The decoded name of a `what`.
pub(super) fn field_name(text: &Spanned<&str>, what: &str, mistakes: &Mistakes) -> Option<String> {
    if !text.value.is_empty() && !text.value.chars().any(char::is_control) {
        return Some(text.value.to_owned());
    }
    mistakes.hinted(
        text.span.clone(),
        format!("the name of a {what} is empty or has a control character"),
        "write its decoded name, such as \"api_key\"",
    );
    None
}

/// A header that may be set or read by configuration: a token (RFC 9110 section 5.1) that is
/// neither hop-by-hop nor framing nor one of ours.
pub(super) fn header(text: &Spanned<&str>, mistakes: &Mistakes) -> Option<HeaderName> {
    let Ok(name) = HeaderName::from_bytes(text.value.as_bytes()) else {
        mistakes.hinted(
            text.span.clone(),
            format!("\"{}\" is no name of a header", text.value),
            "use letters, digits and \"-\", such as \"X-API-Key\"",
        );
        return None;
    };
    let plain = name.as_str().replace('_', "-");
    let ours = [
        "connection",
        "host",
        "content-length",
        "transfer-encoding",
        "te",
        "trailer",
        "upgrade",
        "keep-alive",
        "expect",
    ];
    if ours.contains(&plain.as_str()) || plain.starts_with("proxy-") || plain.starts_with("countersign-") {
        let message = format!("the header `{}` belongs to the connection or to the proxy itself", text.value);
        mistakes.hinted(
            text.span.clone(),
            message,
            "choose another header, such as \"Authorization\" or \"X-API-Key\"",
        );
        return None;
    }
    Some(name)
}

fn basic(fields: &Fields<'_, '_>) -> Option<(Signer, Places)> {
    let (username, password, places) = account(fields)?;
    Some((Signer::Basic(Box::new(Basic::new(username, password))), places))
}

/// `username` and `password`, of Basic and of Digest.
fn account(fields: &Fields<'_, '_>) -> Option<(PublicValue, NamePattern, Places)> {
    let mistakes = fields.mistakes();
    let mut places = Places::new();
    let username = match fields.value("username").map(|value| (value, value.get_ref())) {
        None => None,
        Some((value, DeValue::String(text))) => {
            let bad = text.contains(':') || text.chars().any(char::is_control);
            if bad {
                mistakes.hinted(
                    value.span(),
                    "`username` has a \":\" or a control character, which no user name can have",
                    "write the user name alone; the password is a secret of its own",
                );
            }
            if bad { None } else { Some(PublicValue::Literal(text.to_string())) }
        }
        Some((value, DeValue::Table(table))) => fields.secret_table("username", value, table).map(|name| {
            places.insert(Place::Username, name.span);
            PublicValue::Secret(name.value)
        }),
        Some((value, _)) => fields.mismatch("username", value),
    };
    let password = fields.secret_only("password")?;
    places.insert(Place::Password, password.span);
    Some((username?, password.value, places))
}

/// The `username` and `password` of a table that is no credential by itself, where it has them.
pub(super) fn of_proxy(fields: &Fields<'_, '_>, name: &str, text: &str) -> Option<Credential> {
    let mistakes = fields.mistakes();
    match (fields.value("username"), fields.value("password")) {
        (None, None) => return None,
        (Some(_), Some(_)) => {}
        (user, _) => {
            let (there, missing, hint) = match user {
                Some(_) => ("username", "password", "add password = { secret = \"NAME\" }"),
                None => ("password", "username", "add username = \"NAME\""),
            };
            mistakes.hinted(fields.span_of(there), format!("`{there}` needs `{missing}`"), hint);
        }
    }
    let (signer, places) = basic(fields)?;
    let span = fields.span_of("password");
    let secret_spans = secret_spans(&signer, &places, text, &span);
    for (need, span) in signer.requirements().iter().zip(&secret_spans) {
        if need.pattern.as_static().is_none() {
            let message = "this credential belongs to no route, so the names of its secrets cannot have variables";
            mistakes.hinted(span.clone(), message, "write a plain name such as \"egress/password\"");
        }
    }
    Some(Credential::plain(name.to_owned(), span, signer, secret_spans))
}

/// Where each secret of a signer was named: its own key, or `secret:NAME` within a template.
fn secret_spans(signer: &Signer, places: &Places, text: &str, fallback: &Span) -> Vec<Span> {
    let span = |place: &Place, pattern: &NamePattern| {
        let whole = places.get(place).cloned().unwrap_or_else(|| fallback.clone());
        // A key of its own, in which nothing is to be looked for.
        if matches!(place, Place::Secret | Place::Username | Place::Password) && places.contains_key(place) {
            return whole;
        }
        let needle = format!("secret:{pattern}");
        let inner = text.get(whole.clone()).and_then(|raw| raw.find(&needle));
        match inner {
            Some(at) => whole.start + at..whole.start + at + needle.len(),
            None => whole,
        }
    };
    signer.requirements().iter().map(|need| span(&need.place, &need.pattern)).collect()
}
