//! Evaluation: a compiled template and a request become bytes.
//!
//! Pieces of the request are borrowed, never copied before the last step: `{body|sha256|hex}` reads
//! the body where it lies, and `{body}` goes straight into the sink, which may be an HMAC.

use zeroize::Zeroizing;

use super::pairs::Reader;
use super::variables::Source;
use super::{Hole, Part, Template};
use crate::sign::material::Material;
use crate::sign::{SignContext, SignError, Signable};

/// Takes the text of a template as it comes.
pub trait Sink {
    /// Takes the next bytes.
    fn put(&mut self, bytes: &[u8]);
}

impl Sink for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// What a template is evaluated with.
#[derive(Clone, Copy, Debug)]
pub struct Input<'i> {
    /// The request as it will leave.
    pub request: &'i Signable<'i>,
    /// Time, randomness, tenant and captures of this attempt.
    pub context: &'i SignContext<'i>,
    /// The secrets, in the order of [`super::Secrets`].
    pub keys: &'i [Material],
    /// The values so far, in the order of [`super::Scope::values`].
    pub values: &'i [Zeroizing<Vec<u8>>],
    /// The same as people may see them.
    pub shown: &'i [Vec<u8>],
    /// What the credential sets that lists have: see [`Own`].
    pub own: &'i [Own],
    /// The signature, once there is one.
    pub signature: Option<&'i str>,
}

/// A place that the credential itself fills before it signs. Lists have it as if it had been sent.
#[derive(Debug)]
pub struct Own {
    /// Where.
    pub place: OwnPlace,
    /// The name, of a header in lower case.
    pub name: Box<str>,
    /// What it is filled with, not encoded.
    pub value: Zeroizing<Vec<u8>>,
    /// What people may see of that, where it tells a secret.
    pub shown: Option<Vec<u8>>,
}

/// What [`Own`] fills.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnPlace {
    /// A header.
    Header,
    /// A parameter of the query.
    Query,
    /// A field of a form body.
    Form,
    /// A member of a JSON body.
    Json,
}

/// Two buffers that the results of functions alternate between; wiped, as they may hold secrets.
#[derive(Default)]
struct Scratch {
    result: Zeroizing<Vec<u8>>,
    next: Zeroizing<Vec<u8>>,
}

impl Template {
    /// Gives the text to `sink`.
    ///
    /// # Errors
    /// A tenant or capture that this request does not have. Headers and query parameters that are
    /// not there are empty.
    pub fn write(&self, input: &Input<'_>, sink: &mut impl Sink) -> Result<(), SignError> {
        let mut scratch = Scratch::default();
        for part in &self.parts {
            match part {
                Part::Literal(text) => sink.put(text.as_bytes()),
                Part::Hole(hole) => hole.write(input, &mut scratch, sink)?,
            }
        }
        Ok(())
    }

    /// The text for people to read: `[NAME]` stands for a secret and for what functions other than
    /// an HMAC make of it.
    ///
    /// # Errors
    /// As [`Template::write`].
    pub fn write_shown(&self, input: &Input<'_>, sink: &mut impl Sink) -> Result<(), SignError> {
        let mut scratch = Scratch::default();
        for part in &self.parts {
            match part {
                Part::Literal(text) => sink.put(text.as_bytes()),
                Part::Hole(hole) if hole.tainted => hole.write_mask(input, sink)?,
                Part::Hole(hole) => hole.write(input, &mut scratch, sink)?,
            }
        }
        Ok(())
    }
}

impl Hole {
    fn write(&self, input: &Input<'_>, scratch: &mut Scratch, sink: &mut impl Sink) -> Result<(), SignError> {
        let Scratch { result, next } = scratch;
        let value = match &self.source {
            Source::Pairs(pairs) => {
                result.clear();
                pairs.write(input, Reader::Upstream, result)?;
                None
            }
            source => Some(source.value(input)?),
        };
        for (index, step) in self.steps.iter().enumerate() {
            next.clear();
            let text = value.as_deref().filter(|_| index == 0);
            step.apply(text.unwrap_or(result), input, next)?;
            std::mem::swap(result, next);
        }
        sink.put(value.as_deref().filter(|_| self.steps.is_empty()).unwrap_or(result));
        Ok(())
    }

    fn write_mask(&self, input: &Input<'_>, sink: &mut impl Sink) -> Result<(), SignError> {
        match &self.source {
            Source::Secret(_, name) => {
                sink.put(b"[");
                sink.put(name.as_bytes());
                sink.put(b"]");
            }
            Source::Value(index) => sink.put(input.shown.get(*index).map_or(&[], Vec::as_slice)),
            Source::Pairs(pairs) => {
                let mut text = Vec::new();
                pairs.write(input, Reader::People, &mut text)?;
                sink.put(&text);
            }
            // The one that is left of those that are ever tainted.
            _ => sink.put(b"[access_token]"),
        }
        Ok(())
    }
}
