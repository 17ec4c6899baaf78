//! rustls' errors in words that a person understands; no secret is in any of them.
//!
//! Used for `upstream_tls` answers, log lines and `check`.

use rustls::{AlertDescription, CertificateError, Error, InvalidMessage, OtherError};

use super::Pin;
use super::pin::Unpinned;

/// Why a TLS connection did not come about, or ended at its first read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum TlsFailure {
    /// Chain.
    #[error("the upstream's certificate comes from an issuer that is not trusted here")]
    UnknownIssuer,
    /// Name.
    #[error("the upstream's certificate is for another name")]
    NameMismatch,
    /// Dates.
    #[error("the upstream's certificate has expired")]
    Expired,
    /// Dates.
    #[error("the upstream's certificate is not valid yet")]
    NotYetValid,
    /// Revocation.
    #[error("the upstream's certificate has been revoked")]
    Revoked,
    /// A good certificate, and none of the keys that the route pins.
    #[error("no key in the upstream's certificate chain is pinned by the route (tls.pin); its own key is {0}")]
    Unpinned(Pin),
    /// Purpose, encoding, or a CA's certificate used as a server's.
    #[error("the upstream's certificate cannot be used")]
    BadCertificate,
    /// The upstream asked for a certificate and got none.
    #[error("the upstream demands a client certificate")]
    ClientCertificateRequired,
    /// The upstream did not like ours.
    #[error("the upstream refused the client certificate")]
    ClientCertificateRefused,
    /// No version or algorithm in common.
    #[error("the upstream speaks no TLS version or algorithm that is allowed here")]
    Incompatible,
    /// The upstream does not know the name asked for.
    #[error("the upstream does not know the server name")]
    NameUnknown,
    /// Plain text, or another protocol.
    #[error("the upstream does not speak TLS on this port")]
    NotTls,
    /// Everything else.
    #[error("the TLS handshake failed")]
    Handshake,
}

impl TlsFailure {
    /// Sorts an error of rustls.
    pub fn of(error: &Error) -> Self {
        match error {
            Error::InvalidCertificate(why) => Self::of_certificate(why),
            Error::AlertReceived(alert) => Self::of_alert(*alert),
            Error::PeerIncompatible(_) | Error::NoApplicationProtocol => Self::Incompatible,
            Error::InvalidMessage(InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion) => {
                Self::NotTls
            }
            Error::NoCertificatesPresented => Self::BadCertificate,
            _ => Self::Handshake,
        }
    }

    /// Sorts an I/O error that may carry one of rustls; `None` when it is about the network.
    pub fn of_io(error: &std::io::Error) -> Option<Self> {
        error.get_ref()?.downcast_ref::<Error>().map(Self::of)
    }

    fn of_certificate(why: &CertificateError) -> Self {
        match why {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => Self::Expired,
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => Self::NotYetValid,
            CertificateError::Revoked => Self::Revoked,
            // A root of the same name with another key shows as a bad signature.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => Self::UnknownIssuer,
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => Self::NameMismatch,
            CertificateError::Other(OtherError(other)) => match other.downcast_ref::<Unpinned>() {
                Some(Unpinned(own)) => Self::Unpinned(*own),
                None => Self::BadCertificate,
            },
            _ => Self::BadCertificate,
        }
    }

    /// RFC 8446 section 6.2: what a server says about a client's certificate.
    fn of_alert(alert: AlertDescription) -> Self {
        match alert {
            AlertDescription::CertificateRequired | AlertDescription::NoCertificate => Self::ClientCertificateRequired,
            AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied
            | AlertDescription::DecryptError => Self::ClientCertificateRefused,
            AlertDescription::ProtocolVersion
            | AlertDescription::InsufficientSecurity
            | AlertDescription::NoApplicationProtocol => Self::Incompatible,
            AlertDescription::UnrecognisedName => Self::NameUnknown,
            _ => Self::Handshake,
        }
    }
}
