//! What a worker wrote into the slots of a credential, read before they are emptied: where an SDK insists on a
//! secret, the worker writes a tenant's name there. Callers: `proxy::tenant`, `config` (which asks whether there is one).

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::{AUTHORIZATION, COOKIE};

use super::{Signer, Slot};
use crate::template::encode::form_decode;

/// Whether a worker can write into a slot of this scheme. The slots of signatures hold no text of its choice.
pub fn has_slot(signer: &Signer) -> bool {
    // A tenant is known before the body is read.
    let early = |slot: &Slot| !matches!(slot, Slot::Form(_) | Slot::Json(_));
    match signer {
        Signer::ApiKey(_) | Signer::Token(_) => signer.slots().iter().any(early),
        Signer::Bearer(_) | Signer::Basic(_) => true,
        _ => false,
    }
}

/// Every text in the slots of a credential, without the prefix or scheme before it.
pub fn texts(signer: &Signer, headers: &HeaderMap, query: Option<&str>) -> Vec<String> {
    let mut found = match signer {
        Signer::ApiKey(key) => in_slot(&key.slots()[0], key.prefix(), headers, query),
        Signer::Token(token) => {
            let placements = token.placements().iter();
            placements.flat_map(|one| in_slot(&one.slot, &one.prefix, headers, query)).collect()
        }
        Signer::Bearer(_) => bearers(headers),
        Signer::Basic(basic) => {
            let mut texts = basics(headers);
            // A user name that the configuration knows is no tenant's.
            texts.retain(|text| Some(&**text) != basic.public_username());
            texts
        }
        _ => Vec::new(),
    };
    found.retain(|text| !text.is_empty());
    found
}

/// The texts of one slot, without the prefix.
fn in_slot(slot: &Slot, prefix: &str, headers: &HeaderMap, query: Option<&str>) -> Vec<String> {
    let texts = match slot {
        Slot::Header(name) => {
            headers.get_all(name).iter().filter_map(|line| Some(line.to_str().ok()?.to_owned())).collect()
        }
        Slot::Query(name) => query_values(query.unwrap_or_default(), name),
        Slot::Cookie(name) => cookies(headers, name),
        Slot::Form(_) | Slot::Json(_) => Vec::new(),
    };
    texts.into_iter().map(|text: String| without(&text, prefix).to_owned()).collect()
}

/// Bearer tokens, and users and passwords, of every `Authorization`.
pub fn authorizations(headers: &HeaderMap) -> Vec<String> {
    let mut found = bearers(headers);
    found.append(&mut basics(headers));
    found.retain(|text| !text.is_empty());
    found
}

/// The values of every parameter with this decoded name, decoded; what is not UTF-8 is read as `U+FFFD`.
pub fn query_values(query: &str, name: &str) -> Vec<String> {
    let pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let named = pairs.filter(|(raw, _)| *form_decode(raw.as_bytes()) == *name.as_bytes());
    named.map(|(_, value)| String::from_utf8_lossy(&form_decode(value.as_bytes())).into_owned()).collect()
}

fn bearers(headers: &HeaderMap) -> Vec<String> {
    let lines = authorization_lines(headers);
    lines
        .filter_map(|line| strip_scheme(line, "bearer").or((!line.contains(' ')).then_some(line)))
        .map(str::to_owned)
        .collect()
}

fn basics(headers: &HeaderMap) -> Vec<String> {
    let mut found = Vec::new();
    for encoded in authorization_lines(headers).filter_map(|line| strip_scheme(line, "basic")) {
        let Ok(decoded) = STANDARD.decode(encoded) else { continue };
        let pair: Cow<'_, str> = String::from_utf8_lossy(&decoded);
        let (user, password) = pair.split_once(':').unwrap_or((&pair, ""));
        found.extend([user.to_owned(), password.to_owned()]);
    }
    found
}

fn authorization_lines(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    headers.get_all(AUTHORIZATION).into_iter().filter_map(|line| line.to_str().ok())
}

fn cookies(headers: &HeaderMap, name: &str) -> Vec<String> {
    let lines = headers.get_all(COOKIE).into_iter().filter_map(|line| line.to_str().ok());
    let pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.filter(|(other, _)| *other == name).map(|(_, value)| value.to_owned()).collect()
}

/// RFC 9110 section 11.1: the scheme is in any case.
fn strip_scheme<'t>(line: &'t str, scheme: &str) -> Option<&'t str> {
    let (found, rest) = line.split_once(' ')?;
    found.eq_ignore_ascii_case(scheme).then_some(rest.trim())
}

/// Without the credential's prefix, which a worker may have written or left out.
fn without<'t>(text: &'t str, prefix: &str) -> &'t str {
    let begins = text.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
    if begins { &text[prefix.len()..] } else { text }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::secret::name::NamePattern;
    use crate::sign::api_key::ApiKey;
    use crate::sign::basic::{Basic, PublicValue};
    use crate::sign::bearer::Bearer;
    use http::{HeaderName, HeaderValue};

    fn name() -> NamePattern {
        NamePattern::parse("k").unwrap()
    }

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        lines.iter().map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v))).collect()
    }

    #[test]
    fn every_slot_is_read() {
        let key = |slot, prefix: &str| Signer::ApiKey(Box::new(ApiKey::new(name(), slot, prefix.to_owned())));
        let header = key(Slot::Header(HeaderName::from_static("x-key")), "Token ");
        assert_eq!(texts(&header, &headers(&[("x-key", "token m1"), ("x-other", "m2")]), None), ["m1"]);
        assert_eq!(texts(&header, &headers(&[("x-key", "m1")]), None), ["m1"]);
        let query = key(Slot::Query("key".into()), "");
        assert_eq!(texts(&query, &headers(&[]), Some("a=1&%6bey=m%31&key=")), ["m1"]);
        let cookie = key(Slot::Cookie("sid".into()), "");
        assert_eq!(texts(&cookie, &headers(&[("cookie", "a=1; sid=m1")]), None), ["m1"]);
        let bearer = Signer::Bearer(Bearer::new(name()));
        assert_eq!(texts(&bearer, &headers(&[("authorization", "bearer m1")]), None), ["m1"]);
        assert!(texts(&bearer, &headers(&[("authorization", "Basic bTE6eA==")]), None).is_empty());
    }

    #[test]
    fn every_place_of_a_token_is_read() {
        use crate::sign::token::{ACCESS_TOKEN, CallNames, Piece, Placement, Shared, Token};
        let place = |slot, prefix: &str| Placement {
            slot,
            prefix: prefix.to_owned(),
            value: vec![Piece::Part(ACCESS_TOKEN.into())],
        };
        let placements = vec![place(Slot::Header(AUTHORIZATION), "Bearer "), place(Slot::Query("t".into()), "")];
        let token = Signer::Token(Box::new(Token::new(CallNames::default(), placements, Shared::No)));
        assert!(has_slot(&token));
        assert_eq!(texts(&token, &headers(&[("authorization", "bearer m1")]), Some("t=m2")), ["m1", "m2"]);
        assert!(texts(&token, &headers(&[]), None).is_empty());
    }

    #[test]
    fn user_and_password_are_both_read_but_for_a_known_user() {
        // printf m1:x | base64
        let sent = headers(&[("authorization", "Basic bTE6eA==")]);
        let basic = |username| Signer::Basic(Box::new(Basic::new(username, name())));
        assert_eq!(texts(&basic(PublicValue::Secret(name())), &sent, None), ["m1", "x"]);
        assert_eq!(texts(&basic(PublicValue::Literal("m1".into())), &sent, None), ["x"]);
        // printf m1: | base64
        let sent = headers(&[("authorization", "Basic bTE6")]);
        assert_eq!(texts(&basic(PublicValue::Secret(name())), &sent, None), ["m1"]);
    }
}
