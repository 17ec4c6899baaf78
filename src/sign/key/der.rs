//! DER, as far as private keys need it (X.690; RFC 5958, RFC 8017 appendix A.1, RFC 5915, RFC 8410), and the names of
//! what stands where a key should. Reads slices; numbers that are kept are copied into buffers that are wiped.

use zeroize::Zeroizing;

use super::{Curve, Instead, Number, Parts, Point, Rsa, RsaUse};

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const OBJECT: u8 = 0x06;
const SEQUENCE: u8 = 0x30;
/// `[0]` and `[1]` with something whole inside.
const FIELDS: [u8; 2] = [0xA0, 0xA1];
/// `[1]` in place of the tag of what it is.
const IMPLICIT_1: u8 = 0x81;

const RSA: &[u8] = &[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x01];
const RSA_PSS: &[u8] = &[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x0A];
const EC: &[u8] = &[0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x02, 0x01];
const P256: &[u8] = &[0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x03, 0x01, 0x07];
const P384: &[u8] = &[0x2B, 0x81, 0x04, 0x00, 0x22];
const ED25519: &[u8] = &[0x2B, 0x65, 0x70];

/// Keys that are known by name and cannot be used.
const OTHERS: &[(&[u8], &str)] = &[
    (&[0x2B, 0x65, 0x6E], "an X25519 key, which cannot sign"),
    (&[0x2B, 0x65, 0x6F], "an X448 key, which cannot sign"),
    (&[0x2B, 0x65, 0x71], "an Ed448 private key"),
    (&[0x2A, 0x86, 0x48, 0xCE, 0x38, 0x04, 0x01], "a DSA private key"),
];
const OTHER_CURVES: &[(&[u8], &str)] = &[
    (&[0x2B, 0x81, 0x04, 0x00, 0x23], "an EC private key on P-521"),
    (&[0x2B, 0x81, 0x04, 0x00, 0x0A], "an EC private key on secp256k1"),
];

const DAMAGED: Instead = Instead::new("a private key that is damaged or cut short");

/// What is left to read.
struct Reader<'d>(&'d [u8]);

impl<'d> Reader<'d> {
    /// The tag of what comes next.
    fn tag(&self) -> Option<u8> {
        self.0.first().copied()
    }

    /// The content of what comes next, whatever it is.
    fn any(&mut self) -> Option<&'d [u8]> {
        let [_, first, rest @ ..] = self.0 else { return None };
        let (length, rest) = match first {
            0..=0x7F => (usize::from(*first), rest),
            0x81..=0x84 => {
                let (length, rest) = rest.split_at_checked(usize::from(first & 0x7F))?;
                (length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)), rest)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some(content)
    }

    fn next(&mut self, tag: u8) -> Option<&'d [u8]> {
        if self.tag() == Some(tag) { self.any() } else { None }
    }

    fn inside(&mut self, tag: u8) -> Option<Self> {
        self.next(tag).map(Self)
    }

    /// A number that is not negative, without leading zeros.
    fn number(&mut self) -> Option<Number> {
        let bytes = self.next(INTEGER)?;
        if bytes.first().is_none_or(|first| first & 0x80 != 0) {
            return None;
        }
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        Some(Zeroizing::new(bytes[zeros..].to_vec()))
    }
}

/// Whether this is one SEQUENCE and nothing after it.
pub(super) fn is_whole(der: &[u8]) -> bool {
    let mut reader = Reader(der);
    reader.next(SEQUENCE).is_some() && reader.0.is_empty()
}

/// Whatever kind of key it is.
pub(super) fn parts(der: &[u8]) -> Result<Parts, Instead> {
    let mut fields = Reader(der).inside(SEQUENCE).ok_or(DAMAGED)?;
    match fields.tag() {
        Some(SEQUENCE) => {
            fields.any();
            Err(Instead::new(match fields.tag() {
                Some(OCTET_STRING) => ENCRYPTED,
                Some(BIT_STRING) => "a public key",
                _ => "a certificate",
            }))
        }
        Some(INTEGER) => {
            let version = fields.number().ok_or(DAMAGED)?;
            match (&**version, fields.tag()) {
                ([] | [1], Some(SEQUENCE)) => pkcs8(fields),
                ([1], Some(OCTET_STRING)) => sec1(fields, None),
                ([], Some(INTEGER)) => pkcs1(fields, RsaUse::Any),
                ([1], Some(INTEGER)) => Err(Instead::new(MANY_PRIMES)),
                ([3], Some(SEQUENCE)) => Err(Instead::new("a PKCS#12 file")),
                (_, Some(INTEGER)) => Err(Instead::new("a public key")),
                _ => Err(DAMAGED),
            }
        }
        _ => Err(DAMAGED),
    }
}

/// Of a passphrase-protected key, in any form.
pub(super) const ENCRYPTED: &str =
    "a private key that is encrypted with a passphrase; store it unencrypted (openssl pkey -in KEY)";
const MANY_PRIMES: &str = "an RSA private key of more than two primes";

/// The rest of a `OneAsymmetricKey` after its version.
fn pkcs8(mut fields: Reader<'_>) -> Result<Parts, Instead> {
    let mut algorithm = fields.inside(SEQUENCE).ok_or(DAMAGED)?;
    let name = algorithm.next(OBJECT).ok_or(DAMAGED)?;
    let key = fields.next(OCTET_STRING).ok_or(DAMAGED)?;
    if name == RSA || name == RSA_PSS {
        let mut inner = Reader(key).inside(SEQUENCE).ok_or(DAMAGED)?;
        return match &**inner.number().ok_or(DAMAGED)? {
            [] => pkcs1(inner, if name == RSA { RsaUse::Any } else { RsaUse::PssAlone }),
            _ => Err(Instead::new(MANY_PRIMES)),
        };
    }
    if name == EC {
        let curve = curve(&mut algorithm)?;
        let mut inner = Reader(key).inside(SEQUENCE).ok_or(DAMAGED)?;
        inner.number().ok_or(DAMAGED)?;
        return sec1(inner, Some(curve));
    }
    if name == ED25519 {
        let seed = Reader(key).next(OCTET_STRING).filter(|seed| seed.len() == 32).ok_or(DAMAGED)?;
        return Ok(Parts::Ed25519 { seed: Zeroizing::new(seed.to_vec()), public: ed25519_public(fields) });
    }
    let known = OTHERS.iter().find(|(other, _)| *other == name);
    Err(Instead::new(known.map_or("a private key of a type that is not known here", |(_, found)| found)))
}

/// The public key of RFC 8410 section 7, behind the attributes; some programs wrap it once more.
fn ed25519_public(mut fields: Reader<'_>) -> Option<Vec<u8>> {
    fields.next(FIELDS[0]);
    let bits = match fields.tag()? {
        IMPLICIT_1 => fields.any()?,
        _ => fields.inside(FIELDS[1])?.next(BIT_STRING)?,
    };
    Some(bits.get(1..)?.to_vec())
}

/// The rest of an `RSAPrivateKey` after its version.
fn pkcs1(mut fields: Reader<'_>, use_: RsaUse) -> Result<Parts, Instead> {
    let mut next = || fields.number();
    let mut all = || {
        let [n, e, d, p] = [next()?, next()?, next()?, next()?];
        let [q, dp, dq, qi] = [next()?, next()?, next()?, next()?];
        Some(Parts::Rsa(Box::new(Rsa { use_, n, e, d, p, q, dp, dq, qi })))
    };
    all().ok_or(DAMAGED)
}

/// The rest of an `ECPrivateKey` after its version. Where its curve is named twice, the two must agree.
fn sec1(mut fields: Reader<'_>, outer: Option<Curve>) -> Result<Parts, Instead> {
    let scalar = Zeroizing::new(fields.next(OCTET_STRING).ok_or(DAMAGED)?.to_vec());
    let own = fields.inside(FIELDS[0]).map(|mut parameters| curve(&mut parameters)).transpose()?;
    let curve = match (outer, own) {
        (Some(outer), Some(own)) if outer != own => return Err(DAMAGED),
        (Some(curve), _) | (None, Some(curve)) => curve,
        // RFC 5915 section 3: left out where the context knows it. What belongs to another curve does not fit its point.
        (None, None) => match scalar.len() {
            48 => Curve::P384,
            _ => Curve::P256,
        },
    };
    let point = match fields.inside(FIELDS[1]).and_then(|mut inner| inner.next(BIT_STRING)) {
        Some([0, point @ ..]) if point.first() == Some(&4) => Point::Whole(point.to_vec()),
        Some(_) => Point::Compressed,
        None => Point::Missing,
    };
    Ok(Parts::Ec { curve, scalar, point })
}

fn curve(parameters: &mut Reader<'_>) -> Result<Curve, Instead> {
    match parameters.next(OBJECT) {
        Some(P256) => Ok(Curve::P256),
        Some(P384) => Ok(Curve::P384),
        Some(other) => {
            let known = OTHER_CURVES.iter().find(|(name, _)| *name == other);
            Err(Instead::new(known.map_or("an EC private key on another curve", |(_, found)| found)))
        }
        None => Err(Instead::new("an EC private key whose curve is spelled out; write it with the curve's name")),
    }
}
