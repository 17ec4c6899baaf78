//! TLS that a worker meant for an upstream and that ends at the proxy: CONNECT, the TLS listener, the CA.

mod authority;
mod by_name;
mod callers;
mod command;
mod http2;
mod refused;
mod tunnel;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::support::wait::within;
use crate::support::worker::Worker;
use crate::support::{Running, Setup, Upstream};

/// The host of the route `api`.
const HOST: &str = "api.test";
const GET: &str = "GET /orders HTTP/1.1\r\nHost: api.test\r\n\r\n";

/// A bearer credential, a route for [`HOST`], one for captures, and interception with a CA in memory.
fn setup(upstream: &Upstream) -> Setup {
    with(upstream, "ephemeral = true")
}

/// The same with other lines below `[intercept]`.
fn with(upstream: &Upstream, intercept: &str) -> Setup {
    let url = upstream.url();
    Setup::new(format!(
        "[intercept]\n{intercept}\n\n[credential.k]\nbearer = {{ secret = \"key\" }}\n\n\
         [[route]]\nname = \"api\"\nhost = \"{HOST}\"\nupstream = \"{url}\"\ncredential = \"k\"\n\n\
         [[route]]\nname = \"shop\"\nhost = \"{{shop}}.shops.test\"\nupstream = \"{url}\"\ncredential = \"none\"\n"
    ))
    .secret("key", "s3cret")
}

/// The CA's certificate that lies in `certs`.
fn ca(folder: &Path) -> Vec<u8> {
    std::fs::read(folder.join("certs/countersign-ca.crt")).unwrap()
}

/// A TLS client that trusts this PEM alone and speaks HTTP/1.1.
fn client(pem: &[u8]) -> Arc<ClientConfig> {
    speaking(pem, &[b"http/1.1"])
}

/// The same with these words of ALPN.
fn speaking(pem: &[u8], words: &[&[u8]]) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(pem).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = words.iter().map(|word| word.to_vec()).collect();
    Arc::new(config)
}

/// Sends CONNECT and gives the connection, with the status that came back.
async fn connect(proxy: SocketAddr, authority: &str) -> (TcpStream, String) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = within("connecting", TcpStream::connect(proxy)).await.unwrap();
    stream.write_all(format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n").as_bytes()).await.unwrap();
    let mut head = Vec::new();
    // One byte at a time: what follows is TLS.
    while !head.ends_with(b"\r\n\r\n") {
        head.push(within("the answer to CONNECT", stream.read_u8()).await.unwrap());
    }
    (stream, String::from_utf8(head).unwrap())
}

async fn tls(config: Arc<ClientConfig>, name: &str, stream: TcpStream) -> std::io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    within("the handshake", TlsConnector::from(config).connect(name, stream)).await
}

/// A worker inside TLS inside CONNECT.
async fn inside(proxy: &Running, host: &str, port: u16) -> Worker {
    let (stream, head) = connect(proxy.address, &format!("{host}:{port}")).await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    let config = client(&ca(&proxy.scratch.path("")));
    Worker::over(tls(config, host, stream).await.unwrap())
}
