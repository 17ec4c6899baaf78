//! SPKI pins: which public keys an upstream's chain must contain, beside being valid.
//!
//! `tls.pin = ["sha256/BASE64"]` as in RFC 7469 section 2.4: SHA-256 over the DER of a
//! SubjectPublicKeyInfo. A pin only ever refuses more: chain, dates and name are verified first.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme};
use sha2::{Digest, Sha256};

use super::{Roots, TlsFailure, provider};

/// SHA-256 over a SubjectPublicKeyInfo in DER. Public knowledge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pin([u8; 32]);

/// A text that is no pin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a pin is \"sha256/\" and 44 characters of base64")]
pub struct NotAPin;

impl Pin {
    /// Reads `sha256/BASE64`.
    pub fn parse(text: &str) -> Result<Self, NotAPin> {
        let digest = text.strip_prefix("sha256/").ok_or(NotAPin)?;
        STANDARD.decode(digest).ok().and_then(|bytes| bytes.try_into().ok()).map(Self).ok_or(NotAPin)
    }

    fn of(spki: &[u8]) -> Self {
        Self(Sha256::digest(spki).into())
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256/{}", STANDARD.encode(self.0))
    }
}

/// The chain is valid, and no key in it is pinned. Carries the pin of the end entity's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no key of the certificate chain is pinned")]
pub(super) struct Unpinned(pub(super) Pin);

/// Verifies as rustls does, then looks for a pinned key in the chain that was verified.
#[derive(Debug)]
pub(super) struct PinnedVerifier {
    inner: Arc<WebPkiServerVerifier>,
    roots: Arc<RootCertStore>,
    pins: Box<[Pin]>,
}

impl PinnedVerifier {
    pub(super) fn new(roots: &Roots, pins: &[Pin]) -> Result<Self, TlsFailure> {
        let inner = WebPkiServerVerifier::builder_with_provider(roots.store(), provider())
            .build()
            .map_err(|_| TlsFailure::Handshake)?;
        Ok(Self { inner, roots: roots.store(), pins: pins.into() })
    }

    /// The end entity's key first. Others count only on a path that was verified: a server can send
    /// along any certificate, also one whose key it does not have.
    fn check(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        let bad = |_| Error::InvalidCertificate(CertificateError::BadEncoding);
        let leaf = webpki::EndEntityCert::try_from(end_entity).map_err(bad)?;
        let own = Pin::of(&leaf.subject_public_key_info());
        if self.pins.contains(&own) {
            return Ok(());
        }
        let pinned = |path: &webpki::VerifiedPath<'_>| {
            let above = path.intermediate_certificates().map(|cert| Pin::of(&cert.subject_public_key_info()));
            let root = Pin::of(&webpki::spki_for_anchor(path.anchor()));
            match above.chain([root]).any(|pin| self.pins.contains(&pin)) {
                true => Ok(()),
                false => Err(webpki::Error::UnknownIssuer),
            }
        };
        let found = leaf.verify_for_usage(
            provider().signature_verification_algorithms.all,
            &self.roots.roots,
            intermediates,
            now,
            webpki::KeyUsage::server_auth(),
            None,
            Some(&pinned),
        );
        let refused = |_| Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(Unpinned(own)))));
        found.map(drop).map_err(refused)
    }
}

impl ServerCertVerifier for PinnedVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = self.inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)?;
        self.check(end_entity, intermediates, now)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, cert, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, cert, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

#[cfg(test)]
#[path = "pin_tests.rs"]
mod tests;
