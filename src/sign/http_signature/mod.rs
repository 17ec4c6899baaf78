//! `http_signature`: HTTP Message Signatures (RFC 9421) with `Content-Digest` (RFC 9530), and eBay's variant of them.
//!
//! One attempt: the headers that are made here, the parameters, the signature base (section 2.5), the signature over it.

mod component;
mod digest;
mod structured;
#[cfg(test)]
mod tests;

use http::{HeaderName, HeaderValue};
use zeroize::Zeroizing;

use super::basic::PublicValue;
use super::key::{EcdsaForm, KeyAlgorithm};
use super::material::{HashAlgorithm, KeyEncoding, Kind, Material};
use super::text::{mask, secret, sensitive, text_of};
use super::{Covers, Injection, Place, Requirement, SignContext, SignError, Signable, Slot, Transcript};
use crate::secret::name::NamePattern;
use crate::template::encode;
use component::Component;
pub use component::ComponentError;
pub use digest::DigestHash;
use digest::{CONTENT_DIGEST, content_digest};

const SIGNATURE: HeaderName = HeaderName::from_static("signature");
const SIGNATURE_INPUT: HeaderName = HeaderName::from_static("signature-input");
const EBAY_KEY: HeaderName = HeaderName::from_static("x-ebay-signature-key");
const EBAY_ENFORCE: HeaderName = HeaderName::from_static("x-ebay-enforce-signature");

/// First capacity of a base, in bytes: it may have a secret in it, and a buffer that grows leaves a copy behind.
const ROOM: usize = 1024;

/// What eBay's own libraries cover, in their order.
pub const EBAY_COMPONENTS: [&str; 5] = ["content-digest", "x-ebay-signature-key", "@method", "@path", "@authority"];

/// An algorithm of the registry of RFC 9421 section 6.2.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// `hmac-sha256`
    HmacSha256,
    /// `ed25519`
    Ed25519,
    /// `ecdsa-p256-sha256`
    EcdsaP256Sha256,
    /// `ecdsa-p384-sha384`
    EcdsaP384Sha384,
    /// `rsa-pss-sha512`
    RsaPssSha512,
    /// `rsa-v1_5-sha256`
    RsaV15Sha256,
}

impl Algorithm {
    /// Every one that there is.
    pub const ALL: [Self; 6] = [
        Self::HmacSha256,
        Self::Ed25519,
        Self::EcdsaP256Sha256,
        Self::EcdsaP384Sha384,
        Self::RsaPssSha512,
        Self::RsaV15Sha256,
    ];

    /// As the registry calls it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::HmacSha256 => "hmac-sha256",
            Self::Ed25519 => "ed25519",
            Self::EcdsaP256Sha256 => "ecdsa-p256-sha256",
            Self::EcdsaP384Sha384 => "ecdsa-p384-sha384",
            Self::RsaPssSha512 => "rsa-pss-sha512",
            Self::RsaV15Sha256 => "rsa-v1_5-sha256",
        }
    }

    fn kind(self, encoding: KeyEncoding) -> Kind {
        Kind::PrivateKey(match self {
            Self::HmacSha256 => return Kind::HmacKey(HashAlgorithm::Sha256, encoding),
            Self::Ed25519 => KeyAlgorithm::Ed25519,
            Self::EcdsaP256Sha256 => KeyAlgorithm::EcdsaP256,
            Self::EcdsaP384Sha384 => KeyAlgorithm::EcdsaP384,
            Self::RsaPssSha512 => KeyAlgorithm::PssSha512,
            Self::RsaV15Sha256 => KeyAlgorithm::RsaSha256,
        })
    }
}

/// A parameter of a signature (section 2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parameter {
    /// The time of signing.
    Created,
    /// When the signature ends: [`Spec::expires`] after `created`.
    Expires,
    /// Random, new for every attempt.
    Nonce,
    /// The algorithm's name.
    Alg,
    /// [`Spec::key_id`]
    KeyId,
    /// [`Spec::tag`]
    Tag,
}

impl Parameter {
    /// Every one, in the order of section 2.3.
    pub const ALL: [Self; 6] = [Self::Created, Self::Expires, Self::Nonce, Self::Alg, Self::KeyId, Self::Tag];

    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Expires => "expires",
            Self::Nonce => "nonce",
            Self::Alg => "alg",
            Self::KeyId => "keyid",
            Self::Tag => "tag",
        }
    }
}

/// Whose rules apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// The standard.
    Rfc9421,
    /// eBay's digital signatures: [`Spec::key_id`] is the JWE of the key and goes into `x-ebay-signature-key`, `created`
    /// is the only parameter, and a request without a body has no `Content-Digest`.
    Ebay,
}

/// `http_signature = { .. }` as written; [`HttpSignature::new`] checks it.
#[derive(Clone, Debug)]
pub struct Spec {
    /// The key.
    pub key: NamePattern,
    /// How an HMAC key stands in its file.
    pub key_encoding: KeyEncoding,
    /// The algorithm.
    pub algorithm: Algorithm,
    /// `keyid`, or what goes into `x-ebay-signature-key`. A literal is visible ASCII and spaces.
    pub key_id: Option<PublicValue>,
    /// The covered components, in order.
    pub components: Vec<String>,
    /// The parameters, in order.
    pub parameters: Vec<Parameter>,
    /// What the signature is called within its two headers; a key of RFC 8941.
    pub label: String,
    /// `tag`; visible ASCII and spaces.
    pub tag: Option<String>,
    /// Seconds from `created` to `expires`.
    pub expires: Option<u64>,
    /// The hash of a `Content-Digest` where the worker has sent none.
    pub digest: DigestHash,
    /// Whose rules apply.
    pub profile: Profile,
}

/// Why a [`Spec`] cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// A component, by its place.
    #[error("{1}")]
    Component(usize, #[source] ComponentError),
    /// A component that is there before, by its place (section 2).
    #[error("the component {1} is listed twice")]
    Twice(usize, String),
    /// `label`
    #[error("\"{0}\" is no name of a signature")]
    Label(String),
}

/// A compiled `http_signature` credential.
#[derive(Debug)]
pub struct HttpSignature {
    requirements: Vec<Requirement>,
    slots: Vec<Slot>,
    covers: Covers,
    components: Vec<Component>,
    spec: Spec,
}

/// Whether texts are made for the upstream or for people.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reader {
    Upstream,
    People,
}

/// What one attempt makes before there is a signature.
struct Made {
    own: Vec<(HeaderName, HeaderValue)>,
    /// The value of `Signature-Input` without its label.
    parameters: Zeroizing<String>,
    base: Zeroizing<Vec<u8>>,
}

impl HttpSignature {
    /// Checks components and label; all mistakes at once.
    pub fn new(spec: Spec) -> Result<Self, Vec<SpecError>> {
        let mut mistakes = Vec::new();
        let mut components: Vec<Component> = Vec::with_capacity(spec.components.len());
        for (place, text) in spec.components.iter().enumerate() {
            match Component::parse(text) {
                Ok(one) if components.iter().any(|other| other.identifier == one.identifier) => {
                    mistakes.push(SpecError::Twice(place, one.identifier));
                }
                Ok(one) => components.push(one),
                Err(error) => mistakes.push(SpecError::Component(place, error)),
            }
        }
        if !structured::is_key(&spec.label) {
            mistakes.push(SpecError::Label(spec.label.clone()));
        }
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        let key =
            Requirement { pattern: spec.key.clone(), kind: spec.algorithm.kind(spec.key_encoding), place: Place::Key };
        let key_id = match &spec.key_id {
            Some(PublicValue::Secret(pattern)) => {
                Some(Requirement { pattern: pattern.clone(), kind: Kind::HeaderText, place: Place::KeyId })
            }
            _ => None,
        };
        let ebay: &[HeaderName] = match spec.profile {
            Profile::Ebay => &[EBAY_KEY, EBAY_ENFORCE],
            Profile::Rfc9421 => &[],
        };
        let slots = [SIGNATURE_INPUT, SIGNATURE].into_iter().chain(ebay.iter().cloned()).map(Slot::Header).collect();
        let covers = Covers {
            query: components.iter().any(Component::reads_query),
            body: components.iter().any(|one| one.header() == Some(&CONTENT_DIGEST)),
        };
        let requirements = std::iter::once(key).chain(key_id).collect();
        Ok(Self { requirements, slots, covers, components, spec })
    }

    pub(super) fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }

    pub(super) fn slots(&self) -> &[Slot] {
        &self.slots
    }

    pub(super) fn covers(&self) -> Covers {
        self.covers
    }

    pub(super) fn needs_random(&self) -> bool {
        self.spec.parameters.contains(&Parameter::Nonce)
    }

    /// The headers that are covered as they were sent or as an earlier credential made them.
    pub(super) fn covered_headers(&self) -> impl Iterator<Item = &HeaderName> {
        let own = move |name: &&HeaderName| self.spec.profile == Profile::Ebay && **name == EBAY_KEY;
        self.components.iter().filter_map(Component::header).filter(move |name| **name != CONTENT_DIGEST && !own(name))
    }

    pub(super) fn sign(
        &self,
        request: &Signable<'_>,
        keys: &[Material],
        context: &SignContext<'_>,
    ) -> Result<Injection, SignError> {
        let made = self.make(request, keys, context, Reader::Upstream)?;
        let signature = self.signature(&made.base, keys)?;
        self.inject(made, &signature)
    }

    pub(super) fn masked(
        &self,
        request: &Signable<'_>,
        keys: &[Material],
        context: &SignContext<'_>,
    ) -> Result<Injection, SignError> {
        let signature = self.signature(&self.make(request, keys, context, Reader::Upstream)?.base, keys)?;
        self.inject(self.make(request, keys, context, Reader::People)?, &signature)
    }

    pub(super) fn transcript(
        &self,
        request: &Signable<'_>,
        keys: &[Material],
        context: &SignContext<'_>,
    ) -> Result<Transcript, SignError> {
        let made = self.make(request, keys, context, Reader::People)?;
        let text = String::from_utf8_lossy(&made.base).into_owned();
        Ok(Transcript { string_to_sign: text.clone(), text })
    }

    /// Headers, parameters and base, in this order: each covers what is before it.
    fn make(
        &self,
        request: &Signable<'_>,
        keys: &[Material],
        context: &SignContext<'_>,
        reader: Reader,
    ) -> Result<Made, SignError> {
        let key_id = self.key_id(keys, reader)?;
        let mut own = Vec::with_capacity(3);
        let body = request.body.unwrap_or_default();
        let digested = self.covers.body && (self.spec.profile == Profile::Rfc9421 || !body.is_empty());
        if digested {
            refuse_twins(request)?;
            own.push((CONTENT_DIGEST, content_digest(request.headers, body, self.spec.digest)?));
        }
        if self.spec.profile == Profile::Ebay {
            let key_id = key_id.as_ref().ok_or_else(|| SignError::Missing("key_id".to_owned()))?;
            own.push((EBAY_KEY, secret(key_id.clone(), EBAY_KEY.as_str())?));
            own.push((EBAY_ENFORCE, HeaderValue::from_static("true")));
        }
        let covered = self.components.iter().filter(|one| digested || one.header() != Some(&CONTENT_DIGEST));
        let mut base = Zeroizing::new(Vec::with_capacity(ROOM));
        let mut parameters = Zeroizing::new(String::with_capacity(ROOM / 2));
        parameters.push('(');
        for component in covered {
            base.extend_from_slice(component.identifier.as_bytes());
            base.extend_from_slice(b": ");
            component.write(request, &own, &mut base)?;
            base.push(b'\n');
            if parameters.len() > 1 {
                parameters.push(' ');
            }
            parameters.push_str(&component.identifier);
        }
        parameters.push(')');
        self.write_parameters(key_id.as_ref().map(|id| id.as_str()), context, &mut parameters)?;
        base.extend_from_slice(b"\"@signature-params\": ");
        base.extend_from_slice(parameters.as_bytes());
        Ok(Made { own, parameters, base })
    }

    fn write_parameters(
        &self,
        key_id: Option<&str>,
        context: &SignContext<'_>,
        out: &mut String,
    ) -> Result<(), SignError> {
        let created = context.now.seconds;
        let string = |text: &str, what: &str| {
            structured::string(text).ok_or_else(|| SignError::NotAHeader(format!("signature-input ({what})")))
        };
        for parameter in &self.spec.parameters {
            let value = match parameter {
                Parameter::Created => created.to_string(),
                Parameter::Expires => match self.spec.expires {
                    Some(life) => created.saturating_add_unsigned(life).to_string(),
                    None => continue,
                },
                Parameter::Nonce => string(&nonce(context), "nonce")?,
                Parameter::Alg => string(self.spec.algorithm.as_str(), "alg")?,
                Parameter::KeyId => match key_id {
                    Some(id) => string(id, "keyid")?,
                    None => continue,
                },
                Parameter::Tag => match &self.spec.tag {
                    Some(tag) => string(tag, "tag")?,
                    None => continue,
                },
            };
            out.push(';');
            out.push_str(parameter.as_str());
            out.push('=');
            out.push_str(&value);
        }
        Ok(())
    }

    fn key_id(&self, keys: &[Material], reader: Reader) -> Result<Option<Zeroizing<String>>, SignError> {
        Ok(match (&self.spec.key_id, reader) {
            (None, _) => None,
            (Some(PublicValue::Literal(id)), _) => Some(Zeroizing::new(id.clone())),
            (Some(PublicValue::Secret(pattern)), Reader::People) => Some(Zeroizing::new(mask(pattern))),
            (Some(PublicValue::Secret(_)), Reader::Upstream) => match keys.get(1) {
                Some(Material::Text(text)) => Some(Zeroizing::new(text_of(text)?.to_owned())),
                _ => return Err(SignError::Missing("key_id".to_owned())),
            },
        })
    }

    fn signature(&self, base: &[u8], keys: &[Material]) -> Result<Vec<u8>, SignError> {
        match keys.first() {
            Some(Material::Hmac(key)) => {
                let mut signature = Vec::with_capacity(32);
                key.sign(base, &mut signature);
                Ok(signature)
            }
            // Section 3.3.4: r and s, each as long as the curve's order.
            Some(Material::Private(key)) => key.sign(base, EcdsaForm::Fixed),
            _ => Err(SignError::Missing("key".to_owned())),
        }
    }

    fn inject(&self, made: Made, signature: &[u8]) -> Result<Injection, SignError> {
        let label = &self.spec.label;
        let mut injection = Injection::default();
        injection.headers = made.own;
        let input = Zeroizing::new(format!("{label}={}", made.parameters.as_str()));
        injection.headers.push((SIGNATURE_INPUT, secret(input, SIGNATURE_INPUT.as_str())?));
        let signature = format!("{label}={}", structured::bytes(signature));
        injection.headers.push((SIGNATURE, sensitive(signature.as_bytes(), SIGNATURE.as_str())?));
        Ok(injection)
    }
}

/// A `Content_Digest` of the worker's would leave beside ours, and a server that reads `_` as `-` might take it.
fn refuse_twins(request: &Signable<'_>) -> Result<(), SignError> {
    let twin = request.headers.keys().find(|name| super::seal::looks_like(name.as_str(), CONTENT_DIGEST.as_str()));
    match twin {
        Some(name) => Err(SignError::Uncoverable(
            format!("header {name}"),
            "servers may take it for the content-digest that is made here",
        )),
        None => Ok(()),
    }
}

/// 128 random bits in hexadecimal, as those of templates.
fn nonce(context: &SignContext<'_>) -> String {
    if let Some(nonce) = context.fixed_nonce {
        return nonce.to_owned();
    }
    let mut out = Vec::with_capacity(32);
    encode::hex(&context.random[..16], &mut out);
    out.into_iter().map(char::from).collect()
}
