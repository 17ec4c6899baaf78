//! Structured fields (RFC 8941): read strictly, and written again in the one form that section 4.1 gives them.
//!
//! Nothing keeps a tree: each reader writes what it reads in canonical form. Callers: `component` (`sf`, `key`, and the
//! identifiers of components), `digest`, `super` (the parameters of a signature).

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// Section 4.2.7: padding may be missing in what is read, and is always written.
const BYTES: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Names with what they are worth in canonical form, in their order: parameters, members of a dictionary.
type Named = Vec<(String, String)>;

/// A field whose type is not known to us, in canonical form: an item, else a list, else a dictionary. `None` for what
/// is none of them.
pub(super) fn of_any_type(text: &str) -> Option<String> {
    whole(text, |reader| reader.item())
        .or_else(|| whole(text, |reader| reader.list()))
        .or_else(|| dictionary(text).map(|members| write_dictionary(&members)))
}

/// A dictionary in canonical form; `None` for what is none.
pub(super) fn as_dictionary(text: &str) -> Option<String> {
    dictionary(text).map(|members| write_dictionary(&members))
}

/// The members of a dictionary, each value in canonical form (`?1` where only the key was written); `None` for what is none.
pub(super) fn dictionary(text: &str) -> Option<Named> {
    whole(text, |reader| reader.dictionary())
}

/// A string with its quotes (section 4.1.6); `None` where a character cannot stand in one.
pub(super) fn string(text: &str) -> Option<String> {
    if !text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return None;
    }
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        if matches!(c, '"' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('"');
    Some(out)
}

/// A byte sequence with its colons (section 4.1.8).
pub(super) fn bytes(raw: &[u8]) -> String {
    format!(":{}:", BYTES.encode(raw))
}

/// Whether a text can be the key of a member or parameter (section 3.1.2).
pub(super) fn is_key(text: &str) -> bool {
    let mut reader = Reader(text.as_bytes());
    reader.key().is_some() && reader.0.is_empty()
}

/// The parameters behind an item, `;name="x";sf`: each value in canonical form. `None` for what are none.
pub(super) fn parameters(text: &str) -> Option<Named> {
    let mut reader = Reader(text.as_bytes());
    let found = reader.named_parameters()?;
    reader.0.is_empty().then_some(found)
}

/// The text of a string in canonical form, without quotes and escapes.
pub(super) fn text_of(string: &str) -> Option<String> {
    let inner = string.strip_prefix('"')?.strip_suffix('"')?;
    let mut out = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        out.push(if c == '\\' { chars.next()? } else { c });
    }
    Some(out)
}

fn write_dictionary(members: &Named) -> String {
    let written = members.iter().map(|(key, value)| match value.strip_prefix("?1") {
        Some(parameters) => format!("{key}{parameters}"),
        None => format!("{key}={value}"),
    });
    written.collect::<Vec<_>>().join(", ")
}

/// Section 4.2: spaces around, and nothing behind.
fn whole<T>(text: &str, read: impl FnOnce(&mut Reader<'_>) -> Option<T>) -> Option<T> {
    let mut reader = Reader(text.as_bytes());
    reader.spaces();
    let read = read(&mut reader)?;
    reader.spaces();
    reader.0.is_empty().then_some(read)
}

/// What is still to be read. ASCII only: every other byte fits nowhere.
struct Reader<'t>(&'t [u8]);

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.0.first().copied()
    }

    fn take_if(&mut self, wanted: impl Fn(u8) -> bool) -> Option<u8> {
        let byte = self.peek().filter(|byte| wanted(*byte))?;
        self.0 = &self.0[1..];
        Some(byte)
    }

    fn takes(&mut self, wanted: u8) -> bool {
        self.take_if(|byte| byte == wanted).is_some()
    }

    fn take_while(&mut self, wanted: impl Fn(u8) -> bool) -> String {
        let end = self.0.iter().position(|byte| !wanted(*byte)).unwrap_or(self.0.len());
        let (taken, rest) = self.0.split_at(end);
        self.0 = rest;
        taken.iter().copied().map(char::from).collect()
    }

    fn spaces(&mut self) {
        self.take_while(|byte| byte == b' ');
    }

    /// Optional white space between members.
    fn white(&mut self) {
        self.take_while(|byte| matches!(byte, b' ' | b'\t'));
    }

    /// Whether another member follows; `None` where a comma ends the field.
    fn comma(&mut self) -> Option<bool> {
        self.white();
        if self.0.is_empty() {
            return Some(false);
        }
        if !self.takes(b',') {
            return None;
        }
        self.white();
        (!self.0.is_empty()).then_some(true)
    }

    fn list(&mut self) -> Option<String> {
        let mut out = String::new();
        if self.0.is_empty() {
            return Some(out);
        }
        loop {
            out.push_str(&self.member()?);
            if !self.comma()? {
                return Some(out);
            }
            out.push_str(", ");
        }
    }

    fn dictionary(&mut self) -> Option<Named> {
        let mut members = Named::new();
        if self.0.is_empty() {
            return Some(members);
        }
        loop {
            let key = self.key()?;
            let value =
                if self.takes(b'=') { self.member()? } else { format!("?1{}", written(&self.named_parameters()?)) };
            put(&mut members, key, value);
            if !self.comma()? {
                return Some(members);
            }
        }
    }

    /// An item or an inner list.
    fn member(&mut self) -> Option<String> {
        if self.peek() == Some(b'(') { self.inner_list() } else { self.item() }
    }

    fn inner_list(&mut self) -> Option<String> {
        self.take_if(|byte| byte == b'(')?;
        let mut items = Vec::new();
        loop {
            self.spaces();
            if self.takes(b')') {
                break;
            }
            items.push(self.item()?);
            if !matches!(self.peek(), Some(b' ' | b')')) {
                return None;
            }
        }
        Some(format!("({}){}", items.join(" "), written(&self.named_parameters()?)))
    }

    fn item(&mut self) -> Option<String> {
        let bare = self.bare_item()?;
        Some(bare + &written(&self.named_parameters()?))
    }

    fn named_parameters(&mut self) -> Option<Named> {
        let mut found = Named::new();
        while self.takes(b';') {
            self.spaces();
            let key = self.key()?;
            let value = if self.takes(b'=') { self.bare_item()? } else { "?1".to_owned() };
            put(&mut found, key, value);
        }
        Some(found)
    }

    fn key(&mut self) -> Option<String> {
        self.peek().filter(|byte| byte.is_ascii_lowercase() || *byte == b'*')?;
        Some(self.take_while(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-' | b'.' | b'*')
        }))
    }

    fn bare_item(&mut self) -> Option<String> {
        match self.peek()? {
            b'-' | b'0'..=b'9' => self.number(),
            b'"' => self.string(),
            b':' => self.byte_sequence(),
            b'?' => {
                self.0 = &self.0[1..];
                self.take_if(|byte| matches!(byte, b'0' | b'1')).map(|byte| format!("?{}", char::from(byte)))
            }
            b'*' | b'A'..=b'Z' | b'a'..=b'z' => Some(self.take_while(is_token)),
            _ => None,
        }
    }

    /// Sections 4.2.4, 4.1.4 and 4.1.5: at most 15 digits, or 12 and three behind the point.
    fn number(&mut self) -> Option<String> {
        let minus = self.takes(b'-');
        let whole = self.take_while(|byte| byte.is_ascii_digit());
        if whole.is_empty() {
            return None;
        }
        let fraction = if self.takes(b'.') { Some(self.take_while(|byte| byte.is_ascii_digit())) } else { None };
        let digits = match whole.trim_start_matches('0') {
            "" => "0",
            digits => digits,
        };
        let text = match fraction {
            None if whole.len() <= 15 => digits.to_owned(),
            Some(fraction) if whole.len() <= 12 && (1..=3).contains(&fraction.len()) => {
                let kept = fraction.trim_end_matches('0');
                format!("{digits}.{}", if kept.is_empty() { "0" } else { kept })
            }
            _ => return None,
        };
        let is_zero = text.bytes().all(|byte| matches!(byte, b'0' | b'.'));
        Some(if minus && !is_zero { format!("-{text}") } else { text })
    }

    fn string(&mut self) -> Option<String> {
        self.take_if(|byte| byte == b'"')?;
        let mut out = String::from("\"");
        loop {
            match self.take_if(|byte| matches!(byte, b' '..=b'~'))? {
                b'"' => {
                    out.push('"');
                    return Some(out);
                }
                b'\\' => {
                    let escaped = self.take_if(|byte| matches!(byte, b'"' | b'\\'))?;
                    out.extend(['\\', char::from(escaped)]);
                }
                byte => out.push(char::from(byte)),
            }
        }
    }

    fn byte_sequence(&mut self) -> Option<String> {
        self.take_if(|byte| byte == b':')?;
        let encoded = self.take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'='));
        self.take_if(|byte| byte == b':')?;
        BYTES.decode(encoded).ok().map(|raw| bytes(&raw))
    }
}

/// RFC 9110 section 5.6.2, with `:` and `/`.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:/".contains(&byte)
}

/// The last of several with one name counts, in the place of the first.
fn put(all: &mut Named, key: String, value: String) {
    match all.iter_mut().find(|(known, _)| *known == key) {
        Some((_, known)) => *known = value,
        None => all.push((key, value)),
    }
}

fn written(parameters: &Named) -> String {
    let mut out = String::new();
    for (key, value) in parameters {
        out.push(';');
        out.push_str(key);
        if value != "?1" {
            out.push('=');
            out.push_str(value);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn canonical(text: &str) -> String {
        of_any_type(text).unwrap_or_else(|| panic!("{text}"))
    }

    /// The examples of RFC 8941 sections 3 and 4, and of RFC 9421 section 2.1.2.
    #[test]
    fn fields_are_written_in_the_one_form() {
        for (text, wanted) in [
            ("\"foo\", \"bar\", \"It was the best of times.\"", "\"foo\", \"bar\", \"It was the best of times.\""),
            ("foo,bar", "foo, bar"),
            (
                "(\"foo\" \"bar\"), (\"baz\"), (\"bat\" \"one\"), ()",
                "(\"foo\" \"bar\"), (\"baz\"), (\"bat\" \"one\"), ()",
            ),
            ("(\"foo\"; a=1;b=2);lvl=5, (\"bar\" \"baz\");lvl=1", "(\"foo\";a=1;b=2);lvl=5, (\"bar\" \"baz\");lvl=1"),
            ("abc;a=1;b=2; cde_456, (ghi;jk=4 l);q=\"9\";r=w", "abc;a=1;b=2;cde_456, (ghi;jk=4 l);q=\"9\";r=w"),
            ("1; a; b=?0", "1;a;b=?0"),
            ("en=\"Applepie\", da=:w4ZibGV0w6ZydGU=:", "en=\"Applepie\", da=:w4ZibGV0w6ZydGU=:"),
            ("a=?0, b, c; foo=bar", "a=?0, b, c;foo=bar"),
            ("rating=1.5, feelings=(joy sadness)", "rating=1.5, feelings=(joy sadness)"),
            ("a=(1 2), b=3, c=4;aa=bb, d=(5 6);valid", "a=(1 2), b=3, c=4;aa=bb, d=(5 6);valid"),
            ("a=1,    b=2;x=1;y=2,   c=(a   b   c)", "a=1, b=2;x=1;y=2, c=(a b c)"),
            ("  a=1, b=2;x=1;y=2, c=(a b c), d=?1  ", "a=1, b=2;x=1;y=2, c=(a b c), d"),
            ("00042", "42"),
            ("-0", "0"),
            ("-007.250", "-7.25"),
            ("4.000", "4.0"),
            (":cHJldGVuZA:", ":cHJldGVuZA==:"),
            ("\"a \\\"b\\\" \\\\\"", "\"a \\\"b\\\" \\\\\""),
            ("a;x=1;y=2;x=3", "a;x=3;y=2"),
            ("", ""),
        ] {
            assert_eq!(canonical(text), wanted, "{text}");
        }
        assert_eq!(as_dictionary("a, b, a").as_deref(), Some("a, b"));
        assert_eq!(
            dictionary("a=1, d;x, a=2").unwrap_or_default(),
            [("a".to_owned(), "2".to_owned()), ("d".to_owned(), "?1;x".to_owned())]
        );
    }

    #[test]
    fn what_is_no_structured_field_is_refused() {
        for text in [
            "a,",
            ",a",
            "a b",
            "(a",
            "(a,b)",
            "a;",
            "a;A=1",
            "1234567890123456",
            "1234567890123.1",
            "1.",
            "1.1234",
            "-",
            "\"a",
            "\"a\\b\"",
            "\"\u{e9}\"",
            "?2",
            ":a b:",
            ":a",
            "A=1",
            "a==1",
            "Tue, 20 Apr 2021 02:07:55 GMT",
            "a=1;",
        ] {
            assert_eq!(of_any_type(text), None, "{text}");
        }
    }

    #[test]
    fn strings_and_keys() {
        assert_eq!(string("a\"b\\c").as_deref(), Some("\"a\\\"b\\\\c\""));
        assert_eq!(text_of("\"a\\\"b\\\\c\"").as_deref(), Some("a\"b\\c"));
        assert_eq!((string("a\nb"), string("\u{e9}")), (None, None));
        assert!(
            is_key("sig1") && is_key("*a-b_c.d") && !is_key("Sig1") && !is_key("1a") && !is_key("") && !is_key("a b")
        );
        assert_eq!(parameters(";name=\"a;b\";sf").unwrap_or_default().len(), 2);
        assert_eq!(parameters(";name=\"a\" x"), None);
    }

    proptest! {
        #[test]
        fn the_canonical_form_stays_as_it_is(text in "[a-c1-3=;, ()\"?:.*-]{0,24}") {
            if let Some(once) = of_any_type(&text) {
                prop_assert_eq!(of_any_type(&once), Some(once));
            }
        }
    }
}
