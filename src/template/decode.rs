//! The decoders of the template language. What cannot be decoded is `None`: a signature over a guess helps nobody.

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::encode::nibble;

/// Hexadecimal text in either case.
pub(super) fn hex(input: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let (pairs, rest) = input.as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    for [high, low] in pairs {
        out.push(nibble(*high)? << 4 | nibble(*low)?);
    }
    Some(())
}

/// Base64 text, standard or URL alphabet, with or without padding.
pub(super) fn base64(input: &[u8], out: &mut Vec<u8>) -> Option<()> {
    const LENIENT: GeneralPurposeConfig =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let url = input.iter().any(|byte| matches!(byte, b'-' | b'_'));
    let alphabet = if url { alphabet::URL_SAFE } else { alphabet::STANDARD };
    GeneralPurpose::new(&alphabet, LENIENT).decode_vec(input, out).ok()
}
