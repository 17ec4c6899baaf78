//! A client that shares nothing with the product's signers: signatures are made with ring, and one
//! with openssl.
#![allow(clippy::unwrap_used)]

use ring::{digest, hmac};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::TlsConnector;

use super::*;
use crate::clock::{FixedClock, Timestamp};
use crate::playground::certs::{self, Authority, Pair, hex};
use crate::playground::rotate::tests::TempDir;

const NOW: i64 = 1_700_000_000;
const KEY: &[u8] = b"first key";

struct Partner {
    upstream: Upstream,
    authority: Authority,
}

async fn partner() -> Partner {
    let authority = Authority::new("test CA").unwrap();
    let server = authority.server(&["localhost"]).unwrap();
    let clients = Clients::SignedBy(vec![authority.certificate().to_owned()]);
    let config = UpstreamConfig {
        listen: ([127, 0, 0, 1], 0).into(),
        transport: Transport::Tls { certificate: server.certificate, key: server.key, clients },
        signature: Signature::Hmac(vec![SecretBytes::new([KEY, b"\n"].concat())]),
        clock: Arc::new(FixedClock(Timestamp::from_seconds(NOW))),
    };
    Partner { upstream: Upstream::start(config).await.unwrap(), authority }
}

/// Sends one request on its own connection; `Err` when TLS or the connection failed.
async fn send(
    address: SocketAddr,
    root: &str,
    client: Option<&Pair>,
    request: Request<Full<Bytes>>,
) -> Result<(StatusCode, Value), Box<dyn std::error::Error>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(root.as_bytes())?)?;
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    let config = match client {
        None => config.with_no_client_auth(),
        Some(pair) => config.with_client_auth_cert(
            vec![CertificateDer::from_pem_slice(pair.certificate.as_bytes())?],
            PrivateKeyDer::from_pem_slice(pair.key.as_bytes())?,
        )?,
    };
    let stream = TcpStream::connect(address).await?;
    let stream = TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("localhost")?, stream).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let response = sender.send_request(request).await?;
    let status = response.status();
    let body = response.into_body().collect().await?.to_bytes();
    Ok((status, serde_json::from_slice(&body)?))
}

fn sign(key: &[u8], method: &str, target: &str, at: i64, body: &[u8]) -> String {
    let text = format!("{method}\n{target}\n{at}\n{}", hex(digest::digest(&digest::SHA256, body).as_ref()));
    hex(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes()).as_ref())
}

fn request(at: i64, signature: &str) -> Request<Full<Bytes>> {
    Request::post("/v1/orders?a=%20b&c")
        .header("Host", "api.partner.example")
        .header("X-Timestamp", at)
        .header("X-Signature", signature)
        .header("X-Job", "nightly")
        .body(Full::new(Bytes::from_static(b"hello")))
        .unwrap()
}

fn signed(key: &[u8], at: i64) -> Request<Full<Bytes>> {
    request(at, &sign(key, "POST", "/v1/orders?a=%20b&c", at, b"hello"))
}

impl Partner {
    async fn ask(&self, client: &Pair, request: Request<Full<Bytes>>) -> (StatusCode, Value) {
        send(self.upstream.address(), self.authority.certificate(), Some(client), request).await.unwrap()
    }

    async fn refusal(&self, client: &Pair, request: Request<Full<Bytes>>) -> String {
        let (status, json) = self.ask(client, request).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{json}");
        json["error"].as_str().unwrap().to_owned()
    }
}

#[tokio::test]
async fn a_signed_request_with_a_certificate_is_echoed_and_remembered() {
    let partner = partner().await;
    let client = partner.authority.client("worker 7").unwrap();
    // printf 'POST\n/v1/orders?a=%%20b&c\n1700000000\n%s' $(printf hello | openssl dgst -sha256 -r | cut -d' ' -f1) |
    //   openssl dgst -sha256 -hmac 'first key'
    let signature = "6503da1ef52b415f91d387797d933f8eab38bc9c7a60e62c46ced5bde7bc0bf0";
    assert_eq!(sign(KEY, "POST", "/v1/orders?a=%20b&c", NOW, b"hello"), signature);
    let (status, json) = partner.ask(&client, request(NOW, signature)).await;
    assert_eq!(status, StatusCode::OK, "{json}");
    let expected = json!({
        "method": "POST", "target": "/v1/orders?a=%20b&c", "host": "api.partner.example", "client": "worker 7",
        "signature": "valid", "key": 0, "body_bytes": 5,
        "headers": { "host": "api.partner.example", "x-timestamp": "1700000000", "x-job": "nightly", "content-length": "5" },
    });
    assert_eq!(json, expected);
    let seen = partner.upstream.take_seen();
    assert_eq!(seen.len(), 1);
    assert_eq!((seen[0].key, seen[0].serial.as_deref()), (Some(0), Some(client.serial.as_str())));
    assert!(partner.upstream.seen().is_empty());
}

#[tokio::test]
async fn without_a_certificate_of_the_authority_there_is_no_connection() {
    let partner = partner().await;
    let (address, root) = (partner.upstream.address(), partner.authority.certificate());
    assert!(send(address, root, None, signed(KEY, NOW)).await.is_err());
    let other = Authority::new("other CA").unwrap();
    let stranger = other.client("worker 7").unwrap();
    assert!(send(address, root, Some(&stranger), signed(KEY, NOW)).await.is_err());
    assert!(partner.upstream.seen().is_empty());
    partner.upstream.accept_authority(other.certificate()).unwrap();
    let (status, _) = send(address, root, Some(&stranger), signed(KEY, NOW)).await.unwrap();
    assert_eq!(status, StatusCode::OK);
}

#[tokio::test]
async fn missing_wrong_repeated_and_old_signatures_are_refused() {
    let partner = partner().await;
    let client = partner.authority.client("worker").unwrap();
    let without = |name| {
        let mut request = signed(KEY, NOW);
        request.headers_mut().remove(name);
        request
    };
    assert_eq!(partner.refusal(&client, without(SIGNATURE)).await, "missing");
    assert_eq!(partner.refusal(&client, without(TIMESTAMP)).await, "missing");
    assert_eq!(partner.refusal(&client, signed(b"other key", NOW)).await, "wrong_signature");
    assert_eq!(partner.refusal(&client, request(NOW, "short")).await, "malformed");
    let mut twice = signed(KEY, NOW);
    twice.headers_mut().append(SIGNATURE, http::HeaderValue::from_static("x"));
    assert_eq!(partner.refusal(&client, twice).await, "repeated");
    let mut other_body = signed(KEY, NOW);
    *other_body.body_mut() = Full::new(Bytes::from_static(b"hellO"));
    assert_eq!(partner.refusal(&client, other_body).await, "wrong_signature");
    assert_eq!(partner.ask(&client, signed(KEY, NOW - WINDOW)).await.0, StatusCode::OK);
    assert_eq!(partner.refusal(&client, signed(KEY, NOW - WINDOW - 1)).await, "stale");
    assert_eq!(partner.refusal(&client, signed(KEY, NOW + WINDOW + 1)).await, "stale");
    let refused = partner.upstream.seen().iter().filter(|seen| seen.refused.is_some()).count();
    assert_eq!(refused, 8);
}

#[tokio::test]
async fn several_keys_are_accepted_until_they_are_withdrawn() {
    let partner = partner().await;
    let client = partner.authority.client("worker").unwrap();
    assert_eq!(partner.upstream.accept_key(SecretBytes::new(b"second key".to_vec())), Some(1));
    assert_eq!(partner.ask(&client, signed(b"second key", NOW)).await.1["key"], 1);
    assert_eq!(partner.ask(&client, signed(KEY, NOW)).await.1["key"], 0);
    partner.upstream.withdraw_key(0);
    assert_eq!(partner.refusal(&client, signed(KEY, NOW)).await, "withdrawn_key");
    for index in 2..=KEYS {
        assert_eq!(partner.upstream.accept_key(SecretBytes::new(vec![b'k'; index])), Some(index));
    }
    assert_eq!(partner.refusal(&client, signed(KEY, NOW)).await, "wrong_signature"); // forgotten
    assert_eq!(partner.ask(&client, signed(b"second key", NOW)).await.1["key"], 1);
}

#[tokio::test]
async fn the_playground_works_with_its_own_secrets_and_follows_its_key() {
    let dir = TempDir::new("upstream-playground");
    certs::make_missing(&dir.0).unwrap();
    let folder = dir.0.join(certs::FOLDER);
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
    let mut config = UpstreamConfig::playground(&dir.0, ([127, 0, 0, 1], 0).into()).unwrap();
    config.clock = Arc::new(FixedClock(Timestamp::from_seconds(NOW)));
    let upstream = Upstream::start(config).await.unwrap();
    let client = Pair { certificate: read("client.crt"), key: read("client.key"), serial: String::new() };
    let (address, root) = (upstream.address(), read("ca.crt"));
    let first = read("hmac-key");
    let ask =
        async |key: &str| send(address, &root, Some(&client), signed(key.trim_end().as_bytes(), NOW)).await.unwrap();
    assert_eq!(ask(&first).await.1["client"], "playground-worker");
    assert_eq!(ask("rotated").await.0, StatusCode::UNAUTHORIZED);
    std::fs::write(folder.join("hmac-key"), "rotated\n").unwrap();
    assert_eq!(ask("rotated").await.1["key"], 1);
    assert_eq!(ask(&first).await.1["key"], 0);
}

#[test]
fn the_oldest_records_go_first() {
    let clock = Arc::new(FixedClock(Timestamp::from_seconds(NOW)));
    let (seen, connections) = (Mutex::default(), AtomicU64::new(0));
    let state = State { tls: None, keys: None, clock, seen, connections };
    for number in 0..=SEEN as u64 {
        let (method, target) = (http::Method::GET, String::new());
        state.remember(Seen {
            at: Instant::now(),
            connection: number,
            method,
            target,
            key: None,
            serial: None,
            refused: None,
        });
    }
    let seen = state.lock_seen();
    assert_eq!((seen.len(), seen[0].connection), (SEEN, 1));
}
