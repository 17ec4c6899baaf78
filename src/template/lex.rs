//! Cuts the text of a template into literals and holes, and a hole into its variable and functions.
//! Knows braces, quotes and commas, and no names.

use std::borrow::Cow;
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
        let mut quotes = Quotes::default();
        for (index, byte) in self.text.bytes().enumerate() {
            if quotes.outside(byte) && byte == separator {
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

    /// What stands between quotes, with the escapes `\n`, `\r`, `\t`, `\\`, `\"` and `\'` made what they mean.
    /// `None` for what is not in quotes.
    pub(super) fn quoted(&self) -> Option<Result<Cow<'t, str>, TemplateError>> {
        let mark = self.text.chars().next().filter(|c| matches!(c, '"' | '\''))?;
        let inner = self.text.strip_prefix(mark)?.strip_suffix(mark)?;
        if !inner.contains('\\') {
            return (!inner.contains(mark)).then_some(Ok(Cow::Borrowed(inner)));
        }
        let mut out = String::with_capacity(inner.len());
        let mut chars = inner.chars();
        while let Some(c) = chars.next() {
            out.push(match c {
                '\\' => match chars.next() {
                    Some('n') => '\n',
                    Some('r') => '\r',
                    Some('t') => '\t',
                    Some(c @ ('\\' | '"' | '\'')) => c,
                    other => {
                        let what = other.map_or_else(|| "\\".to_owned(), |c| format!("\\{c}"));
                        let hint = "the escapes are \\n, \\r, \\t, \\\\, \\\" and \\'";
                        return Some(Err(self.error(format!("there is no escape {what}"), Some(hint.to_owned()))));
                    }
                },
                c if c == mark => return None,
                c => c,
            });
        }
        Some(Ok(Cow::Owned(out)))
    }
}

/// Follows quotes, `"..."` or `'...'`, in which a backslash takes the next byte along.
#[derive(Default)]
struct Quotes {
    open: Option<u8>,
    escaped: bool,
}

impl Quotes {
    /// Whether this byte stands outside of quotes and is no quote itself.
    fn outside(&mut self, byte: u8) -> bool {
        let Some(mark) = self.open else {
            self.open = Some(byte).filter(|byte| matches!(byte, b'"' | b'\''));
            return self.open.is_none();
        };
        if self.escaped {
            self.escaped = false;
        } else if byte == b'\\' {
            self.escaped = true;
        } else if byte == mark {
            self.open = None;
        }
        false
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
    let mut quotes = Quotes::default();
    for (index, byte) in bytes.iter().enumerate().skip(open) {
        let outside = quotes.outside(*byte);
        match byte {
            b'{' if outside => depth += 1,
            b'}' if outside => {
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
