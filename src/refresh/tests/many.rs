//! More connections than the table holds, and many that end at one moment.

use tokio::task::JoinSet;

use super::endpoint::{Endpoint, tokens};
use super::world::{Settings, World};
use crate::refresh::table::ENTRIES;
use crate::store::Filter;
use crate::token::times;

fn tenants(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("m{number}")).collect()
}

#[tokio::test]
async fn what_made_room_works_again_without_a_token_call() {
    let endpoint = Endpoint::start(|number, _| tokens(number)).await;
    let world = World::new(Settings::at(endpoint.port));
    let tenants = tenants(2 * ENTRIES + 10);
    let table = || world.tokens.inner.scene.load().client("shop").unwrap().lane.clone();
    let mut first = Vec::new();
    for tenant in &tenants {
        world.connect(tenant, &[]).await;
        first.push(world.tokens.wait(&world.want(tenant)).await.unwrap().instance.clone());
        world.clock.forward(1);
    }
    assert_eq!((table().table.count(), endpoint.calls()), (ENTRIES, tenants.len()));
    // Who was used last is still there; who was used first is not, and comes back from the store.
    let now = world.now();
    assert!(world.tokens.usable("shop", tenants.last().unwrap(), now).is_some());
    assert!(world.tokens.usable("shop", &tenants[0], now).is_none());
    for (number, tenant) in tenants.iter().enumerate().take(50) {
        let token = world.tokens.wait(&world.want(tenant)).await.unwrap();
        let key =
            |instance: &crate::snapshot::credential::Instance| format!("{:?}", instance.value().unwrap().generation);
        assert_eq!(key(&token.instance), key(&first[number]), "the token that was stored");
        assert_eq!(world.stored(tenant).await.0, format!("access-{}", number + 1));
    }
    assert_eq!((table().table.count(), endpoint.calls()), (ENTRIES, tenants.len()), "no further call");
}

#[tokio::test]
async fn connections_that_end_together_are_refreshed_apart() {
    let endpoint = Endpoint::start(|number, _| tokens(number)).await;
    let world = std::sync::Arc::new(World::new(Settings::at(endpoint.port)));
    let mut made = JoinSet::new();
    for tenant in tenants(240) {
        let world = world.clone();
        made.spawn(async move {
            world.connect(&tenant, &[]).await;
            world.tokens.wait(&world.want(&tenant)).await.unwrap();
        });
    }
    made.join_all().await;
    let all = world.store.list(&Filter::default(), None, 1000).await.unwrap();
    assert_eq!(all.len(), 240);
    let window = times::window_of(&all[0].record.tokens, &world.settings.policy).unwrap();
    let span = window.latest.since(window.earliest).as_secs_f64();
    let mut tenths = [0_usize; 10];
    for one in &all {
        assert_eq!(one.record.tokens.expires_at, all[0].record.tokens.expires_at, "they end together");
        let at = one.record.next_refresh_at.unwrap();
        assert!(at >= window.earliest && at <= window.latest, "{at:?}");
        let part = at.since(window.earliest).as_secs_f64() / span;
        tenths[((part * 10.0) as usize).min(9)] += 1;
    }
    // 24 each if they were spread evenly; under 4 or over 60 in any is a chance of less than one in a million.
    assert!(tenths.iter().all(|count| (4..=60).contains(count)), "{tenths:?}");
}
