//! Encodings of the template language: percent, form, hexadecimal, JSON strings.

use std::borrow::Cow;

const LOWER: &[u8; 16] = b"0123456789abcdef";
const UPPER: &[u8; 16] = b"0123456789ABCDEF";

/// RFC 3986 section 2.3.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

fn percent(byte: u8, out: &mut Vec<u8>) {
    out.push(b'%');
    out.push(UPPER[usize::from(byte >> 4)]);
    out.push(UPPER[usize::from(byte & 15)]);
}

/// Percent-encodes every byte but the unreserved characters of RFC 3986.
pub(crate) fn url(input: &[u8], out: &mut Vec<u8>) {
    for &byte in input {
        if is_unreserved(byte) { out.push(byte) } else { percent(byte, out) }
    }
}

/// The same, but for the bytes in `kept`, which stay too.
pub(super) fn url_but(input: &[u8], kept: &[u8], out: &mut Vec<u8>) {
    for &byte in input {
        if is_unreserved(byte) || kept.contains(&byte) { out.push(byte) } else { percent(byte, out) }
    }
}

/// `application/x-www-form-urlencoded` as the WHATWG URL standard writes it: space is `+`, `*-._` stay.
pub(crate) fn form(input: &[u8], out: &mut Vec<u8>) {
    for &byte in input {
        match byte {
            b' ' => out.push(b'+'),
            b'*' | b'-' | b'.' | b'_' => out.push(byte),
            _ if byte.is_ascii_alphanumeric() => out.push(byte),
            _ => percent(byte, out),
        }
    }
}

/// `name=value` with both percent-encoded, as it is appended to a query.
pub(crate) fn query_pair(name: &str, value: &[u8]) -> String {
    let mut out = Vec::with_capacity(name.len() + value.len() + 1);
    url(name.as_bytes(), &mut out);
    out.push(b'=');
    url(value, &mut out);
    out.into_iter().map(char::from).collect()
}

/// The same for people to read: what stands for a secret keeps its brackets.
pub(crate) fn query_pair_shown(name: &str, value: &[u8]) -> String {
    let mut out = query_pair(name, b"");
    out.push_str(&String::from_utf8_lossy(value));
    out
}

/// Lower-case hexadecimal.
pub(crate) fn hex(input: &[u8], out: &mut Vec<u8>) {
    hex_with(input, LOWER, out);
}

/// Upper-case hexadecimal.
pub(crate) fn hex_upper(input: &[u8], out: &mut Vec<u8>) {
    hex_with(input, UPPER, out);
}

fn hex_with(input: &[u8], digits: &[u8; 16], out: &mut Vec<u8>) {
    for byte in input {
        out.push(digits[usize::from(byte >> 4)]);
        out.push(digits[usize::from(byte & 15)]);
    }
}

/// Decodes `%XX` and `+`; a `%` that begins no pair of digits stays.
pub(crate) fn form_decode(input: &[u8]) -> Cow<'_, [u8]> {
    if !input.iter().any(|byte| matches!(byte, b'%' | b'+')) {
        return Cow::Borrowed(input);
    }
    let mut out = Vec::with_capacity(input.len());
    percent_decode(input, b' ', &mut out);
    Cow::Owned(out)
}

/// Decodes `%XX`, and `+` as said; a `%` that begins no pair of digits stays.
pub(super) fn percent_decode(input: &[u8], plus: u8, out: &mut Vec<u8>) {
    let mut rest = input;
    while let Some((&byte, more)) = rest.split_first() {
        let pair = match (byte, more) {
            (b'%', [high, low, ..]) => nibble(*high).zip(nibble(*low)),
            _ => None,
        };
        if let Some((high, low)) = pair {
            out.push(high << 4 | low);
            rest = &more[2..];
        } else {
            out.push(if byte == b'+' { plus } else { byte });
            rest = more;
        }
    }
}

/// The value of one hexadecimal digit.
pub(crate) fn nibble(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}

/// RFC 8259 section 7: the inside of a string, without the quotes; only what must be escaped is.
pub(crate) fn json(input: &[u8], out: &mut Vec<u8>) {
    for &byte in input {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0x08 => out.extend_from_slice(b"\\b"),
            0x0C => out.extend_from_slice(b"\\f"),
            0..0x20 => {
                out.extend_from_slice(b"\\u00");
                hex(&[byte], out);
            }
            _ => out.push(byte),
        }
    }
}
