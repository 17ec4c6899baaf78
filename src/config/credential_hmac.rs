//! From an `hmac` table to its [`Signer`]: templates are compiled here, and their mistakes shown
//! where they stand within the string.

use http::HeaderName;
use toml::de::DeValue;

use super::credential::{Places, field_name, header};
use super::diagnostic::Diagnostic;
use super::fields::{Fields, Mistakes};
use super::hints::type_name;
use super::literal;
use super::model::Spanned;
use crate::secret::name::NamePattern;
use crate::sign::hmac::{Hmac, HmacSpec, KeySpec, SignatureEncoding};
use crate::sign::material::{HashAlgorithm, KeyEncoding};
use crate::sign::{Place, Signer};
use crate::template::variables_of;

/// What a template takes from the route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Hole {
    /// `{tenant}`
    Tenant,
    /// `{capture.NAME}`
    Capture(String),
}

/// `hmac = { .. }`
pub(super) fn hmac(fields: &Fields<'_, '_>, text: &str) -> Option<(Signer, Places)> {
    let mistakes = fields.mistakes();
    let secret = fields.secret("secret");
    let key = fields.text("key");
    one_key(fields, &secret, &key);
    let sign = fields.text("sign");
    let values = templates(fields, "values");
    let set = templates(fields, "set");
    let has = |key: &str| fields.value(key).is_some_and(|v| v.get_ref().as_table().is_none_or(|t| !t.is_empty()));
    let compiled = (secret.is_some() || key.is_some()) && sign.is_some(); // then the compiler says it
    if !compiled && !["set", "set_query", "set_form", "set_json"].into_iter().any(has) {
        mistakes.hinted(
            fields.span(),
            "`hmac` sets nothing, so the signature would go nowhere",
            "add set = { \"X-Signature\" = \"{signature}\" } or set_query = { .. }",
        );
    }
    let mut places = Places::new();
    places.extend(sign.iter().map(|sign| (Place::Sign, sign.span.clone())));
    let mut spec_values = Vec::new();
    for (name, template) in &values {
        let good = !name.value.is_empty() && name.value.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !good {
            let message = format!("\"{}\" is no name of a value", name.value);
            mistakes.hinted(name.span.clone(), message, "use letters, digits and \"_\"; it is used as {value.NAME}");
        }
        places.insert(Place::Value(name.value.to_owned()), template.span.clone());
        spec_values.push((name.value.to_owned(), template.value.to_owned()));
    }
    let spec_set = set_headers(&set, &mut places, mistakes);
    let mut parameters = |key: &str, what: &str, place: fn(String) -> Place| -> Vec<(String, String)> {
        let mut spec = Vec::new();
        for (name, template) in templates(fields, key) {
            if let Some(key) = field_name(&name, what, mistakes) {
                places.insert(place(key.clone()), template.span.clone());
                spec.push((key, template.value.to_owned()));
            }
        }
        spec
    };
    let set_query = parameters("set_query", "query parameter", Place::SetQuery);
    let set_form = parameters("set_form", "form field", Place::SetForm);
    let set_json = parameters("set_json", "member of a JSON body", Place::SetJson);
    let (key_encoding, algorithm, encoding) = encodings(fields);
    let key = match (secret, key) {
        (Some(secret), None) => {
            places.insert(Place::Secret, secret.span);
            KeySpec::Secret(secret.value, key_encoding)
        }
        (None, Some(template)) => {
            places.insert(Place::Key, template.span.clone());
            KeySpec::Template(template.value.to_owned())
        }
        _ => return None,
    };
    let spec = HmacSpec {
        key,
        algorithm,
        encoding,
        sign: sign?.value.to_owned(),
        values: spec_values,
        set: spec_set,
        set_query,
        set_form,
        set_json,
    };
    compile(spec, places, text, mistakes)
}

/// `secret` or `key`, and what belongs to one of them alone.
fn one_key(fields: &Fields<'_, '_>, secret: &Option<Spanned<NamePattern>>, key: &Option<Spanned<&str>>) {
    let mistakes = fields.mistakes();
    match (secret, key) {
        (None, None) if fields.value("secret").is_none() && fields.value("key").is_none() => mistakes.hinted(
            fields.span(),
            "`hmac` has no key",
            "add secret = \"NAME\", or key = \"TEMPLATE\" where it is made of several secrets",
        ),
        (Some(_), Some(key)) => mistakes.hinted(
            key.span.clone(),
            "`hmac` has both `secret` and `key`, and needs one",
            "keep `secret` for a key that is a file, `key` for one that is made of a template",
        ),
        (None, Some(_)) if fields.value("key_encoding").is_some() => mistakes.hinted(
            fields.span_of("key_encoding"),
            "`key_encoding` has no effect on `key`, which is a template",
            "decode it there: {secret:NAME|decode_base64}",
        ),
        _ => {}
    }
}

fn encodings(fields: &Fields<'_, '_>) -> (KeyEncoding, HashAlgorithm, SignatureEncoding) {
    let key = match fields.choice("key_encoding") {
        "bytes" => KeyEncoding::Bytes,
        "hex" => KeyEncoding::Hex,
        "base64" => KeyEncoding::Base64,
        _ => KeyEncoding::Text,
    };
    let algorithm = match fields.choice("algorithm") {
        "md5" => HashAlgorithm::Md5,
        "sha1" => HashAlgorithm::Sha1,
        "sha384" => HashAlgorithm::Sha384,
        "sha512" => HashAlgorithm::Sha512,
        _ => HashAlgorithm::Sha256,
    };
    let signature = match fields.choice("encoding") {
        "HEX" => SignatureEncoding::UpperHex,
        "base64" => SignatureEncoding::Base64,
        "base64url" => SignatureEncoding::Base64Url,
        _ => SignatureEncoding::Hex,
    };
    (key, algorithm, signature)
}

/// `set`: each header once, whatever its case and whether it has `-` or `_`. A header that cannot
/// be set gets a name in its place, so that its template is checked all the same.
fn set_headers(
    set: &[(Spanned<&str>, Spanned<&str>)],
    places: &mut Places,
    mistakes: &Mistakes,
) -> Vec<(HeaderName, String)> {
    let mut seen = std::collections::HashSet::new();
    let mut out = Vec::new();
    for (index, (name, template)) in set.iter().enumerate() {
        let mut usable = header(name, mistakes);
        if let Some(header) = &usable
            && !seen.insert(header.as_str().replace('_', "-"))
        {
            let message = format!("the header `{}` is set twice (case does not count)", name.value);
            mistakes.hinted(name.span.clone(), message, "remove one of them");
            usable = None;
        }
        let stand_in = || HeaderName::from_bytes(format!("x-unusable-{index}").as_bytes()).ok();
        let Some(header) = usable.or_else(stand_in) else { continue };
        places.insert(Place::Set(header.as_str().to_owned()), template.span.clone());
        out.push((header, template.value.to_owned()));
    }
    out
}

/// `NAME = TEMPLATE` entries in the order of the file.
fn templates<'t>(fields: &Fields<'t, '_>, key: &str) -> Vec<(Spanned<&'t str>, Spanned<&'t str>)> {
    let mut out = Vec::new();
    for (name, value) in fields.entries(key) {
        match value.get_ref() {
            DeValue::String(text) => out.push((name, Spanned { value: &**text, span: value.span() })),
            other => fields.mistakes().hinted(
                value.span(),
                format!("`{key}.{}` must be a template, not {}", name.value, type_name(other)),
                "write it in quotes, such as \"{signature}\"",
            ),
        }
    }
    out
}

/// What compiled templates take from the route: `{tenant}` and `{capture.NAME}`, and where each stands.
pub(super) fn holes(fields: &Fields<'_, '_>, text: &str) -> Vec<Spanned<Hole>> {
    let mut all: Vec<Spanned<&str>> = ["sign", "key"].into_iter().filter_map(|key| fields.text(key)).collect();
    for key in ["values", "set", "set_query", "set_form", "set_json"] {
        all.extend(templates(fields, key).into_iter().map(|(_, template)| template));
    }
    let mut found = Vec::new();
    for template in all {
        for at in variables_of(template.value) {
            let value = match template.value[at.clone()].trim() {
                "tenant" => Hole::Tenant,
                name => match name.strip_prefix("capture.") {
                    Some(name) => Hole::Capture(name.to_owned()),
                    None => continue,
                },
            };
            let span = literal::inside(text, &template.span, template.value, &at);
            found.push(Spanned { value, span: span.unwrap_or_else(|| template.span.clone()) });
        }
    }
    found
}

/// Compiles; each mistake of a template is shown where it stands within the string.
fn compile(spec: HmacSpec, places: Places, text: &str, mistakes: &Mistakes) -> Option<(Signer, Places)> {
    let written = spec.clone();
    let errors = match Hmac::compile(spec) {
        Ok(hmac) => {
            if hmac.needs_sequence() {
                let span = places.get(&Place::Sign).cloned().unwrap_or_default();
                let message = "a nonce that grows does so within one process";
                let hint = "give each replica a key of its own: with one key between two, the upstream refuses the smaller number";
                mistakes.add(Diagnostic::warning(span, message).with_hint(hint));
            }
            return Some((Signer::Hmac(Box::new(hmac)), places));
        }
        Err(errors) => errors,
    };
    for (place, error) in errors {
        let whole = places.get(&place).or(places.get(&Place::Sign)).cloned().unwrap_or_default();
        let template = template_at(&written, &place);
        // An empty place at the beginning means the template as a whole.
        let inner = template.filter(|_| error.at != (0..0));
        let span = inner.and_then(|template| literal::inside(text, &whole, template, &error.at)).unwrap_or(whole);
        let mut wrong = Diagnostic::error(span, error.message);
        wrong.hint = error.hint;
        mistakes.add(wrong);
    }
    None
}

fn template_at<'s>(spec: &'s HmacSpec, place: &Place) -> Option<&'s str> {
    let find = |list: &'s [(String, String)], name: &str| list.iter().find(|(n, _)| n == name).map(|(_, t)| t.as_str());
    match place {
        Place::Sign => Some(&spec.sign),
        Place::Key => match &spec.key {
            KeySpec::Template(text) => Some(text),
            KeySpec::Secret(..) => None,
        },
        Place::Value(name) => find(&spec.values, name),
        Place::SetQuery(name) => find(&spec.set_query, name),
        Place::SetForm(name) => find(&spec.set_form, name),
        Place::SetJson(name) => find(&spec.set_json, name),
        Place::Set(name) => {
            spec.set.iter().find(|(n, _)| n.as_str().eq_ignore_ascii_case(name)).map(|(_, t)| t.as_str())
        }
        Place::Secret
        | Place::Key
        | Place::KeyId
        | Place::ClientId
        | Place::ClientSecret
        | Place::Username
        | Place::Password => None,
    }
}
