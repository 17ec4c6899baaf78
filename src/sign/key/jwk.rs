//! Keys in JSON: a JWK (RFC 7517, RFC 7518 section 6, RFC 8037 section 2), a set with one key, or the file that Google
//! gives for a service account, which holds a PEM text.

use serde::{Deserialize, Deserializer};
use zeroize::Zeroizing;

use super::{Curve, Instead, Number, Parts, Point, Rsa, RsaUse, pem};
use crate::sign::material::decode_base64;

/// A text of the file; wiped.
struct Text(Zeroizing<String>);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(Zeroizing::new(text)))
    }
}

/// The members that matter; others are passed over, as RFC 7517 section 4 wants it.
#[derive(Deserialize)]
struct Json {
    kty: Option<String>,
    crv: Option<String>,
    n: Option<Text>,
    e: Option<Text>,
    d: Option<Text>,
    p: Option<Text>,
    q: Option<Text>,
    dp: Option<Text>,
    dq: Option<Text>,
    qi: Option<Text>,
    x: Option<Text>,
    y: Option<Text>,
    keys: Option<Vec<Json>>,
    private_key: Option<Text>,
}

const PUBLIC: Instead = Instead::new("a public key (a JWK without `d`)");
const DAMAGED: Instead = Instead::new("a JWK with a member that is missing or no base64url");

/// The key of a JSON text.
pub(super) fn parts(text: &[u8]) -> Result<Parts, Instead> {
    let Ok(json) = serde_json::from_slice::<Json>(text) else {
        return Err(Instead::new("JSON that is damaged or no JWK"));
    };
    if let Some(keys) = json.keys {
        let [key] = <[Json; 1]>::try_from(keys)
            .map_err(|keys| Instead(format!("a JWK set with {} keys, of which one would do", keys.len()).into()))?;
        return of_jwk(&key);
    }
    match &json.private_key {
        Some(Text(text)) if json.kty.is_none() => pem::parts(text.as_bytes()),
        _ => of_jwk(&json),
    }
}

fn of_jwk(json: &Json) -> Result<Parts, Instead> {
    match json.kty.as_deref() {
        Some("RSA") => rsa(json),
        Some("EC") => ec(json),
        Some("OKP") => okp(json),
        Some("oct") => Err(Instead::new("a symmetric key (a JWK with kty oct)")),
        Some(_) => Err(Instead::new("a JWK of a type that is not known here")),
        None => Err(Instead::new("JSON without `kty`, so no JWK")),
    }
}

fn bytes(member: Option<&Text>) -> Result<Number, Instead> {
    member.and_then(|Text(text)| decode_base64(text.as_bytes()).ok()).ok_or(DAMAGED)
}

/// Without leading zeros, which RFC 7518 section 2 forbids and some programs write.
fn number(member: Option<&Text>) -> Result<Number, Instead> {
    let bytes = bytes(member)?;
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    Ok(Zeroizing::new(bytes[zeros..].to_vec()))
}

fn rsa(json: &Json) -> Result<Parts, Instead> {
    if json.d.is_none() {
        return Err(PUBLIC);
    }
    if json.p.is_none() {
        return Err(Instead::new("an RSA private key without its primes (a JWK needs p, q, dp, dq and qi beside d)"));
    }
    Ok(Parts::Rsa(Box::new(Rsa {
        use_: RsaUse::Any,
        n: number(json.n.as_ref())?,
        e: number(json.e.as_ref())?,
        d: number(json.d.as_ref())?,
        p: number(json.p.as_ref())?,
        q: number(json.q.as_ref())?,
        dp: number(json.dp.as_ref())?,
        dq: number(json.dq.as_ref())?,
        qi: number(json.qi.as_ref())?,
    })))
}

fn ec(json: &Json) -> Result<Parts, Instead> {
    if json.d.is_none() {
        return Err(PUBLIC);
    }
    let Some(curve) = json.crv.as_deref().and_then(Curve::named) else {
        return Err(Instead::new(match json.crv.as_deref() {
            Some("P-521") => "an EC private key on P-521",
            Some("secp256k1") => "an EC private key on secp256k1",
            _ => "an EC private key on another curve",
        }));
    };
    let point = match (&json.x, &json.y) {
        (Some(x), Some(y)) => {
            let mut point = vec![4];
            for coordinate in [x, y] {
                let coordinate = bytes(Some(coordinate))?;
                point.resize(point.len() + curve.bytes().saturating_sub(coordinate.len()), 0);
                point.extend_from_slice(&coordinate);
            }
            Point::Whole(point)
        }
        _ => Point::Missing,
    };
    Ok(Parts::Ec { curve, scalar: bytes(json.d.as_ref())?, point })
}

fn okp(json: &Json) -> Result<Parts, Instead> {
    match json.crv.as_deref() {
        Some("Ed25519") if json.d.is_none() => Err(PUBLIC),
        Some("Ed25519") => {
            let public = json.x.as_ref().map(|x| bytes(Some(x))).transpose()?;
            Ok(Parts::Ed25519 { seed: bytes(json.d.as_ref())?, public: public.map(|bytes| bytes.to_vec()) })
        }
        Some("Ed448") => Err(Instead::new("an Ed448 private key")),
        Some("X25519" | "X448") => Err(Instead::new("a key for key agreement (X25519, X448), which cannot sign")),
        _ => Err(Instead::new("a JWK of a type that is not known here")),
    }
}
