//! Signs a draft as the request path does, and beside it makes what people may see of the result. Callers:
//! `cli::explain`, `transcript`.

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderValue;
use http::header::CONTENT_LENGTH;
use serde::Serialize;

use super::ready::Ready;
use crate::sign::body::BodyChange;
use crate::sign::material::Material;
use crate::sign::seal::{Draft, Step};
use crate::sign::{Injection, SignContext, SignError, Signer, Transcript};
use crate::snapshot::Snapshot;
use crate::snapshot::credential::Value;

/// What people may see of a signed request.
pub struct Signed {
    /// As it would leave, secrets masked.
    pub shown: Draft,
    /// In the order of the credentials that have a text.
    pub canonical: Vec<Canonical>,
    /// The body as it would leave, secrets masked; nothing where credentials leave it alone.
    pub body: Option<String>,
}

/// What one credential would sign.
#[derive(Debug, Serialize)]
pub struct Canonical {
    /// The credential's name.
    pub credential: String,
    /// The canonical text.
    pub text: String,
    /// The text that the key is applied to.
    pub string_to_sign: String,
}

/// What an earlier credential put in, and what stands for it where people read.
pub type Masks = Vec<(String, String)>;

/// Texts of fewer bytes are no secrets, and to replace them would spoil what is beside them.
const TEXT: usize = 4;

/// Each credential signs the real request with what the earlier ones put in. A later text that has an earlier
/// one's secret in it shows the mask: such texts are made over the shown request. `shown` is the draft as people may
/// see it, `masks` what was hidden in it; `values` are those of the route's credentials, in order.
pub fn sign(
    snapshot: &Snapshot,
    ready: &Ready<'_>,
    values: &[&Arc<Value>],
    (draft, mut shown): (Draft, Draft),
    mut masks: Masks,
    body: Option<&[u8]>,
    context: &SignContext<'_>,
) -> Result<Signed, SignError> {
    let mut known = *context;
    let mut shown_body: Option<Bytes> = None;
    let mut canonical = Vec::new();
    let mut steps: Vec<Step<'_>> = Vec::new();
    for (&index, value) in ready.route.credentials.iter().zip(values) {
        let credential = &snapshot.credentials[index];
        let step = Step { signer: &credential.signer, keys: &value.keys, kept: None };
        let mut earlier = draft.clone().seal(&steps, body, context)?;
        let changed = earlier.take_body();
        let real = earlier.draft().signable(changed.as_deref().or(body));
        let seen = shown_body.as_deref().or(body);
        if let Some(transcript) = step.signer.transcript(&shown.signable(seen), step.keys, &known)? {
            let Transcript { text, string_to_sign } = transcript;
            canonical.push(Canonical { credential: credential.name.clone(), text, string_to_sign });
        }
        let mut injection = step.signer.masked(&real, step.keys, &known)?;
        mask(&mut injection, &masks);
        let made = step.signer.sign(&real, step.keys, &known)?;
        remember(&made, &injection, &mut masks);
        masks.extend(texts(step));
        shown.apply(&injection);
        if let Some(change) = &injection.body {
            shown_body = Some(shown.fill(change, seen.unwrap_or_default())?);
        }
        step.tell(&mut known);
        steps.push(step);
    }
    let mut whole = draft.seal(&steps, body, context)?;
    if let Some(changed) = whole.take_body() {
        // That of the masked body is another one.
        shown.headers.insert(CONTENT_LENGTH, HeaderValue::from(changed.len()));
    }
    let body = shown_body.map(|body| String::from_utf8_lossy(&body).into_owned());
    Ok(Signed { shown, canonical, body })
}

/// Replaces what earlier credentials put in by what stands for it.
fn mask(injection: &mut Injection, masks: &Masks) {
    let masked = |text: &str| masks.iter().fold(text.to_owned(), |text, (secret, mask)| text.replace(secret, mask));
    for (_, value) in &mut injection.headers {
        if let Ok(text) = value.to_str().map(masked) {
            *value = HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static("[masked]"));
        }
    }
    injection.query.iter_mut().chain(&mut injection.cookies).for_each(|text| *text = masked(text));
    match injection.body.as_deref_mut() {
        Some(BodyChange::Form(pairs)) => pairs.iter_mut().for_each(|text| *text = masked(text)),
        Some(BodyChange::Json(members)) => members.iter_mut().for_each(|(_, text)| *text = masked(text)),
        None => {}
    }
}

/// The texts of a credential's secrets, which a later template may have cut out of what was put in.
fn texts(step: Step<'_>) -> impl Iterator<Item = (String, String)> {
    let names: Vec<String> = match &**step.signer {
        Signer::Token(token) => token.parts().iter().map(|part| format!("[{part}]")).collect(),
        signer => signer.requirements().iter().map(|requirement| format!("[{}]", requirement.pattern)).collect(),
    };
    names.into_iter().zip(step.keys).filter_map(|(name, key)| match key {
        Material::Text(bytes) if bytes.expose().len() >= TEXT => {
            Some((String::from_utf8_lossy(bytes.expose()).into_owned(), name))
        }
        _ => None,
    })
}

/// What a credential put in, where people see something else.
fn remember(real: &Injection, shown: &Injection, masks: &mut Masks) {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let headers = real.headers.iter().zip(&shown.headers).map(|(a, b)| (text(&a.1), text(&b.1)));
    let queries = real.query.iter().zip(&shown.query).map(|(a, b)| (a.clone(), b.clone()));
    let cookies = real.cookies.iter().zip(&shown.cookies).map(|(a, b)| (a.clone(), b.clone()));
    let fields: Vec<(String, String)> = match (real.body.as_deref(), shown.body.as_deref()) {
        (Some(BodyChange::Form(real)), Some(BodyChange::Form(shown))) => {
            real.iter().cloned().zip(shown.iter().cloned()).collect()
        }
        (Some(BodyChange::Json(real)), Some(BodyChange::Json(shown))) => {
            real.iter().zip(shown).map(|(a, b)| (a.1.clone(), b.1.clone())).collect()
        }
        _ => Vec::new(),
    };
    masks.extend(
        headers.chain(queries).chain(cookies).chain(fields).filter(|(real, shown)| real != shown && !real.is_empty()),
    );
}

impl Signed {
    /// Host first, then the others.
    pub fn headers(&self) -> Vec<(String, String)> {
        let host = ("host".to_owned(), self.shown.host.as_str().to_owned());
        let others = self.shown.headers.iter();
        let others = others.map(|(n, v)| (n.as_str().to_owned(), String::from_utf8_lossy(v.as_bytes()).into_owned()));
        std::iter::once(host).chain(others).collect()
    }
}
