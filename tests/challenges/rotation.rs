//! A password that changes: the previous one helps until the newest was accepted, and nonces stay apart.

use super::digest;
use super::judge::Judge;
use crate::support::wait::until;
use crate::support::{Running, files};

const FALLBACKS: &str = "countersign_credential_fallbacks_total{credential=\"d\"}";

async fn rotate(proxy: &Running, value: &str) {
    let before = proxy.credential("d").await["fingerprint"].clone();
    files::rename_over(&proxy.secret("password"), value);
    until("the new value", async || proxy.credential("d").await["fingerprint"] != before).await;
}

#[tokio::test]
async fn the_previous_password_helps_until_the_newest_is_accepted_once() {
    let judge = Judge::of("old").await;
    let proxy = digest(&judge.upstream, "").secret("password", "old").start().await;
    assert_eq!(proxy.get("api.test", "/").await.status, 200);
    rotate(&proxy, "new").await;

    // The upstream does not know it yet: asked anew, refused, and then the old one under the nonce that it has.
    let answer = proxy.post("api.test", "/", "abc").await;
    assert_eq!((answer.status, answer.text()), (200, "3 bytes"));
    let counts: Vec<Option<String>> = judge.counts(2);
    assert_eq!(counts, [None, Some("00000001".to_owned()), Some("00000002".to_owned())]);
    assert_eq!(proxy.health("d").await, "fallback");
    assert_eq!(proxy.metric(FALLBACKS).await, 1.0);

    judge.change(|rules| "new".clone_into(&mut rules.password));
    assert_eq!(proxy.get("api.test", "/").await.status, 200);
    assert_eq!(proxy.health("d").await, "ok");
    let before = judge.upstream.seen().len();
    judge.change(|rules| "old".clone_into(&mut rules.password));
    assert_eq!(proxy.get("api.test", "/").await.status, 401, "the previous one is gone");
    assert_eq!(judge.counts(before).len(), 2);
    assert_eq!(proxy.metric(FALLBACKS).await, 1.0);
}

#[tokio::test]
async fn an_answer_without_proof_says_nothing_about_the_password() {
    let judge = Judge::of("old").await;
    let proxy = digest(&judge.upstream, "").secret("password", "old").start().await;
    rotate(&proxy, "new").await;
    judge.change(|rules| rules.open = true);
    assert_eq!(proxy.get("api.test", "/").await.status, 200);
    assert_eq!(judge.counts(0), [None]);
    judge.change(|rules| rules.open = false);
    assert_eq!(proxy.get("api.test", "/").await.status, 200, "the old one is still there");
    assert_eq!(proxy.health("d").await, "fallback");
}
