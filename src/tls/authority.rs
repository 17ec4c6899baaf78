//! The CA of interception: read or made, and the leaves it signs.
//!
//! A CA that is made here can vouch for the hosts of the routes alone: its name constraints (RFC 5280
//! section 4.2.1.10) are critical. Not here: where its files lie (`server::authority`) and which leaf is in
//! use (`proxy::intercept`).

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose, NameConstraints, SerialNumber,
};
use ring::rand::{SecureRandom as _, SystemRandom};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::ServerSessionMemoryCache;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::client::{HTTP_1_1, HTTP_2};
use super::identity::{Identity, Validity};
use super::pem::{PrivateKey, bad};
use super::provider;
use crate::clock::Timestamp;
use crate::secret::value::{BadReason, SecretBytes};

const DAY: i64 = 86_400;
/// How long a leaf lives.
pub const LEAF_LIFE: i64 = 7 * DAY;
/// How long a CA that is made here lives.
pub(super) const CA_LIFE: i64 = 2 * 365 * DAY;
/// Certificates are dated back, so that a clock that is a little behind accepts them.
const BACKDATED: i64 = 3600;
/// TLS sessions that the configuration of one leaf keeps for resumption.
const SESSIONS: usize = 32;
/// RFC 5280 appendix A, `ub-common-name`.
const COMMON_NAME_LIMIT: usize = 64;

/// A certificate or key that could not be made.
#[derive(Debug, thiserror::Error)]
pub enum MintError {
    /// The certificate library refused, for example a name that is none.
    #[error("cannot make a certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// The operating system gave no random bytes.
    #[error("the operating system gave no random bytes")]
    Random,
    /// TLS cannot use what was made.
    #[error("cannot use the certificate made: {0}")]
    Tls(#[from] rustls::Error),
}

/// A CA in PEM.
pub struct Made {
    /// Its certificate.
    pub certificate: String,
    /// Its key, PKCS #8.
    pub key: SecretBytes,
}

/// A leaf, ready to be presented.
#[derive(Clone)]
pub struct Leaf {
    /// With this leaf, `h2` and `http/1.1` by ALPN, and a session store of its own.
    pub config: Arc<ServerConfig>,
    /// Its last second.
    pub not_after: Timestamp,
}

/// Names that a CA may vouch for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subtree {
    /// A DNS name and everything below it, lower case.
    Dns(String),
    /// One address.
    Ip(IpAddr),
}

impl Subtree {
    /// Of a host in lower case, IPv6 with or without brackets.
    pub fn of(host: &str) -> Self {
        match host.trim_start_matches('[').trim_end_matches(']').parse() {
            Ok(ip) => Self::Ip(ip),
            Err(_) => Self::Dns(host.to_owned()),
        }
    }
}

/// A CA that signs leaves.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// What follows a leaf in the handshake: nothing where the CA is a root.
    above: Vec<CertificateDer<'static>>,
    validity: Validity,
    fingerprint: [u8; 32],
    constraints: Constraints,
}

impl Authority {
    /// Reads a CA and refuses one that cannot be used at `now`: damaged, expired, not yet valid, no CA at
    /// all, or halves that do not belong together.
    pub fn load(cert: &SecretBytes, key: &SecretBytes, now: Timestamp) -> Result<Self, BadReason> {
        let identity = Identity::load(cert, key, now)?;
        let chain = &identity.certified_key().cert;
        let own = &chain[0];
        let (_, x509) = X509Certificate::from_der(own).map_err(|_| bad("certificate 1 of the file does not parse"))?;
        if !x509.is_ca() {
            return Err(bad("the certificate is not a CA's (basic constraints CA:TRUE)"));
        }
        if let Ok(Some(usage)) = x509.key_usage()
            && !usage.value.key_cert_sign()
        {
            return Err(bad("the CA's certificate does not allow it to sign certificates (key usage keyCertSign)"));
        }
        let root = x509.subject().as_raw() == x509.issuer().as_raw();
        let key = KeyPair::try_from(&PrivateKey::parse(key)?.into_der()).map_err(|_| {
            bad("the CA's key must be in PKCS #8 form: ECDSA (P-256, P-384), Ed25519 or RSA (openssl pkcs8 -topk8 -nodes)")
        })?;
        let issuer = Issuer::from_ca_cert_der(own, key).map_err(|_| bad("the CA's certificate cannot be used"))?;
        Ok(Self {
            issuer,
            above: if root { Vec::new() } else { chain.clone() },
            validity: identity.validity(),
            fingerprint: identity.fingerprint(),
            constraints: Constraints::of(&x509),
        })
    }

    /// Makes a root that may vouch for these names alone.
    pub fn make(names: &BTreeSet<Subtree>, now: Timestamp) -> Result<Made, MintError> {
        let key = KeyPair::generate()?;
        let validity = Validity { not_before: now.plus_seconds(-BACKDATED), not_after: now.plus_seconds(CA_LIFE) };
        let mut params = params(&format!("countersign CA {}", &hex(&random()?)[..8]), validity)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.name_constraints = Some(constraints(names));
        let certificate = params.self_signed(&key)?.pem();
        Ok(Made { certificate, key: SecretBytes::new(key.serialize_pem().into_bytes()) })
    }

    /// A leaf for one host (lower case).
    pub fn leaf(&self, host: &str, now: Timestamp) -> Result<Leaf, MintError> {
        let latest = |a: Timestamp, b: Timestamp| if a.seconds > b.seconds { a } else { b };
        let earliest = |a: Timestamp, b: Timestamp| if a.seconds < b.seconds { a } else { b };
        let validity = Validity {
            not_before: latest(now.plus_seconds(-BACKDATED), self.validity.not_before),
            not_after: earliest(now.plus_seconds(LEAF_LIFE), self.validity.not_after),
        };
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        // OpenSSL takes a common name that looks like a name for one, and an address is under no DNS constraint.
        let is_name = bare.len() <= COMMON_NAME_LIMIT && matches!(Subtree::of(bare), Subtree::Dns(_));
        let mut params = params(if is_name { bare } else { "countersign leaf" }, validity)?;
        params.subject_alt_names = CertificateParams::new(vec![bare.to_owned()])?.subject_alt_names;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        let chain = std::iter::once(certificate.der().clone()).chain(self.above.iter().cloned()).collect();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let certified = CertifiedKey::new(chain, provider().key_provider.load_private_key(key)?);
        Ok(Leaf { config: server_config(certified)?, not_after: validity.not_after })
    }

    /// Whether clients that trust it take a leaf for that host.
    pub fn permits(&self, host: &str) -> bool {
        self.permits_all(&Subtree::of(host))
    }

    /// Whether it may vouch for all of these names.
    pub fn permits_all(&self, names: &Subtree) -> bool {
        match names {
            Subtree::Dns(name) => self.constraints.dns.permit(|base| is_below(name, base)),
            Subtree::Ip(ip) => self.constraints.ip.permit(|(base, mask)| is_within(*ip, base, mask)),
        }
    }

    /// Its dates.
    pub fn validity(&self) -> Validity {
        self.validity
    }

    /// SHA-256 over its certificate in DER. Public knowledge.
    pub fn fingerprint(&self) -> [u8; 32] {
        self.fingerprint
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Authority({})", &hex(&self.fingerprint)[..8])
    }
}

/// What the name constraints of a CA say, of the two kinds of names that leaves have.
#[derive(Debug, Default)]
struct Constraints {
    dns: Bounds<String>,
    ip: Bounds<(Vec<u8>, Vec<u8>)>,
}

#[derive(Debug)]
struct Bounds<T> {
    /// Empty: everything that is not excluded.
    permitted: Vec<T>,
    excluded: Vec<T>,
}

impl<T> Default for Bounds<T> {
    fn default() -> Self {
        Self { permitted: Vec::new(), excluded: Vec::new() }
    }
}

impl<T> Bounds<T> {
    fn permit(&self, is_in: impl Fn(&T) -> bool) -> bool {
        (self.permitted.is_empty() || self.permitted.iter().any(&is_in)) && !self.excluded.iter().any(is_in)
    }
}

impl Constraints {
    fn of(x509: &X509Certificate<'_>) -> Self {
        let mut out = Self::default();
        let Ok(Some(found)) = x509.name_constraints() else { return out };
        let lists = [(&found.value.permitted_subtrees, true), (&found.value.excluded_subtrees, false)];
        for (list, permitted) in lists {
            for subtree in list.iter().flatten() {
                match &subtree.base {
                    GeneralName::DNSName(name) => out.dns.list(permitted).push(name.to_ascii_lowercase()),
                    GeneralName::IPAddress(bytes) => {
                        let (base, mask) = bytes.split_at(bytes.len() / 2);
                        out.ip.list(permitted).push((base.to_vec(), mask.to_vec()));
                    }
                    _ => {}
                }
            }
        }
        out
    }
}

impl<T> Bounds<T> {
    fn list(&mut self, permitted: bool) -> &mut Vec<T> {
        if permitted { &mut self.permitted } else { &mut self.excluded }
    }
}

/// RFC 5280: a name is within a constraint when labels may be added at its left to make it.
fn is_below(name: &str, base: &str) -> bool {
    let base = base.strip_prefix('.').unwrap_or(base);
    base.is_empty() || name.strip_suffix(base).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

fn is_within(ip: IpAddr, base: &[u8], mask: &[u8]) -> bool {
    let octets = match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    octets.len() == base.len() && octets.iter().zip(base).zip(mask).all(|((a, b), mask)| a & mask == b & mask)
}

/// Permits these names; addresses too are bounded, also where none is named.
fn constraints(names: &BTreeSet<Subtree>) -> NameConstraints {
    let mut permitted_subtrees = Vec::new();
    let mut addresses = false;
    if !names.iter().any(|name| matches!(name, Subtree::Dns(_))) {
        // None at all would mean every name; this one never exists (RFC 6761 section 6.4).
        permitted_subtrees.push(GeneralSubtree::DnsName("invalid".to_owned()));
    }
    for name in names {
        permitted_subtrees.push(match name {
            Subtree::Dns(name) => GeneralSubtree::DnsName(name.clone()),
            Subtree::Ip(ip) => {
                addresses = true;
                let bits = if ip.is_ipv4() { 32 } else { 128 };
                GeneralSubtree::IpAddress(CidrSubnet::from_addr_prefix(*ip, bits))
            }
        });
    }
    let all = || vec![CidrSubnet::V4([0; 4], [0; 4]), CidrSubnet::V6([0; 16], [0; 16])];
    let excluded_subtrees =
        if addresses { Vec::new() } else { all().into_iter().map(GeneralSubtree::IpAddress).collect() };
    NameConstraints { permitted_subtrees, excluded_subtrees }
}

fn params(common_name: &str, validity: Validity) -> Result<CertificateParams, MintError> {
    let mut params = CertificateParams::new(Vec::<String>::new())?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let since = |at: Timestamp| Duration::from_secs(u64::try_from(at.seconds).unwrap_or(0));
    params.not_before = epoch + since(validity.not_before);
    params.not_after = epoch + since(validity.not_after);
    let mut serial = random()?;
    serial[0] = serial[0] & 0x3F | 0x40; // positive, and never a leading zero
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    Ok(params)
}

fn random() -> Result<[u8; 16], MintError> {
    let mut bytes = [0; 16];
    SystemRandom::new().fill(&mut bytes).map_err(|_| MintError::Random)?;
    Ok(bytes)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Prefers HTTP/2, and takes no early data.
fn server_config(certified: CertifiedKey) -> Result<Arc<ServerConfig>, MintError> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    config.alpn_protocols = vec![HTTP_2.to_vec(), HTTP_1_1.to_vec()];
    config.session_storage = ServerSessionMemoryCache::new(SESSIONS);
    Ok(Arc::new(config))
}

#[cfg(test)]
#[path = "authority_tests.rs"]
mod tests;
