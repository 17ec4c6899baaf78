//! The template language: parsed and type-checked when the configuration loads, evaluated per request. PURE.

pub(crate) mod encode;

/// A mistake in a template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct TemplateError {
    /// Where in the template's text, in bytes.
    pub at: std::ops::Range<usize>,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}
