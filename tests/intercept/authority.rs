//! Where the CA comes from, how long it stays, and what it may vouch for.

use std::os::unix::fs::PermissionsExt as _;

use countersign::clock::{Clock as _, SystemClock};
use countersign::tls::{Authority, Made, Subtree};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::*;
use crate::support::files::rename_over;
use crate::support::wait::until;

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn a_ca_is_made_at_the_first_start_and_kept() {
    let upstream = Upstream::ok().await;
    let mut setup = with(&upstream, "key_dir = \"state\"");
    let folder = setup.scratch.path("");
    for turn in 0..2 {
        let proxy = setup.start().await;
        let pem = ca(&folder);
        assert_eq!(mode(&folder.join("certs/countersign-ca.crt")), 0o644);
        assert_eq!(mode(&folder.join("state/countersign-ca.key")), 0o600);
        assert_eq!(mode(&folder.join("state")), 0o700);
        let der = CertificateDer::from_pem_slice(&pem).unwrap();
        let (_, x509) = X509Certificate::from_der(&der).unwrap();
        let constraints = x509.name_constraints().unwrap().unwrap();
        assert!(constraints.critical);
        let permitted = constraints.value.permitted_subtrees.as_ref().unwrap();
        let names: Vec<_> = permitted.iter().map(|subtree| subtree.base.clone()).collect();
        assert_eq!(names, [GeneralName::DNSName("api.test"), GeneralName::DNSName("shops.test")], "turn {turn}");
        assert_eq!(inside(&proxy, HOST, 443).await.exchange(GET).await.status, 200);
        setup = again(proxy, &upstream, "", "key_dir = \"state\"").await;
        assert_eq!(ca(&folder), pem, "the same CA");
    }
    // A route with a new host needs a CA that may vouch for it.
    let before = ca(&folder);
    let proxy = setup.add(&route(&upstream, "new.test")).start().await;
    assert_ne!(ca(&folder), before);
    let answer = inside(&proxy, "new.test", 443).await.exchange("GET / HTTP/1.1\r\nHost: new.test\r\n\r\n").await;
    assert_eq!(answer.status, 200);
}

fn route(upstream: &Upstream, host: &str) -> String {
    let url = upstream.url();
    format!("\n[[route]]\nname = \"{host}\"\nhost = \"{host}\"\nupstream = \"{url}\"\ncredential = \"none\"\n")
}

/// Ends a proxy and sets up the next one in the same folder.
async fn again(proxy: Running, upstream: &Upstream, more: &str, intercept: &str) -> Setup {
    let Running { server, scratch, .. } = proxy;
    server.drain(std::time::Duration::from_secs(20)).await;
    with(upstream, intercept).add(more).in_folder(scratch)
}

#[tokio::test]
async fn an_ephemeral_key_is_never_written() {
    let upstream = Upstream::ok().await;
    let proxy = setup(&upstream).start().await;
    let folder = proxy.scratch.path("");
    let first = ca(&folder);
    let names: Vec<_> = std::fs::read_dir(folder.join("certs")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["countersign-ca.crt"]);
    let _proxy = again(proxy, &upstream, "", "ephemeral = true").await.start().await;
    assert_ne!(ca(&folder), first);
}

#[tokio::test]
async fn a_key_that_cannot_be_written_says_what_to_do() {
    let upstream = Upstream::ok().await;
    let setup = with(&upstream, "key_dir = \"file/state\"");
    std::fs::write(setup.scratch.path("file"), "in the way").unwrap();
    let error = setup.try_start().await.err().unwrap().to_string();
    assert!(error.contains("file/state/countersign-ca.key") && error.contains("ephemeral = true"), "{error}");
}

#[tokio::test]
async fn a_ca_from_secrets_is_rotated_without_a_restart() {
    let upstream = Upstream::ok().await;
    let names = [Subtree::of("test")].into();
    let (old, new) = [(); 2].map(|()| Authority::make(&names, SystemClock.now()).unwrap()).into();
    let pem = |made: &Made| [made.certificate.as_bytes(), made.key.expose()].concat();
    let proxy = with(&upstream, "ca_cert = \"intercept/ca.pem\"\nca_key = \"intercept/ca.pem\"")
        .secrets("poll = \"20ms\"")
        .secret("intercept/ca.pem", pem(&old))
        .start()
        .await;
    assert!(!proxy.scratch.path("certs").exists());
    let row = proxy.credential("intercept/ca").await;
    assert_eq!((row["health"].as_str(), row["scheme"].as_str()), (Some("ok"), Some("tls")), "{row}");
    assert!(row["expires_at"].is_string());
    let reach = async |made: &Made| {
        let (stream, _) = connect(proxy.address, "api.test:443").await;
        tls(client(made.certificate.as_bytes()), HOST, stream).await
    };
    let mut worker = Worker::over(reach(&old).await.unwrap());
    assert_eq!(worker.exchange(GET).await.status, 200);

    rename_over(&proxy.secret("intercept/ca.pem"), "rubbish");
    until("the bad CA", async || proxy.health("intercept/ca").await == "stale").await;
    assert!(reach(&old).await.is_ok(), "the last good one stays");

    rename_over(&proxy.secret("intercept/ca.pem"), pem(&new));
    until("the new CA", async || reach(&new).await.is_ok()).await;
    assert!(reach(&old).await.is_err());
    assert_eq!(worker.exchange(GET).await.status, 200, "what is open goes on");
}

#[tokio::test]
async fn a_new_host_is_not_intercepted_before_a_restart() {
    let upstream = Upstream::ok().await;
    let proxy = setup(&upstream).start().await;
    let path = proxy.scratch.path("proxy.toml");
    let text = std::fs::read_to_string(&path).unwrap() + &route(&upstream, "new.test");
    rename_over(&path, text);
    proxy.server.reload().await;
    assert_eq!(proxy.get("new.test", "/").await.status, 200, "other ways in are there");
    let answer = proxy.raw("CONNECT new.test:443 HTTP/1.1\r\nHost: new.test:443\r\n\r\n").await;
    assert_eq!((answer.status, answer.error()), (421, Some("no_route")));
    assert!(answer.text().contains("restart"), "{}", answer.text());
}

#[tokio::test]
async fn what_intercept_says_needs_a_restart() {
    let upstream = Upstream::ok().await;
    let proxy = setup(&upstream).start().await;
    let path = proxy.scratch.path("proxy.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    // A line more above it moves the table and changes nothing.
    rename_over(&path, format!("# moved\n{text}"));
    proxy.server.reload().await;
    assert!(proxy.metric("countersign_config_reloads_total{result=\"ok\"}").await >= 1.0);
    assert_eq!(proxy.metric("countersign_config_reloads_total{result=\"error\"}").await, 0.0);
    rename_over(&path, text.replace("ephemeral = true", "dir = \"other\"\nephemeral = true"));
    proxy.server.reload().await;
    assert!(proxy.metric("countersign_config_reloads_total{result=\"error\"}").await >= 1.0);
    assert!(!proxy.scratch.path("other").exists());
    assert_eq!(inside(&proxy, HOST, 443).await.exchange(GET).await.status, 200);
}

#[tokio::test]
async fn without_a_usable_ca_there_is_no_tunnel_and_the_start_says_so() {
    let upstream = Upstream::ok().await;
    let lines = "ca_cert = \"intercept/ca.pem\"\nca_key = \"intercept/ca.pem\"";
    let error = with(&upstream, lines).try_start().await.err().unwrap().to_string();
    assert!(error.contains("secret intercept/ca.pem of credential intercept/ca: missing"), "{error}");
    let proxy = with(&upstream, lines).secrets("at_start = \"serve\"").start().await;
    let answer = proxy.raw("CONNECT api.test:443 HTTP/1.1\r\nHost: api.test:443\r\n\r\n").await;
    assert_eq!((answer.status, answer.error()), (503, Some("credential_unavailable")), "{answer:?}");
    assert_eq!(answer.json()["credential"], "intercept/ca");
    assert_eq!(proxy.get(HOST, "/").await.status, 200, "other ways in are there");
}
