//! Every fault of a token endpoint: what becomes of the connection, and what the worker is told.

use std::time::Duration;

use super::endpoint::{Endpoint, Reply, error, tokens};
use super::world::{Settings, World};
use crate::refresh::NoTokenKind::{self, Reauthorize, Unavailable};
use crate::token::record::{Reason, State};

const HTML: &str = "content-type: text/html\r\n";
const JSON: &str = "content-type: application/json\r\n";

/// Answers every call alike. State, reason, kind, and how often the endpoint is called at the first attempt.
async fn fault(reply: Reply, state: State, reason: Reason, kind: NoTokenKind, calls: usize) -> u32 {
    let endpoint = Endpoint::start(move |_, _| reply.clone()).await;
    let mut settings = Settings::at(endpoint.port);
    // No second attempt within the wait, which is over long before the next one.
    (settings.policy.timeout, settings.policy.wait) = (Duration::from_millis(300), Duration::from_millis(900));
    settings.policy.first = Duration::from_secs(120);
    let world = World::new(settings);
    world.connect("m1", &[]).await;
    let none = world.tokens.wait(&world.want("m1")).await.unwrap_err();
    let record = world.record("m1").await;
    assert_eq!((record.state, record.reason), (state, Some(reason)), "{none:?}");
    assert_eq!((none.kind, none.reason), (kind, reason), "{none:?}");
    assert_eq!(endpoint.calls(), calls, "{none:?}");
    assert_eq!(world.stored("m1").await.1, "refresh-0", "nothing is wiped");
    assert!(record.lease.is_none(), "no lease is left");
    none.retry_after
}

#[tokio::test]
async fn what_is_no_answer_passes() {
    fault(Reply::Reset, State::Degraded, Reason::Refused, Unavailable, 2).await;
    fault(Reply::Silence, State::Degraded, Reason::Timeout, Unavailable, 2).await;
    fault(Reply::Raw(b"SSH-2.0-x\r\n\r\n".to_vec()), State::Degraded, Reason::BadAnswer, Unavailable, 1).await;
    let cut = b"HTTP/1.1 200 x\r\ncontent-length: 99\r\n\r\n{\"access".to_vec();
    fault(Reply::Raw(cut), State::Degraded, Reason::Refused, Unavailable, 2).await;
}

#[tokio::test]
async fn passing_answers_pass() {
    let answer = |status, head, body: &str| Reply::Answer(status, head, body.to_owned());
    fault(answer(503, HTML, "<h1>down</h1>"), State::Degraded, Reason::Http5xx, Unavailable, 1).await;
    fault(error(500, "server_error"), State::Degraded, Reason::Http5xx, Unavailable, 1).await;
    let asked = answer(429, "retry-after: 77\r\n", "");
    let seconds = fault(asked, State::Degraded, Reason::RateLimited, Unavailable, 1).await;
    assert!((77..=200).contains(&seconds), "{seconds}");
}

#[tokio::test]
async fn what_cannot_be_understood_passes() {
    let answer = |head, body: &str| Reply::Answer(200, head, body.to_owned());
    for reply in [
        answer(HTML, "<html>maintenance</html>"),
        answer(JSON, ""),
        answer(JSON, "{\"access_token\":\"a"),
        answer(JSON, "{\"token_type\":\"Bearer\"}"),
        answer("content-type: image/png\r\n", "\u{1}\u{2}"),
        Reply::Answer(200, JSON, "x".repeat(3 << 20)),
    ] {
        fault(reply, State::Degraded, Reason::BadAnswer, Unavailable, 1).await;
    }
}

#[tokio::test]
async fn an_endless_answer_is_cut() {
    let mut endless = b"HTTP/1.1 200 x\r\ncontent-length: 104857600\r\n\r\n".to_vec();
    endless.resize(2 << 20, b' ');
    fault(Reply::Raw(endless), State::Degraded, Reason::BadAnswer, Unavailable, 1).await;
}

#[tokio::test]
async fn a_dead_grant_needs_a_person_at_once() {
    fault(error(400, "invalid_grant"), State::Reauthorize, Reason::InvalidGrant, Reauthorize, 1).await;
    fault(error(200, "invalid_grant"), State::Reauthorize, Reason::InvalidGrant, Reauthorize, 1).await;
}

#[tokio::test]
async fn nobody_there_was_sent_nothing() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let mut settings = Settings::at(port);
    settings.policy.first = Duration::from_secs(120);
    let world = World::new(settings);
    world.connect("m1", &[]).await;
    let none = world.tokens.wait(&world.want("m1")).await.unwrap_err();
    assert_eq!((none.kind, none.reason), (Unavailable, Reason::Refused));
    assert!(none.detail.unwrap().contains("connection refused"));
    assert!(none.retry_after <= 120);
}

#[tokio::test]
async fn a_lost_answer_is_asked_for_once_more_at_once() {
    let endpoint = Endpoint::start(|number, _| if number == 1 { Reply::Reset } else { tokens(number) }).await;
    let world = World::new(Settings::at(endpoint.port));
    world.connect("m1", &[]).await;
    world.tokens.wait(&world.want("m1")).await.unwrap();
    assert!(endpoint.sent().iter().all(|sent| sent.contains("refresh_token=refresh-0")));
    // The same at a platform without grace: the old token is refused.
    let replies = |number: usize, _: &str| if number == 1 { Reply::Reset } else { error(400, "invalid_grant") };
    let endpoint = Endpoint::start(replies).await;
    let world = World::new(Settings::at(endpoint.port));
    world.connect("m1", &[]).await;
    let none = world.tokens.wait(&world.want("m1")).await.unwrap_err();
    assert_eq!((none.kind, none.reason), (Reauthorize, Reason::AnswerLost));
    assert_eq!(endpoint.calls(), 2);
}

#[tokio::test]
async fn a_passing_failure_is_waited_out() {
    let endpoint = Endpoint::start(|number, _| if number < 3 { error(503, "x") } else { tokens(number) }).await;
    let mut settings = Settings::at(endpoint.port);
    settings.policy.first = Duration::from_millis(1);
    let world = World::new(settings);
    world.connect("m1", &[]).await;
    world.tokens.wait(&world.want("m1")).await.unwrap();
    assert_eq!(endpoint.calls(), 3);
    assert_eq!(world.record("m1").await.state, State::Active);
}
