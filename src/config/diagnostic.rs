//! Messages that point into a file: what is wrong, where, and what to do.
//!
//! Made by `config` (and by `snapshot` for secrets that do not fit); printed by `cli` and `reload`.
//! Nothing here knows what a key means.

use std::fmt::Write;

use super::model::{Source, Span};

/// The byte that stands for a masked byte in [`Source::text`]. TOML allows it nowhere, so it cannot be meant.
pub(super) const MASK: char = '\u{1a}';

/// Characters of a line that are printed; of a longer line only the part around the caret.
const LINE_WIDTH: usize = 120;

/// Characters kept before the caret of a line that is too long.
const LINE_LEAD: usize = 40;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The configuration cannot be used.
    Error,
    /// It can be used, but probably says something that was not meant.
    Warning,
}

/// One message about a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// Where, if it has a place in the file.
    pub span: Option<Span>,
    /// What is wrong and what was expected; one line, no full stop.
    pub message: String,
    /// What to do; one line.
    pub hint: Option<String>,
}

/// The JSON form of `check --format json`.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct DiagnosticJson {
    /// `"error"` or `"warning"`.
    pub severity: Severity,
    /// Name of the file.
    pub file: String,
    /// From 1.
    pub line: Option<usize>,
    /// In characters, from 1.
    pub column: Option<usize>,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

impl Diagnostic {
    /// An error at a place.
    pub fn error(span: Span, message: impl Into<String>) -> Self {
        Self { severity: Severity::Error, span: Some(span), message: message.into(), hint: None }
    }

    /// A warning at a place.
    pub fn warning(span: Span, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, span: Some(span), message: message.into(), hint: None }
    }

    /// An error about the file as a whole.
    pub fn whole_file(message: impl Into<String>) -> Self {
        Self { severity: Severity::Error, span: None, message: message.into(), hint: None }
    }

    /// The same with a hint.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The text form: message, place, the line, carets, hint. Ends with a line feed.
    pub fn render(&self, source: &Source) -> String {
        let word = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let mut out = format!("{word}: {}\n", escape(&self.message));
        match &self.span {
            None => out += &format!("  --> {}\n", escape(&source.name)),
            Some(span) => {
                let place = Place::find(&source.text, span);
                let (text, carets) = place.excerpt();
                let _ = writeln!(out, "  --> {}:{}:{}", escape(&source.name), place.line, place.column);
                let _ = writeln!(out, "    {}", text.trim_end());
                let _ = writeln!(out, "    {carets}");
            }
        }
        if let Some(hint) = &self.hint {
            let _ = writeln!(out, "  hint: {}", escape(hint));
        }
        out
    }

    /// The JSON form.
    pub fn json(&self, source: &Source) -> DiagnosticJson {
        let place = self.span.as_ref().map(|span| Place::find(&source.text, span));
        DiagnosticJson {
            severity: self.severity,
            file: source.name.clone(),
            line: place.as_ref().map(|p| p.line),
            column: place.as_ref().map(|p| p.column),
            message: self.message.clone(),
            hint: self.hint.clone(),
        }
    }
}

/// The line that a span begins in.
struct Place<'s> {
    line: usize,
    column: usize,
    text: &'s str,
    /// Byte offsets of the marked part within `text`; `end` is at least `start`.
    start: usize,
    end: usize,
}

impl<'s> Place<'s> {
    fn find(text: &'s str, span: &Span) -> Self {
        let at = floor(text, span.start);
        let begin = text[..at].rfind('\n').map_or(0, |i| i + 1);
        let length = text[begin..].find('\n').unwrap_or(text.len() - begin);
        let line_text = text[begin..begin + length].trim_end_matches('\r');
        let start = (at - begin).min(line_text.len());
        let end = floor(text, span.end).saturating_sub(begin).clamp(start, line_text.len());
        Self {
            line: text[..begin].bytes().filter(|b| *b == b'\n').count() + 1,
            column: text[begin..at].chars().count() + 1,
            text: line_text,
            start,
            end: floor(line_text, end),
        }
    }

    /// The printable line and the carets under it, cut to [`LINE_WIDTH`].
    fn excerpt(&self) -> (String, String) {
        let mut cells: Vec<(String, bool)> = Vec::new();
        let mut masked = false;
        for (at, c) in self.text.char_indices() {
            let marked = at >= self.start && at < self.end;
            if c == MASK {
                // A whole run shows as three stars, so that not even its length is told.
                if !masked {
                    cells.extend((0..3).map(|_| ("*".to_owned(), marked)));
                }
            } else {
                cells.extend(printable(c).chars().map(|c| (c.to_string(), marked)));
            }
            masked = c == MASK;
        }
        if self.start == self.end {
            let index = self.text[..self.start].chars().map(|c| printable(c).chars().count()).sum::<usize>();
            match cells.get_mut(index) {
                Some(cell) => cell.1 = true,
                None => cells.push((" ".to_owned(), true)),
            }
        }
        cut(cells)
    }
}

/// The part of a long line around its marked cells.
fn cut(mut cells: Vec<(String, bool)>) -> (String, String) {
    let first = cells.iter().position(|(_, marked)| *marked).unwrap_or(0);
    let dots = || ("…".to_owned(), false);
    if cells.len() > LINE_WIDTH {
        let from = if first + 20 > LINE_WIDTH { first - LINE_LEAD } else { 0 };
        let to = (from + LINE_WIDTH).min(cells.len());
        let tail = to < cells.len();
        cells = cells.drain(from..to).collect();
        if from > 0 {
            cells.insert(0, dots());
        }
        if tail {
            cells.push(dots());
        }
    }
    let text: String = cells.iter().map(|(c, _)| c.as_str()).collect();
    let carets: String = cells.iter().map(|(_, marked)| if *marked { '^' } else { ' ' }).collect();
    (text, carets.trim_end().to_owned())
}

/// What a terminal may be given for a character: a tab as spaces, controls and direction marks escaped.
fn printable(c: char) -> String {
    match c {
        '\t' => "    ".to_owned(),
        '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}' => {
            c.escape_unicode().to_string()
        }
        c if c.is_control() => c.escape_unicode().to_string(),
        c => c.to_string(),
    }
}

/// A message without characters that would steer a terminal.
fn escape(text: &str) -> String {
    text.chars().map(|c| if c == '\t' { " ".to_owned() } else { printable(c) }).collect()
}

/// The nearest character boundary at or before `at`.
fn floor(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn source(text: &str) -> Source {
        Source { name: "proxy.toml".to_owned(), text: text.to_owned(), folder: "/".into() }
    }

    #[test]
    fn the_line_and_the_carets_are_shown() {
        let source = source("[log]\nlevel = \"loud\"\n");
        let text = Diagnostic::error(14..20, "no").with_hint("yes").render(&source);
        assert_eq!(text, "error: no\n  --> proxy.toml:2:9\n    level = \"loud\"\n            ^^^^^^\n  hint: yes\n");
    }

    #[test]
    fn columns_count_characters_and_tabs_are_four_wide() {
        let source = source("\té = 1\n");
        let at = source.text.find('1').unwrap();
        let text = Diagnostic::warning(at..at + 1, "no").render(&source);
        assert_eq!(text, "warning: no\n  --> proxy.toml:1:6\n        é = 1\n            ^\n");
    }

    #[test]
    fn a_long_line_is_cut_around_the_carets() {
        let text = format!("a = \"{}X{}\"", "b".repeat(400), "c".repeat(400));
        let source = source(&text);
        let at = text.find('X').unwrap();
        let shown = Diagnostic::error(at..at + 1, "no").render(&source);
        let lines: Vec<&str> = shown.lines().collect();
        assert!(lines[2].starts_with("    …") && lines[2].ends_with('…'), "{shown}");
        assert!(lines[2].chars().count() <= 4 + LINE_WIDTH + 2);
        assert_eq!(lines[2].chars().position(|c| c == 'X'), lines[3].chars().position(|c| c == '^'));
    }

    #[test]
    fn controls_never_reach_the_terminal_and_ends_are_safe() {
        let source = source("a = \"\u{1b}[31m\u{202e}é");
        for span in [0..1, 4..99, 99..100, 14..15, 15..15] {
            let shown = Diagnostic::error(span, "x\u{1b}[0m\ny").render(&source);
            assert!(!shown.contains('\u{1b}') && !shown.contains('\u{202e}'), "{shown:?}");
            assert_eq!(shown.lines().count(), 4);
        }
        assert_eq!(Diagnostic::whole_file("no").render(&source), "error: no\n  --> proxy.toml\n");
    }

    #[test]
    fn json_has_line_and_column() {
        let source = source("a\nbc\n");
        let json = serde_json::to_value(Diagnostic::error(3..4, "no").json(&source)).unwrap();
        assert_eq!(
            json,
            serde_json::json!({"severity": "error", "file": "proxy.toml", "line": 2, "column": 2, "message": "no", "hint": null})
        );
    }
}
