//! A 401 to a value that is new here and not yet known there: once more with the previous one, never silently.

use std::sync::{Arc, RwLock};

use super::{GET, bearer};
use crate::support::upstream::OK;
use crate::support::wait::until;
use crate::support::{Running, Upstream, files};

const FALLBACKS: &str = "countersign_credential_fallbacks_total{credential=\"k\"}";

/// An upstream that takes one token, which can be changed; all else is 401.
async fn demanding(token: &str) -> (Upstream, Arc<RwLock<String>>) {
    let wanted = Arc::new(RwLock::new(format!("Bearer {token}")));
    let shared = wanted.clone();
    let upstream = Upstream::scripted(move |mut conversation| {
        let wanted = shared.clone();
        async move {
            while let Some(seen) = conversation.request().await {
                let good = seen.head.header("authorization") == Some(&*wanted.read().unwrap());
                let answer = if good { OK } else { "HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno" };
                conversation.send(answer).await;
            }
        }
    })
    .await;
    (upstream, wanted)
}

async fn rotate(proxy: &Running, value: &str) {
    let before = proxy.credential("k").await["fingerprint"].clone();
    files::rename_over(&proxy.secret("partner/key"), value);
    until("the new value", async || proxy.credential("k").await["fingerprint"] != before).await;
}

fn tokens(upstream: &Upstream, from: usize) -> Vec<String> {
    upstream.seen()[from..].iter().map(|seen| seen.head.header("authorization").unwrap().to_owned()).collect()
}

#[tokio::test]
async fn the_previous_value_helps_until_the_newest_is_accepted_once() {
    let (upstream, wanted) = demanding("old").await;
    let proxy = bearer(&upstream).secret("partner/key", "old").start().await;
    assert_eq!(proxy.raw(GET).await.status, 200);
    rotate(&proxy, "new").await;

    // The upstream does not know it yet.
    assert_eq!(proxy.raw(GET).await.status, 200);
    assert_eq!(tokens(&upstream, 1), ["Bearer new", "Bearer old"]);
    assert_eq!(proxy.health("k").await, "fallback");
    assert_eq!(proxy.metric(FALLBACKS).await, 1.0);
    assert_eq!(proxy.post("api.test", "/orders", "{\"a\":1}").await.status, 200);
    let seen = upstream.seen();
    assert_eq!((&*seen[3].body, &*seen[4].body), (&b"{\"a\":1}"[..], &b"{\"a\":1}"[..]), "the same body again");
    assert_eq!(proxy.metric(FALLBACKS).await, 2.0);

    // Now it does: one acceptance ends the previous value.
    *wanted.write().unwrap() = "Bearer new".into();
    let before = upstream.seen().len();
    assert_eq!(proxy.raw(GET).await.status, 200);
    assert_eq!(tokens(&upstream, before), ["Bearer new"]);
    assert_eq!(proxy.health("k").await, "ok");
    *wanted.write().unwrap() = "Bearer old".into();
    let answer = proxy.raw(GET).await;
    assert_eq!((answer.status, answer.text(), answer.error()), (401, "no", None), "the upstream's own word");
    assert_eq!(proxy.metric(FALLBACKS).await, 2.0);
}

#[tokio::test]
async fn a_value_refused_twice_passes_the_401_and_is_tried_no_third_time() {
    let (upstream, _) = demanding("something else").await;
    let proxy = bearer(&upstream).secret("partner/key", "old").start().await;
    assert_eq!(proxy.raw(GET).await.status, 401);
    assert_eq!(upstream.seen().len(), 1, "there is no previous value");
    rotate(&proxy, "new").await;
    assert_eq!(proxy.raw(GET).await.status, 401);
    assert!(tokens(&upstream, 1).len() <= 2);
}

#[tokio::test]
async fn a_body_that_cannot_be_sent_again_gets_the_401() {
    let (upstream, _) = demanding("old").await;
    let proxy = bearer(&upstream).secret("partner/key", "old").start().await;
    assert_eq!(proxy.raw(GET).await.status, 200);
    rotate(&proxy, "new").await;
    let chunked = "POST / HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n";
    assert_eq!(proxy.raw(chunked).await.status, 401);
    assert_eq!(proxy.post("api.test", "/", &"x".repeat(64 * 1024 + 1)).await.status, 401);
    assert_eq!(upstream.seen().len(), 3);
    assert_eq!(proxy.post("api.test", "/", &"x".repeat(64 * 1024)).await.status, 200);
}

#[tokio::test]
async fn without_overlap_there_is_no_previous_value() {
    let (upstream, _) = demanding("old").await;
    let proxy = bearer(&upstream).secrets("overlap = \"0s\"").secret("partner/key", "old").start().await;
    assert_eq!(proxy.raw(GET).await.status, 200);
    rotate(&proxy, "new").await;
    assert_eq!(proxy.raw(GET).await.status, 401);
    assert_eq!(tokens(&upstream, 1), ["Bearer new"]);
}

#[tokio::test]
async fn a_delete_under_on_missing_fail_ends_the_previous_value_too() {
    let (upstream, _) = demanding("old").await;
    let proxy = bearer(&upstream).secrets("on_missing = \"fail\"").secret("partner/key", "old").start().await;
    assert_eq!(proxy.raw(GET).await.status, 200);
    std::fs::remove_file(proxy.secret("partner/key")).unwrap();
    until("the end of the credential", async || proxy.raw(GET).await.status == 503).await;
    let before = upstream.seen().len();
    files::write_new(&proxy.scratch.path("secrets"), "partner/key", b"new");
    until("the new value", async || proxy.raw(GET).await.status == 401).await;
    assert_eq!(tokens(&upstream, before), ["Bearer new"]);
}

#[tokio::test]
async fn after_the_overlap_the_previous_value_is_not_tried() {
    let (upstream, _) = demanding("old").await;
    let proxy = bearer(&upstream).secrets("overlap = \"2s\"").secret("partner/key", "old").start().await;
    assert_eq!(proxy.raw(GET).await.status, 200);
    rotate(&proxy, "new").await;
    assert_eq!(proxy.raw(GET).await.status, 200);
    assert_eq!(proxy.health("k").await, "fallback");
    until("the end of the overlap", async || proxy.raw(GET).await.status == 401).await;
    let (before, count) = (upstream.seen().len(), proxy.metric(FALLBACKS).await);
    assert!(count >= 1.0);
    assert_eq!(proxy.raw(GET).await.status, 401);
    assert_eq!(tokens(&upstream, before), ["Bearer new"]);
    assert_eq!(proxy.metric(FALLBACKS).await, count);
}
