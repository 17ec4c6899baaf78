//! Second tokens: one platform on loopback gives both kinds.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::endpoint::{Endpoint, Reply, error, tokens};
use super::world::{Settings, World};
use crate::refresh::{NoTokenKind, Token, TokenKind};
use crate::sign::material::Material;
use crate::token::ConnectionKey;
use crate::token::record::Reason;

/// A second token that lives ten minutes.
fn second(number: usize) -> Reply {
    let body = format!(r#"{{"access_token":"second-{number}","expires_in":600}}"#);
    Reply::Answer(200, "", body)
}

/// A platform whose answers to calls for a second token are `script`'s, by their number; first tokens come by themselves.
async fn platform(script: impl Fn(usize, &str) -> Reply + Send + Sync + 'static) -> (World, Endpoint) {
    let (firsts, seconds) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let endpoint = Endpoint::start(move |_, sent| match sent.starts_with("POST /second ") {
        true => script(seconds.fetch_add(1, Ordering::SeqCst) + 1, sent),
        false => tokens(firsts.fetch_add(1, Ordering::SeqCst) + 1),
    })
    .await;
    let mut settings = Settings { derive: Some(endpoint.port), ..Settings::at(endpoint.port) };
    settings.policy.first = Duration::from_millis(1);
    let world = World::new(settings);
    world.connect("m1", &[]).await;
    (world, endpoint)
}

fn seconds(endpoint: &Endpoint) -> Vec<String> {
    endpoint.sent().into_iter().filter(|sent| sent.starts_with("POST /second ")).collect()
}

/// What would be put in: the first and the second token.
fn both(token: &Token) -> Vec<String> {
    let text = |key: &Material| match key {
        Material::Text(text) => String::from_utf8_lossy(text.expose()).into_owned(),
        other => panic!("{other:?}"),
    };
    assert_eq!(token.kind, TokenKind::Derived);
    token.instance.value().unwrap().keys.iter().map(text).collect()
}

#[tokio::test]
async fn a_thousand_requests_cause_one_call_that_has_the_first_token() {
    let (world, endpoint) = platform(|number, _| second(number)).await;
    let world = Arc::new(world);
    let mut requests = JoinSet::new();
    for _ in 0..1000 {
        let world = world.clone();
        requests.spawn(async move { both(&world.tokens.wait_derived(&world.want("m1")).await.unwrap()) });
    }
    let all = requests.join_all().await;
    assert!(all.iter().all(|keys| *keys == ["access-1", "second-1"]), "{:?}", all[0]);
    assert_eq!(endpoint.calls(), 2, "one for each");
    let sent = &seconds(&endpoint)[0];
    assert!(sent.contains("authorization: Bearer access-1\r\n") && !sent.contains("x-second"), "{sent}");
    assert!(world.tokens.usable_derived("shop", "m1", world.now()).is_some());
    let first = world.tokens.usable("shop", "m1", world.now()).unwrap();
    assert_eq!(first.kind, TokenKind::Access, "other endpoints have the first alone");
}

#[tokio::test]
async fn it_is_made_anew_before_its_end_and_never_used_after_it() {
    let (world, endpoint) = platform(|number, _| second(number)).await;
    world.tokens.wait_derived(&world.want("m1")).await.unwrap();
    world.clock.forward(200);
    assert!(world.tokens.usable_derived("shop", "m1", world.now()).is_some());
    assert_eq!(endpoint.calls(), 2, "before its window nothing is asked");
    world.clock.forward(150);
    assert_eq!(both(&world.tokens.usable_derived("shop", "m1", world.now()).unwrap())[1], "second-1");
    endpoint.called(3).await;
    while both(&world.tokens.usable_derived("shop", "m1", world.now()).unwrap())[1] == "second-1" {
        tokio::task::yield_now().await;
    }
    world.clock.forward(599);
    assert!(world.tokens.usable_derived("shop", "m1", world.now()).is_none());
    assert_eq!(both(&world.tokens.wait_derived(&world.want("m1")).await.unwrap())[1], "second-3");
}

#[tokio::test]
async fn another_first_token_makes_another_second_one() {
    let (world, _endpoint) = platform(|number, _| second(number)).await;
    assert_eq!(both(&world.tokens.wait_derived(&world.want("m1")).await.unwrap()), ["access-1", "second-1"]);
    world.tokens.refresh_now(&ConnectionKey::new("shop", "m1")).await.unwrap();
    assert!(world.tokens.usable_derived("shop", "m1", world.now()).is_none());
    assert_eq!(both(&world.tokens.wait_derived(&world.want("m1")).await.unwrap()), ["access-2", "second-2"]);
}

#[tokio::test]
async fn a_first_token_that_is_refused_is_refreshed_once() {
    let refuses_the_first = |number, sent: &str| match sent.contains("access-1") {
        true => Reply::Answer(401, "", r#"{"errors":[{"code":"Unauthorized"}]}"#.to_owned()),
        false => second(number),
    };
    let (world, endpoint) = platform(refuses_the_first).await;
    assert_eq!(both(&world.tokens.wait_derived(&world.want("m1")).await.unwrap()), ["access-2", "second-2"]);
    assert_eq!(endpoint.calls(), 4);

    let (world, endpoint) = platform(|_, _| Reply::Answer(401, "", String::new())).await;
    let none = world.tokens.wait_derived(&world.want("m1")).await.unwrap_err();
    assert_eq!((none.kind, none.reason), (NoTokenKind::Unavailable, Reason::BadAnswer));
    let calls = endpoint.calls();
    assert!(world.tokens.wait_derived(&world.want("m1")).await.is_err());
    assert_eq!((calls, endpoint.calls()), (4, 4), "nobody asks again at once");
}

#[tokio::test]
async fn what_the_platform_refuses_is_told_without_a_secret() {
    let (world, endpoint) = platform(|_, _| {
        Reply::Answer(403, "", r#"{"error":{"code":"NoRole"},"error_description":"access-1 has no role"}"#.to_owned())
    })
    .await;
    let none = world.tokens.wait_derived(&world.want("m1")).await.unwrap_err();
    assert_eq!((none.kind, none.reason, none.retry_after), (NoTokenKind::Unavailable, Reason::BadAnswer, 300));
    assert_eq!(none.detail.as_deref(), Some("status 403: NoRole: [masked] has no role"));
    assert!(world.tokens.wait_derived(&world.want("m1")).await.is_err());
    assert_eq!(endpoint.calls(), 2, "the form of the call is asked about every five minutes");
    assert!(world.tokens.usable("shop", "m1", world.now()).is_some(), "other endpoints are served");
}

#[tokio::test]
async fn a_passing_failure_is_tried_again_within_the_wait() {
    let (world, endpoint) = platform(|number, _| match number {
        1 => error(503, "busy"),
        2 => Reply::Reset,
        number => second(number),
    })
    .await;
    assert_eq!(both(&world.tokens.wait_derived(&world.want("m1")).await.unwrap())[1], "second-3");
    assert_eq!(seconds(&endpoint).len(), 3);
}

#[tokio::test]
async fn a_second_token_that_the_upstream_refuses_is_replaced_once_in_a_while() {
    let (world, endpoint) = platform(|number, _| second(number)).await;
    let old = world.tokens.wait_derived(&world.want("m1")).await.unwrap();
    let new = world.tokens.refused_derived(&world.want("m1"), &old).await.unwrap().unwrap();
    assert_eq!(both(&new)[1], "second-2");
    // Who had the old one gets the new one without a call; the new one stays for a while.
    assert_eq!(both(&world.tokens.refused_derived(&world.want("m1"), &old).await.unwrap().unwrap())[1], "second-2");
    assert!(world.tokens.refused_derived(&world.want("m1"), &new).await.unwrap().is_none());
    assert_eq!(seconds(&endpoint).len(), 2);
}

#[tokio::test]
async fn with_the_connection_it_ends() {
    let (world, endpoint) = platform(|number, _| second(number)).await;
    world.tokens.wait_derived(&world.want("m1")).await.unwrap();
    world.tokens.revoke(&ConnectionKey::new("shop", "m1")).await.unwrap();
    assert!(world.tokens.usable_derived("shop", "m1", world.now()).is_none());
    let none = world.tokens.wait_derived(&world.want("m1")).await.unwrap_err();
    assert_eq!((none.kind, none.reason), (NoTokenKind::Reauthorize, Reason::Revoked));
    assert_eq!(seconds(&endpoint).len(), 1);
}

#[tokio::test]
async fn a_drain_waits_for_the_call_and_begins_no_other() {
    let gate = Arc::new(Notify::new());
    let held = gate.clone();
    let (world, endpoint) = platform(move |number, _| Reply::After(held.clone(), Box::new(second(number)))).await;
    let (tokens, want) = (world.tokens.clone(), world.want("m1"));
    let waits = tokens.wait_derived(&want);
    let drained = async {
        endpoint.called(2).await;
        gate.notify_one();
        world.tokens.drain().await;
    };
    let (token, ()) = tokio::join!(waits, drained);
    assert_eq!(both(&token.unwrap())[1], "second-1");
    assert!(world.tokens.wait_derived(&world.want("m2")).await.is_err());
    assert_eq!(endpoint.calls(), 2);
}
