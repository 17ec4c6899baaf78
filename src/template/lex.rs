//! Cuts the text of a template into literals and holes, and a hole into its variable and functions.
//! Knows braces, quotes and commas, and no names.

use std::ops::Range;

use super::TemplateError;

/// A part of the template's text that remembers where it stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chunk<'t> {
    pub(super) text: &'t str,
    start: usize,
}

impl<'t> Chunk<'t> {
    pub(super) fn range(&self) -> Range<usize> {
        self.start..self.start + self.text.len()
    }

    /// The bytes `from..to` of this chunk, without the white space around them.
    fn cut(&self, from: usize, to: usize) -> Self {
        let text = &self.text[from..to];
        let left = text.len() - text.trim_start().len();
        Self { text: text.trim(), start: self.start + from + left }
    }

    /// What follows `prefix`, if it begins with that.
    pub(super) fn after(&self, prefix: &str) -> Option<Self> {
        self.text.strip_prefix(prefix).map(|text| Self { text, start: self.start + prefix.len() })
    }

    pub(super) fn error(&self, message: impl Into<String>, hint: Option<String>) -> TemplateError {
        TemplateError { at: self.range(), message: message.into(), hint }
    }

    /// The chunk cut at each `separator` that is not within quotes.
    fn split(&self, separator: u8) -> Vec<Self> {
        let mut parts = Vec::new();
        let mut from = 0;
        let mut quoted = false;
        for (index, byte) in self.text.bytes().enumerate() {
            if byte == b'"' {
                quoted = !quoted;
            } else if byte == separator && !quoted {
                parts.push(self.cut(from, index));
                from = index + 1;
            }
        }
        parts.push(self.cut(from, self.text.len()));
        parts
    }

    /// `variable | function | function(..)`, cut at the bars.
    pub(super) fn segments(&self) -> Vec<Self> {
        self.split(b'|')
    }

    /// `name(argument, ..)` or `name`; `None` for the arguments when there are no parentheses.
    pub(super) fn call(&self) -> Result<(Self, Option<Vec<Self>>), TemplateError> {
        let Some(open) = self.text.find('(') else {
            return Ok((*self, None));
        };
        if !self.text.ends_with(')') {
            return Err(self.error("the parenthesis is never closed", Some("write name(argument)".to_owned())));
        }
        let name = self.cut(0, open);
        let inner = self.cut(open + 1, self.text.len() - 1);
        let arguments = if inner.text.is_empty() { Vec::new() } else { inner.split(b',') };
        Ok((name, Some(arguments)))
    }

    /// The text between quotes.
    pub(super) fn quoted(&self) -> Option<&'t str> {
        let inner = self.text.strip_prefix('"')?.strip_suffix('"')?;
        if inner.contains('"') { None } else { Some(inner) }
    }
}

/// A template cut into its parts.
#[derive(Debug)]
pub(super) enum Piece<'t> {
    /// Text with the doubled braces made single.
    Literal(String, Range<usize>),
    /// What stands between braces.
    Hole(Chunk<'t>),
}

/// Cuts a template into literals and holes.
pub(super) fn pieces<'t>(text: &'t str, errors: &mut Vec<TemplateError>) -> Vec<Piece<'t>> {
    let bytes = text.as_bytes();
    let mut pieces = Vec::new();
    let mut literal = String::new();
    let mut literal_start = 0;
    let mut at = 0;
    while let Some(found) = text[at..].find(['{', '}']) {
        let brace = at + found;
        literal.push_str(&text[at..brace]);
        if bytes.get(brace + 1) == Some(&bytes[brace]) {
            literal.push(char::from(bytes[brace]));
            at = brace + 2;
            continue;
        }
        if bytes[brace] == b'}' {
            errors.push(TemplateError {
                at: brace..brace + 1,
                message: "this } closes nothing".to_owned(),
                hint: Some("write }} for a literal brace".to_owned()),
            });
            at = brace + 1;
            continue;
        }
        if !literal.is_empty() {
            pieces.push(Piece::Literal(std::mem::take(&mut literal), literal_start..brace));
        }
        let Some(close) = closing(bytes, brace) else {
            errors.push(TemplateError {
                at: brace..text.len(),
                message: "this { is never closed".to_owned(),
                hint: Some("write {{ for a literal brace; quoted arguments need both quotes".to_owned()),
            });
            return pieces;
        };
        let whole = Chunk { text, start: 0 };
        pieces.push(Piece::Hole(whole.cut(brace + 1, close)));
        at = close + 1;
        literal_start = at;
    }
    literal.push_str(&text[at..]);
    if !literal.is_empty() {
        pieces.push(Piece::Literal(literal, literal_start..text.len()));
    }
    pieces
}

/// The brace that closes the one at `open`; braces nest (names of secrets have holes), those in quotes do not count.
fn closing(bytes: &[u8], open: usize) -> Option<usize> {
    let mut depth = 0_usize;
    let mut quoted = false;
    for (index, byte) in bytes.iter().enumerate().skip(open) {
        match byte {
            b'"' => quoted = !quoted,
            b'{' if !quoted => depth += 1,
            b'}' if !quoted => {
                depth -= 1;
                if depth == 0 {
                    return Some(index);
                }
            }
            _ => {}
        }
    }
    None
}
