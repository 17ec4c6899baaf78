//! Files as OpenSSL writes them (`testdata`), and handshakes in memory.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::io::{Read, Write};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConnection, Error, ServerConfig, ServerConnection};

use super::*;
use crate::clock::Timestamp;
use crate::secret::value::{BadReason, SecretBytes};

const EC_CERT: &str = include_str!("testdata/ec.crt");
const EC_KEY: &str = include_str!("testdata/ec-sec1.pem");
const RSA_CERT: &str = include_str!("testdata/rsa.crt");
const RSA_KEY: &str = include_str!("testdata/rsa-pkcs1.pem");
/// `openssl x509 -in ec.crt -noout -dates`, in seconds.
const EC_FROM: i64 = 1_795_513_662;
const EC_UNTIL: i64 = 4_949_113_662;

fn secret(text: impl Into<Vec<u8>>) -> SecretBytes {
    SecretBytes::new(text.into())
}

fn identity(cert: &str, key: &str) -> Result<Identity, BadReason> {
    Identity::load(&secret(cert), &secret(key), Timestamp::from_seconds(EC_UNTIL - 1000))
}

/// The text of the reason, which must be about PEM or dates.
fn refused<T: std::fmt::Debug>(result: Result<T, BadReason>) -> String {
    match result {
        Err(BadReason::Pem(text)) => text,
        Err(dates @ (BadReason::Expired(_) | BadReason::NotYetValid(_))) => dates.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn sec1_pkcs1_and_pkcs8_keys_fit_their_certificates() {
    let ec = identity(EC_CERT, EC_KEY).unwrap();
    // `openssl x509 -in ec.crt -noout -fingerprint -sha256`
    assert_eq!(ec.fingerprint()[..4], [0x5F, 0x1C, 0xC8, 0xA7]);
    assert_eq!(ec.not_after(), Timestamp::from_seconds(EC_UNTIL));
    assert_eq!(ec.validity().not_before, Timestamp::from_seconds(EC_FROM));
    identity(RSA_CERT, RSA_KEY).unwrap();
    let (cert, key) = self_signed("x.example");
    Identity::load(&secret(cert), &secret(key), Timestamp::from_seconds(EC_FROM)).unwrap();
    let both = format!("{EC_KEY}{EC_CERT}");
    identity(&both, &both).unwrap();
}

#[test]
fn halves_that_do_not_belong_together_are_refused() {
    assert_eq!(identity(EC_CERT, RSA_KEY).unwrap_err(), BadReason::PairMismatch);
    let (_, other) = self_signed("x.example");
    assert_eq!(identity(EC_CERT, &other).unwrap_err(), BadReason::PairMismatch);
}

#[test]
fn dates_decide_to_the_second() {
    let load = |at: i64| Identity::load(&secret(EC_CERT), &secret(EC_KEY), Timestamp::from_seconds(at));
    assert!(load(EC_FROM).is_ok() && load(EC_UNTIL).is_ok());
    assert_eq!(refused(load(EC_FROM - 1)), "the certificate is not valid before 2026-11-24T09:47:42Z");
    assert_eq!(refused(load(EC_UNTIL + 1)), "the certificate expired at 2126-10-31T09:47:42Z");
    assert!(Identity::load_at_any_time(&secret(EC_CERT), &secret(EC_KEY)).is_ok());
}

#[test]
fn keys_that_cannot_be_used_say_why() {
    let key = |text: &[u8]| refused(PrivateKey::parse(&secret(text)));
    assert!(key(include_bytes!("testdata/ec-encrypted.pem")).contains("encrypted"));
    assert!(key(include_bytes!("testdata/ec-sec1-encrypted.pem")).contains("encrypted"));
    assert!(key(format!("{EC_KEY}{RSA_KEY}").as_bytes()).contains("more than one private key"));
    assert_eq!(key(EC_CERT.as_bytes()), "no private key in the file");
    assert_eq!(key(b"garbage"), "not a PEM file");
    assert!(key(KeyPair::generate().unwrap().serialized_der()).contains("DER"));
    assert!(key(&EC_KEY.as_bytes()[..100]).contains("damaged"));
    let p224 = identity(include_str!("testdata/p224.crt"), include_str!("testdata/p224.pem"));
    assert!(refused(p224).contains("cannot be used"));
    assert_eq!(PrivateKey::parse(&secret("\n")).unwrap_err(), BadReason::Empty);
    assert_eq!(PrivateKey::parse(&secret(format!("\u{FEFF}{EC_KEY}"))).unwrap_err(), BadReason::ByteOrderMark);
}

#[test]
fn certificates_that_cannot_be_used_say_why() {
    let chain = |text: &[u8]| refused(Chain::parse(&secret(text)));
    assert_eq!(chain(EC_KEY.as_bytes()), "no certificate in the file");
    assert_eq!(chain(b"\x00\x01garbage"), "not a PEM file");
    let der = Chain::parse(&secret(EC_CERT)).unwrap().certificates()[0].to_vec();
    assert!(chain(&der).contains("DER"));
    let broken = format!("{EC_CERT}-----BEGIN CERTIFICATE-----\nMAMCAQE=\n-----END CERTIFICATE-----\n");
    assert_eq!(chain(broken.as_bytes()), "certificate 2 of the file does not parse");
    assert!(chain(EC_CERT.replace("-----END", "!!!!!").as_bytes()).contains("damaged"));
    assert_eq!(Chain::parse(&secret(format!("{EC_CERT}{RSA_CERT}"))).unwrap().certificates().len(), 2);
}

#[test]
fn one_bad_member_refuses_a_bundle() {
    assert_eq!(Roots::load(&secret(format!("{EC_CERT}{RSA_CERT}"))).unwrap().len(), 2);
    let broken = format!("{EC_CERT}-----BEGIN CERTIFICATE-----\nMAMCAQE=\n-----END CERTIFICATE-----\n");
    assert!(Roots::load(&secret(broken)).is_err());
    assert!(Roots::load(&secret(EC_KEY)).is_err());
    assert!(Roots::public().len() > 50);
}

#[test]
fn nothing_shows_a_key() {
    let identity = identity(EC_CERT, EC_KEY).unwrap();
    let key = PrivateKey::parse(&secret(EC_KEY)).unwrap();
    assert_eq!(format!("{key:?}"), "PrivateKey(SEC1)");
    assert_eq!(format!("{identity:?}"), "Identity(1 certificates, until 2126-10-31T09:47:42Z)");
}

#[test]
fn server_names_are_names_or_addresses() {
    assert!(
        matches!(server_name("api.example.com."), Ok(ServerName::DnsName(name)) if name.as_ref() == "api.example.com")
    );
    assert!(matches!(server_name("[::1]"), Ok(ServerName::IpAddress(_))));
    assert!(matches!(server_name("127.0.0.1"), Ok(ServerName::IpAddress(_))));
    for bad in ["", "a b", "a..b", "*.example.com", "-"] {
        assert!(server_name(bad).is_err(), "{bad:?}");
    }
}

/// A certificate authority of its own.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    fn roots(&self) -> Roots {
        Roots::load(&secret(self.pem.as_str())).unwrap()
    }

    /// Certificate and key in PEM, valid until the end of that year.
    fn issue(&self, name: &str, year: i32) -> (String, String) {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_after = date_time_ymd(year, 12, 31);
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }

    fn identity(&self, year: i32) -> Identity {
        let (cert, key) = self.issue("worker.example", year);
        Identity::load_at_any_time(&secret(cert), &secret(key)).unwrap()
    }

    fn server(&self, name: &str, year: i32, clients: Option<&Authority>) -> Arc<ServerConfig> {
        let (cert, key) = self.issue(name, year);
        let chain = Chain::parse(&secret(cert)).unwrap().certificates().to_vec();
        let der = KeyPair::from_pem(&key).unwrap().serialize_der();
        let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
        let builder = match clients {
            Some(authority) => {
                let verifier = WebPkiClientVerifier::builder_with_provider(authority.roots().store(), provider());
                builder.with_client_cert_verifier(verifier.build().unwrap())
            }
            None => builder.with_no_client_auth(),
        };
        Arc::new(builder.with_single_cert(chain, PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(der))).unwrap())
    }
}

fn self_signed(name: &str) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    (CertificateParams::new(vec![name.to_owned()]).unwrap().self_signed(&key).unwrap().pem(), key.serialize_pem())
}

/// Connects in memory, writes, and reads what comes back.
fn connect(client: Arc<rustls::ClientConfig>, server: Arc<ServerConfig>) -> Result<ClientConnection, TlsFailure> {
    let mut client = ClientConnection::new(client, server_name("api.example").unwrap()).unwrap();
    let mut server = ServerConnection::new(server).unwrap();
    for _ in 0..10 {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        let mut wire = &wire[..];
        while !wire.is_empty() {
            server.read_tls(&mut wire).unwrap();
        }
        // A server that refuses says so by an alert; what the client makes of it counts.
        let _ = server.process_new_packets();
        let mut wire = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        let mut wire = &wire[..];
        while !wire.is_empty() {
            client.read_tls(&mut wire).unwrap();
        }
        client.process_new_packets().map_err(|error| TlsFailure::of(&error))?;
    }
    client.writer().write_all(b"x").unwrap();
    let _ = client.reader().read(&mut [0; 1]);
    Ok(client)
}

#[test]
fn handshakes_verify_and_say_what_was_wrong() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let config = client_config(&ours.roots(), None, TlsVersion::V1_2, &[]).unwrap();
    let outcome = |server| connect(config.clone(), server).map(|_| ());
    assert_eq!(outcome(ours.server("api.example", 2100, None)), Ok(()));
    assert_eq!(outcome(theirs.server("api.example", 2100, None)), Err(TlsFailure::UnknownIssuer));
    assert_eq!(outcome(ours.server("other.example", 2100, None)), Err(TlsFailure::NameMismatch));
    assert_eq!(outcome(ours.server("api.example", 2000, None)), Err(TlsFailure::Expired));
    let public = client_config(&Roots::public(), None, TlsVersion::V1_3, &[]).unwrap();
    let server = ours.server("api.example", 2100, None);
    assert_eq!(connect(public, server).map(|_| ()), Err(TlsFailure::UnknownIssuer));
}

#[test]
fn client_certificates_are_presented_and_their_refusal_is_told() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let server = ours.server("api.example", 2100, Some(&ours));
    let outcome = |identity: Option<Identity>| {
        let config = client_config(&ours.roots(), identity.as_ref(), TlsVersion::V1_3, &[]).unwrap();
        connect(config, server.clone()).map(|_| ())
    };
    assert_eq!(outcome(Some(ours.identity(2100))), Ok(()));
    assert_eq!(outcome(None), Err(TlsFailure::ClientCertificateRequired));
    assert_eq!(outcome(Some(theirs.identity(2100))), Err(TlsFailure::ClientCertificateRefused));
    assert_eq!(outcome(Some(ours.identity(2000))), Err(TlsFailure::ClientCertificateRefused));
}

#[test]
fn no_session_of_an_old_identity_is_resumed() {
    let ours = Authority::new();
    let server = ours.server("api.example", 2100, Some(&ours));
    let identity = ours.identity(2100);
    let config = || client_config(&ours.roots(), Some(&identity), TlsVersion::V1_3, &[]).unwrap();
    let kind = |config: &Arc<rustls::ClientConfig>| connect(config.clone(), server.clone()).unwrap().handshake_kind();
    let first = config();
    assert_eq!(kind(&first), Some(rustls::HandshakeKind::Full));
    assert_eq!(kind(&first), Some(rustls::HandshakeKind::Resumed));
    assert_eq!(kind(&config()), Some(rustls::HandshakeKind::Full), "a new configuration begins anew");
    for late in [unresumed(&first), unresumed(&http1_only(&first))] {
        assert_eq!(kind(&late), Some(rustls::HandshakeKind::Full));
        assert_eq!(kind(&late), Some(rustls::HandshakeKind::Full), "nor does it keep a session");
    }
    assert_eq!(unresumed(&first).alpn_protocols, first.alpn_protocols);
}

#[test]
fn the_oldest_version_is_kept_and_the_offer_is_http_1_1() {
    let ours = Authority::new();
    let modern = client_config(&ours.roots(), None, TlsVersion::V1_3, &[]).unwrap();
    assert_eq!(modern.alpn_protocols, [b"h2".to_vec(), b"http/1.1".to_vec()]);
    assert_eq!(http1_only(&modern).alpn_protocols, [b"http/1.1".to_vec()]);
    assert!(!modern.enable_early_data);
    let (cert, key) = ours.issue("api.example", 2100);
    let chain = Chain::parse(&secret(cert)).unwrap().certificates().to_vec();
    let der = KeyPair::from_pem(&key).unwrap().serialize_der();
    let builder = ServerConfig::builder_with_provider(provider()).with_protocol_versions(&[&rustls::version::TLS12]);
    let builder = builder.unwrap().with_no_client_auth();
    let old = Arc::new(builder.with_single_cert(chain, PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(der))).unwrap());
    assert_eq!(connect(modern, old.clone()).map(|_| ()), Err(TlsFailure::Incompatible));
    let lenient = client_config(&ours.roots(), None, TlsVersion::V1_2, &[]).unwrap();
    assert!(connect(lenient, old).is_ok());
}

#[test]
fn errors_inside_io_errors_are_found() {
    let inner = Error::InvalidCertificate(rustls::CertificateError::Revoked);
    let io = std::io::Error::new(std::io::ErrorKind::InvalidData, inner);
    assert_eq!(TlsFailure::of_io(&io), Some(TlsFailure::Revoked));
    assert_eq!(TlsFailure::of_io(&std::io::Error::other("reset")), None);
    let plain = Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType);
    assert_eq!(TlsFailure::of(&plain), TlsFailure::NotTls);
}
