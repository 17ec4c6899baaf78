//! The template language: parsed and type-checked when the configuration loads, evaluated per request. PURE.
//!
//! A template is literal text with holes, `{variable|function|function(argument)}`. [`Template::parse`]
//! cuts it (`lex`), finds the names (`variables`, `functions`) and checks the types (`compile`, `call`,
//! `pairs_compile`); what is left to do per request is `eval`, with `step` for text, `pairs` for lists, `moment` for times. The language is described in `docs/TEMPLATES.md`. Not here: what
//! a signature does with the text (`sign::hmac`). Callers: schemes whose text the configuration writes.

mod call;
mod compile;
mod decode;
pub(crate) mod encode;
mod eval;
mod functions;
mod json;
mod lex;
#[cfg(test)]
mod list_tests;
mod media;
mod moment;
mod nonce;
mod pairs;
mod pairs_compile;
mod step;
mod suggest;
#[cfg(test)]
mod tests;
mod variables;

use std::ops::Range;

pub use eval::{Input, Own, OwnPlace, Sink};

use crate::secret::name::NamePattern;
use crate::sign::material::Kind;
use variables::Source;

/// A mistake in a template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct TemplateError {
    /// Where in the template's text, in bytes.
    pub at: Range<usize>,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

/// The type of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// Text: what the request has (the body too) and what encodings give.
    Text,
    /// Raw bytes: what digests and HMACs give.
    Bytes,
    /// A moment: written as seconds since 1970, unless `format` says otherwise.
    Time,
    /// Parameters or headers: names with values.
    Pairs,
    /// Texts that `pairs` made and `join` will put together.
    List,
}

/// Where the text of a template goes, which decides what it may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    /// Into a signature or another template: raw bytes are welcome, `signature` does not exist yet.
    Signed,
    /// Into a header, after signing.
    Header,
    /// Into a query parameter, after signing.
    Query,
}

/// A value that a template may use as `value.NAME`.
#[derive(Clone, Debug)]
pub struct Named {
    name: String,
    gives: Type,
    tainted: bool,
}

impl Named {
    /// What later templates need to know of `template`, whose result they call `name`.
    pub fn new(name: String, template: &Template) -> Self {
        Self { name, gives: template.gives, tainted: template.tainted }
    }

    /// A value whose own template has mistakes: those that use it are checked as if it gave text.
    pub fn unknown(name: String) -> Self {
        Self { name, gives: Type::Text, tainted: false }
    }

    /// Whether this is the value of that name.
    pub fn is(&self, name: &str) -> bool {
        self.name == name
    }
}

/// What a template may use.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'s> {
    /// Where its text goes.
    pub position: Position,
    /// The values that come before it, in the order of [`Input::values`].
    pub values: &'s [Named],
    /// What lists may have in them.
    pub lists: Lists,
}

/// Whether [`Input::own`] may tell a secret, so that what is made of lists must not be seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lists {
    /// Nothing that the credential sets tells one.
    #[default]
    Plain,
    /// Something does.
    Tainted,
}

/// The secrets that templates use, each once, in the order of [`Input::keys`].
#[derive(Debug, Default)]
pub struct Secrets(Vec<(NamePattern, Kind)>);

impl Secrets {
    /// The place of a secret; a new one is appended.
    pub fn add(&mut self, pattern: NamePattern, kind: Kind) -> usize {
        let wanted = (pattern, kind);
        match self.0.iter().position(|known| *known == wanted) {
            Some(index) => index,
            None => {
                self.0.push(wanted);
                self.0.len() - 1
            }
        }
    }

    /// Every secret so far.
    pub fn list(&self) -> &[(NamePattern, Kind)] {
        &self.0
    }
}

/// A compiled template.
#[derive(Debug)]
pub struct Template {
    parts: Vec<Part>,
    gives: Type,
    tainted: bool,
}

#[derive(Debug)]
enum Part {
    Literal(Box<str>),
    Hole(Hole),
}

/// `{variable|function|..}`
#[derive(Debug)]
struct Hole {
    source: Source,
    steps: Box<[step::Step]>,
    /// The value tells a secret: it is made of one by other means than an HMAC.
    tainted: bool,
}

impl Template {
    /// Parses and type-checks a template. The secrets that it uses are added to `secrets`.
    ///
    /// # Errors
    /// Every mistake, in the order of the text.
    pub fn parse(text: &str, scope: Scope<'_>, secrets: &mut Secrets) -> Result<Self, Vec<TemplateError>> {
        compile::template(text, scope, secrets)
    }

    /// Whether the result depends on the query as sent.
    pub fn reads_query(&self) -> bool {
        self.sources().any(Source::reads_query) || self.steps().any(step::Step::reads_query)
    }

    /// Whether the result depends on the body.
    pub fn reads_body(&self) -> bool {
        self.sources().any(Source::reads_body) || self.steps().any(step::Step::reads_body)
    }

    /// Whether a random `{nonce}` or `{uuid}` is in it.
    pub fn reads_random(&self) -> bool {
        self.sources().any(|source| match source {
            Source::Nonce(nonce) => nonce.is_random(),
            Source::Plain(plain) => *plain == variables::Plain::Uuid,
            _ => false,
        })
    }

    /// Whether a nonce that grows is in it.
    pub fn reads_sequence(&self) -> bool {
        self.sources().any(|source| matches!(source, Source::Nonce(nonce) if !nonce.is_random()))
    }

    /// Whether `{access_token}` is in it.
    pub fn reads_token(&self) -> bool {
        self.sources().any(|source| matches!(source, Source::Plain(variables::Plain::AccessToken)))
    }

    /// Whether a list is in it, which has what [`Input::own`] has.
    pub fn reads_lists(&self) -> bool {
        self.sources().any(|source| matches!(source, Source::Pairs(_)))
    }

    /// The values that it uses, by their places.
    pub fn values(&self) -> impl Iterator<Item = usize> {
        let of_sources = self.sources().flat_map(|source| {
            let (own, pairs) = match source {
                Source::Value(index) => (Some(*index), None),
                Source::Pairs(pairs) => (None, Some(pairs)),
                _ => (None, None),
            };
            own.into_iter().chain(pairs.into_iter().flat_map(|pairs| pairs.values()))
        });
        of_sources.chain(self.steps().filter_map(step::Step::value))
    }

    /// Whether `{signature}` is in it.
    pub fn reads_signature(&self) -> bool {
        self.sources().any(|source| matches!(source, Source::Plain(variables::Plain::Signature)))
    }

    /// Whether the result tells a secret, so that people must not see it.
    pub fn is_tainted(&self) -> bool {
        self.tainted
    }

    /// The request headers that it reads.
    pub fn headers(&self) -> impl Iterator<Item = &http::HeaderName> {
        self.sources().filter_map(|source| match source {
            Source::Header(name) => Some(name),
            _ => None,
        })
    }

    /// The query parameters that it reads, by decoded name.
    pub fn query_parameters(&self) -> impl Iterator<Item = &str> {
        self.sources().filter_map(|source| match source {
            Source::QueryParameter(name) => Some(&**name),
            _ => None,
        })
    }

    fn holes(&self) -> impl Iterator<Item = &Hole> {
        self.parts.iter().filter_map(|part| match part {
            Part::Hole(hole) => Some(hole),
            Part::Literal(_) => None,
        })
    }

    fn sources(&self) -> impl Iterator<Item = &Source> {
        self.holes().map(|hole| &hole.source)
    }

    fn steps(&self) -> impl Iterator<Item = &step::Step> {
        self.holes().flat_map(|hole| hole.steps.iter())
    }
}

/// Where the variable of each hole of a good template stands, in bytes.
pub fn variables_of(text: &str) -> Vec<Range<usize>> {
    let pieces = lex::pieces(text, &mut Vec::new());
    let variable = |piece: lex::Piece<'_>| match piece {
        lex::Piece::Hole(chunk) => chunk.segments().first().map(lex::Chunk::range),
        lex::Piece::Literal(..) => None,
    };
    pieces.into_iter().filter_map(variable).collect()
}
