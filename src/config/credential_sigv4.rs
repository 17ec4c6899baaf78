//! From an `aws_sigv4` table to its [`Signer`].

use http::HeaderName;
use toml::de::DeValue;

use super::credential::Places;
use super::fields::{Fields, Mistakes};
use super::model::Spanned;
use super::oauth_text::Reader;
use crate::sign::basic::PublicValue;
use crate::sign::material::access_key_id;
use crate::sign::sigv4::{Payload, Placement, SigV4, Spec, Word, Words};
use crate::sign::{Place, Signer};
use crate::token::fill::FillPart;

/// `aws_sigv4 = { .. }`
pub(super) fn aws_sigv4(reader: &mut Reader<'_, '_, '_>) -> Option<(Signer, Places)> {
    let fields = reader.fields;
    let mut places = Places::new();
    let access_key_id = id(fields, &mut places);
    let secret = fields.secret_only("secret_access_key");
    let token = fields.secret_only("session_token");
    let token_wrong = token.is_none() && fields.value("session_token").is_some();
    let region = words(reader, "region");
    let service = words(reader, "service");
    let sign_headers = sign_headers(fields);
    let placement = if fields.choice("placement") == "query" { Placement::Query } else { Placement::Header };
    let payload = match fields.choice("payload") {
        "unsigned" => Payload::Unsigned,
        "as_sent" => Payload::AsSent,
        _ => Payload::Signed,
    };
    if placement == Placement::Header && fields.value("expires").is_some() {
        fields.mistakes().hinted(
            fields.span_of("expires"),
            "`expires` has no effect: a signature in headers is good for as long as the service says",
            "remove it, or write placement = \"query\"",
        );
    }
    let expires = fields.duration("expires").map_or(0, |expires| expires.as_secs());
    let secret = secret?;
    places.insert(Place::SecretAccessKey, secret.span);
    let session_token = token.map(|token| {
        places.insert(Place::SessionToken, token.span);
        token.value
    });
    if token_wrong {
        return None;
    }
    let spec = Spec {
        access_key_id: access_key_id?,
        secret_access_key: secret.value,
        session_token,
        region: region?,
        service: service?,
        sign_headers,
        placement,
        payload,
        expires: u32::try_from(expires).unwrap_or(u32::MAX),
    };
    Some((Signer::SigV4(Box::new(SigV4::new(spec))), places))
}

/// A literal or a secret. What cannot be an id may be a secret that was put into the wrong place.
fn id(fields: &Fields<'_, '_>, places: &mut Places) -> Option<PublicValue> {
    let value = fields.value("access_key_id")?;
    match value.get_ref() {
        DeValue::String(text) => {
            if text.is_empty() || access_key_id(text).is_err() || text.chars().any(char::is_control) {
                fields.mistakes().mask(value.span());
                fields.mistakes().hinted(
                    value.span(),
                    "`access_key_id` is none: it would be text without spaces, commas and slashes",
                    "write the id, such as \"AKIAIOSFODNN7EXAMPLE\", or { secret = \"NAME\" }",
                );
                return None;
            }
            Some(PublicValue::Literal(text.to_string()))
        }
        DeValue::Table(table) => {
            let name = fields.secret_table("access_key_id", value, table)?;
            places.insert(Place::AccessKeyId, name.span);
            Some(PublicValue::Secret(name.value))
        }
        _ => fields.mismatch("access_key_id", value),
    }
}

/// A region or service: a word, in which variables of the route may stand.
fn words(reader: &mut Reader<'_, '_, '_>, key: &str) -> Option<Words> {
    let written = reader.fields.text(key)?;
    let fill = reader.filled(key)?;
    let good = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    let mut words = Vec::new();
    let mut fits = true;
    for part in fill.parts() {
        words.push(match part {
            FillPart::Literal(text) => {
                fits &= good(text);
                Word::Text(text.into())
            }
            FillPart::Variable("tenant") => Word::Tenant,
            FillPart::Variable(name) => Word::Capture(name.into()),
        });
    }
    if words.is_empty() || !fits {
        let example = if key == "region" { "eu-central-1" } else { "s3" };
        let message = format!("\"{}\" is no {key} of AWS", written.value);
        reader.fields.mistakes().hinted(written.span, message, format!("write a word such as \"{example}\""));
        return None;
    }
    Some(Words::new(words))
}

fn sign_headers(fields: &Fields<'_, '_>) -> Vec<HeaderName> {
    let mut names = Vec::new();
    for text in fields.texts("sign_headers").unwrap_or_default() {
        names.extend(signable(&text, fields.mistakes()));
    }
    names
}

/// A header that stays as it is between here and the service.
fn signable(text: &Spanned<&str>, mistakes: &Mistakes) -> Option<HeaderName> {
    let Ok(name) = HeaderName::from_bytes(text.value.as_bytes()) else {
        let message = format!("\"{}\" is no name of a header", text.value);
        mistakes.hinted(text.span.clone(), message, "use letters, digits and \"-\", such as \"Range\"");
        return None;
    };
    let plain = name.as_str();
    let changes =
        ["authorization", "connection", "transfer-encoding", "te", "trailer", "upgrade", "keep-alive", "expect", "via"];
    if changes.contains(&plain) || plain.starts_with("proxy-") || plain.starts_with("countersign-") {
        let message = format!("the header `{}` is not signed: it does not arrive as it was sent", text.value);
        mistakes.hinted(text.span.clone(), message, "remove it from `sign_headers`");
        return None;
    }
    Some(name)
}
