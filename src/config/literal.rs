//! From a place within a decoded TOML string to the place within the file. PURE.

use std::ops::Range;

use super::model::Span;

/// The part of the file that `at` of the decoded string stands for. `span` is the string with its
/// quotes. `None` when the two cannot be brought together.
pub(super) fn inside(text: &str, span: &Span, decoded: &str, at: &Range<usize>) -> Option<Span> {
    let raw = text.get(span.clone())?;
    let map = offsets(raw, decoded)?;
    let find = |offset: usize| map.iter().rev().find(|(from, _)| *from <= offset).map(|(_, to)| *to);
    let start = find(at.start)?;
    let end = map.iter().find(|(from, _)| *from >= at.end).map(|(_, to)| *to)?.max(start);
    Some(span.start + start..span.start + end)
}

/// Pairs of (offset in the decoded string, offset in the raw string), one for each character and one for the end.
fn offsets(raw: &str, decoded: &str) -> Option<Vec<(usize, usize)>> {
    let (quote, escapes) = match raw.as_bytes().first()? {
        b'"' => ("\"", true),
        b'\'' => ("'", false),
        _ => return None,
    };
    let long = quote.repeat(3);
    let multi = raw.len() >= 6 && raw.starts_with(&long);
    let fence = if multi { 3 } else { 1 };
    let end = raw.len().checked_sub(fence)?;
    let mut at = fence;
    if multi {
        at += ["\r\n", "\n"].iter().find(|eol| raw[at..].starts_with(**eol)).map_or(0, |eol| eol.len());
    }
    let mut map = Vec::new();
    let mut rebuilt = String::with_capacity(decoded.len());
    while at < end {
        let (unit, length) = if escapes { unit(&raw[at..end])? } else { plain(&raw[at..end])? };
        if let Some(c) = unit {
            map.push((rebuilt.len(), at));
            rebuilt.push(c);
        }
        at += length;
    }
    map.push((rebuilt.len(), end));
    if rebuilt == decoded { Some(map) } else { None }
}

fn plain(rest: &str) -> Option<(Option<char>, usize)> {
    let c = rest.chars().next()?;
    Some((Some(c), c.len_utf8()))
}

/// One character of a basic string, or a line end that is escaped away.
fn unit(rest: &str) -> Option<(Option<char>, usize)> {
    let Some(escape) = rest.strip_prefix('\\') else { return plain(rest) };
    let kind = escape.chars().next()?;
    let code = |digits: usize| {
        let number = u32::from_str_radix(escape.get(1..1 + digits)?, 16).ok()?;
        Some((Some(char::from_u32(number)?), 2 + digits))
    };
    let simple = match kind {
        'b' => '\u{8}',
        't' => '\t',
        'n' => '\n',
        'f' => '\u{c}',
        'r' => '\r',
        'e' => '\u{1b}',
        '"' => '"',
        '\\' => '\\',
        'x' => return code(2),
        'u' => return code(4),
        'U' => return code(8),
        ' ' | '\t' | '\r' | '\n' => {
            let kept = escape.trim_start_matches([' ', '\t', '\r', '\n']);
            return Some((None, 1 + escape.len() - kept.len()));
        }
        _ => return None,
    };
    Some((Some(simple), 2))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn shown(raw: &str, at: Range<usize>) -> Option<&str> {
        let table: toml::Table = format!("a = {raw}").parse().unwrap();
        let decoded = table["a"].as_str().unwrap();
        inside(raw, &(0..raw.len()), decoded, &at).map(|span| &raw[span])
    }

    #[test]
    fn every_form_of_string_is_followed() {
        assert_eq!(shown(r#""ab{x}""#, 2..5), Some("{x}"));
        assert_eq!(shown(r#""a\n\u00e9{x}""#, 4..7), Some("{x}"));
        assert_eq!(shown(r#""a\n{x}""#, 1..2), Some("\\n"));
        assert_eq!(shown(r"'a\n{x}'", 3..6), Some("{x}"));
        assert_eq!(shown("\"\"\"\na \\\n   {x}\"\"\"", 2..5), Some("{x}"));
        assert_eq!(shown("'''\n{x}'''", 0..3), Some("{x}"));
        assert_eq!(shown(r#""{x}""#, 3..3), Some(""));
        assert_eq!(shown(r#""{x}""#, 3..9), None);
    }
}
