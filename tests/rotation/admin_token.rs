//! The token of changing calls rotates like any other secret: the one before counts for the overlap, and not longer.

use super::bearer_text;
use crate::support::wait::until;
use crate::support::worker::Worker;
use crate::support::{Running, Setup, Upstream, files};

async fn reload(proxy: &Running, token: &str) -> u16 {
    let address = proxy.server.admin.unwrap();
    let request = format!("POST /api/reload HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n\r\n");
    Worker::tcp(address).await.exchange(request).await.status
}

#[tokio::test]
async fn the_previous_token_is_accepted_until_the_overlap_ends() {
    let upstream = Upstream::ok().await;
    let proxy = Setup::new("[admin]\ntoken = \"admin\"\n".to_owned() + &bearer_text(&upstream.url()))
        .secrets("overlap = \"2s\"")
        .secret("partner/key", "good")
        .secret("admin", "one")
        .start()
        .await;
    assert_eq!(reload(&proxy, "one").await, 200);
    let refused = reload(&proxy, "two").await;
    files::rename_over(&proxy.secret("admin"), "two");
    until("the new token", async || reload(&proxy, "two").await == 200).await;
    assert_eq!(reload(&proxy, "one").await, 200, "both, for now");
    until("the end of the old one", async || reload(&proxy, "one").await == refused).await;
    assert_eq!(reload(&proxy, "two").await, 200);
}
