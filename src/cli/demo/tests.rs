//! The demo in front of stand-ins for the proxy: a right one, which it must praise, and wrong ones,
//! which it must catch. They share no code with the product.
#![allow(clippy::unwrap_used)]

use std::convert::Infallible;

use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use ring::{digest, hmac};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;

use super::*;
use crate::playground::certs::hex;

/// How a stand-in treats rotations.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// Reads one generation for each request.
    Right,
    /// Never reads again.
    Frozen,
    /// Takes the key anew, but never the certificate.
    Torn,
}

/// Key, certificate, its key, authority.
type Secrets = [Vec<u8>; 4];

fn read(dir: &Path) -> Secrets {
    loop {
        let data = dir.join(fs::read_link(dir.join("..data")).unwrap()).join("partner");
        let files = ["hmac-key", "tls.crt", "tls.key", "ca.crt"].map(|name| fs::read(data.join(name)));
        if files.iter().all(Result::is_ok) {
            return files.map(Result::unwrap); // else it was rotated away meanwhile
        }
    }
}

async fn forward(request: Request<Incoming>, upstream: SocketAddr, secrets: Secrets) -> Response<Full<Bytes>> {
    let [key, certificate, pair_key, authority] = secrets;
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(&authority).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(
            vec![CertificateDer::from_pem_slice(&certificate).unwrap()],
            PrivateKeyDer::from_pem_slice(&pair_key).unwrap(),
        )
        .unwrap();
    let (mut head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let now = crate::clock::Clock::now(&crate::clock::SystemClock).seconds;
    let text =
        format!("{}\n{}\n{now}\n{}", head.method, head.uri, hex(digest::digest(&digest::SHA256, &body).as_ref()));
    let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), text.as_bytes());
    head.headers.insert("x-timestamp", now.into());
    head.headers.insert("x-signature", hex(signature.as_ref()).parse().unwrap());
    let stream = TcpStream::connect(upstream).await.unwrap();
    let connector = TlsConnector::from(Arc::new(config));
    let stream = connector.connect(ServerName::try_from(HOST).unwrap(), stream).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let (head, body) = sender.send_request(Request::from_parts(head, Full::new(body))).await.unwrap().into_parts();
    Response::from_parts(head, Full::new(body.collect().await.unwrap().to_bytes()))
}

async fn start(config: PathBuf, kind: Kind) -> anyhow::Result<Running> {
    let text = fs::read_to_string(&config)?;
    let upstream = text.split_once("https://").unwrap().1.split_once('"').unwrap().0.parse()?;
    let dir = config.with_file_name("secrets");
    let at_start = read(&dir);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let proxy = listener.local_addr()?;
    let task = tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (dir, at_start) = (dir.clone(), at_start.clone());
            let service = hyper::service::service_fn(move |request| {
                let mut secrets = at_start.clone();
                if kind != Kind::Frozen {
                    let [key, certificate, pair_key, _] = read(&dir);
                    secrets[0] = key;
                    if kind == Kind::Right {
                        (secrets[1], secrets[2]) = (certificate, pair_key);
                    }
                }
                async move { Ok::<_, Infallible>(forward(request, upstream, secrets).await) }
            });
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    let stop = Box::pin(async move { task.abort() });
    Ok(Running { proxy, admin: None, stop })
}

/// Short, yet with every part of the real one.
const PLAN: Plan = Plan { length: Duration::from_millis(750), rotations: 3, rate: 60, connections: 2 };

async fn play(kind: Kind) -> (Outcome, Vec<String>, PathBuf) {
    let mut lines = Vec::new();
    let mut folder = PathBuf::new();
    let begin = |config: PathBuf| {
        folder = config.parent().unwrap().to_owned();
        start(config, kind)
    };
    let outcome = demo(PLAN, begin, |line| lines.push(line.to_owned())).await.unwrap();
    (outcome, lines, folder)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_right_proxy_passes_and_nothing_is_left_behind() {
    let (outcome, lines, folder) = play(Kind::Right).await;
    assert!(outcome.passed(), "{outcome:?}\n{}", lines.join("\n"));
    assert_eq!((outcome.failed, outcome.rotations), (0, 3));
    assert!(lines.iter().any(|line| line.starts_with("rotation 3: ") && line.contains("in use after")), "{lines:?}");
    assert!(!folder.exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_that_never_reads_again_is_caught() {
    let (outcome, ..) = play(Kind::Frozen).await;
    assert_eq!(outcome.not_picked_up, 3);
    assert!(!outcome.passed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_that_mixes_generations_is_caught() {
    let (outcome, ..) = play(Kind::Torn).await;
    assert!(outcome.mixed_pairs > 0, "{outcome:?}");
    assert!(!outcome.passed());
}

#[tokio::test]
async fn a_proxy_that_does_not_start_ends_the_demo_with_its_reason() {
    let error = demo(PLAN, async |_| anyhow::bail!("port taken"), |_| {}).await.unwrap_err();
    assert_eq!(error.to_string(), "port taken");
}
