//! Encodings of the template language: percent, form, hexadecimal, JSON strings.

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
