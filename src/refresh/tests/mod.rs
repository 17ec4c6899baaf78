//! Refreshes against an endpoint on loopback, with a store in memory. Nothing sleeps: tests wait for calls and ends.
#![allow(clippy::unwrap_used)]

mod derive;
mod endpoint;
mod faults;
mod kills;
mod many;
mod world;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinSet;

use self::endpoint::{Endpoint, Reply, error, tokens};
use self::world::{Hands, Settings, World, memory};
use super::{NoTokenKind, PlatformRevoked};
use crate::token::ConnectionKey;
use crate::token::grant::Grant;
use crate::token::record::{Reason, State};

#[tokio::test]
async fn a_thousand_requests_cause_one_call() {
    let endpoint = Endpoint::start(|number, _| tokens(number)).await;
    let world = Arc::new(World::new(Settings::at(endpoint.port)));
    world.connect("m1", &[]).await;
    let mut requests = JoinSet::new();
    for _ in 0..1000 {
        let world = world.clone();
        requests.spawn(async move { world.tokens.wait(&world.want("m1")).await.unwrap().version });
    }
    let versions = requests.join_all().await;
    assert!(versions.iter().all(|version| *version == 2), "{versions:?}");
    assert_eq!(endpoint.calls(), 1);
    assert!(endpoint.sent()[0].contains("refresh_token=refresh-0"), "{:?}", endpoint.sent());
    assert_eq!(world.stored("m1").await, ("access-1".to_owned(), "refresh-1".to_owned()));
    assert!(world.tokens.usable("shop", "m1", world.now()).is_some());
    assert!(world.tokens.usable("shop", "m2", world.now()).is_none());
}

#[tokio::test]
async fn two_processes_on_one_store_cause_one_call() {
    let endpoint = Endpoint::start(|number, _| tokens(number)).await;
    let clock = Hands::new();
    let store = memory(&clock);
    let world = |port| World::of(Settings::at(port), store.clone(), clock.clone(), None);
    let (one, two) = (world(endpoint.port), world(endpoint.port));
    one.connect("m1", &[]).await;
    let (wants, wanted) = (one.want("m1"), two.want("m1"));
    let (first, second) = tokio::join!(one.tokens.wait(&wants), two.tokens.wait(&wanted));
    assert_eq!((first.unwrap().version, second.unwrap().version), (2, 2));
    assert_eq!(endpoint.calls(), 1);
}

#[tokio::test]
async fn an_expired_token_is_never_handed_out_and_refreshed_on_use() {
    let endpoint = Endpoint::start(|number, _| tokens(number)).await;
    let world = World::new(Settings::at(endpoint.port));
    world.connect("m1", &[]).await;
    world.tokens.wait(&world.want("m1")).await.unwrap();
    world.clock.forward(3599);
    assert!(world.tokens.usable("shop", "m1", world.now()).is_none());
    assert_eq!(world.tokens.wait(&world.want("m1")).await.unwrap().version, 3);
    assert_eq!(endpoint.calls(), 2);
}

#[tokio::test]
async fn a_token_near_its_end_is_used_while_its_refresh_runs() {
    let endpoint = Endpoint::start(|number, _| tokens(number)).await;
    let world = World::new(Settings::at(endpoint.port));
    world.connect("m1", &[]).await;
    world.tokens.wait(&world.want("m1")).await.unwrap();
    world.clock.forward(2000);
    assert!(world.tokens.usable("shop", "m1", world.now()).is_some());
    assert_eq!(endpoint.calls(), 1, "before its window nothing is refreshed");
    world.clock.forward(1000);
    assert_eq!(world.tokens.usable("shop", "m1", world.now()).unwrap().version, 2);
    endpoint.called(2).await;
    world.tokens.drain().await;
    assert_eq!(world.tokens.usable("shop", "m1", world.now()).unwrap().version, 3);
    assert_eq!(endpoint.calls(), 2);
}

#[tokio::test]
async fn a_worker_that_hangs_up_cancels_nothing() {
    let gate = Arc::new(Notify::new());
    let opened = gate.clone();
    let reply = move |number: usize, _: &str| Reply::After(opened.clone(), Box::new(tokens(number)));
    let endpoint = Endpoint::start(reply).await;
    let world = World::new(Settings::at(endpoint.port));
    world.connect("m1", &[]).await;
    {
        let want = world.want("m1");
        let request = world.tokens.wait(&want);
        tokio::select! {
            _ = request => panic!("the gate is shut"),
            () = endpoint.called(1) => {}
        }
    }
    gate.notify_one();
    assert_eq!(world.tokens.wait(&world.want("m1")).await.unwrap().version, 2);
    assert_eq!(endpoint.calls(), 1);
}

#[tokio::test]
async fn what_was_never_connected_needs_a_person_and_no_call() {
    let endpoint = Endpoint::start(|number, _| tokens(number)).await;
    let world = World::new(Settings::at(endpoint.port));
    let none = world.tokens.wait(&world.want("m1")).await.unwrap_err();
    assert_eq!((none.kind, none.reason), (NoTokenKind::Reauthorize, Reason::NotConnected));
    assert_eq!(endpoint.calls(), 0);
}

#[tokio::test]
async fn a_grant_without_consent_makes_its_record_at_first_use() {
    let endpoint = Endpoint::start(|number, _| tokens(number)).await;
    let settings = Settings { grant: Grant::ClientCredentials, ..Settings::at(endpoint.port) };
    let world = World::new(settings);
    world.tokens.wait(&world.want("m1")).await.unwrap();
    assert!(endpoint.sent()[0].contains("grant_type=client_credentials"));
    assert_eq!(world.record("m1").await.state, State::Active);
}

#[tokio::test]
async fn a_seed_is_used_once_and_again_when_its_file_changes() {
    let endpoint = Endpoint::start(|number, text| match text.contains("refresh_token=seed-") {
        true => tokens(number),
        false => error(400, "invalid_grant"),
    })
    .await;
    let world = World::new(Settings { seed: true, ..Settings::at(endpoint.port) });
    world.tokens.wait(&world.want("m1")).await.unwrap();
    assert!(endpoint.sent()[0].contains("refresh_token=seed-1"));
    // The next refresh sends what the platform gave, not the seed.
    world.clock.forward(3600);
    let none = world.tokens.wait(&world.want("m1")).await.unwrap_err();
    assert_eq!((none.kind, none.reason), (NoTokenKind::Reauthorize, Reason::InvalidGrant));
    assert!(endpoint.sent()[1].contains("refresh_token=refresh-1"));
    // A request under reauthorize makes no call.
    world.tokens.wait(&world.want("m1")).await.unwrap_err();
    assert_eq!(endpoint.calls(), 2);
    let next = world.settings.snapshot_after(Some(&world.snapshot), &[("secret", "hush-1"), ("seed", "seed-2")]);
    world.tokens.update(next);
    endpoint.called(3).await;
    assert!(endpoint.sent()[2].contains("refresh_token=seed-2"));
    world.tokens.wait(&world.want("m1")).await.unwrap();
    assert_eq!(world.record("m1").await.state, State::Active);
}

#[tokio::test]
async fn a_401_causes_one_refresh_in_thirty_seconds() {
    let endpoint = Endpoint::start(|number, _| tokens(number)).await;
    let world = World::new(Settings::at(endpoint.port));
    world.connect("m1", &[]).await;
    let first = world.tokens.wait(&world.want("m1")).await.unwrap();
    let newer = world.tokens.refused(&world.want("m1"), first.version).await.unwrap().unwrap();
    assert_eq!((newer.version, endpoint.calls()), (3, 2));
    // Whoever still had the older one gets the newer without a call.
    let again = world.tokens.refused(&world.want("m1"), first.version).await.unwrap().unwrap();
    assert_eq!(again.version, 3);
    assert!(world.tokens.refused(&world.want("m1"), newer.version).await.unwrap().is_none());
    assert_eq!(endpoint.calls(), 2);
}

#[tokio::test]
async fn a_client_that_is_not_accepted_is_no_merchants_fault() {
    let endpoint = Endpoint::start(|number, text| match text.contains("client_secret=hush-2") {
        true => tokens(number),
        false => error(401, "invalid_client"),
    })
    .await;
    let world = World::new(Settings::at(endpoint.port));
    world.connect("m1", &[]).await;
    world.connect("m2", &[]).await;
    let none = world.tokens.wait(&world.want("m1")).await.unwrap_err();
    assert_eq!((none.kind, none.reason), (NoTokenKind::Unavailable, Reason::InvalidClient));
    assert_eq!(none.retry_after, 300);
    assert_eq!(world.record("m1").await.state, State::Active);
    assert!(world.tokens.unhealthy("shop").is_some());
    // The others make no call of their own.
    let none = world.tokens.wait(&world.want("m2")).await.unwrap_err();
    assert_eq!((none.reason, endpoint.calls()), (Reason::InvalidClient, 1));
    let next = world.settings.snapshot_after(Some(&world.snapshot), &[("secret", "hush-2")]);
    world.tokens.update(next);
    endpoint.called(2).await;
    world.tokens.wait(&world.want("m1")).await.unwrap();
    world.tokens.wait(&world.want("m2")).await.unwrap();
    assert_eq!(world.tokens.unhealthy("shop"), None);
}

#[tokio::test]
async fn revoked_during_its_refresh_it_stays_revoked() {
    let gate = Arc::new(Notify::new());
    let opened = gate.clone();
    let endpoint = Endpoint::start(move |number, text| match text.starts_with("POST /revoke") {
        true => Reply::Answer(200, "", String::new()),
        false => Reply::After(opened.clone(), Box::new(tokens(number))),
    })
    .await;
    let revoke_url = Some(format!("http://127.0.0.1:{}/revoke", endpoint.port));
    let world = Arc::new(World::new(Settings { revoke_url, ..Settings::at(endpoint.port) }));
    world.connect("m1", &[]).await;
    let waiting = world.clone();
    let request = tokio::spawn(async move { waiting.tokens.wait(&waiting.want("m1")).await });
    endpoint.called(1).await;
    let revoked = world.tokens.revoke(&ConnectionKey::new("shop", "m1")).await.unwrap();
    assert_eq!(revoked.platform, PlatformRevoked::Revoked);
    gate.notify_one();
    let none = request.await.unwrap().unwrap_err();
    assert_eq!((none.kind, none.reason), (NoTokenKind::Reauthorize, Reason::Revoked));
    assert_eq!(world.record("m1").await.state, State::Revoked);
    let sent = endpoint.sent();
    assert!(sent[1].contains("token=refresh-0"), "{sent:?}");
    assert!(sent[2].starts_with("POST /revoke") && sent[2].contains("token=refresh-1"), "{sent:?}");
}

#[tokio::test]
async fn one_merchants_silent_endpoint_holds_up_nobody() {
    let good = Endpoint::start(|number, _| tokens(number)).await;
    let silent = Endpoint::start(|_, _| Reply::Silence).await;
    let mut settings = Settings::at(0);
    settings.token_url = "http://127.0.0.1:{port}/token".to_owned();
    settings.policy.wait = Duration::from_secs(30);
    settings.policy.parallel = 4;
    let world = Arc::new(World::new(settings));
    let port = silent.port.to_string();
    let mut stuck = JoinSet::new();
    for tenant in ["s1", "s2", "s3", "s4", "s5", "s6"] {
        world.connect(tenant, &[("port", &port)]).await;
        let world = world.clone();
        stuck.spawn(async move { world.tokens.wait(&world.want(tenant)).await.is_ok() });
    }
    silent.called(1).await;
    let port = good.port.to_string();
    for tenant in ["g1", "g2", "g3"] {
        world.connect(tenant, &[("port", &port)]).await;
        world.tokens.wait(&world.want(tenant)).await.unwrap();
    }
    assert_eq!((good.calls(), silent.calls()), (3, 1));
    stuck.abort_all();
}

#[tokio::test]
async fn a_token_goes_nowhere_that_a_changed_injection_does_not_mean() {
    let endpoint = Endpoint::start(|number, _| tokens(number)).await;
    let world = World::new(Settings::at(endpoint.port));
    world.connect("m1", &[]).await;
    world.tokens.wait(&world.want("m1")).await.unwrap();
    let other = Settings { part: "value.manager", ..Settings::at(endpoint.port) };
    world.tokens.update(other.snapshot(&[("secret", "s3cret")]));
    assert!(world.tokens.usable("shop", "m1", world.now()).is_none(), "it was made of other parts");
    let none = world.tokens.wait(&world.want("m1")).await.unwrap_err();
    assert_eq!(
        (none.kind, none.reason),
        (NoTokenKind::Unavailable, Reason::BadAnswer),
        "the platform never gave that part"
    );
    let same = Settings::at(endpoint.port).snapshot(&[("secret", "s3cret")]);
    world.tokens.update(same);
    world.tokens.wait(&world.want("m1")).await.unwrap();
    assert_eq!(endpoint.calls(), 1, "what is stored is put together anew");
}

#[tokio::test]
async fn events_that_nobody_is_told_of_do_not_pile_up() {
    let endpoint = Endpoint::start(|_, _| error(400, "invalid_grant")).await;
    let world = World::new(Settings::at(endpoint.port));
    world.connect("m1", &[]).await;
    world.tokens.wait(&world.want("m1")).await.unwrap_err();
    let store = world.tokens.store().clone();
    super::background::drop_old_events(&world.tokens.inner).await;
    world.clock.forward(25 * 3600);
    super::background::drop_old_events(&world.tokens.inner).await;
    let (waiting, dropped) = store.take_events(10, std::time::Duration::ZERO).await.unwrap();
    assert!(waiting.is_empty() && dropped == 0, "{waiting:?}");
}

#[tokio::test]
async fn a_living_token_that_the_upstream_refuses_ends_as_reauthorize_where_nothing_can_renew_it() {
    let endpoint = Endpoint::start(|number, _| if number == 1 { tokens(1) } else { error(400, "invalid_grant") }).await;
    let world = World::new(Settings::at(endpoint.port));
    world.connect("m1", &[]).await;
    world.tokens.wait(&world.want("m1")).await.unwrap();
    assert!(
        world.tokens.refresh_now(&ConnectionKey::new("shop", "m1")).await.is_ok(),
        "the grant is dead, the token lives"
    );
    assert_eq!(world.record("m1").await.state, State::Reauthorize);
    let token = world.tokens.usable("shop", "m1", world.now()).unwrap();
    let none = world.tokens.refused(&world.want("m1"), token.version).await.unwrap_err();
    assert_eq!((none.kind, none.reason), (NoTokenKind::Reauthorize, Reason::InvalidGrant));
    assert!(world.tokens.usable("shop", "m1", world.now()).is_some(), "others may still be served with it");
    assert_eq!(endpoint.calls(), 2);
}
