//! Upstreams whose TLS does not convince: nothing is sent, and the answer says why.

use countersign::clock::{Clock as _, SystemClock};
use countersign::playground::certs::{Authority, Validity};
use rustls::version::TLS12;

use super::{GET, problem};
use crate::support::pki::{self, Clients, NAME, server, server_with};
use crate::support::{Running, Setup, Upstream};

/// A route with a bearer credential that trusts `ca` alone.
async fn trusting(upstream: &Upstream, ca: &Authority, tls: &str) -> Running {
    setup(upstream, ca, tls).start().await
}

fn setup(upstream: &Upstream, ca: &Authority, tls: &str) -> Setup {
    let url = upstream.url();
    Setup::new(format!(
        "[credential.k]\nbearer = {{ secret = \"key\" }}\n\
         [[route]]\nname = \"api\"\nhost = \"api.test\"\nupstream = \"{url}\"\ncredential = \"k\"\n\
         tls = {{ ca = \"ca.crt\"{tls} }}\ntimeouts = {{ connect = \"5s\", response = \"5s\" }}\n"
    ))
    .secret("key", "s3cret")
    .secret("ca.crt", ca.certificate())
}

async fn refused(upstream: &Upstream, proxy: &Running, words: &str) {
    let mut worker = proxy.worker().await;
    for _ in 0..2 {
        let detail = problem(&worker.exchange(GET).await, 502, "upstream_tls", Some("api"));
        assert!(detail.contains(words), "{detail}");
        assert!(!detail.contains("s3cret"));
    }
    assert_eq!(upstream.seen().len(), 0, "the credential went nowhere");
}

#[tokio::test]
async fn a_private_authority_is_trusted_where_the_route_says_so() {
    let ca = pki::authority("ca");
    let upstream = Upstream::tls(server(&ca, Clients::Anyone)).await;
    let proxy = trusting(&upstream, &ca, "").await;
    assert_eq!(proxy.raw(GET).await.status, 200);
    let seen = upstream.only();
    assert_eq!(seen.peer.server_name.as_deref(), Some(NAME), "the name asked for is the host, not where TCP went");
    assert_eq!(seen.head.header("authorization"), Some("Bearer s3cret"));
}

#[tokio::test]
async fn an_unknown_authority_is_refused() {
    let (ca, other) = (pki::authority("ca"), pki::authority("other"));
    let upstream = Upstream::tls(server(&other, Clients::Anyone)).await;
    let proxy = trusting(&upstream, &ca, "").await;
    refused(&upstream, &proxy, "issuer that is not trusted").await;
}

#[tokio::test]
async fn a_private_authority_is_not_trusted_by_other_routes() {
    let ca = pki::authority("ca");
    let upstream = Upstream::tls(server(&ca, Clients::Anyone)).await;
    let url = upstream.url();
    let proxy = super::open(&url, "").await;
    problem(&proxy.raw(GET).await, 502, "upstream_tls", Some("api"));
}

#[tokio::test]
async fn a_certificate_for_another_name_is_refused() {
    let ca = pki::authority("ca");
    let pair = ca.server(&["other.test"]).unwrap();
    let upstream = Upstream::tls(server_with(&pair, Clients::Anyone, rustls::ALL_VERSIONS)).await;
    let proxy = trusting(&upstream, &ca, "").await;
    refused(&upstream, &proxy, "another name").await;

    let proxy = trusting(&upstream, &ca, ", server_name = \"other.test\"").await;
    assert_eq!(proxy.raw(GET).await.status, 200);
    let seen = upstream.only();
    assert_eq!(seen.peer.server_name.as_deref(), Some("other.test"));
    assert_eq!(seen.head.header("host"), Some("api.test"), "only SNI and verification change");
}

#[tokio::test]
async fn an_expired_certificate_is_refused() {
    let now = SystemClock.now();
    let validity = Validity { not_before: now.plus_seconds(-7200), not_after: now.plus_seconds(-3600) };
    let ca = Authority::with_validity("old", validity).unwrap();
    let upstream = Upstream::tls(server(&ca, Clients::Anyone)).await;
    let proxy = trusting(&upstream, &ca, "").await;
    refused(&upstream, &proxy, "expired").await;
}

#[tokio::test]
async fn an_old_version_is_refused_where_the_route_wants_a_newer_one() {
    let ca = pki::authority("ca");
    let pair = ca.server(&[NAME]).unwrap();
    let upstream = Upstream::tls(server_with(&pair, Clients::Anyone, &[&TLS12])).await;
    let proxy = trusting(&upstream, &ca, ", min = \"1.3\"").await;
    refused(&upstream, &proxy, "no TLS version").await;
    let proxy = trusting(&upstream, &ca, ", min = \"1.2\"").await;
    assert_eq!(proxy.raw(GET).await.status, 200);
}

#[tokio::test]
async fn an_upstream_without_tls_is_refused() {
    let ca = pki::authority("ca");
    let upstream = Upstream::scripted(async |mut conversation| {
        conversation.more().await;
        conversation.send("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await;
    })
    .await;
    let url = upstream.url().replace("http:", "https:");
    let proxy = Setup::new(format!(
        "[[route]]\nname = \"api\"\nhost = \"api.test\"\nupstream = \"{url}\"\ncredential = \"none\"\ntls = {{ ca = \"ca.crt\" }}\n"
    ))
    .secret("ca.crt", ca.certificate())
    .start()
    .await;
    let detail = problem(&proxy.raw(GET).await, 502, "upstream_tls", Some("api"));
    assert!(detail.contains("does not speak TLS"), "{detail}");
}

#[tokio::test]
async fn an_upstream_that_demands_a_certificate_gets_ours_or_refuses() {
    for versions in [rustls::ALL_VERSIONS, &[&TLS12]] {
        let (ca, clients, strangers) = (pki::authority("ca"), pki::authority("clients"), pki::authority("strangers"));
        let pair = ca.server(&[NAME]).unwrap();
        let upstream = Upstream::tls(server_with(&pair, Clients::Of(clients.certificate()), versions)).await;

        let without = trusting(&upstream, &ca, "").await;
        let detail = problem(&without.raw(GET).await, 502, "upstream_tls", Some("api"));
        // In TLS 1.2 the alert says only that the handshake failed.
        assert!(detail.contains("client certificate") || detail.contains("handshake"), "{detail}");

        let certificate = ", client_cert = \"client.crt\", client_key = \"client.key\"";
        let stranger = strangers.client("stranger").unwrap();
        let with_wrong = setup(&upstream, &ca, certificate)
            .secret("client.crt", stranger.certificate)
            .secret("client.key", stranger.key)
            .start()
            .await;
        refused(&upstream, &with_wrong, "client certificate").await;

        let client = clients.client("worker").unwrap();
        let with = setup(&upstream, &ca, certificate)
            .secret("client.crt", &client.certificate)
            .secret("client.key", &client.key)
            .start()
            .await;
        assert_eq!(with.raw(GET).await.status, 200);
        assert_eq!(upstream.only().peer.serial, Some(client.serial));
    }
}

#[tokio::test]
async fn an_expired_client_certificate_is_not_sent() {
    let (ca, clients) = (pki::authority("ca"), pki::authority("clients"));
    let upstream = Upstream::tls(server(&ca, Clients::Of(clients.certificate()))).await;
    let now = SystemClock.now();
    let validity = Validity { not_before: now.plus_seconds(-7200), not_after: now.plus_seconds(-60) };
    let client = clients.client_within("worker", validity).unwrap();
    let proxy = setup(&upstream, &ca, ", client_cert = \"client.crt\", client_key = \"client.key\"")
        .secret("client.crt", &client.certificate)
        .secret("client.key", &client.key)
        .secrets("at_start = \"serve\"")
        .start()
        .await;
    problem(&proxy.raw(GET).await, 503, "credential_unavailable", Some("api"));
    assert_eq!(upstream.connections(), 0);
}
