//! Which key of a chain satisfies a pin, and which only seems to be in it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject as _;

use super::*;
use crate::secret::value::SecretBytes;

/// 2027, within the dates of every certificate here.
const NOW: u64 = 1_800_000_000;

struct Signer {
    der: CertificateDer<'static>,
    pem: String,
    pin: Pin,
    issuer: Issuer<'static, KeyPair>,
}

fn signer(name: &str, by: Option<&Signer>) -> Signer {
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    let key = KeyPair::generate().unwrap();
    let certificate = match by {
        None => params.self_signed(&key).unwrap(),
        Some(by) => params.signed_by(&key, &by.issuer).unwrap(),
    };
    let (der, pem) = (certificate.der().clone(), certificate.pem());
    Signer { pin: pin(&der), der, pem, issuer: Issuer::new(params, key) }
}

fn leaf(by: &Signer) -> CertificateDer<'static> {
    let params = CertificateParams::new(vec!["api.example".to_owned()]).unwrap();
    params.signed_by(&KeyPair::generate().unwrap(), &by.issuer).unwrap().der().clone()
}

/// By another parser than the product's.
fn pin(der: &CertificateDer<'_>) -> Pin {
    let (_, parsed) = x509_parser::parse_x509_certificate(der).unwrap();
    Pin::of(parsed.tbs_certificate.subject_pki.raw)
}

fn verify(root: &Signer, pin: Pin, leaf: &CertificateDer<'_>, sent: &[CertificateDer<'_>]) -> Result<(), TlsFailure> {
    let roots = Roots::load(&SecretBytes::new(root.pem.clone().into_bytes())).unwrap();
    let verifier = PinnedVerifier::new(&roots, &[pin]).unwrap();
    let name = super::super::server_name("api.example").unwrap();
    let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(NOW));
    verifier.verify_server_cert(leaf, sent, &name, &[], now).map(drop).map_err(|error| TlsFailure::of(&error))
}

#[test]
fn pins_are_what_openssl_says() {
    let der = CertificateDer::from_pem_slice(include_bytes!("testdata/ec.crt")).unwrap();
    let own = webpki::EndEntityCert::try_from(&der).unwrap().subject_public_key_info();
    // openssl x509 -in ec.crt -pubkey -noout | openssl pkey -pubin -outform der | openssl dgst -sha256 -binary | base64
    let text = "sha256/7E+YvFx78jp1dA+0/qKPVmTOhQLfPcnl3xq+I6D/fjw=";
    assert_eq!(Pin::of(&own).to_string(), text);
    assert_eq!(Pin::parse(text), Ok(Pin::of(&own)));
    for bad in ["", "sha256/", "sha1/7E+YvFx78jp1dA+0/qKPVmTOhQLfPcnl3xq+I6D/fjw=", "sha256/AAAA", &text[..50]] {
        assert_eq!(Pin::parse(bad), Err(NotAPin), "{bad}");
    }
}

#[test]
fn every_key_of_the_verified_path_counts() {
    let root = signer("root", None);
    let middle = signer("middle", Some(&root));
    let leaf = leaf(&middle);
    let sent = [middle.der.clone()];
    for pinned in [pin(&leaf), middle.pin, root.pin] {
        assert_eq!(verify(&root, pinned, &leaf, &sent), Ok(()));
    }
    let other = signer("other", None);
    assert_eq!(verify(&root, other.pin, &leaf, &sent), Err(TlsFailure::Unpinned(pin(&leaf))));
}

#[test]
fn a_certificate_that_is_only_sent_along_does_not_count() {
    let (root, stranger) = (signer("root", None), signer("stranger", None));
    let beside = signer("beside", Some(&root));
    let middle = signer("middle", Some(&root));
    let leaf = leaf(&middle);
    for extra in [&stranger, &beside] {
        for sent in [[middle.der.clone(), extra.der.clone()], [extra.der.clone(), middle.der.clone()]] {
            assert_eq!(verify(&root, extra.pin, &leaf, &sent), Err(TlsFailure::Unpinned(pin(&leaf))));
        }
    }
}
