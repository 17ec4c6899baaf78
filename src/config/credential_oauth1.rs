//! From an `oauth1` table to its [`Signer`].

use super::credential::Places;
use super::fields::Fields;
use super::oauth::{public, secret};
use crate::secret::name::NamePattern;
use crate::sign::basic::PublicValue;
use crate::sign::oauth1::{HmacHash, OAuth1, OAuth1Spec, Placement, Proof, Secrets};
use crate::sign::{Place, Signer};

/// `oauth1 = { .. }`; `None` with mistakes.
pub(super) fn oauth1(fields: &Fields<'_, '_>) -> Option<(Signer, Places)> {
    let mut places = Places::new();
    let consumer_key = public(fields, "consumer_key", Place::ConsumerKey, &mut places);
    let consumer_secret = secret(fields, "consumer_secret", Place::ConsumerSecret, &mut places);
    let token = public(fields, "token", Place::Token, &mut places);
    let token_secret = secret(fields, "token_secret", Place::TokenSecret, &mut places);
    let key = fields.secret("key").map(|key| {
        places.insert(Place::Key, key.span);
        key.value
    });
    let placement = match fields.choice("placement") {
        "query" => Placement::Query,
        "form" => Placement::Form,
        _ => Placement::Header,
    };
    let realm = realm(fields, placement, &mut places);
    let method = fields.choice("method");
    let fits = fits(fields, method);
    let secrets = consumer_secret.map(|consumer| Secrets { consumer, token: token_secret });
    let proof = proof(method, secrets, key)?;
    let given = |name: &str| fields.value(name).is_some();
    let whole = fits && given("token") == token.is_some() && given("realm") == realm.is_some();
    let spec = OAuth1Spec { consumer_key: consumer_key?, token, realm, proof, placement };
    whole.then(|| (Signer::OAuth1(Box::new(OAuth1::new(spec))), places))
}

fn proof(method: &str, secrets: Option<Secrets>, key: Option<NamePattern>) -> Option<Proof> {
    Some(match method {
        "RSA-SHA256" => Proof::RsaSha256(key?),
        "PLAINTEXT" => Proof::PlainText(secrets?),
        "HMAC-SHA1" => Proof::Hmac(HmacHash::Sha1, secrets?),
        "HMAC-SHA512" => Proof::Hmac(HmacHash::Sha512, secrets?),
        _ => Proof::Hmac(HmacHash::Sha256, secrets?),
    })
}

/// Whether the keys of the table go together; says where they do not.
fn fits(fields: &Fields<'_, '_>, method: &str) -> bool {
    let mistakes = fields.mistakes();
    let given = |name: &str| fields.value(name).is_some();
    let rsa = method == "RSA-SHA256";
    let (needed, unused): (&str, &[&str]) =
        if rsa { ("key", &["consumer_secret", "token_secret"]) } else { ("consumer_secret", &["key"]) };
    let mut fits = true;
    if !given(needed) {
        let message = format!("`oauth1` with {method} needs `{needed}`");
        mistakes.hinted(fields.span(), message, format!("add {needed} = {{ secret = \"NAME\" }}"));
        fits = false;
    }
    for name in unused.iter().filter(|name| given(name)) {
        let message = format!("`{name}` is not used with {method}");
        let hint = if rsa { "remove it; the private key signs" } else { "remove it, or write method = \"RSA-SHA256\"" };
        mistakes.hinted(fields.span_of(name), message, hint);
        fits = false;
    }
    if !rsa && given("token") != given("token_secret") {
        let (there, missing) = if given("token") { ("token", "token_secret") } else { ("token_secret", "token") };
        mistakes.hinted(
            fields.span_of(there),
            format!("`{there}` needs `{missing}`"),
            "both come with an approval; without them the request is signed for the consumer alone",
        );
        fits = false;
    }
    fits
}

fn realm(fields: &Fields<'_, '_>, placement: Placement, places: &mut Places) -> Option<PublicValue> {
    let realm = public(fields, "realm", Place::Realm, places)?;
    let mistakes = fields.mistakes();
    if placement != Placement::Header {
        let message = "`realm` stands in the header, and the parameters go elsewhere";
        mistakes.hinted(fields.span_of("realm"), message, "remove it, or write placement = \"header\"");
        return None;
    }
    if let PublicValue::Literal(text) = &realm
        && !text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic())
    {
        let message = "`realm` has a character that a header cannot carry";
        mistakes.hinted(fields.span_of("realm"), message, "use visible ASCII characters and spaces");
        return None;
    }
    Some(realm)
}
