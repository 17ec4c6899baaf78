//! From an `http_signature` table to its [`Signer`].

use toml::de::DeValue;

use super::credential::Places;
use super::fields::{Fields, Mistakes};
use super::model::{Span, Spanned};
use super::units::nearest;
use crate::sign::basic::PublicValue;
use crate::sign::http_signature::{
    Algorithm, ComponentError, DigestHash, EBAY_COMPONENTS, HttpSignature, Parameter, Profile, Spec, SpecError,
};
use crate::sign::material::KeyEncoding;
use crate::sign::{Place, Signer};

/// What is covered where nothing is said.
const COMPONENTS: [&str; 3] = ["@method", "@target-uri", "content-digest"];

/// `http_signature = { .. }`
pub(super) fn http_signature(fields: &Fields<'_, '_>) -> Option<(Signer, Places)> {
    let mistakes = fields.mistakes();
    let mut places = Places::new();
    let profile = if fields.choice("profile") == "ebay" { Profile::Ebay } else { Profile::Rfc9421 };
    mask_pem(fields);
    let key = fields.secret("key");
    let key_id = key_id(fields, &mut places);
    let algorithm = fields.choice("algorithm");
    let algorithm = Algorithm::ALL.into_iter().find(|one| one.as_str() == algorithm);
    let key_encoding = key_encoding(fields, algorithm);
    let tag = fields.text("tag").filter(|tag| printable("tag", tag, mistakes)).map(|tag| tag.value.to_owned());
    let expires = expires(fields);
    let label = fields.text_or_default("label");
    let digest = if fields.choice("digest") == "sha-512" { DigestHash::Sha512 } else { DigestHash::Sha256 };
    let listed = fields.texts("components");
    let parameters = match profile {
        Profile::Rfc9421 => parameters(fields),
        Profile::Ebay => ebay(fields, algorithm),
    };
    let (components, spans): (Vec<String>, Vec<Span>) = match listed {
        Some(listed) => listed.into_iter().map(|one| (one.value.to_owned(), one.span)).unzip(),
        None if profile == Profile::Ebay => (EBAY_COMPONENTS.map(str::to_owned).to_vec(), Vec::new()),
        None => (COMPONENTS.map(str::to_owned).to_vec(), Vec::new()),
    };
    let key = key?;
    places.insert(Place::Key, key.span);
    let spec = Spec {
        key: key.value,
        key_encoding,
        algorithm: algorithm?,
        key_id,
        components,
        parameters: parameters?,
        label: label.value.to_owned(),
        tag,
        expires,
        digest,
        profile,
    };
    match HttpSignature::new(spec) {
        Ok(made) => Some((Signer::HttpSignature(Box::new(made)), places)),
        Err(errors) => {
            errors.iter().for_each(|error| say(error, &spans, &label.span, mistakes));
            None
        }
    }
}

fn say(error: &SpecError, components: &[Span], label: &Span, mistakes: &Mistakes) {
    let (span, hint) = match error {
        SpecError::Component(place, why) => (components.get(*place), ComponentError::hint(why)),
        SpecError::Twice(place, _) => (components.get(*place), "remove one of them"),
        SpecError::Label(_) => (None, "use lower-case letters, digits, \"_\", \"-\", \".\" and \"*\", first a letter"),
    };
    mistakes.hinted(span.unwrap_or(label).clone(), error.to_string(), hint);
}

/// Who writes the key itself into the file is told so, and it is not printed.
fn mask_pem(fields: &Fields<'_, '_>) {
    if let Some(value) = fields.value("key")
        && value.get_ref().as_str().is_some_and(|text| text.contains("-----") || text.contains('\n'))
    {
        fields.mistakes().mask(value.span());
    }
}

fn key_encoding(fields: &Fields<'_, '_>, algorithm: Option<Algorithm>) -> KeyEncoding {
    if fields.value("key_encoding").is_some() && algorithm.is_some_and(|one| one != Algorithm::HmacSha256) {
        let message = "`key_encoding` has no effect: the form of a private key is recognised";
        fields.mistakes().hinted(fields.span_of("key_encoding"), message, "remove `key_encoding`");
    }
    match fields.choice("key_encoding") {
        "bytes" => KeyEncoding::Bytes,
        "hex" => KeyEncoding::Hex,
        "base64" => KeyEncoding::Base64,
        _ => KeyEncoding::Text,
    }
}

/// What a string of RFC 8941 can hold (section 3.3.3).
fn printable(name: &str, text: &Spanned<&str>, mistakes: &Mistakes) -> bool {
    let good = !text.value.is_empty() && text.value.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    if !good {
        let message = format!("`{name}` is empty or has a character that a header cannot carry");
        mistakes.hinted(text.span.clone(), message, "use visible ASCII characters and spaces");
    }
    good
}

fn key_id(fields: &Fields<'_, '_>, places: &mut Places) -> Option<PublicValue> {
    let value = fields.value("key_id")?;
    match value.get_ref() {
        DeValue::String(text) => {
            let text = Spanned { value: &**text, span: value.span() };
            printable("key_id", &text, fields.mistakes()).then(|| PublicValue::Literal(text.value.to_owned()))
        }
        DeValue::Table(table) => fields.secret_table("key_id", value, table).map(|secret| {
            places.insert(Place::KeyId, secret.span);
            PublicValue::Secret(secret.value)
        }),
        _ => fields.mismatch("key_id", value),
    }
}

fn expires(fields: &Fields<'_, '_>) -> Option<u64> {
    let life = fields.duration("expires")?;
    if life.subsec_nanos() > 0 {
        let message = "`expires` must be whole seconds: signatures tell time in seconds";
        fields.mistakes().hinted(fields.span_of("expires"), message, "write a duration such as \"300s\" or \"5m\"");
    }
    Some(life.as_secs())
}

/// Those that are listed, each with the key that gives it its value; else `created` and those whose keys are given.
fn parameters(fields: &Fields<'_, '_>) -> Option<Vec<Parameter>> {
    let mistakes = fields.mistakes();
    let keyed = [(Parameter::Expires, "expires"), (Parameter::KeyId, "key_id"), (Parameter::Tag, "tag")];
    let given = |parameter: Parameter| {
        keyed.iter().find(|(one, _)| *one == parameter).is_none_or(|(_, key)| fields.value(key).is_some())
    };
    if fields.value("parameters").is_none() {
        let made = [Parameter::Created, Parameter::Expires, Parameter::KeyId, Parameter::Tag];
        return Some(made.into_iter().filter(|one| given(*one)).collect());
    }
    let mut found: Vec<Parameter> = Vec::new();
    let mut good = true;
    for text in fields.texts("parameters")? {
        let names = Parameter::ALL.map(Parameter::as_str);
        let problem = match Parameter::ALL.into_iter().find(|one| one.as_str() == text.value) {
            None => {
                let near = nearest(text.value, names.into_iter());
                let hint = near
                    .map_or_else(|| format!("there are {}", names.join(", ")), |n| format!("did you mean \"{n}\"?"));
                Some((format!("a signature has no parameter \"{}\"", text.value), hint))
            }
            Some(one) if found.contains(&one) => {
                Some((format!("the parameter \"{}\" is listed twice", text.value), "remove one of them".to_owned()))
            }
            Some(one) => {
                found.push(one);
                let key = keyed.iter().find(|(known, _)| *known == one).map(|(_, key)| key);
                key.filter(|_| !given(one)).map(|key| {
                    (
                        format!("the parameter \"{}\" needs `{key}`", text.value),
                        format!("add `{key}`, or remove \"{}\"", text.value),
                    )
                })
            }
        };
        if let Some((message, hint)) = problem {
            mistakes.hinted(text.span, message, hint);
            good = false;
        }
    }
    for (parameter, key) in keyed.iter().filter(|(one, key)| !found.contains(one) && fields.value(key).is_some()) {
        let message = format!("`{key}` has no effect: `parameters` does not list \"{}\"", parameter.as_str());
        mistakes.hinted(fields.span_of(key), message, format!("list \"{}\", or remove `{key}`", parameter.as_str()));
        good = false;
    }
    good.then_some(found)
}

/// eBay's signatures have `created` alone.
fn ebay(fields: &Fields<'_, '_>, algorithm: Option<Algorithm>) -> Option<Vec<Parameter>> {
    let mistakes = fields.mistakes();
    let taken = [Algorithm::Ed25519, Algorithm::RsaV15Sha256];
    if let Some(other) = algorithm.filter(|one| !taken.contains(one)) {
        let message = format!("eBay takes no signatures by {}", other.as_str());
        mistakes.hinted(fields.span_of("algorithm"), message, "write \"ed25519\" or \"rsa-v1_5-sha256\"");
    }
    for key in ["tag", "expires", "parameters"].into_iter().filter(|key| fields.value(key).is_some()) {
        let message = format!("eBay's signatures have no `{key}`: `created` is their only parameter");
        mistakes.hinted(fields.span_of(key), message, format!("remove `{key}`"));
    }
    if fields.value("key_id").is_none() {
        let message = "the profile \"ebay\" needs `key_id`, which goes into x-ebay-signature-key";
        let hint = "add key_id = { secret = \"NAME\" } with the JWE that eBay's key management gave for the key";
        mistakes.hinted(fields.span(), message, hint);
        return None;
    }
    Some(vec![Parameter::Created])
}
