//! One request after another: who is asked, what is sent again, and what passes.

use super::digest;
use super::judge::Judge;
use crate::support::{Running, Upstream};

fn some(count: &str) -> Option<String> {
    Some(count.to_owned())
}

async fn get(proxy: &Running, target: &str) -> u16 {
    proxy.get("api.test", target).await.status
}

#[tokio::test]
async fn the_first_request_asks_and_the_next_ones_are_signed_at_once() {
    let judge = Judge::of("Circle of Life").await;
    let proxy = digest(&judge.upstream, "prefix = \"/lions\"").secret("password", "Circle of Life\n").start().await;
    assert_eq!(get(&proxy, "/dir/index.html?a=%2F+x&b").await, 200);
    assert_eq!(judge.counts(0), [None, some("00000001")]);
    assert_eq!(judge.upstream.connections(), 1, "the 401 was read to its end");
    assert_eq!(get(&proxy, "/other").await, 200);
    let answer = proxy.raw("HEAD /head HTTP/1.1\r\nHost: api.test\r\n\r\n").await;
    assert_eq!(answer.status, 200);
    // Through a prefix it is the target without it that leaves and is signed.
    let address = proxy.address;
    assert_eq!(proxy.raw(format!("GET /lions/x?y HTTP/1.1\r\nHost: {address}\r\n\r\n")).await.status, 200);
    assert_eq!(judge.upstream.last().head.target(), "/x?y");
    assert_eq!(judge.counts(2), [some("00000002"), some("00000003"), some("00000004")]);
}

#[tokio::test]
async fn what_the_worker_proves_with_never_leaves() {
    let judge = Judge::of("pw").await;
    let proxy = digest(&judge.upstream, "").secret("password", "pw").start().await;
    let request =
        "GET / HTTP/1.1\r\nHost: api.test\r\nAuthorization: Digest username=\"me\"\r\nHTTP_AUTHORIZATION: me\r\n\r\n";
    for _ in 0..2 {
        assert_eq!(proxy.raw(request).await.status, 200);
    }
    let seen = judge.upstream.seen();
    assert!(seen.iter().all(|seen| !seen.head.raw.contains("me\"") && !seen.head.raw.contains("HTTP_")), "{seen:#?}");
    assert_eq!(seen[0].head.header("authorization"), None);
}

#[tokio::test]
async fn a_body_is_held_while_nothing_is_known_and_streams_after() {
    let judge = Judge::of("pw").await;
    let limits = "limits = { signed_body = \"1KiB\", replay_body = \"0B\" }";
    let proxy = digest(&judge.upstream, limits).secret("password", "pw").start().await;
    let large = "x".repeat(1025);
    let answer = proxy.post("api.test", "/", &large).await;
    assert_eq!((answer.status, answer.error()), (413, Some("body_too_large_to_sign")));
    assert_eq!(judge.upstream.seen().len(), 0);

    assert_eq!(proxy.post("api.test", "/", &large[..1024]).await.status, 200);
    let bodies: Vec<usize> = judge.upstream.seen().iter().map(|seen| seen.body.len()).collect();
    assert_eq!((bodies, judge.counts(0)), (vec![1024, 1024], vec![None, some("00000001")]));

    let chunked = "POST / HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut worker = proxy.worker().await;
    let answer = worker.exchange(format!("{chunked}800\r\n{}\r\n0\r\n\r\n", "y".repeat(2048))).await;
    assert_eq!(answer.status, 200);
    assert_eq!(judge.upstream.last().head.header("transfer-encoding"), Some("chunked"), "passed on as it came");
    assert_eq!(judge.counts(2), [some("00000002")]);
}

#[tokio::test]
async fn a_streamed_body_that_comes_too_late_tells_the_next_one() {
    let judge = Judge::of("pw").await;
    let proxy = digest(&judge.upstream, "limits = { replay_body = \"0B\" }").secret("password", "pw").start().await;
    assert_eq!(proxy.post("api.test", "/", "abc").await.status, 200);
    judge.forget();
    assert_eq!(proxy.post("api.test", "/", "abc").await.status, 401, "the body is gone");
    assert_eq!(proxy.post("api.test", "/", "abc").await.status, 200);
    assert_eq!(judge.counts(2), [some("00000002"), some("00000001")]);
}

#[tokio::test]
async fn a_small_body_goes_again_when_the_nonce_has_ended() {
    for says_stale in [true, false] {
        let judge = Judge::of("pw").await;
        judge.change(|rules| rules.says_stale = says_stale);
        let proxy = digest(&judge.upstream, "").secret("password", "pw").start().await;
        assert_eq!(proxy.post("api.test", "/", "abc").await.status, 200);
        judge.forget();
        let answer = proxy.post("api.test", "/", "abc").await;
        assert_eq!((answer.status, answer.text()), (200, "3 bytes"), "stale said: {says_stale}");
        assert_eq!(judge.counts(2), [some("00000002"), some("00000001")]);
    }
}

#[tokio::test]
async fn a_wrong_password_is_refused_once_and_the_upstream_says_so() {
    let judge = Judge::of("right").await;
    let proxy = digest(&judge.upstream, "").secret("password", "wrong").start().await;
    for _ in 0..2 {
        let answer = proxy.post("api.test", "/", "abc").await;
        assert_eq!((answer.status, answer.text(), answer.error()), (401, "Wrong", None));
        assert!(answer.head.all("www-authenticate").len() == 2, "{answer:?}");
    }
    assert_eq!(judge.counts(0), [None, some("00000001"), None, some("00000001")], "one guess each");
}

#[tokio::test]
async fn a_nonce_that_never_lasts_is_tried_once_more_and_no_further() {
    let judge = Judge::of("pw").await;
    judge.change(|rules| rules.uses = 0);
    let proxy = digest(&judge.upstream, "").secret("password", "pw").start().await;
    let answer = proxy.get("api.test", "/").await;
    assert_eq!((answer.status, answer.text()), (401, "Stale"));
    assert_eq!(judge.counts(0), [None, some("00000001"), some("00000001")]);
}

#[tokio::test]
async fn the_next_nonce_is_used_where_the_server_gives_one() {
    let judge = Judge::of("pw").await;
    judge.change(|rules| (rules.next, rules.uses) = (true, 1));
    let proxy = digest(&judge.upstream, "").secret("password", "pw").start().await;
    for _ in 0..4 {
        assert_eq!(get(&proxy, "/").await, 200);
    }
    let first = some("00000001");
    assert_eq!(judge.counts(0), [None, first.clone(), first.clone(), first.clone(), first]);
}

#[tokio::test]
async fn what_asks_for_nothing_that_can_be_answered_passes() {
    let answer = "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"x\"\r\n\
                  WWW-Authenticate: Digest realm=\"x\", nonce=\"n\", algorithm=SHA3\r\nContent-Length: 2\r\n\r\nno";
    let upstream = Upstream::answering(answer).await;
    let proxy = digest(&upstream, "").secret("password", "pw").start().await;
    let answer = proxy.get("api.test", "/").await;
    assert_eq!((answer.status, answer.text()), (401, "no"));
    assert_eq!(upstream.seen().len(), 1);
    // An upstream that asks for nothing at all gets no proof.
    let open = Upstream::ok().await;
    let proxy = digest(&open, "").secret("password", "pw").start().await;
    assert_eq!(proxy.post("api.test", "/", "abc").await.status, 200);
    assert_eq!(open.only().head.header("authorization"), None);
}
