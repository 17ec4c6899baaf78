//! `hmac`: a canonical text by template, an HMAC over it, headers, query parameters and fields of the body made of it.
//!
//! The order of one attempt: `values` as declared, the text of `sign` straight into the HMAC, then
//! `set` and its kin, which alone know the signature. Where a template has a list of parameters or headers, what is
//! set without the signature is made before (`hmac_own`).

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::HeaderName;
use zeroize::Zeroizing;

use super::body::{BodyChange, BodyProblem};
use super::hmac_own::{Order, Shown, When};
pub use super::keyed::Key;
use super::material::{HashAlgorithm, KeyEncoding, Material};
use super::text::sensitive;
use super::{Covers, Injection, Place, Requirement, SignContext, SignError, Signable, Slot, Transcript};
use crate::secret::name::NamePattern;
use crate::template::{Input, Own, Template, TemplateError, encode};

/// `hmac = { .. }` as written; [`Hmac::compile`] checks the templates.
#[derive(Clone, Debug)]
pub struct HmacSpec {
    /// The key.
    pub key: KeySpec,
    /// The hash; default SHA-256.
    pub algorithm: HashAlgorithm,
    /// How `{signature}` is written; default hex.
    pub encoding: SignatureEncoding,
    /// The template of the text to sign.
    pub sign: String,
    /// Named intermediate templates, `values.NAME`, each may use earlier ones.
    pub values: Vec<(String, String)>,
    /// Headers to set.
    pub set: Vec<(HeaderName, String)>,
    /// Query parameters to set.
    pub set_query: Vec<(String, String)>,
    /// Fields of a form body to set; not together with `set_json`.
    pub set_form: Vec<(String, String)>,
    /// Members of a JSON body's outermost object to set.
    pub set_json: Vec<(String, String)>,
}

/// Where the key comes from.
#[derive(Clone, Debug)]
pub enum KeySpec {
    /// A secret, and how the key stands in its file; default text.
    Secret(NamePattern, KeyEncoding),
    /// A template: the key is what it gives.
    Template(String),
}

/// First capacity of texts that may hold secrets, in bytes: a buffer that grows leaves a copy behind that nobody wipes.
pub(super) const ROOM: usize = 256;

/// How a signature is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignatureEncoding {
    /// Lower-case hexadecimal.
    Hex,
    /// Upper-case hexadecimal.
    UpperHex,
    /// Base64 with padding.
    Base64,
    /// URL-safe base64 without padding.
    Base64Url,
}

impl SignatureEncoding {
    fn encode(self, signature: &[u8]) -> String {
        let hexadecimal = |write: fn(&[u8], &mut Vec<u8>)| {
            let mut out = Vec::with_capacity(2 * signature.len());
            write(signature, &mut out);
            String::from_utf8_lossy(&out).into_owned()
        };
        match self {
            Self::Hex => hexadecimal(encode::hex),
            Self::UpperHex => hexadecimal(encode::hex_upper),
            Self::Base64 => STANDARD.encode(signature),
            Self::Base64Url => URL_SAFE_NO_PAD.encode(signature),
        }
    }
}

/// A compiled `hmac` credential.
#[derive(Debug)]
pub struct Hmac {
    pub(super) requirements: Vec<Requirement>,
    pub(super) slots: Vec<Slot>,
    pub(super) covers: Covers,
    pub(super) needs: Needs,
    pub(super) order: Option<Order>,
    pub(super) algorithm: HashAlgorithm,
    pub(super) encoding: SignatureEncoding,
    pub(super) values: Vec<Template>,
    /// Instead of the first secret.
    pub(super) key: Option<Template>,
    pub(super) sign: Template,
    pub(super) set: Vec<(HeaderName, Template)>,
    pub(super) set_query: Vec<(String, Template)>,
    pub(super) set_form: Vec<(String, Template)>,
    pub(super) set_json: Vec<(String, Template)>,
}

/// What of [`SignContext`] is used.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Needs {
    pub(super) random: bool,
    pub(super) sequence: bool,
    pub(super) token: bool,
}

/// What one attempt works with before there is a signature.
struct Attempt<'a> {
    request: &'a Signable<'a>,
    keys: &'a [Material],
    context: &'a SignContext<'a>,
    values: Vec<Zeroizing<Vec<u8>>>,
    shown: Vec<Vec<u8>>,
    own: Vec<Own>,
}

/// Whether texts are made for the upstream or for people.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reader {
    Upstream,
    People,
}

impl Hmac {
    /// Parses and type-checks every template; all mistakes at once, each with the key that it is in.
    /// A mistake that is of the whole table has an empty range.
    pub fn compile(spec: HmacSpec) -> Result<Self, Vec<(Place, TemplateError)>> {
        super::hmac_compile::compile(spec)
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
        self.needs.random
    }

    /// Whether a nonce grows.
    pub fn needs_sequence(&self) -> bool {
        self.needs.sequence
    }

    pub(super) fn needs_token(&self) -> bool {
        self.needs.token
    }

    pub(super) fn sign(
        &self,
        request: &Signable<'_>,
        keys: &[Material],
        context: &SignContext<'_>,
    ) -> Result<Injection, SignError> {
        self.inject(&self.prepare(request, keys, context, Reader::Upstream)?, Reader::Upstream)
    }

    pub(super) fn masked(
        &self,
        request: &Signable<'_>,
        keys: &[Material],
        context: &SignContext<'_>,
    ) -> Result<Injection, SignError> {
        self.inject(&self.prepare(request, keys, context, Reader::People)?, Reader::People)
    }

    pub(super) fn transcript(
        &self,
        request: &Signable<'_>,
        keys: &[Material],
        context: &SignContext<'_>,
    ) -> Result<Transcript, SignError> {
        let attempt = self.prepare(request, keys, context, Reader::People)?;
        let mut text = Vec::new();
        self.sign.write_shown(&attempt.input(None), &mut text)?;
        let text = readable(&text);
        Ok(Transcript { string_to_sign: text.clone(), text })
    }

    /// Evaluates the values; what people may see of them only where people read.
    fn prepare<'a>(
        &self,
        request: &'a Signable<'a>,
        keys: &'a [Material],
        context: &'a SignContext<'a>,
        reader: Reader,
    ) -> Result<Attempt<'a>, SignError> {
        let mut attempt = Attempt { request, keys, context, values: Vec::new(), shown: Vec::new(), own: Vec::new() };
        let Some(order) = &self.order else {
            for template in &self.values {
                let (value, shown) = attempt.evaluate(template, reader)?;
                attempt.values.push(value);
                attempt.shown.extend(shown);
            }
            return Ok(attempt);
        };
        attempt.values.resize_with(self.values.len(), Zeroizing::default);
        attempt.shown.resize_with(self.values.len(), Vec::new);
        for when in [When::Early, When::Late] {
            for (index, template) in self.values.iter().enumerate().filter(|(index, _)| order.is(*index, when)) {
                let (value, shown) = attempt.evaluate(template, reader)?;
                attempt.values[index] = value;
                attempt.shown[index] = shown.unwrap_or_default();
            }
            if when == When::Early {
                let shown = if reader == Reader::People { Shown::Yes } else { Shown::No };
                attempt.own = order.own(self, &attempt.input(None), shown)?;
            }
        }
        Ok(attempt)
    }

    fn inject(&self, attempt: &Attempt<'_>, reader: Reader) -> Result<Injection, SignError> {
        let signature = self.signature(attempt)?;
        let input = attempt.input(Some(&signature));
        let mut injection = Injection::default();
        for (name, template) in &self.set {
            let mut text = Zeroizing::new(Vec::with_capacity(ROOM));
            write(template, reader, &input, &mut text)?;
            if text.is_empty() {
                continue;
            }
            if template.is_tainted() && !text.is_ascii() {
                return Err(SignError::NotAHeader(name.to_string()));
            }
            injection.headers.push((name.clone(), sensitive(&text, name.as_str())?));
        }
        for (name, template) in &self.set_query {
            injection.query.extend(pair(name, template, reader, &input)?);
        }
        if !self.set_form.is_empty() {
            let pairs = self.set_form.iter().filter_map(|(name, t)| pair(name, t, reader, &input).transpose());
            injection.body = Some(Box::new(BodyChange::Form(pairs.collect::<Result<_, _>>()?)));
        }
        if !self.set_json.is_empty() {
            let members = self.set_json.iter().filter_map(|(name, t)| member(name, t, reader, &input).transpose());
            injection.body = Some(Box::new(BodyChange::Json(members.collect::<Result<_, _>>()?)));
        }
        Ok(injection)
    }

    /// The key is the first secret of every `hmac` credential that does not make its key.
    fn signature(&self, attempt: &Attempt<'_>) -> Result<String, SignError> {
        let mut running = match (&self.key, attempt.keys.first()) {
            (Some(template), _) => {
                let mut key = Zeroizing::new(Vec::with_capacity(ROOM));
                template.write(&attempt.input(None), &mut *key)?;
                if key.is_empty() {
                    return Err(SignError::Unreadable("its key would be empty".to_owned()));
                }
                Key::new(self.algorithm, &key).start()
            }
            (None, Some(Material::Hmac(key))) => key.start(),
            _ => return Err(SignError::Missing("secret".to_owned())),
        };
        self.sign.write(&attempt.input(None), &mut running)?;
        let mut signature = Vec::with_capacity(64);
        running.finish(&mut signature);
        Ok(self.encoding.encode(&signature))
    }
}

type Evaluated = (Zeroizing<Vec<u8>>, Option<Vec<u8>>);

impl Attempt<'_> {
    fn input<'i>(&'i self, signature: Option<&'i str>) -> Input<'i> {
        let Self { request, keys, context, values, shown, own } = self;
        Input { request, context, keys, values, shown, own, signature }
    }

    /// A value, and what people may see of it where they do.
    fn evaluate(&self, template: &Template, reader: Reader) -> Result<Evaluated, SignError> {
        let mut value = Zeroizing::new(Vec::with_capacity(ROOM));
        template.write(&self.input(None), &mut *value)?;
        if reader == Reader::Upstream {
            return Ok((value, None));
        }
        let mut shown = Vec::new();
        template.write_shown(&self.input(None), &mut shown)?;
        Ok((value, Some(shown)))
    }
}

fn write(template: &Template, reader: Reader, input: &Input<'_>, text: &mut Vec<u8>) -> Result<(), SignError> {
    match reader {
        Reader::Upstream => template.write(input, text),
        Reader::People => template.write_shown(input, text),
    }
}

/// A parameter of a query or a form.
fn pair(name: &str, template: &Template, reader: Reader, input: &Input<'_>) -> Result<Option<String>, SignError> {
    let mut text = Zeroizing::new(Vec::with_capacity(ROOM));
    write(template, reader, input, &mut text)?;
    if text.is_empty() {
        return Ok(None);
    }
    let shown = reader == Reader::People && template.is_tainted();
    let pair = if shown { encode::query_pair_shown } else { encode::query_pair };
    Ok(Some(pair(name, &text)))
}

/// A member of a JSON object.
fn member(
    name: &str,
    template: &Template,
    reader: Reader,
    input: &Input<'_>,
) -> Result<Option<(String, String)>, SignError> {
    let mut text = Zeroizing::new(Vec::with_capacity(ROOM));
    write(template, reader, input, &mut text)?;
    if text.is_empty() {
        return Ok(None);
    }
    let text = std::str::from_utf8(&text).map_err(|_| BodyProblem::NotText(name.to_owned()))?;
    Ok(Some((name.to_owned(), text.to_owned())))
}

/// Text for people: bytes that are no UTF-8, such as raw digests, become `\xNN`.
fn readable(text: &[u8]) -> String {
    let mut out = String::with_capacity(text.len());
    for chunk in text.utf8_chunks() {
        out.push_str(chunk.valid());
        for byte in chunk.invalid() {
            out.push_str(&format!("\\x{byte:02x}"));
        }
    }
    out
}
