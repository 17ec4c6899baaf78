//! What the admin listener tells of secrets: shapes, generations, and silence where nothing changed.

use std::path::Path;

use countersign::clock::{Clock as _, SystemClock};
use serde_json::Value;

use super::{GET, bearer};
use crate::support::wait::until;
use crate::support::{Upstream, files, pki};

#[tokio::test]
async fn a_row_of_credentials_has_its_shape() {
    let upstream = Upstream::ok().await;
    let proxy = bearer(&upstream).secret("partner/key", "good").start().await;
    let row = proxy.credential("k").await;
    let mut keys: Vec<&str> = row.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    let expected =
        ["expires_at", "fingerprint", "generation", "health", "loaded_at", "name", "reason", "routes", "scheme"];
    assert_eq!(keys, expected);
    assert_eq!((&row["scheme"], &row["health"]), (&"bearer".into(), &"ok".into()));
    assert_eq!(row["routes"], Value::from(vec!["api"]));
    assert!(row["reason"].is_null() && row["expires_at"].is_null());
    let fingerprint = row["fingerprint"].as_str().unwrap();
    assert!(fingerprint.len() == 8 && fingerprint.bytes().all(|b| b.is_ascii_hexdigit()));
    assert!(row["loaded_at"].as_str().unwrap().ends_with('Z'));
    assert!(row["generation"].is_u64());
}

#[tokio::test]
async fn an_identity_is_shown_under_its_route_with_its_end() {
    let (ca, clients) = (pki::authority("ca"), pki::authority("clients"));
    let upstream = Upstream::tls(pki::server(&ca, pki::Clients::Of(clients.certificate()))).await;
    let client = clients.client("worker").unwrap();
    let proxy = super::identities::setup(&upstream, "")
        .secret("ca.crt", ca.certificate())
        .secret("client.crt", &client.certificate)
        .secret("client.key", &client.key)
        .start()
        .await;
    let row = proxy.credential("route:api/client_cert").await;
    assert_eq!(row["health"], "ok");
    assert!(row["expires_at"].as_str().unwrap().ends_with('Z'));
    assert_eq!(proxy.credential("route:api/ca").await["health"], "ok");
    let series = "countersign_certificate_not_after_timestamp_seconds{credential=\"route:api/client_cert\"}";
    assert!(proxy.metric(series).await > 1.7e9);
}

#[tokio::test]
async fn w16_the_time_of_loading_is_shown_in_seconds() {
    let seconds = || SystemClock.now().as_seconds_f64();
    let upstream = Upstream::ok().await;
    let began = seconds().floor();
    let proxy = bearer(&upstream).secret("partner/key", "good").start().await;
    let series = "countersign_credential_loaded_timestamp_seconds{credential=\"k\"}";
    let loaded = proxy.metric(series).await;
    assert!((began..=seconds()).contains(&loaded), "{loaded}");
    files::rename_over(&proxy.secret("partner/key"), "better");
    proxy.server.reload().await;
    let again = proxy.metric(series).await;
    assert!((loaded..=seconds()).contains(&again), "{again}");
}

const WAYS: [fn(&Path, &str); 3] = [
    |path, text| files::rename_over(path, text),
    |path, text| files::in_place(path, text),
    |path, text| files::delete_and_create(path, text),
];

#[tokio::test]
async fn the_same_bytes_again_move_nothing() {
    let upstream = Upstream::ok().await;
    let proxy = bearer(&upstream).secret("partner/key", "good").secret("unrelated", "1").start().await;
    assert_eq!(proxy.raw(GET).await.status, 200);
    let before = proxy.credential("k").await;
    for write in WAYS {
        write(&proxy.secret("partner/key"), "good");
        proxy.server.reload().await;
    }
    // Something that does change, so that all of the above was surely read.
    let row = async || proxy.credential("k").await;
    assert_eq!(row().await, before);
    files::rename_over(&proxy.secret("partner/key"), "better");
    until("the new value", async || row().await["fingerprint"] != before["fingerprint"]).await;
    let reloads = "countersign_secret_reloads_total{credential=\"k\",result=\"ok\",reason=\"\"}";
    assert_eq!(proxy.metric(reloads).await, 1.0);
}

#[tokio::test]
async fn each_change_is_a_generation() {
    let upstream = Upstream::ok().await;
    let proxy = bearer(&upstream).secret("partner/key", "one").start().await;
    let mut last = proxy.credential("k").await["generation"].as_u64().unwrap();
    for value in ["two", "three"] {
        files::rename_over(&proxy.secret("partner/key"), value);
        until("a generation", async || proxy.credential("k").await["generation"].as_u64().unwrap() > last).await;
        last = proxy.credential("k").await["generation"].as_u64().unwrap();
        let status = proxy.admin_json("/api/status").await;
        assert!(status["generation"].as_u64().unwrap() >= last, "{status}");
    }
}
