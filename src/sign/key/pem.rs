//! PEM (RFC 7468): the one private key of a file. Unlike the reader of TLS it knows by name what cannot be used, and it
//! leaves no copy of a key behind that nobody wipes.

use zeroize::Zeroizing;

use super::der::{self, ENCRYPTED};
use super::{Instead, Number, Parts};
use crate::sign::material::decode_base64;

/// Where a section begins.
pub(super) const BEGIN: &[u8] = b"-----BEGIN ";
const DASHES: &str = "-----";

const DAMAGED: Instead = Instead::new("a PEM file with a damaged section");

/// One section: its label and what stands between its two lines.
struct Section<'t> {
    label: &'t str,
    body: &'t str,
}

/// The key; certificates and parameters beside it are passed over.
pub(super) fn parts(raw: &[u8]) -> Result<Parts, Instead> {
    let text = std::str::from_utf8(raw).map_err(|_| DAMAGED)?;
    let sections = sections(text)?;
    let mut keys = sections.iter().filter(|section| section.label.ends_with("PRIVATE KEY"));
    let key = match (keys.next(), keys.next()) {
        (Some(key), None) => key,
        (Some(_), Some(_)) => return Err(Instead::new("a PEM file with more than one private key")),
        (None, _) => {
            let label = sections.first().map_or("", |section| section.label);
            return Err(Instead::new(match label {
                "CERTIFICATE" | "X509 CERTIFICATE" | "TRUSTED CERTIFICATE" => "a certificate",
                "CERTIFICATE REQUEST" | "NEW CERTIFICATE REQUEST" => "a certificate request",
                "PUBLIC KEY" | "RSA PUBLIC KEY" | "EC PUBLIC KEY" => "a public key",
                _ => "a PEM file without a private key",
            }));
        }
    };
    match key.label {
        "PRIVATE KEY" | "RSA PRIVATE KEY" | "EC PRIVATE KEY" => {}
        "ENCRYPTED PRIVATE KEY" => return Err(Instead::new(ENCRYPTED)),
        "OPENSSH PRIVATE KEY" => {
            return Err(Instead::new(
                "a private key in OpenSSH's own form; convert it (ssh-keygen -p -m PKCS8 -N '' -f KEY)",
            ));
        }
        "DSA PRIVATE KEY" => return Err(Instead::new("a DSA private key")),
        _ => return Err(Instead::new("a private key of a type that is not known here")),
    }
    if key.body.contains("Proc-Type:") && key.body.contains("ENCRYPTED") {
        return Err(Instead::new(ENCRYPTED));
    }
    let joined: Number = Zeroizing::new(key.body.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect());
    let decoded = decode_base64(&joined).map_err(|_| DAMAGED)?;
    der::parts(&decoded)
}

/// Every section of a file; text around them does not count (RFC 7468 section 2).
fn sections(text: &str) -> Result<Vec<Section<'_>>, Instead> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((_, after)) = rest.split_once("-----BEGIN ") {
        let (label, after) = after.split_once(DASHES).ok_or(DAMAGED)?;
        if after.starts_with("\\n") || after.starts_with("\\r") {
            return Err(Instead::new("a PEM text with the two characters \\n in place of line ends"));
        }
        let (body, after) = after.split_once("-----END ").ok_or(DAMAGED)?;
        let after = after.strip_prefix(label).and_then(|after| after.strip_prefix(DASHES)).ok_or(DAMAGED)?;
        found.push(Section { label, body });
        rest = after;
    }
    Ok(found)
}
