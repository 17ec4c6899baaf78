//! Client certificates and authorities rotate: connections and TLS sessions of the old ones end with them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use countersign::playground::certs::Pair;
use countersign::playground::rotate::Volume;
use tokio::sync::Notify;

use super::GET;
use crate::support::pki::{self, Clients, server};
use crate::support::upstream::OK;
use crate::support::wait::until;
use crate::support::{Running, Setup, Upstream};

/// A route that proves itself by a certificate.
pub(super) fn setup(upstream: &Upstream, keys: &str) -> Setup {
    let url = upstream.url();
    Setup::new(format!(
        "[[route]]\nname = \"api\"\nhost = \"api.test\"\nupstream = \"{url}\"\ncredential = \"none\"\n{keys}\n\
         tls = {{ client_cert = \"client.crt\", client_key = \"client.key\", ca = \"ca.crt\" }}\n"
    ))
}

fn write(setup: &std::path::Path, ca: &str, pair: &Pair) {
    let files =
        [("ca.crt", ca.as_bytes()), ("client.crt", pair.certificate.as_bytes()), ("client.key", pair.key.as_bytes())];
    Volume::new(setup).unwrap().write(&files).unwrap();
}

async fn serial(proxy: &Running, upstream: &Upstream) -> String {
    let answer = proxy.raw(GET).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    upstream.last().peer.serial.unwrap()
}

#[tokio::test]
async fn a_new_certificate_takes_new_connections_and_the_old_ones_take_no_request() {
    let (ca, clients) = (pki::authority("ca"), pki::authority("clients"));
    let upstream = Upstream::tls(server(&ca, Clients::Of(clients.certificate()))).await;
    let (one, two) = (clients.client("one").unwrap(), clients.client("two").unwrap());
    let setup = setup(&upstream, "");
    write(&setup.secrets_dir(), ca.certificate(), &one);
    let proxy = setup.start().await;
    assert_eq!(serial(&proxy, &upstream).await, one.serial);
    assert_eq!(serial(&proxy, &upstream).await, one.serial);
    assert_eq!(upstream.connections(), 1);

    write(&proxy.scratch.path("secrets"), ca.certificate(), &two);
    until("the new certificate", async || serial(&proxy, &upstream).await == two.serial).await;
    for _ in 0..5 {
        assert_eq!(serial(&proxy, &upstream).await, two.serial);
    }
    assert_eq!(upstream.connections(), 2);
    let seen = upstream.seen();
    let first_new = seen.iter().position(|seen| seen.peer.serial.as_deref() == Some(&*two.serial)).unwrap();
    assert!(seen[first_new..].iter().all(|seen| seen.connection == 1 && !seen.peer.resumed));
}

#[tokio::test]
async fn an_idle_connection_of_the_old_certificate_is_closed() {
    let (ca, clients) = (pki::authority("ca"), pki::authority("clients"));
    let ended = Arc::new(AtomicUsize::new(0));
    let ends = ended.clone();
    let upstream = Upstream::tls_scripted(server(&ca, Clients::Of(clients.certificate())), move |mut conversation| {
        let ends = ends.clone();
        async move {
            while conversation.request().await.is_some() {
                conversation.send(OK).await;
            }
            ends.fetch_add(1, Ordering::SeqCst);
        }
    })
    .await;
    let (one, two) = (clients.client("one").unwrap(), clients.client("two").unwrap());
    let setup = setup(&upstream, "");
    write(&setup.secrets_dir(), ca.certificate(), &one);
    let proxy = setup.start().await;
    serial(&proxy, &upstream).await;
    write(&proxy.scratch.path("secrets"), ca.certificate(), &two);
    // No request is needed for it.
    until("the end of the old connection", async || ended.load(Ordering::SeqCst) == 1).await;
    assert_eq!(serial(&proxy, &upstream).await, two.serial);
    assert_eq!(ended.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_request_in_flight_finishes_with_the_certificate_that_it_started_with() {
    let (ca, clients) = (pki::authority("ca"), pki::authority("clients"));
    let release = Arc::new(Notify::new());
    let released = release.clone();
    let config = server(&ca, Clients::Of(clients.certificate()));
    let upstream = Upstream::tls_scripted(config, move |mut conversation| {
        let released = released.clone();
        async move {
            while let Some(seen) = conversation.request().await {
                if seen.head.target() == "/slow" {
                    released.notified().await;
                }
                conversation.send(OK).await;
            }
        }
    })
    .await;
    let (one, two) = (clients.client("one").unwrap(), clients.client("two").unwrap());
    let setup = setup(&upstream, "");
    write(&setup.secrets_dir(), ca.certificate(), &one);
    let proxy = setup.start().await;
    let mut slow = proxy.worker().await;
    slow.send("GET /slow HTTP/1.1\r\nHost: api.test\r\n\r\n").await;
    upstream.arrived(1).await;

    write(&proxy.scratch.path("secrets"), ca.certificate(), &two);
    until("the new certificate", async || serial(&proxy, &upstream).await == two.serial).await;
    release.notify_one();
    assert_eq!(slow.answer().await.status, 200);
    // Its connection is not given back to the pool of an identity that has gone.
    assert_eq!(serial(&proxy, &upstream).await, two.serial);
    assert!(
        upstream.seen().iter().skip(1).all(|seen| seen.connection != 0 || seen.peer.serial == Some(one.serial.clone()))
    );
}

#[tokio::test]
async fn no_session_of_the_old_identity_is_resumed() {
    let (ca, clients) = (pki::authority("ca"), pki::authority("clients"));
    let upstream = Upstream::tls(server(&ca, Clients::Of(clients.certificate()))).await;
    let (one, two) = (clients.client("one").unwrap(), clients.client("two").unwrap());
    // Every request on a connection of its own.
    let setup = setup(&upstream, "timeouts = { pool = \"0s\" }");
    write(&setup.secrets_dir(), ca.certificate(), &one);
    let proxy = setup.start().await;
    serial(&proxy, &upstream).await;
    assert!(!upstream.last().peer.resumed);
    serial(&proxy, &upstream).await;
    assert!(upstream.last().peer.resumed, "sessions of the same identity are resumed");

    write(&proxy.scratch.path("secrets"), ca.certificate(), &two);
    until("the new certificate", async || serial(&proxy, &upstream).await == two.serial).await;
    let seen = upstream.seen();
    let first = seen.iter().find(|seen| seen.peer.serial.as_deref() == Some(&*two.serial)).unwrap();
    assert!(!first.peer.resumed);
    assert_eq!(serial(&proxy, &upstream).await, two.serial);
    assert!(upstream.last().peer.resumed, "the new identity has sessions of its own");
}

#[tokio::test]
async fn a_new_authority_retires_the_connections_that_the_old_one_vouched_for() {
    let (old, new, clients) = (pki::authority("old"), pki::authority("new"), pki::authority("clients"));
    let upstream = Upstream::tls(server(&old, Clients::Of(clients.certificate()))).await;
    let client = clients.client("worker").unwrap();
    let setup = setup(&upstream, "");
    write(&setup.secrets_dir(), old.certificate(), &client);
    let proxy = setup.start().await;
    serial(&proxy, &upstream).await;

    // The upstream's certificate changes for new connections; the pooled one goes on.
    upstream.set_tls(server(&new, Clients::Of(clients.certificate())));
    serial(&proxy, &upstream).await;
    assert_eq!(upstream.connections(), 1);
    write(&proxy.scratch.path("secrets"), new.certificate(), &client);
    until("the new authority", async || {
        serial(&proxy, &upstream).await;
        upstream.last().connection == 1
    })
    .await;
    assert!(!upstream.last().peer.resumed);

    // Back to the old one alone: what the new one vouched for is no longer trusted.
    write(&proxy.scratch.path("secrets"), old.certificate(), &client);
    until("the refusal", async || proxy.raw(GET).await.error() == Some("upstream_tls")).await;
}

#[tokio::test]
async fn one_file_may_hold_certificate_and_key() {
    let (ca, clients) = (pki::authority("ca"), pki::authority("clients"));
    let upstream = Upstream::tls(server(&ca, Clients::Of(clients.certificate()))).await;
    let (one, two) = (clients.client("one").unwrap(), clients.client("two").unwrap());
    let both = |pair: &Pair| format!("{}{}", pair.certificate, pair.key);
    let url = upstream.url();
    let proxy = Setup::new(format!(
        "[[route]]\nname = \"api\"\nhost = \"api.test\"\nupstream = \"{url}\"\ncredential = \"none\"\n\
         tls = {{ client_cert = \"both.pem\", ca = \"ca.crt\" }}\n"
    ))
    .secret("ca.crt", ca.certificate())
    .secret("both.pem", both(&one))
    .start()
    .await;
    assert_eq!(serial(&proxy, &upstream).await, one.serial);
    crate::support::files::rename_over(&proxy.secret("both.pem"), both(&two));
    until("the new pair", async || serial(&proxy, &upstream).await == two.serial).await;
}

#[tokio::test]
async fn r55_a_service_account_token_rotates_and_the_authority_beside_it_retires_nothing() {
    let ca = pki::authority("ca");
    let upstream = Upstream::tls(server(&ca, Clients::Anyone)).await;
    let url = upstream.url();
    let setup = Setup::new(format!(
        "[credential.account]\nbearer = {{ secret = \"account/token\" }}\n\
         [[route]]\nname = \"api\"\nhost = \"api.test\"\nupstream = \"{url}\"\ncredential = \"account\"\n\
         tls = {{ ca = \"account/ca.crt\" }}\n"
    ));
    // As the kubelet projects it: the token ends without a newline, the namespace is no business of ours.
    let write = |folder: &std::path::Path, token: &str| {
        let files = [
            ("token", token.as_bytes()),
            ("ca.crt", ca.certificate().as_bytes()),
            ("namespace", b"default".as_slice()),
        ];
        Volume::new(folder.join("account")).unwrap().write(&files).unwrap();
    };
    write(&setup.secrets_dir(), "header.first.signature");
    let proxy = setup.start().await;
    let carried = async || {
        assert_eq!(proxy.raw(GET).await.status, 200);
        upstream.last().head.header("authorization").unwrap().to_owned()
    };
    assert_eq!(carried().await, "Bearer header.first.signature");
    let reloads = "countersign_secret_reloads_total{credential=\"account\",result=\"ok\",reason=\"\"}";
    let before = proxy.metric(reloads).await;
    for token in ["header.second.signature", "header.third.signature"] {
        write(&proxy.scratch.path("secrets"), token);
        until("the new token", async || carried().await == format!("Bearer {token}")).await;
    }
    assert_eq!(upstream.connections(), 1, "the same authority again is the same identity");
    assert_eq!(proxy.metric(reloads).await - before, 2.0);
}
