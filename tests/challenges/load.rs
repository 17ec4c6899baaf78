//! Many requests at once, while nonces end.

use super::digest;
use super::judge::{Judge, Order};
use crate::support::Running;

const AT_ONCE: usize = 200;

async fn burst(proxy: &Running) -> usize {
    let mut tasks = tokio::task::JoinSet::new();
    for index in 0..AT_ONCE {
        let address = proxy.address;
        tasks.spawn(async move {
            let body = "b".repeat(index);
            let head = format!("POST /{index} HTTP/1.1\r\nHost: api.test\r\nContent-Length: {index}\r\n\r\n{body}");
            crate::support::worker::Worker::tcp(address).await.exchange(head).await
        });
    }
    let mut good = 0;
    while let Some(answer) = tasks.join_next().await {
        good += usize::from(answer.unwrap().status == 200);
    }
    good
}

#[tokio::test]
async fn none_of_many_fails_whatever_becomes_of_their_nonces() {
    for (order, uses, next) in [
        (Order::Any, usize::MAX, false),
        (Order::Any, 7, false),
        (Order::Rising, usize::MAX, false),
        (Order::Rising, 1, true),
    ] {
        let judge = Judge::of("pw").await;
        judge.change(|rules| (rules.order, rules.uses, rules.next) = (order, uses, next));
        let proxy = digest(&judge.upstream, "").secret("password", "pw").start().await;
        for round in 0..4 {
            assert_eq!(burst(&proxy).await, AT_ONCE, "round {round}");
        }
    }
}

#[tokio::test]
async fn a_known_nonce_costs_no_second_attempt() {
    let judge = Judge::of("pw").await;
    let proxy = digest(&judge.upstream, "").secret("password", "pw").start().await;
    assert_eq!(proxy.get("api.test", "/").await.status, 200);
    let before = judge.upstream.seen().len();
    assert_eq!(burst(&proxy).await, AT_ONCE);
    let counts = judge.counts(before);
    assert_eq!(counts.len(), AT_ONCE, "one attempt each");
    let distinct: std::collections::BTreeSet<_> = counts.into_iter().flatten().collect();
    assert_eq!(distinct.len(), AT_ONCE, "each with a count of its own");
}

#[tokio::test]
async fn an_upstream_that_wants_counts_in_order_is_given_nonces_of_their_own_after_a_while() {
    let judge = Judge::of("pw").await;
    judge.change(|rules| rules.order = Order::Rising);
    let proxy = digest(&judge.upstream, "").secret("password", "pw").start().await;
    for _ in 0..4 {
        assert_eq!(burst(&proxy).await, AT_ONCE);
    }
    let before = judge.upstream.seen().len();
    assert_eq!(burst(&proxy).await, AT_ONCE);
    let attempts = judge.upstream.seen().len() - before;
    // Not one is refused for its order any more; some may find no nonce that is free and ask.
    assert!(attempts <= AT_ONCE + AT_ONCE / 2, "{attempts} attempts for {AT_ONCE} requests");
}
