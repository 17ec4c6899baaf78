//! One record, one line: fields written as JSON or as text, escaped, into a buffer that is used again.
//!
//! The log and the access line both write through [`Line`]; nothing else knows the two formats.
//! No allocation happens here once the buffer has grown.

use std::io::Write as _;

use crate::clock::Timestamp;

/// How lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One JSON object a line.
    Json,
    /// `time level message key=value …`, for people.
    Text,
}

/// Whether text is coloured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paint {
    /// No escape sequences.
    Plain,
    /// ANSI colours for the level and dimmed keys.
    Colour,
}

/// Longest value of one field, in bytes; longer ones are cut and end with `…`.
pub const VALUE_LIMIT: usize = 8 * 1024;

/// A line under construction.
pub(crate) struct Line<'b> {
    out: &'b mut Vec<u8>,
    format: Format,
    paint: Paint,
}

impl<'b> Line<'b> {
    /// Begins a line behind what is in the buffer. `level` and `message` are our own words or escaped here.
    pub(crate) fn begin(
        out: &'b mut Vec<u8>,
        (format, paint): (Format, Paint),
        at: Timestamp,
        level: &'static str,
        message: &str,
    ) -> Self {
        match format {
            Format::Json => {
                out.extend_from_slice(b"{\"ts\":\"");
                push_time(out, at);
                out.extend_from_slice(b"\",\"level\":\"");
                out.extend_from_slice(level.as_bytes());
                out.extend_from_slice(b"\",\"msg\":");
                push_quoted(out, message);
            }
            Format::Text => {
                push_time(out, at);
                out.push(b' ');
                let colour = match paint {
                    Paint::Plain => None,
                    Paint::Colour => Some(colour_of(level)),
                };
                out.extend_from_slice(colour.unwrap_or_default().as_bytes());
                out.extend_from_slice(level.as_bytes());
                out.extend_from_slice(if colour.is_some() { b"\x1b[0m" } else { b"" });
                out.resize(out.len() + 6usize.saturating_sub(level.len()), b' ');
                push_escaped(out, message);
            }
        }
        Self { out, format, paint }
    }

    /// A field of text.
    pub(crate) fn text(&mut self, key: &str, value: &str) {
        self.key(key);
        match self.format {
            Format::Text if is_bare(value) => self.out.extend_from_slice(value.as_bytes()),
            _ => push_quoted(self.out, value),
        }
    }

    /// A field of text that may be unknown: `null` in JSON, left out in text.
    pub(crate) fn maybe(&mut self, key: &str, value: Option<&str>) {
        match (value, self.format) {
            (Some(value), _) => self.text(key, value),
            (None, Format::Json) => self.literal(key, "null"),
            (None, Format::Text) => {}
        }
    }

    /// A whole number.
    pub(crate) fn number(&mut self, key: &str, value: u64) {
        self.key(key);
        push_number(self.out, value);
    }

    /// A word that is valid JSON as it stands: a number, `true`, `null`.
    pub(crate) fn literal(&mut self, key: &str, value: &str) {
        self.key(key);
        self.out.extend_from_slice(value.as_bytes());
    }

    /// Closes the line.
    pub(crate) fn end(self) {
        self.out.extend_from_slice(match self.format {
            Format::Json => b"}\n",
            Format::Text => b"\n",
        });
    }

    fn key(&mut self, key: &str) {
        match (self.format, self.paint) {
            (Format::Json, _) => {
                self.out.push(b',');
                push_quoted(self.out, key);
                self.out.push(b':');
            }
            (Format::Text, paint) => {
                let (on, off) = match paint {
                    Paint::Plain => (" ", ""),
                    Paint::Colour => (" \x1b[2m", "\x1b[0m"),
                };
                self.out.extend_from_slice(on.as_bytes());
                push_escaped(self.out, key);
                self.out.push(b'=');
                self.out.extend_from_slice(off.as_bytes());
            }
        }
    }
}

/// Red, yellow, green, blue, dim.
fn colour_of(level: &str) -> &'static str {
    match level {
        "error" => "\x1b[31m",
        "warn" => "\x1b[33m",
        "info" => "\x1b[32m",
        "debug" => "\x1b[34m",
        _ => "\x1b[2m",
    }
}

/// RFC 3339 in UTC with milliseconds; a time out of range is shown as the epoch.
pub fn push_time(out: &mut Vec<u8>, at: Timestamp) {
    let time = jiff::Timestamp::from_millisecond(at.millis()).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    let _ = write!(out, "{time:.3}"); // writing to a Vec cannot fail
}

/// RFC 3339 in UTC with milliseconds, as a text of its own.
pub fn time_text(at: Timestamp) -> String {
    let mut out = Vec::with_capacity(24);
    push_time(&mut out, at);
    String::from_utf8(out).unwrap_or_default()
}

fn push_number(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// Text that needs no quotes behind `key=`.
fn is_bare(value: &str) -> bool {
    !value.is_empty()
        && value.len() <= VALUE_LIMIT
        && value.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'"' | b'\\' | b'='))
}

fn push_quoted(out: &mut Vec<u8>, value: &str) {
    out.push(b'"');
    push_escaped(out, value);
    out.push(b'"');
}

/// JSON escapes (RFC 8259 section 7). DEL, the C1 controls and the Unicode line separators are escaped too,
/// since terminals and line readers act on them.
fn push_escaped(out: &mut Vec<u8>, value: &str) {
    let (value, cut) = match value.len() > VALUE_LIMIT {
        true => (&value[..floor_boundary(value, VALUE_LIMIT)], "…"),
        false => (value, ""),
    };
    let mut clean = 0;
    for (at, c) in value.char_indices() {
        let short = match c {
            '"' => "\\\"",
            '\\' => "\\\\",
            '\n' => "\\n",
            '\r' => "\\r",
            '\t' => "\\t",
            c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') => "",
            _ => continue,
        };
        out.extend_from_slice(&value.as_bytes()[clean..at]);
        if short.is_empty() {
            let _ = write!(out, "\\u{:04x}", c as u32); // writing to a Vec cannot fail
        } else {
            out.extend_from_slice(short.as_bytes());
        }
        clean = at + c.len_utf8();
    }
    out.extend_from_slice(&value.as_bytes()[clean..]);
    out.extend_from_slice(cut.as_bytes());
}

/// The last character boundary at or before `limit`.
fn floor_boundary(value: &str, limit: usize) -> usize {
    (0..=limit).rev().find(|at| value.is_char_boundary(*at)).unwrap_or(0)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const AT: Timestamp = Timestamp { seconds: 1_795_510_800, nanos: 123_456_789 }; // date -ud 2026-11-24T09:00:00 +%s

    fn line(format: Format, paint: Paint, value: &str) -> String {
        let mut out = Vec::new();
        let mut line = Line::begin(&mut out, (format, paint), AT, "warn", "hello");
        line.text("value", value);
        line.maybe("none", None);
        line.number("n", 1050);
        line.end();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn both_formats_have_the_same_fields() {
        assert_eq!(
            line(Format::Json, Paint::Plain, "/a b"),
            "{\"ts\":\"2026-11-24T09:00:00.123Z\",\"level\":\"warn\",\"msg\":\"hello\",\"value\":\"/a b\",\"none\":null,\"n\":1050}\n"
        );
        assert_eq!(
            line(Format::Text, Paint::Plain, "/a b"),
            "2026-11-24T09:00:00.123Z warn  hello value=\"/a b\" n=1050\n"
        );
        assert!(line(Format::Text, Paint::Plain, "/a").contains(" value=/a "));
        assert!(line(Format::Text, Paint::Colour, "x").contains("\x1b[33mwarn\x1b[0m"));
    }

    #[test]
    fn control_characters_never_come_out_raw() {
        let hostile: String = (0..0xa1).filter_map(char::from_u32).chain("\u{2028}\u{2029}é€".chars()).collect();
        for format in [Format::Json, Format::Text] {
            let line = line(format, Paint::Plain, &hostile);
            assert_eq!(line.matches('\n').count(), 1);
            assert!(!line.trim_end().chars().any(|c| c.is_control() || c == '\u{2028}' || c == '\u{2029}'));
        }
        // an independent reader gets back exactly what went in
        let parsed: serde_json::Value = serde_json::from_str(&line(Format::Json, Paint::Plain, &hostile)).unwrap();
        assert_eq!(parsed["value"], hostile);
    }

    #[test]
    fn a_value_is_cut_at_its_limit_and_not_before() {
        let full = "é".repeat(VALUE_LIMIT / 2);
        let parsed: serde_json::Value = serde_json::from_str(&line(Format::Json, Paint::Plain, &full)).unwrap();
        assert_eq!(parsed["value"], full);
        let over = format!("a{full}");
        let parsed: serde_json::Value = serde_json::from_str(&line(Format::Json, Paint::Plain, &over)).unwrap();
        assert_eq!(parsed["value"], format!("a{}…", "é".repeat(VALUE_LIMIT / 2 - 1)));
    }
}
