//! HTTP/2 to upstreams: chosen by ALPN, many requests on few connections.

mod bodies;
mod connections;
mod refused;

use h2::server::Builder;

use crate::support::http2::Http2;
use crate::support::pki::{self, Clients};
use crate::support::{Running, Setup};

const GET: &str = "GET /a?b=%2f HTTP/1.1\r\nHost: api.test\r\n\r\n";

/// A server of a new authority, and the authority's certificate.
fn identity() -> (std::sync::Arc<rustls::ServerConfig>, String) {
    let ca = pki::authority("ca");
    (pki::server(&ca, Clients::Anyone), ca.certificate().to_owned())
}

/// The proxy before this upstream.
async fn proxy(upstream: &Http2, ca: &str, more: &str) -> Running {
    Setup::new(upstream.route(&format!("credential = \"none\"\n{more}"))).secret("ca.crt", ca).start().await
}

fn settings() -> Builder {
    Builder::new()
}
