//! A bad value keeps the last good one, and everybody can see it.

use super::{GET, bearer, bearer_text};
use crate::support::wait::until;
use crate::support::{Running, Setup, Upstream, files, pki};

async fn stale(proxy: &Running, name: &str) {
    until("health stale", async || proxy.health(name).await == "stale").await;
}

#[tokio::test]
async fn a_bad_value_keeps_the_last_good_one_and_says_why() {
    let upstream = Upstream::ok().await;
    let proxy = bearer(&upstream).secret("partner/key", "good").start().await;
    let large = vec![b'a'; 64 * 1024 + 1];
    for (bytes, label, words) in [
        (&b""[..], "empty", "empty"),
        (b"\n\r\n", "empty", "empty"),
        (b"\xef\xbb\xbfvalue", "byte_order_mark", "byte order mark"),
        (b"two\nlines", "line_break", "line break"),
        (b"nul\0", "control_byte", "control byte"),
        (b"caf\xc3\xa9", "non_ascii", "non-ASCII"),
        (&large, "too_large", "too large"),
    ] {
        let series =
            format!("countersign_secret_reloads_total{{credential=\"k\",result=\"error\",reason=\"{label}\"}}");
        let before = proxy.metric(&series).await;
        files::rename_over(&proxy.secret("partner/key"), bytes);
        stale(&proxy, "k").await;
        let row = proxy.credential("k").await;
        assert!(row["reason"].as_str().unwrap().contains(words), "{row}");
        assert_eq!(proxy.metric("countersign_credential_stale{credential=\"k\"}").await, 1.0);
        assert_eq!(proxy.metric(&series).await, before + 1.0, "{label}");
        assert_eq!(proxy.raw(GET).await.status, 200);
        assert_eq!(upstream.last().head.header("authorization"), Some("Bearer good"), "{label}");
        assert_eq!(proxy.admin("/readyz").await.status, 200, "one bad secret takes no pod down");
        let verbose = proxy.admin("/readyz?verbose").await;
        assert!(verbose.text().contains("unhealthy: k: stale"), "{}", verbose.text());

        files::rename_over(&proxy.secret("partner/key"), "good");
        until("health ok", async || proxy.health("k").await == "ok").await;
        assert_eq!(proxy.metric("countersign_credential_stale{credential=\"k\"}").await, 0.0);
    }
}

#[tokio::test]
async fn a_deleted_file_keeps_its_value_unless_told_to_fail() {
    let upstream = Upstream::ok().await;
    let proxy = bearer(&upstream).secret("partner/key", "good").start().await;
    std::fs::remove_file(proxy.secret("partner/key")).unwrap();
    stale(&proxy, "k").await;
    assert_eq!(proxy.raw(GET).await.status, 200);
    assert_eq!(upstream.last().head.header("authorization"), Some("Bearer good"));
}

#[tokio::test]
async fn on_missing_fail_ends_that_credential_alone_until_the_file_is_back() {
    let upstream = Upstream::ok().await;
    let url = upstream.url();
    let text = bearer_text(&url)
        + &format!(
            "[credential.other]\nbearer = {{ secret = \"other\" }}\n\
             [[route]]\nname = \"other\"\nhost = \"other.test\"\nupstream = \"{url}\"\ncredential = \"other\"\n"
        );
    let proxy = Setup::new(text)
        .secrets("on_missing = \"fail\"")
        .secret("partner/key", "good")
        .secret("other", "other")
        .start()
        .await;
    std::fs::remove_file(proxy.secret("partner/key")).unwrap();
    until("the end of the credential", async || proxy.raw(GET).await.error() == Some("credential_unavailable")).await;
    assert_eq!(proxy.health("k").await, "missing");
    assert_eq!(proxy.get("other.test", "/").await.status, 200);
    // A value that is bad, not missing, is no reason to fail.
    files::rename_over(&proxy.secret("other"), "");
    stale(&proxy, "other").await;
    assert_eq!(proxy.get("other.test", "/").await.status, 200);

    files::write_new(&proxy.scratch.path("secrets"), "partner/key", b"back");
    until("the file that is back", async || proxy.raw(GET).await.status == 200).await;
    assert_eq!(upstream.last().head.header("authorization"), Some("Bearer back"));
}

#[tokio::test]
async fn credentials_of_several_files_are_adopted_together() {
    let upstream = Upstream::ok().await;
    let url = upstream.url();
    let proxy = Setup::new(format!(
        "[credential.k]\nbasic = {{ username = {{ secret = \"user\" }}, password = {{ secret = \"password\" }} }}\n\
         [[route]]\nname = \"api\"\nhost = \"api.test\"\nupstream = \"{url}\"\ncredential = \"k\"\n"
    ))
    .secret("user", "u1")
    .secret("password", "p1")
    .start()
    .await;
    files::rename_over(&proxy.secret("user"), "u2");
    files::rename_over(&proxy.secret("password"), "p2");
    // printf 'u2:p2' | base64
    until("both halves", async || {
        assert_eq!(proxy.raw(GET).await.status, 200);
        upstream.last().head.header("authorization") == Some("Basic dTI6cDI=")
    })
    .await;
    // printf 'u1:p1' | base64
    let good = ["Basic dTE6cDE=", "Basic dTI6cDI="];
    assert!(upstream.seen().iter().all(|seen| good.contains(&seen.head.header("authorization").unwrap())));
}

#[tokio::test]
async fn a_torn_pair_is_never_used_and_the_last_good_one_serves() {
    let (ca, clients) = (pki::authority("ca"), pki::authority("clients"));
    let upstream = Upstream::tls(pki::server(&ca, pki::Clients::Of(clients.certificate()))).await;
    let (one, two) = (clients.client("one").unwrap(), clients.client("two").unwrap());
    let proxy = super::identities::setup(&upstream, "")
        .secret("ca.crt", ca.certificate())
        .secret("client.crt", &one.certificate)
        .secret("client.key", &one.key)
        .start()
        .await;
    assert_eq!(proxy.raw(GET).await.status, 200);

    files::rename_over(&proxy.secret("client.crt"), &two.certificate);
    let name = "route:api/client_cert";
    stale(&proxy, name).await;
    let row = proxy.credential(name).await;
    assert!(row["reason"].as_str().unwrap().contains("does not match"), "{row}");
    assert_eq!(proxy.raw(GET).await.status, 200);
    assert_eq!(upstream.connections(), 1, "the good pair goes on with its connections");

    files::rename_over(&proxy.secret("client.key"), &two.key);
    until("the whole pair", async || {
        assert_eq!(proxy.raw(GET).await.status, 200);
        upstream.last().peer.serial.as_deref() == Some(&*two.serial)
    })
    .await;
    assert_eq!(proxy.health(name).await, "ok");

    for garbage in ["", "no PEM", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        files::rename_over(&proxy.secret("client.crt"), garbage);
        stale(&proxy, name).await;
        assert_eq!(proxy.raw(GET).await.status, 200);
        files::rename_over(&proxy.secret("client.crt"), &two.certificate);
        until("health ok", async || proxy.health(name).await == "ok").await;
    }
    assert_eq!(upstream.connections(), 2, "the same pair again is no new identity");
}
