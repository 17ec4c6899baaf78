//! PEM files: what they hold, or the reason why they cannot be used.
//!
//! Every reason is a fixed text: no byte of a key can reach a message.

use rustls::pki_types::pem::{PemObject, SectionKind};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::secret::value::{BadReason, SecretBytes};

/// Most certificates in one file. The public roots of a system are about 150.
pub(super) const MAX_CERTIFICATES: usize = 1000;

/// A certificate and those that lead from it to a root; the first is the end entity's.
#[derive(Clone)]
pub struct Chain(Vec<CertificateDer<'static>>);

impl Chain {
    /// Reads every certificate of a PEM file and skips keys, so that one file may hold both.
    /// Refuses DER, an empty list and certificates that do not parse.
    pub fn parse(bytes: &SecretBytes) -> Result<Self, BadReason> {
        certificates(bytes).map(Self)
    }

    /// The certificates in the order of the file; never empty.
    pub fn certificates(&self) -> &[CertificateDer<'static>] {
        &self.0
    }
}

impl std::fmt::Debug for Chain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Chain({} certificates)", self.0.len())
    }
}

/// One private key in PKCS#8, PKCS#1 or SEC1 form. `Debug` shows the form only.
pub struct PrivateKey(PrivateKeyDer<'static>);

impl PrivateKey {
    /// Reads the one unencrypted key of a PEM file and skips certificates.
    pub fn parse(bytes: &SecretBytes) -> Result<Self, BadReason> {
        let pem = text(bytes, Kind::Key)?;
        if has(pem, b"-----BEGIN ENCRYPTED PRIVATE KEY-----") || has(pem, b"Proc-Type: 4,ENCRYPTED") {
            return Err(bad("the key is encrypted with a passphrase; store it unencrypted (openssl pkey -in KEY)"));
        }
        let mut keys = PrivateKeyDer::pem_slice_iter(pem);
        let key = match keys.next() {
            Some(Ok(key)) => key,
            Some(Err(_)) => return Err(bad("a PEM section of the key file is damaged")),
            None => return Err(bad("no private key in the file")),
        };
        match keys.next() {
            None => Ok(Self(key)),
            Some(_) => Err(bad("more than one private key in the file")),
        }
    }

    pub(super) fn into_der(self) -> PrivateKeyDer<'static> {
        self.0
    }
}

impl std::fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match &self.0 {
            PrivateKeyDer::Pkcs1(_) => "PrivateKey(PKCS#1)",
            PrivateKeyDer::Sec1(_) => "PrivateKey(SEC1)",
            _ => "PrivateKey(PKCS#8)",
        })
    }
}

/// What a file should hold, for messages.
#[derive(Clone, Copy)]
enum Kind {
    Certificate,
    Key,
}

/// All certificates of a PEM file, each of them well formed; at least one.
pub(super) fn certificates(bytes: &SecretBytes) -> Result<Vec<CertificateDer<'static>>, BadReason> {
    let pem = text(bytes, Kind::Certificate)?;
    if has(pem, b"-----BEGIN TRUSTED CERTIFICATE-----") {
        return Err(bad(
            "the file has OpenSSL's TRUSTED CERTIFICATE form; write plain CERTIFICATE sections (openssl x509)",
        ));
    }
    let mut found = Vec::new();
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(pem) {
        let (kind, der) = section.map_err(|_| bad("a PEM section of the certificate file is damaged"))?;
        if kind != SectionKind::Certificate {
            // A key may stand beside its certificate: its copy is wiped.
            drop(zeroize::Zeroizing::new(der));
            continue;
        }
        if found.len() == MAX_CERTIFICATES {
            return Err(bad("more than 1000 certificates in the file"));
        }
        match X509Certificate::from_der(&der) {
            Ok(([], _)) => found.push(CertificateDer::from(der)),
            _ => return Err(BadReason::Pem(format!("certificate {} of the file does not parse", found.len() + 1))),
        }
    }
    if found.is_empty() {
        return Err(bad("no certificate in the file"));
    }
    Ok(found)
}

/// The bytes of a file that can be PEM at all.
fn text(bytes: &SecretBytes, kind: Kind) -> Result<&[u8], BadReason> {
    let bytes = bytes.expose();
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err(BadReason::Empty);
    }
    if bytes.starts_with(b"\xEF\xBB\xBF") || bytes.starts_with(b"\xFF\xFE") || bytes.starts_with(b"\xFE\xFF") {
        return Err(BadReason::ByteOrderMark);
    }
    if !has(bytes, b"-----BEGIN ") {
        // A DER SEQUENCE with a long length: a certificate or key in binary form, or PKCS#12.
        return Err(match (bytes, kind) {
            ([0x30, 0x81..=0x83, ..], Kind::Certificate) => bad("DER, not PEM; convert it (openssl x509 -inform der)"),
            ([0x30, ..], Kind::Key) => bad("DER, not PEM; convert it (openssl pkey -inform der)"),
            _ => bad("not a PEM file"),
        });
    }
    Ok(bytes)
}

fn has(bytes: &[u8], what: &[u8]) -> bool {
    bytes.windows(what.len()).any(|window| window == what)
}

pub(super) fn bad(text: &'static str) -> BadReason {
    BadReason::Pem(text.to_owned())
}
