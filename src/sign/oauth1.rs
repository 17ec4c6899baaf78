//! `oauth1`: OAuth 1.0a (RFC 5849), the signature over method, URL and parameters. What of the worker's own signing is
//! dropped is in `strip`, the text that is signed in `base`.

mod base;
pub(super) mod strip;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::AUTHORIZATION;
use zeroize::Zeroizing;

use self::base::Base;
use super::basic::PublicValue;
use super::body::{BodyChange, Holds};
use super::key::{EcdsaForm, KeyAlgorithm};
use super::keyed::Key;
use super::material::{HashAlgorithm, Kind, Material};
use super::text::{mask, secret, text_of};
use super::{Covers, Family, Injection, Place, Requirement, SignContext, SignError, Signable, Slot, Transcript};
use crate::secret::name::NamePattern;
use crate::template::encode;

/// Every parameter that a signed request may have (RFC 5849 section 3.1), `realm` aside.
const PARAMETERS: [&str; 7] = [
    "oauth_consumer_key",
    "oauth_token",
    "oauth_signature_method",
    "oauth_timestamp",
    "oauth_nonce",
    "oauth_version",
    SIGNATURE,
];
const SIGNATURE: &str = "oauth_signature";
/// Random bytes of a nonce; in hexadecimal as long as the shortest column that stores keep them in (Magento's, 32).
const NONCE_BYTES: usize = 16;

/// `oauth1 = { .. }` as written and checked.
#[derive(Clone, Debug)]
pub struct OAuth1Spec {
    /// `oauth_consumer_key`
    pub consumer_key: PublicValue,
    /// `oauth_token`; without one the request is signed for the consumer alone.
    pub token: Option<PublicValue>,
    /// Stands in the header, outside of the signature. Visible ASCII.
    pub realm: Option<PublicValue>,
    /// How it is signed, and with what.
    pub proof: Proof,
    /// Where the parameters go.
    pub placement: Placement,
}

/// `oauth_signature_method` and the secrets that it needs (RFC 5849 sections 3.4.2 to 3.4.4).
#[derive(Clone, Debug)]
pub enum Proof {
    /// HMAC-SHA1, HMAC-SHA256 or HMAC-SHA512.
    Hmac(HmacHash, Secrets),
    /// The secrets as they are.
    PlainText(Secrets),
    /// RSA-SHA256; the name of the private key.
    RsaSha256(NamePattern),
}

/// A hash that servers know a name for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HmacHash {
    /// HMAC-SHA1, that of the RFC.
    Sha1,
    /// HMAC-SHA256
    Sha256,
    /// HMAC-SHA512
    Sha512,
}

/// The shared secrets.
#[derive(Clone, Debug)]
pub struct Secrets {
    /// The consumer's.
    pub consumer: NamePattern,
    /// The token's; without one the second half of the key is empty.
    pub token: Option<NamePattern>,
}

/// RFC 5849 section 3.5.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// `Authorization: OAuth`
    Header,
    /// Behind the query.
    Query,
    /// Behind the fields of a form body.
    Form,
}

/// A compiled `oauth1` credential.
#[derive(Debug)]
pub struct OAuth1 {
    requirements: Vec<Requirement>,
    slots: Vec<Slot>,
    consumer_key: Source,
    token: Option<Source>,
    realm: Option<Source>,
    method: Method,
    placement: Placement,
}

/// A text that is public or a secret.
#[derive(Debug)]
enum Source {
    Literal(String),
    /// The place among the requirements.
    Secret(usize),
}

/// With the places of its secrets among the requirements.
#[derive(Debug)]
enum Method {
    Hmac(HmacHash, usize, Option<usize>),
    PlainText(usize, Option<usize>),
    RsaSha256(usize),
}

/// Whether a text is made for the upstream or for people.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reader {
    Upstream,
    People,
}

type Parameters = Vec<(&'static str, Zeroizing<String>)>;

impl HmacHash {
    fn algorithm(self) -> HashAlgorithm {
        match self {
            Self::Sha1 => HashAlgorithm::Sha1,
            Self::Sha256 => HashAlgorithm::Sha256,
            Self::Sha512 => HashAlgorithm::Sha512,
        }
    }
}

impl OAuth1 {
    /// A scheme of a checked table.
    pub fn new(spec: OAuth1Spec) -> Self {
        let mut requirements = Vec::new();
        let mut need = |pattern: NamePattern, kind: Kind, place: Place| {
            requirements.push(Requirement { pattern, kind, place });
            requirements.len() - 1
        };
        let mut public = |value: PublicValue, kind: Kind, place: Place| match value {
            PublicValue::Literal(text) => Source::Literal(text),
            PublicValue::Secret(pattern) => Source::Secret(need(pattern, kind, place)),
        };
        let consumer_key = public(spec.consumer_key, Kind::Text, Place::ConsumerKey);
        let token = spec.token.map(|token| public(token, Kind::Text, Place::Token));
        let realm = spec.realm.map(|realm| public(realm, Kind::HeaderText, Place::Realm));
        let mut shared = |secrets: Secrets| {
            let consumer = need(secrets.consumer, Kind::Text, Place::ConsumerSecret);
            (consumer, secrets.token.map(|token| need(token, Kind::Text, Place::TokenSecret)))
        };
        let method = match spec.proof {
            Proof::Hmac(hash, secrets) => {
                let (consumer, token) = shared(secrets);
                Method::Hmac(hash, consumer, token)
            }
            Proof::PlainText(secrets) => {
                let (consumer, token) = shared(secrets);
                Method::PlainText(consumer, token)
            }
            Proof::RsaSha256(key) => {
                Method::RsaSha256(need(key, Kind::PrivateKey(KeyAlgorithm::RsaSha256), Place::Key))
            }
        };
        let fill = |slot: fn(String) -> Slot| PARAMETERS.iter().map(|name| slot((*name).to_owned())).collect();
        let mut slots: Vec<Slot> = match spec.placement {
            Placement::Header => vec![Slot::Header(AUTHORIZATION)],
            Placement::Query => fill(Slot::Query),
            Placement::Form => fill(Slot::Form),
        };
        slots.insert(0, Slot::Family(Family::OAuth1));
        Self { requirements, slots, consumer_key, token, realm, method, placement: spec.placement }
    }

    pub(super) fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }

    pub(super) fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// A signature covers every parameter, also those of a form.
    pub(super) fn covers(&self) -> Covers {
        let signs = !matches!(self.method, Method::PlainText(..));
        Covers { query: signs, body: signs }
    }

    pub(super) fn holds(&self) -> Holds {
        if self.placement == Placement::Form { Holds::Always } else { Holds::Forms }
    }

    /// Consumer key and token, where the configuration has them written: no tenant's name.
    pub(super) fn public_names(&self) -> impl Iterator<Item = &str> {
        [Some(&self.consumer_key), self.token.as_ref()].into_iter().flatten().filter_map(|source| match source {
            Source::Literal(text) => Some(text.as_str()),
            Source::Secret(_) => None,
        })
    }

    pub(super) fn sign(
        &self,
        request: &Signable<'_>,
        keys: &[Material],
        context: &SignContext<'_>,
    ) -> Result<Injection, SignError> {
        let parameters = self.parameters(keys, context, Reader::Upstream)?;
        let signature = self.signature(request, &parameters, keys)?;
        self.place(parameters, signature, keys, Reader::Upstream)
    }

    pub(super) fn masked(
        &self,
        request: &Signable<'_>,
        keys: &[Material],
        context: &SignContext<'_>,
    ) -> Result<Injection, SignError> {
        let signature = match self.method {
            Method::PlainText(consumer, token) => {
                let name = |index: usize| mask(&self.requirements[index].pattern);
                Zeroizing::new(format!("{}&{}", name(consumer), token.map(name).unwrap_or_default()))
            }
            _ => self.signature(request, &self.parameters(keys, context, Reader::Upstream)?, keys)?,
        };
        self.place(self.parameters(keys, context, Reader::People)?, signature, keys, Reader::People)
    }

    /// The parameters in their order, and the base string; a signature that is the secrets themselves has none.
    pub(super) fn transcript(
        &self,
        request: &Signable<'_>,
        keys: &[Material],
        context: &SignContext<'_>,
    ) -> Result<Option<Transcript>, SignError> {
        if matches!(self.method, Method::PlainText(..)) {
            return Ok(None);
        }
        let base = Base::new(request, &self.parameters(keys, context, Reader::People)?)?;
        let mut transcript =
            Transcript { text: base.normalised().to_owned(), string_to_sign: base.string().as_str().to_owned() };
        // Masks stand as they are, not encoded.
        for requirement in &self.requirements {
            let mask = mask(&requirement.pattern);
            let once = encoded(&mask);
            transcript.text = transcript.text.replace(&*once, &mask);
            transcript.string_to_sign = transcript.string_to_sign.replace(&*encoded(&once), &mask);
        }
        Ok(Some(transcript))
    }

    /// A public value, or a secret: its name where people read.
    fn text<'k>(&'k self, source: &'k Source, keys: &'k [Material], reader: Reader) -> Result<Cow<'k, str>, SignError> {
        match source {
            Source::Literal(text) => Ok(Cow::Borrowed(text)),
            Source::Secret(index) if reader == Reader::People => Ok(mask(&self.requirements[*index].pattern).into()),
            Source::Secret(index) => self.secret(*index, keys).map(Cow::Borrowed),
        }
    }

    fn secret<'k>(&self, index: usize, keys: &'k [Material]) -> Result<&'k str, SignError> {
        match keys.get(index) {
            Some(Material::Text(text)) => text_of(text),
            _ => Err(SignError::Missing(self.requirements[index].pattern.to_string())),
        }
    }

    /// Everything that is signed but the request's own, not encoded.
    fn parameters(
        &self,
        keys: &[Material],
        context: &SignContext<'_>,
        reader: Reader,
    ) -> Result<Parameters, SignError> {
        let own = |text: &str| Zeroizing::new(text.to_owned());
        let mut all: Parameters = Vec::with_capacity(PARAMETERS.len());
        all.push((PARAMETERS[0], own(&self.text(&self.consumer_key, keys, reader)?)));
        if let Some(token) = &self.token {
            all.push((PARAMETERS[1], own(&self.text(token, keys, reader)?)));
        }
        let method = match self.method {
            Method::Hmac(HmacHash::Sha1, ..) => "HMAC-SHA1",
            Method::Hmac(HmacHash::Sha256, ..) => "HMAC-SHA256",
            Method::Hmac(HmacHash::Sha512, ..) => "HMAC-SHA512",
            Method::PlainText(..) => "PLAINTEXT",
            Method::RsaSha256(_) => "RSA-SHA256",
        };
        let mut nonce = Vec::with_capacity(2 * NONCE_BYTES);
        match context.fixed_nonce {
            Some(fixed) => nonce.extend_from_slice(fixed.as_bytes()),
            None => encode::hex(&context.random[..NONCE_BYTES], &mut nonce),
        }
        all.push((PARAMETERS[2], own(method)));
        all.push((PARAMETERS[3], own(&context.now.seconds.to_string())));
        all.push((PARAMETERS[4], own(&String::from_utf8_lossy(&nonce))));
        all.push((PARAMETERS[5], own("1.0")));
        Ok(all)
    }

    fn signature(
        &self,
        request: &Signable<'_>,
        parameters: &Parameters,
        keys: &[Material],
    ) -> Result<Zeroizing<String>, SignError> {
        match self.method {
            Method::PlainText(consumer, token) => self.shared_key(consumer, token, keys),
            Method::Hmac(hash, consumer, token) => {
                let key = self.shared_key(consumer, token, keys)?;
                let base = Base::new(request, parameters)?.string();
                let mut made = Vec::with_capacity(64);
                Key::new(hash.algorithm(), key.as_bytes()).sign(base.as_bytes(), &mut made);
                Ok(Zeroizing::new(STANDARD.encode(made)))
            }
            Method::RsaSha256(index) => {
                let Some(Material::Private(key)) = keys.get(index) else {
                    return Err(SignError::Missing(self.requirements[index].pattern.to_string()));
                };
                let base = Base::new(request, parameters)?.string();
                Ok(Zeroizing::new(STANDARD.encode(key.sign(base.as_bytes(), EcdsaForm::Der)?)))
            }
        }
    }

    /// RFC 5849 section 3.4.2: both secrets encoded, with `&` between them.
    fn shared_key(
        &self,
        consumer: usize,
        token: Option<usize>,
        keys: &[Material],
    ) -> Result<Zeroizing<String>, SignError> {
        let consumer = encoded(self.secret(consumer, keys)?);
        let token = token.map(|token| self.secret(token, keys).map(encoded)).transpose()?;
        Ok(Zeroizing::new(format!("{}&{}", consumer.as_str(), token.as_ref().map_or("", |token| token.as_str()))))
    }

    fn place(
        &self,
        mut parameters: Parameters,
        signature: Zeroizing<String>,
        keys: &[Material],
        reader: Reader,
    ) -> Result<Injection, SignError> {
        parameters.push((SIGNATURE, signature));
        let pair = |(name, value): &(&'static str, Zeroizing<String>)| match reader {
            Reader::People if value.contains('[') => encode::query_pair_shown(name, value.as_bytes()),
            _ => encode::query_pair(name, value.as_bytes()),
        };
        let pairs = parameters.iter().map(pair);
        let mut injection = Injection::default();
        match self.placement {
            Placement::Query => injection.query = pairs.collect(),
            Placement::Form => injection.body = Some(Box::new(BodyChange::Form(pairs.collect()))),
            Placement::Header => {
                let realm = self.realm.as_ref().map(|realm| self.text(realm, keys, reader)).transpose()?;
                let pairs: Vec<Zeroizing<String>> = pairs.map(Zeroizing::new).collect();
                let room = pairs.iter().map(|pair| pair.len() + 4).sum::<usize>();
                let room = room + realm.as_ref().map_or(0, |realm| 2 * realm.len() + 10);
                let mut value = Zeroizing::new(String::with_capacity("OAuth ".len() + room));
                value.push_str("OAuth ");
                if let Some(realm) = realm {
                    value.push_str("realm=\"");
                    for c in realm.chars() {
                        if matches!(c, '"' | '\\') {
                            value.push('\\');
                        }
                        value.push(c);
                    }
                    value.push_str("\", ");
                }
                for (turn, pair) in pairs.iter().enumerate() {
                    let (name, text) = pair.split_once('=').unwrap_or((pair.as_str(), ""));
                    value.push_str(if turn > 0 { ", " } else { "" });
                    value.extend([name, "=\"", text, "\""]);
                }
                injection.headers.push((AUTHORIZATION, secret(value, AUTHORIZATION.as_str())?));
            }
        }
        Ok(injection)
    }
}

/// RFC 5849 section 3.6.
fn encoded(text: &str) -> Zeroizing<String> {
    let mut out = Vec::with_capacity(3 * text.len());
    encode::url(text.as_bytes(), &mut out);
    Zeroizing::new(out.into_iter().map(char::from).collect())
}
