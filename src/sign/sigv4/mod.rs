//! `aws_sigv4`: AWS Signature Version 4, in headers or in the query. What leaves stays as the worker has written it;
//! `canonical` makes the text of it, `payload` says what stands for the body, `keys` keeps signing keys, `chunks` makes
//! bodies in chunks anew while they stream. Source: the AWS General Reference and the S3 API Reference, "Authenticating
//! Requests"; where those are silent, what botocore and the AWS SDK for JavaScript do.

mod canonical;
mod chunk_reader;
pub mod chunks;
#[cfg(test)]
mod chunks_tests;
pub mod keys;
mod payload;
mod scope;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod vectors;

use http::header::{AUTHORIZATION, CONTENT_LENGTH};
use http::{HeaderMap, HeaderName};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::basic::PublicValue;
use super::material::{Kind, Material};
use super::text::{mask, secret, sensitive, text_of};
use super::{
    Covers, Injection, Length, Place, Reframing, Requirement, SignContext, SignError, Signable, Slot, Transcript,
};
use crate::secret::name::NamePattern;
use crate::template::encode;
use canonical::{Canonical, Headers, Paths};
use chunks::{ChunkSigner, Reframer};
use keys::SecretKey;
use payload::{CONTENT_SHA256, Plan, Signatures};
use scope::{Scope, Stamp};
pub use scope::{Word, Words};

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const DATE: HeaderName = HeaderName::from_static("x-amz-date");
const TOKEN: HeaderName = HeaderName::from_static("x-amz-security-token");
/// Parameters of a signature in the query, whoever made it.
const PARAMETERS: [&str; 8] = [
    "X-Amz-Algorithm",
    "X-Amz-Credential",
    "X-Amz-Date",
    "X-Amz-Expires",
    "X-Amz-SignedHeaders",
    "X-Amz-Security-Token",
    "X-Amz-Signature",
    "X-Amz-Content-Sha256",
];
/// Those of the version before, which S3 still takes.
const OLD_PARAMETERS: [&str; 4] = ["AWSAccessKeyId", "Signature", "Expires", "x-amz-security-token"];

/// `placement`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// `Authorization` and `X-Amz-*` headers.
    Header,
    /// `X-Amz-*` parameters of the query.
    Query,
}

/// `payload`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload {
    /// The body is held and its digest signed; what comes in chunks streams, each chunk signed.
    Signed,
    /// The body streams unsigned; chunks that come signed are signed.
    Unsigned,
    /// As the worker's SDK has it.
    AsSent,
}

/// `aws_sigv4 = { .. }`
#[derive(Clone, Debug)]
pub struct Spec {
    /// Who signs.
    pub access_key_id: PublicValue,
    /// The key.
    pub secret_access_key: NamePattern,
    /// Of temporary credentials.
    pub session_token: Option<NamePattern>,
    /// Such as `eu-central-1`.
    pub region: Words,
    /// The name that signatures have for the service, such as `s3`.
    pub service: Words,
    /// Headers to sign beside `host`, `content-type` and `x-amz-*`, where the request has them.
    pub sign_headers: Vec<HeaderName>,
    /// Where the signature goes.
    pub placement: Placement,
    /// What stands for the body.
    pub payload: Payload,
    /// How long a signature in the query is good for, in seconds; AWS takes 1 to 604800.
    pub expires: u32,
}

/// An `aws_sigv4` credential.
#[derive(Debug)]
pub struct SigV4 {
    spec: Spec,
    requirements: Vec<Requirement>,
    slots: Vec<Slot>,
    /// How paths are read, where the service is known.
    paths: Option<Paths>,
}

/// What one reader may see of the credentials: the upstream all, people their names.
struct Shown<'k> {
    id: &'k str,
    token: Option<&'k str>,
}

/// The secrets of one attempt.
struct Keys<'k> {
    real: Shown<'k>,
    secret: &'k SecretKey,
}

/// What one attempt signs with beside its secrets.
struct Attempt<'a> {
    request: &'a Signable<'a>,
    stamp: Stamp,
    scope: Scope<'a>,
    paths: Paths,
    plan: Plan<'a>,
    /// The last line of the canonical request.
    payload: String,
    /// The length of signed chunks, where it can be told before they came.
    length: Option<u64>,
}

/// The canonical request, and what it says beside the signature.
struct Text {
    canonical: Vec<u8>,
    headers: String,
    /// What a signature in the query puts before itself.
    query: Option<Zeroizing<String>>,
}

impl SigV4 {
    /// A scheme. Region and service are words of letters, digits and `-`, `_`, `.`; the caller has checked them.
    pub fn new(spec: Spec) -> Self {
        let mut requirements = Vec::with_capacity(3);
        let mut need = |pattern: &NamePattern, kind, place| {
            requirements.push(Requirement { pattern: pattern.clone(), kind, place });
        };
        if let PublicValue::Secret(pattern) = &spec.access_key_id {
            need(pattern, Kind::AccessKeyId, Place::AccessKeyId);
        }
        need(&spec.secret_access_key, Kind::AwsSecretKey, Place::SecretAccessKey);
        if let Some(pattern) = &spec.session_token {
            need(pattern, Kind::HeaderText, Place::SessionToken);
        }
        let paths = spec.service.literal().map(Paths::of);
        let old = if paths == Some(Paths::Resources) { &[][..] } else { &OLD_PARAMETERS };
        let query = PARAMETERS.iter().chain(old).map(|name| Slot::Query((*name).to_owned()));
        let headers = [AUTHORIZATION, DATE, TOKEN].map(Slot::Header);
        // What the worker has as X-Amz-Content-Sha256 is read first and then replaced.
        let slots = headers.into_iter().chain(query).collect();
        Self { requirements, slots, paths, spec }
    }

    pub(super) fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }

    pub(super) fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// The access key id, where the configuration has it written.
    pub(super) fn public_id(&self) -> Option<&str> {
        match &self.spec.access_key_id {
            PublicValue::Literal(id) => Some(id),
            PublicValue::Secret(_) => None,
        }
    }

    pub(super) fn covers(&self) -> Covers {
        let never = self.spec.payload == Payload::Unsigned
            || (self.spec.placement == Placement::Query && self.paths == Some(Paths::Objects));
        Covers { query: true, body: !never }
    }

    /// Whether the body of a request with these headers must be held. What cannot be signed needs none.
    pub(super) fn holds_body(&self, headers: &HeaderMap) -> bool {
        let objects = self.paths == Some(Paths::Objects);
        payload::plan(self.spec.payload, self.spec.placement, objects, headers) == Ok(Plan::Digest)
    }

    pub(super) fn sign(
        &self,
        request: &Signable<'_>,
        keys: &[Material],
        context: &SignContext<'_>,
    ) -> Result<Injection, SignError> {
        let keys = self.keys(keys)?;
        let attempt = self.attempt(request, context)?;
        let text = self.text(&attempt, &keys.real)?;
        let (key, signature) = attempt.signature(&keys, &text.canonical);
        let mut injection = self.inject(&attempt, &keys.real, &text, &signature)?;
        injection.reframing = attempt.reframing(key, signature)?;
        Ok(injection)
    }

    pub(super) fn masked(
        &self,
        request: &Signable<'_>,
        keys: &[Material],
        context: &SignContext<'_>,
    ) -> Result<Injection, SignError> {
        let keys = self.keys(keys)?;
        let attempt = self.attempt(request, context)?;
        let (key, signature) = attempt.signature(&keys, &self.text(&attempt, &keys.real)?.canonical);
        let (id, token) = self.masks();
        let shown = Shown { id: &id, token: token.as_deref() };
        let text = self.text(&attempt, &shown)?;
        let mut injection = self.inject(&attempt, &shown, &text, &signature)?;
        injection.query.iter_mut().for_each(|pair| *pair = self.unescaped(std::mem::take(pair)));
        injection.reframing = attempt.reframing(key, signature)?;
        Ok(injection)
    }

    /// The string to sign is that of the real request: its digest tells nothing.
    pub(super) fn transcript(
        &self,
        request: &Signable<'_>,
        keys: &[Material],
        context: &SignContext<'_>,
    ) -> Result<Transcript, SignError> {
        let keys = self.keys(keys)?;
        let attempt = self.attempt(request, context)?;
        let string_to_sign = attempt.string_to_sign(&self.text(&attempt, &keys.real)?.canonical);
        let (id, token) = self.masks();
        let text = self.text(&attempt, &Shown { id: &id, token: token.as_deref() })?;
        let text = self.unescaped(String::from_utf8_lossy(&text.canonical).into_owned());
        Ok(Transcript { text, string_to_sign })
    }

    /// What stands for the access key id and the session token where people read.
    fn masks(&self) -> (String, Option<String>) {
        let id = match &self.spec.access_key_id {
            PublicValue::Literal(id) => id.clone(),
            PublicValue::Secret(pattern) => mask(pattern),
        };
        (id, self.spec.session_token.as_ref().map(mask))
    }

    /// Masks as they are, where an encoding has changed them.
    fn unescaped(&self, text: String) -> String {
        let (id, token) = self.masks();
        let names = [self.public_id().is_none().then_some(id), token];
        names.into_iter().flatten().fold(text, |text, name| {
            let mut encoded = Vec::new();
            encode::url(name.as_bytes(), &mut encoded);
            text.replace(&*String::from_utf8_lossy(&encoded), &name)
        })
    }

    /// The materials in the order of [`SigV4::requirements`].
    fn keys<'k>(&'k self, keys: &'k [Material]) -> Result<Keys<'k>, SignError> {
        let mut rest = keys.iter();
        let missing = || SignError::Missing("secret".to_owned());
        let mut text = || match rest.next() {
            Some(Material::Text(bytes)) => text_of(bytes),
            _ => Err(missing()),
        };
        let id = match self.public_id() {
            Some(id) => id,
            None => text()?,
        };
        let Some(Material::AwsSecret(secret)) = rest.next() else { return Err(missing()) };
        let mut text = || match rest.next() {
            Some(Material::Text(bytes)) => text_of(bytes),
            _ => Err(missing()),
        };
        let token = self.spec.session_token.is_some().then(&mut text).transpose()?;
        Ok(Keys { real: Shown { id, token }, secret })
    }

    fn attempt<'a>(
        &'a self,
        request: &'a Signable<'a>,
        context: &'a SignContext<'a>,
    ) -> Result<Attempt<'a>, SignError> {
        let stamp = Stamp::of(context.now);
        let (region, service) = (self.spec.region.fill(context)?, self.spec.service.fill(context)?);
        let paths = self.paths.unwrap_or_else(|| Paths::of(&service));
        let Spec { payload, placement, .. } = self.spec;
        let plan = payload::plan(payload, placement, paths == Paths::Objects, request.headers)?;
        let payload = match (plan, plan.word()) {
            (_, Some(word)) => word.to_owned(),
            (Plan::Given(digest), None) => digest.to_owned(),
            (_, None) => {
                let body = request.body.ok_or_else(|| SignError::Missing("body".to_owned()))?;
                hexadecimal(&Sha256::digest(body))
            }
        };
        let scope = Scope { date: stamp.date(), region, service };
        let mut attempt = Attempt { request, stamp, scope, paths, plan, payload, length: None };
        if let Plan::Chunks(framing, Signatures::Made) = plan {
            let (expected, announced) = attempt.announced()?;
            attempt.length = expected.and_then(|content| chunks::signed_length(framing, content, &announced));
        }
        Ok(attempt)
    }

    /// The canonical request with what `shown` may be seen of the credentials.
    fn text(&self, attempt: &Attempt<'_>, shown: &Shown<'_>) -> Result<Text, SignError> {
        let request = attempt.request;
        let mut made: Vec<(&'static str, &str)> = Vec::with_capacity(4);
        if self.spec.placement == Placement::Header {
            made.push(("x-amz-date", attempt.stamp.as_str()));
            made.extend(shown.token.map(|token| ("x-amz-security-token", token)));
        }
        if self.tells_payload(attempt) {
            made.push(("x-amz-content-sha256", &attempt.payload));
        }
        let length = attempt.length.map(|length| length.to_string());
        if self.spec.sign_headers.contains(&CONTENT_LENGTH) {
            made.extend(length.as_deref().map(|length| ("content-length", length)));
        }
        let headers = Headers::new(request.headers, request.host, &made, &self.spec.sign_headers);
        let mut names = Vec::with_capacity(64);
        headers.names(&mut names);
        let names = text_of_ascii(names);
        let query = match self.spec.placement {
            Placement::Header => None,
            Placement::Query => Some(self.parameters(attempt, shown, &names)),
        };
        let mut canonical = Vec::with_capacity(512);
        Canonical {
            method: request.method,
            path: request.path,
            paths: attempt.paths,
            query: [request.query.unwrap_or_default(), query.as_ref().map_or("", |query| query.as_str())],
            headers: &headers,
            payload: &attempt.payload,
        }
        .write(&mut canonical);
        Ok(Text { canonical, headers: names, query })
    }

    /// Whether `X-Amz-Content-Sha256` leaves: S3 wants it, a word cannot be guessed, and an SDK that sends it knows why.
    fn tells_payload(&self, attempt: &Attempt<'_>) -> bool {
        let wanted = match (attempt.paths, self.spec.placement) {
            (Paths::Objects, Placement::Header) => true,
            (Paths::Objects, Placement::Query) => false,
            _ => attempt.plan.word().is_some(),
        };
        wanted || attempt.request.headers.contains_key(CONTENT_SHA256)
    }

    /// The parameters of a signature in the query, but for the signature.
    fn parameters(&self, attempt: &Attempt<'_>, shown: &Shown<'_>, headers: &str) -> Zeroizing<String> {
        let mut out = Zeroizing::new(Vec::with_capacity(512 + shown.token.map_or(0, |token| 3 * token.len())));
        let mut pair = |name: &str, value: &str| {
            if !out.is_empty() {
                out.push(b'&');
            }
            out.extend_from_slice(name.as_bytes());
            out.push(b'=');
            encode::url(value.as_bytes(), &mut out);
        };
        pair("X-Amz-Algorithm", ALGORITHM);
        pair("X-Amz-Credential", &format!("{}/{}", shown.id, attempt.scope.text()));
        pair("X-Amz-Date", attempt.stamp.as_str());
        pair("X-Amz-Expires", &self.spec.expires.to_string());
        pair("X-Amz-SignedHeaders", headers);
        if let Some(token) = shown.token {
            pair("X-Amz-Security-Token", token);
        }
        Zeroizing::new(text_of_ascii(std::mem::take(&mut *out)))
    }

    fn inject(
        &self,
        attempt: &Attempt<'_>,
        shown: &Shown<'_>,
        text: &Text,
        signature: &str,
    ) -> Result<Injection, SignError> {
        let mut injection = Injection::default();
        if self.tells_payload(attempt) {
            let value = sensitive(attempt.payload.as_bytes(), CONTENT_SHA256.as_str())?;
            injection.headers.push((CONTENT_SHA256, value));
        }
        if let Some(query) = &text.query {
            let mut pairs = Zeroizing::new(String::with_capacity(query.len() + 90));
            pairs.push_str(query);
            pairs.push_str("&X-Amz-Signature=");
            pairs.push_str(signature);
            injection.query.push(std::mem::take(&mut *pairs));
            return Ok(injection);
        }
        injection.headers.push((DATE, sensitive(attempt.stamp.as_str().as_bytes(), DATE.as_str())?));
        if let Some(token) = shown.token {
            injection.headers.push((TOKEN, secret(Zeroizing::new(token.to_owned()), TOKEN.as_str())?));
        }
        let (id, scope, headers) = (shown.id, attempt.scope.text(), &text.headers);
        let value = format!("{ALGORITHM} Credential={id}/{scope}, SignedHeaders={headers}, Signature={signature}");
        injection.headers.push((AUTHORIZATION, secret(Zeroizing::new(value), AUTHORIZATION.as_str())?));
        Ok(injection)
    }
}

impl Attempt<'_> {
    fn string_to_sign(&self, canonical: &[u8]) -> String {
        let (stamp, scope) = (self.stamp.as_str(), self.scope.text());
        format!("{ALGORITHM}\n{stamp}\n{scope}\n{}", hexadecimal(&Sha256::digest(canonical)))
    }

    /// The signing key, and the signature in hexadecimal.
    fn signature(&self, keys: &Keys<'_>, canonical: &[u8]) -> (super::hmac::Key, String) {
        let key = keys.secret.signing(&self.scope.date, &self.scope.region, &self.scope.service);
        let mut raw = Vec::with_capacity(32);
        key.sign(self.string_to_sign(canonical).as_bytes(), &mut raw);
        (key, hexadecimal(&raw))
    }

    /// How the body must be changed, signed from `seed` on where chunks are.
    fn reframing(&self, key: super::hmac::Key, seed: String) -> Result<Option<Box<Reframing>>, SignError> {
        let Plan::Chunks(framing, signatures) = self.plan else { return Ok(None) };
        let (stamp, scope) = (self.stamp.as_str().to_owned(), self.scope.text());
        let (signer, length) = match (signatures, self.length) {
            (Signatures::None, _) => (None, Length::AsSent),
            (Signatures::Made, length) => {
                (Some(ChunkSigner::new(key, stamp, scope, seed)), length.map_or(Length::Unknown, Length::Exact))
            }
        };
        let (expected, announced) = self.announced()?;
        let reframer = Reframer::new(framing, signer, expected, announced);
        Ok(Some(Box::new(Reframing { reframer, length })))
    }

    /// What the worker says of its chunks: the length of the content, and the names of the trailers.
    fn announced(&self) -> Result<(Option<u64>, Vec<String>), SignError> {
        Ok((payload::decoded_length(self.request.headers)?, payload::trailers(self.request.headers)))
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    let mut out = Vec::with_capacity(2 * bytes.len());
    encode::hex(bytes, &mut out);
    text_of_ascii(out)
}

/// Text of which every byte was written here.
fn text_of_ascii(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_default()
}
