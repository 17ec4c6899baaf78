//! Nonces: random ones of at least 128 bits in several alphabets, and ones that grow.

use sha2::Digest as _;

use super::encode;
use crate::sign::SignContext;

/// What `nonce(..)` makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Nonce {
    /// This many random bytes in hexadecimal.
    Hex(usize),
    /// This many characters of an alphabet.
    Characters(Alphabet, usize),
    /// Greater than every one before it in this process.
    Increasing(Unit),
}

/// What random characters are taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Alphabet {
    /// Letters of both cases and digits.
    Alphanumeric,
    /// Digits.
    Digits,
}

/// What a growing nonce counts in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Millis,
    Micros,
    Nanos,
}

/// Random bytes of `nonce` without an argument, and the fewest that `nonce(N)` takes: 128 bits never repeat.
pub(super) const BYTES: usize = 16;
/// The most that `nonce(N)` takes.
pub(super) const BYTES_MAX: usize = 48;
/// The most characters.
pub(super) const CHARACTERS_MAX: usize = 64;

impl Alphabet {
    /// The fewest characters: that many tell 128 bits.
    pub(super) fn least(self) -> usize {
        match self {
            Self::Alphanumeric => 22,
            Self::Digits => 39,
        }
    }

    fn letters(self) -> &'static [u8] {
        match self {
            Self::Alphanumeric => b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
            Self::Digits => b"0123456789",
        }
    }
}

impl Nonce {
    /// Whether it is made of random bytes.
    pub(super) fn is_random(self) -> bool {
        !matches!(self, Self::Increasing(_))
    }

    /// The nonce of this attempt.
    pub(super) fn text(self, context: &SignContext<'_>) -> Vec<u8> {
        match self {
            Self::Hex(bytes) => {
                let mut out = Vec::with_capacity(2 * bytes);
                encode::hex(&random(context, bytes), &mut out);
                out
            }
            Self::Characters(alphabet, count) => characters(context, alphabet, count),
            Self::Increasing(unit) => {
                let sequence = context.sequence;
                let number = match unit {
                    Unit::Millis => sequence.millis,
                    Unit::Micros => sequence.micros,
                    Unit::Nanos => sequence.nanos,
                };
                number.to_string().into_bytes()
            }
        }
    }
}

/// The first half of the attempt's random bytes, stretched where more are asked for; a longer
/// nonce begins with the shorter one.
fn random(context: &SignContext<'_>, bytes: usize) -> Vec<u8> {
    let half = &context.random[..BYTES];
    let mut raw = half.to_vec();
    if bytes > BYTES {
        raw.extend_from_slice(&sha2::Sha256::digest(half));
        raw.truncate(bytes);
    }
    raw
}

/// The random number in the base of the alphabet, so that no two numbers give one text; further characters, where
/// more are asked for, are made of what it stretches to.
fn characters(context: &SignContext<'_>, alphabet: Alphabet, count: usize) -> Vec<u8> {
    let letters = alphabet.letters();
    let base = letters.len() as u128;
    let bytes = random(context, BYTES_MAX);
    let (numbers, _) = bytes.as_chunks::<16>();
    let mut out = Vec::with_capacity(count);
    for number in numbers {
        let mut number = u128::from_be_bytes(*number);
        for _ in 0..alphabet.least() {
            out.push(letters[(number % base) as usize]);
            number /= base;
        }
    }
    out.truncate(count);
    out
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_alphabet_has_as_many_characters_as_tell_128_bits() {
        for alphabet in [Alphabet::Alphanumeric, Alphabet::Digits] {
            let bits = (alphabet.letters().len() as f64).log2();
            assert!(bits * alphabet.least() as f64 >= 128.0 && bits * (alphabet.least() as f64 - 1.0) < 128.0);
            assert!(alphabet.least() * 3 >= CHARACTERS_MAX);
        }
    }
}
