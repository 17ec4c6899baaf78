//! Every way in which a file is replaced, noticed by events and by polling alone.

use std::fs;

use countersign::playground::rotate::Volume;

use super::{GET, bearer};
use crate::support::wait::until;
use crate::support::{Running, Setup, Upstream, files};

const POLL: &str = "watch = \"poll\"\npoll = \"50ms\"";
/// No polling at all: events must do.
const EVENTS: &str = "poll = \"off\"";

/// The token that the next request carries.
async fn token(proxy: &Running, upstream: &Upstream) -> String {
    let answer = proxy.raw(GET).await;
    assert_eq!(answer.status, 200, "no request fails because of a rotation: {answer:?}");
    upstream.last().head.header("authorization").unwrap().strip_prefix("Bearer ").unwrap().to_owned()
}

/// Rotates twice in one way and waits until the next request has the new value.
async fn rotates(prepare: impl Fn(&Setup), rotate: impl Fn(&Running, &str), mode: &str) {
    let upstream = Upstream::ok().await;
    let setup = bearer(&upstream).secrets(mode);
    prepare(&setup);
    let proxy = setup.start().await;
    assert_eq!(token(&proxy, &upstream).await, "one");
    let before = proxy.credential("k").await;
    for value in ["two", "three"] {
        rotate(&proxy, value);
        until("the new value", async || token(&proxy, &upstream).await == value).await;
    }
    let after = proxy.credential("k").await;
    assert_eq!(after["health"], "ok");
    assert_ne!(before["fingerprint"], after["fingerprint"]);
    assert!(before["generation"].as_u64() < after["generation"].as_u64());
    let reloads = "countersign_secret_reloads_total{credential=\"k\",result=\"ok\",reason=\"\"}";
    until("the counter", async || proxy.metric(reloads).await == 2.0).await;
    assert_eq!(upstream.connections(), 1, "a header's value is no reason for a new connection");
}

fn plain_file(setup: &Setup) {
    files::write_new(&setup.secrets_dir(), "partner/key", b"one\n");
}

fn volume(proxy: &Running) -> Volume {
    Volume::new(proxy.scratch.path("secrets")).unwrap()
}

fn kubelet(setup: &Setup) {
    Volume::new(setup.secrets_dir()).unwrap().write(&[("partner/key", b"one"), ("other", b"o")]).unwrap();
}

fn swap(proxy: &Running, value: &str) {
    volume(proxy).write(&[("partner/key", value.as_bytes()), ("other", b"o")]).unwrap();
}

fn linked(setup: &Setup) {
    files::write_new(&setup.secrets_dir(), ".versions/one/key", b"one");
    files::flip(&setup.secrets_dir().join("partner"), ".versions/one".as_ref());
}

fn flip(proxy: &Running, value: &str) {
    let dir = proxy.scratch.path("secrets");
    files::write_new(&dir, &format!(".versions/{value}/key"), value.as_bytes());
    files::flip(&dir.join("partner"), format!(".versions/{value}").as_ref());
}

fn whole_folder(proxy: &Running, value: &str) {
    let dir = proxy.scratch.path("secrets");
    files::write_new(&dir, ".next/key", value.as_bytes());
    fs::rename(dir.join("partner"), dir.join(format!(".old-{value}"))).unwrap();
    fs::rename(dir.join(".next"), dir.join("partner")).unwrap();
}

macro_rules! in_both_modes {
    ($($events:ident, $polling:ident: $prepare:expr, $rotate:expr;)+) => {$(
        #[tokio::test]
        async fn $events() {
            rotates($prepare, $rotate, EVENTS).await;
        }

        #[tokio::test]
        async fn $polling() {
            rotates($prepare, $rotate, POLL).await;
        }
    )+};
}

in_both_modes! {
    a_kubelets_swap_is_noticed_by_events, a_kubelets_swap_is_noticed_by_polling_alone: kubelet, swap;
    a_rename_is_noticed_by_events, a_rename_is_noticed_by_polling_alone:
        plain_file, |proxy, value| files::rename_over(&proxy.secret("partner/key"), value);
    a_file_written_in_place_is_noticed_by_events, a_file_written_in_place_is_noticed_by_polling_alone:
        plain_file, |proxy, value| files::in_place(&proxy.secret("partner/key"), value);
    a_file_deleted_and_made_anew_is_noticed_by_events, a_file_deleted_and_made_anew_is_noticed_by_polling_alone:
        plain_file, |proxy, value| files::delete_and_create(&proxy.secret("partner/key"), value);
    a_flipped_link_is_noticed_by_events, a_flipped_link_is_noticed_by_polling_alone: linked, flip;
    a_renamed_folder_is_noticed_by_events, a_renamed_folder_is_noticed_by_polling_alone: plain_file, whole_folder;
}

#[tokio::test]
async fn a_new_tenant_is_noticed_by_polling_alone() {
    let upstream = Upstream::ok().await;
    let url = upstream.url();
    let proxy = Setup::new(format!(
        "[credential.shop]\napi_key = {{ secret = \"shop/{{tenant}}/key\", header = \"X-Key\" }}\n\
         [[route]]\nname = \"shop\"\nhost = \"{{shop}}.shops.test\"\nupstream = \"{url}\"\ncredential = \"shop\"\n\
         tenant = \"{{shop}}\"\n"
    ))
    .secrets(POLL)
    .start()
    .await;
    assert_eq!(proxy.get("m1.shops.test", "/").await.error(), Some("credential_unavailable"));
    files::write_new(&proxy.scratch.path("secrets"), "shop/m1/key", b"key-of-m1");
    until("the new tenant", async || proxy.get("m1.shops.test", "/").await.status == 200).await;
    assert_eq!(upstream.last().head.header("x-key"), Some("key-of-m1"));
}

#[tokio::test]
async fn a_reload_that_is_asked_for_reads_everything_again() {
    let upstream = Upstream::ok().await;
    let setup = bearer(&upstream).secrets("watch = \"poll\"\npoll = \"1h\"");
    kubelet(&setup);
    let proxy = setup.start().await;
    assert_eq!(token(&proxy, &upstream).await, "one");
    swap(&proxy, "two");
    assert_eq!(token(&proxy, &upstream).await, "one", "nothing watches, and the next poll is far away");
    proxy.server.reload().await;
    assert_eq!(token(&proxy, &upstream).await, "two");
}

#[tokio::test]
async fn the_watch_mode_is_shown() {
    let upstream = Upstream::ok().await;
    for (mode, shown) in [(POLL, "poll"), (EVENTS, "events")] {
        let proxy = bearer(&upstream).secrets(mode).secret("partner/key", "one").start().await;
        for other in ["poll", "events"] {
            let value = proxy.metric(&format!("countersign_watch_mode{{mode=\"{other}\"}}")).await;
            assert_eq!(value, f64::from(u8::from(other == shown)), "{mode}: {other}");
        }
    }
}
