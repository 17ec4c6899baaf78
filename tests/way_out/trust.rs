//! `[tls] roots` and `tls.pin`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use countersign::playground::certs::Authority;
use rustix::process::Signal;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::{GET, refused};
use crate::support::child::Program;
use crate::support::pki::{self, Clients, NAME, server, server_with};
use crate::support::wait::until;
use crate::support::worker::Worker;
use crate::support::{Running, Scratch, Setup, Upstream, files};

fn route(url: &str, tls: &str) -> String {
    format!("[[route]]\nname = \"api\"\nhost = \"api.test\"\nupstream = \"{url}\"\ncredential = \"none\"\n{tls}\n")
}

#[tokio::test]
async fn roots_of_secrets_are_the_only_ones_and_are_followed() {
    let (ca, other) = (pki::authority("ca"), pki::authority("other"));
    let upstream = Upstream::tls(server(&ca, Clients::Anyone)).await;
    let url = upstream.url();
    let proxy = Setup::new("[tls]\nroots = [\"one.crt\", \"two.crt\"]\n".to_owned() + &route(&url, ""))
        .secret("one.crt", other.certificate())
        .secret("two.crt", ca.certificate())
        .start()
        .await;
    assert_eq!(proxy.raw(GET).await.status, 200);
    assert_eq!(proxy.health("route:api/ca").await, "ok");

    files::rename_over(&proxy.secret("two.crt"), other.certificate());
    until("the roots without ours", async || proxy.raw(GET).await.status == 502).await;
    let detail = refused(&proxy.raw(GET).await, "upstream_tls");
    assert!(detail.contains("issuer that is not trusted"), "{detail}");

    files::rename_over(&proxy.secret("one.crt"), "no PEM");
    until("the bad file", async || proxy.health("route:api/ca").await == "stale").await;
}

#[tokio::test]
async fn a_reload_changes_whom_to_trust() {
    let ca = pki::authority("ca");
    let upstream = Upstream::tls(server(&ca, Clients::Anyone)).await;
    let url = upstream.url();
    let setup = Setup::new(route(&url, "")).secret("ca.crt", ca.certificate());
    let changed = setup.text(&("[tls]\nroots = [\"ca.crt\"]\n".to_owned() + &route(&url, "")));
    let bundled = setup.text(&route(&url, ""));
    let proxy = setup.start().await;
    refused(&proxy.raw(GET).await, "upstream_tls");
    files::rename_over(&proxy.scratch.path("proxy.toml"), changed);
    proxy.server.reload().await;
    assert_eq!(proxy.raw(GET).await.status, 200);
    files::rename_over(&proxy.scratch.path("proxy.toml"), bundled);
    proxy.server.reload().await;
    refused(&proxy.raw(GET).await, "upstream_tls");
    assert_eq!(upstream.seen().len(), 1, "the pooled connection was made under other roots");
}

#[tokio::test]
async fn a_route_may_trust_its_own_authority_instead() {
    let (ca, other) = (pki::authority("ca"), pki::authority("other"));
    let upstream = Upstream::tls(server(&ca, Clients::Anyone)).await;
    let url = upstream.url();
    let proxy = Setup::new("[tls]\nroots = [\"all.crt\"]\n".to_owned() + &route(&url, "tls = { ca = \"own.crt\" }"))
        .secret("all.crt", other.certificate())
        .secret("own.crt", ca.certificate())
        .start()
        .await;
    assert_eq!(proxy.raw(GET).await.status, 200);
}

#[tokio::test]
async fn the_platforms_roots_are_read_at_start_and_at_every_reload() {
    let (ca, other) = (pki::authority("ca"), pki::authority("other"));
    let upstream = Upstream::tls(server(&ca, Clients::Anyone)).await;
    let url = upstream.url();
    let scratch = Scratch::with(
        &("[listen]\nproxy = [\"127.0.0.1:0\"]\nadmin = \"off\"\n[secrets]\ndir = \"secrets\"\n[tls]\nroots = \"system\"\n"
            .to_owned()
            + &route(&url, "")),
        &[("unused", "x")],
    );
    let bundle = scratch.path("bundle.crt");
    std::fs::write(&bundle, other.certificate()).unwrap();
    let program = Program::run_in(&scratch, &[], &[("SSL_CERT_FILE", &bundle)]);
    let address = program.address("proxy").await;
    let get = async || Worker::tcp(address).await.exchange(GET).await;
    refused(&get().await, "upstream_tls");
    std::fs::write(&bundle, format!("{}{}", other.certificate(), ca.certificate())).unwrap();
    program.signal(Signal::HUP);
    until("the platform's new roots", async || get().await.status == 200).await;
}

#[tokio::test]
async fn a_platform_without_roots_is_a_mistake() {
    let scratch = Scratch::with("[tls]\nroots = \"system\"\n", &[]);
    let missing = scratch.path("missing.crt");
    let mut program = Program::run_in(&scratch, &[], &[("SSL_CERT_FILE", &missing)]);
    program.said("no CA certificate of the system was found").await;
    assert_eq!(program.ended().await, Some(1));
}

/// The pin of a certificate, by another parser than the product's.
fn pin(pem: &str) -> String {
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    let (_, parsed) = x509_parser::parse_x509_certificate(&der).unwrap();
    let digest = ring::digest::digest(&ring::digest::SHA256, parsed.tbs_certificate.subject_pki.raw);
    format!("sha256/{}", STANDARD.encode(digest))
}

async fn pinned(upstream: &Upstream, ca: &Authority, pins: &str) -> Running {
    let url = upstream.url();
    let tls = format!("tls = {{ ca = \"ca.crt\", pin = [{pins}] }}");
    Setup::new(route(&url, &tls)).secret("ca.crt", ca.certificate()).start().await
}

const NOBODY: &str = "sha256/47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";

#[tokio::test]
async fn a_pinned_key_must_be_in_the_chain() {
    let ca = pki::authority("ca");
    let pair = ca.server(&[NAME]).unwrap();
    let upstream = Upstream::tls(server_with(&pair, Clients::Anyone, rustls::ALL_VERSIONS)).await;
    let (leaf, root) = (pin(&pair.certificate), pin(ca.certificate()));
    for pins in [format!("\"{leaf}\""), format!("\"{root}\""), format!("\"{NOBODY}\", \"{leaf}\"")] {
        let proxy = pinned(&upstream, &ca, &pins).await;
        assert_eq!(proxy.raw(GET).await.status, 200, "{pins}");
    }
    let seen = upstream.seen().len();
    let proxy = pinned(&upstream, &ca, &format!("\"{NOBODY}\"")).await;
    let detail = refused(&proxy.raw(GET).await, "upstream_tls");
    assert!(detail.contains("tls.pin") && detail.contains(&leaf), "{detail}");
    assert_eq!(upstream.seen().len(), seen);
}

#[tokio::test]
async fn a_pin_replaces_neither_chain_nor_name() {
    let (ca, other) = (pki::authority("ca"), pki::authority("other"));
    let pair = ca.server(&["other.test"]).unwrap();
    let upstream = Upstream::tls(server_with(&pair, Clients::Anyone, rustls::ALL_VERSIONS)).await;
    let pins = format!("\"{}\"", pin(&pair.certificate));
    let detail = refused(&pinned(&upstream, &ca, &pins).await.raw(GET).await, "upstream_tls");
    assert!(detail.contains("another name"), "{detail}");
    let detail = refused(&pinned(&upstream, &other, &pins).await.raw(GET).await, "upstream_tls");
    assert!(detail.contains("issuer that is not trusted"), "{detail}");
}

#[tokio::test]
async fn routes_with_other_pins_share_no_connection_and_no_session() {
    let ca = pki::authority("ca");
    let pair = ca.server(&[NAME]).unwrap();
    let upstream = Upstream::tls(server_with(&pair, Clients::Anyone, rustls::ALL_VERSIONS)).await;
    let url = upstream.url();
    let of = |path: &str, pins: &str| {
        route(&url, &format!("path = \"/{path}\"\ntls = {{ ca = \"ca.crt\"{pins} }}"))
            .replace("name = \"api\"", &format!("name = \"{path}\""))
    };
    let text = of("free", "") + &of("pinned", &format!(", pin = [\"{NOBODY}\"]"));
    let proxy = Setup::new(text).secret("ca.crt", ca.certificate()).start().await;
    let get = async |path: &str| proxy.get("api.test", path).await;
    assert_eq!(get("/free").await.status, 200);
    refused(&get("/pinned").await, "upstream_tls");
    assert_eq!(get("/free").await.status, 200);
    assert_eq!(upstream.seen().len(), 2);
}
