//! What every place does alike.

use std::time::Duration;

use countersign::secret::value::SecretBytes;
use countersign::store::{Approval, Claim, Committed, Existing, Filter, Known, StoreError};
use countersign::token::EventKind;
use countersign::token::record::{Reason, State};

use super::{EVENTS, TERM, World, change, everywhere, exposed, secret, tokens};

#[test]
fn what_is_written_is_read_by_the_other() {
    everywhere(|w: World| async move {
        let mut given = w.full("m1", "one");
        given.captures.insert("shop".to_owned(), "acme".to_owned());
        given.state = State::Degraded;
        given.reason = Some(Reason::Http5xx);
        given.detail = Some("upstream said \"no\"".to_owned());
        given.seed = Some([9; 32]);
        let written = w.a.put(vec![given.clone()], Existing::Refuse, Vec::new()).await.unwrap();
        let read = w.b.load(&given.key).await.unwrap().unwrap();
        assert_eq!((written[0].version, read.version), (1, 1));
        let tokens = &read.tokens;
        let secrets = (exposed(&tokens.access), exposed(&tokens.refresh), tokens.values["manager"].expose());
        assert_eq!(secrets, ("access-one", "refresh-one", &b"value-one"[..]));
        assert_eq!((&tokens.host, &tokens.scopes), (&given.tokens.host, &given.tokens.scopes));
        assert_eq!((tokens.issued_at, tokens.expires_at), (given.tokens.issued_at, given.tokens.expires_at));
        assert_eq!((read.state, read.reason, &read.detail), (given.state, given.reason, &given.detail));
        assert_eq!((read.captures, read.seed, read.grant), (given.captures, given.seed, given.grant));
        assert!(read.created_at == read.updated_at && read.created_at <= w.a.now().await.unwrap());
        assert!(w.b.load(&w.key("m2")).await.unwrap().is_none());
    });
}

#[test]
fn of_many_who_claim_one_wins() {
    everywhere(|w: World| async move {
        w.a.put(vec![w.full("m1", "one")], Existing::Refuse, Vec::new()).await.unwrap();
        for (tenant, known) in [("m1", Known::Version(1)), ("m2", Known::Nothing)] {
            let mut tasks = tokio::task::JoinSet::new();
            for place in 0..8 {
                let (store, template) = (if place % 2 == 0 { w.a.clone() } else { w.b.clone() }, w.empty(tenant));
                tasks.spawn(async move {
                    match store.claim(&template, known, &format!("owner-{place}"), TERM).await.unwrap() {
                        Claim::Won { interrupted: None, .. } => 1,
                        Claim::Held { remaining } if remaining <= TERM && !remaining.is_zero() => 0,
                        other => panic!("{other:?}"),
                    }
                });
            }
            assert_eq!(tasks.join_all().await.iter().sum::<u32>(), 1, "{tenant}");
        }
    });
}

#[test]
fn a_commit_needs_the_version_and_the_lease() {
    everywhere(|w: World| async move {
        let _turn = EVENTS.lock().await;
        let key = w.key("m1");
        let (first, _) = w.won("m1", Known::Nothing, "one").await;
        assert_eq!((first.version, first.intent.is_some()), (0, true));
        assert!(matches!(w.b.commit(&key, 0, "two", change("x")).await.unwrap(), Committed::Lost(Some(_))));
        let mut told = change("new");
        told.events = vec![w.event("m1", EventKind::Connected)];
        let Committed::Stored(stored) = w.a.commit(&key, 0, "one", told.clone()).await.unwrap() else { panic!() };
        assert_eq!((stored.version, stored.lease, stored.intent), (1, None, None));
        // Its answer was lost: said again it is the same, and tells nothing twice.
        let Committed::Stored(again) = w.a.commit(&key, 0, "one", told).await.unwrap() else { panic!() };
        assert_eq!((again.version, exposed(&again.tokens.access)), (1, "access-new"));
        let (events, _) = w.b.take_events(1000, TERM).await.unwrap();
        let own: Vec<_> = events.iter().filter(|event| event.event.key == key).collect();
        assert_eq!((own.len(), own[0].event.version), (1, 1));
        assert!(matches!(w.b.commit(&key, 0, "two", change("x")).await.unwrap(), Committed::Lost(Some(_))));
        let read = w.b.load(&key).await.unwrap().unwrap();
        assert_eq!((exposed(&read.tokens.refresh), read.seed), ("refresh-new", Some([7; 32])));
        let next = read.next_refresh_at.unwrap().millis() - read.updated_at.millis();
        assert_eq!(next, 600_000);
        let moved = w.b.claim(&w.empty("m1"), Known::Version(0), "two", TERM).await.unwrap();
        assert!(matches!(moved, Claim::Moved(record) if record.version == 1));
        let absent = w.b.claim(&w.empty("m9"), Known::Version(3), "two", TERM).await.unwrap();
        assert!(matches!(absent, Claim::Absent));
    });
}

#[test]
fn a_failure_keeps_the_tokens() {
    everywhere(|w: World| async move {
        w.a.put(vec![w.full("m1", "one")], Existing::Refuse, Vec::new()).await.unwrap();
        w.won("m1", Known::Version(1), "one").await;
        let mut failed = change("");
        (failed.tokens, failed.seed, failed.failures) = (None, None, 3);
        (failed.state, failed.reason) = (State::Degraded, Some(Reason::Timeout));
        w.a.commit(&w.key("m1"), 1, "one", failed).await.unwrap();
        let read = w.b.load(&w.key("m1")).await.unwrap().unwrap();
        assert_eq!((read.failures, read.state, read.version), (3, State::Degraded, 2));
        assert_eq!((exposed(&read.tokens.access), exposed(&read.tokens.refresh)), ("access-one", "refresh-one"));
    });
}

#[test]
fn revoking_beats_a_refresh_in_flight() {
    everywhere(|w: World| async move {
        let key = w.key("m1");
        w.a.put(vec![w.full("m1", "one")], Existing::Refuse, Vec::new()).await.unwrap();
        w.won("m1", Known::Version(1), "one").await;
        let before = w.b.revoke(&key, vec![w.event("m1", EventKind::Revoked)]).await.unwrap().unwrap();
        assert_eq!(exposed(&before.tokens.refresh), "refresh-one");
        let Committed::Lost(Some(now)) = w.a.commit(&key, 1, "one", change("late")).await.unwrap() else { panic!() };
        assert_eq!((now.state, now.reason, now.version), (State::Revoked, Some(Reason::Revoked), 2));
        assert!(now.tokens.access.is_none() && now.tokens.refresh.is_none() && now.tokens.values.is_empty());
        assert_eq!(w.b.revoke(&key, Vec::new()).await.unwrap().unwrap().version, 2, "once");
        assert!(w.b.revoke(&w.key("m2"), Vec::new()).await.unwrap().is_none());
    });
}

#[test]
fn a_lease_ends_and_what_it_began_is_interrupted() {
    everywhere(|w: World| async move {
        let key = w.key("m1");
        let (template, known) = (w.empty("m1"), Known::Nothing);
        let first = w.a.claim(&template, known, "one", Duration::ZERO).await.unwrap();
        assert!(matches!(first, Claim::Won { interrupted: None, .. }));
        let (_, interrupted) = w.won("m1", known, "two").await;
        let began = interrupted.expect("the first was never finished");
        // Never sent: given back, and the old interruption stays.
        w.b.release(&key, "one").await.unwrap(); // not its own
        assert!(matches!(w.b.claim(&template, known, "other", TERM).await.unwrap(), Claim::Held { .. }));
        w.b.release(&key, "two").await.unwrap();
        assert_eq!(w.a.load(&key).await.unwrap().unwrap().intent, Some(began));
        let (_, interrupted) = w.won("m1", known, "three").await;
        assert_eq!(interrupted, Some(began));
        w.a.commit(&key, 0, "three", change("x")).await.unwrap();
        let (record, interrupted) = w.won("m1", Known::Version(1), "four").await;
        assert!(interrupted.is_none() && record.lease.is_some());
        w.a.release(&key, "four").await.unwrap();
        assert_eq!(w.a.load(&key).await.unwrap().unwrap().intent, None);
    });
}

#[test]
fn a_lease_that_ran_out_and_nobody_took_still_commits() {
    everywhere(|w: World| async move {
        w.a.claim(&w.empty("m1"), Known::Nothing, "one", Duration::ZERO).await.unwrap();
        assert!(matches!(w.a.commit(&w.key("m1"), 0, "one", change("x")).await.unwrap(), Committed::Stored(_)));
    });
}

#[test]
fn an_import_is_whole_or_not_at_all() {
    everywhere(|w: World| async move {
        let _turn = EVENTS.lock().await;
        w.a.put(vec![w.full("m2", "old")], Existing::Refuse, Vec::new()).await.unwrap();
        let many = || vec![w.full("m1", "new"), w.full("m2", "new"), w.full("m3", "new")];
        let told = vec![w.event("m1", EventKind::Connected)];
        let refused = w.a.put(many(), Existing::Refuse, told.clone()).await;
        assert!(matches!(refused, Err(StoreError::Exists { key }) if key == w.key("m2")));
        assert!(w.b.load(&w.key("m1")).await.unwrap().is_none());
        let twice = w.a.put(vec![w.full("m4", "a"), w.full("m4", "b")], Existing::Refuse, Vec::new()).await;
        assert!(matches!(twice, Err(StoreError::Exists { .. })));
        w.won("m2", Known::Version(1), "one").await;
        let created = w.b.load(&w.key("m2")).await.unwrap().unwrap().created_at;
        let written = w.a.put(many(), Existing::Replace, told).await.unwrap();
        assert_eq!(written.iter().map(|record| record.version).collect::<Vec<_>>(), [1, 2, 1]);
        let read = w.b.load(&w.key("m2")).await.unwrap().unwrap();
        assert_eq!((exposed(&read.tokens.access), read.lease, read.created_at), ("access-new", None, created));
        assert!(matches!(w.a.commit(&w.key("m2"), 1, "one", change("x")).await.unwrap(), Committed::Lost(_)));
        let (events, _) = w.b.take_events(1000, TERM).await.unwrap();
        assert_eq!(events.iter().filter(|event| event.event.key == w.key("m1")).count(), 1, "the refused told nothing");
    });
}

#[test]
fn pages_of_a_list_go_on_where_they_ended() {
    everywhere(|w: World| async move {
        // Order of bytes: the capital letters first, whatever the locale.
        let tenants = ["", "B", "a", "b", "m 1", "\u{e9}"];
        let mut records: Vec<_> = tenants.iter().map(|tenant| w.full(tenant, tenant)).collect();
        records[2].state = State::Reauthorize;
        w.a.put(records, Existing::Refuse, Vec::new()).await.unwrap();
        let mut filter = Filter { credential: Some(w.name.clone()), ..Filter::default() };
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let page = w.b.list(&filter, after.as_ref(), 2).await.unwrap();
            let Some(last) = page.last() else { break };
            after = Some(last.record.key.clone());
            seen.extend(page.into_iter().map(|listed| listed.record.key.tenant.to_string()));
        }
        assert_eq!(seen, tenants);
        filter.state = Some(State::Reauthorize);
        assert_eq!(w.b.list(&filter, None, 10).await.unwrap().len(), 1);
        filter = Filter { tenant: Some("m 1".to_owned()), ..Filter::default() };
        let own = |all: Vec<countersign::store::Listed>| {
            all.iter().filter(|one| *one.record.key.credential == *w.name).count()
        };
        assert_eq!(own(w.b.list(&filter, None, 1000).await.unwrap()), 1);
        assert_eq!(own(w.b.list(&Filter::default(), Some(&w.key("b")), 1000).await.unwrap()), 2);
    });
}

#[test]
fn news_and_what_is_due_come_by_the_databases_clock() {
    everywhere(|w: World| async move {
        let start = w.a.now().await.unwrap();
        let mut records: Vec<_> = ["m1", "m2", "m3"].iter().map(|tenant| w.full(tenant, "x")).collect();
        records[0].next_refresh_at = Some(start.plus_seconds(20));
        records[1].next_refresh_at = Some(start.plus_seconds(-20));
        w.a.put(records, Existing::Refuse, Vec::new()).await.unwrap();
        let own = |keys: Vec<countersign::token::ConnectionKey>| -> Vec<String> {
            let keys = keys.into_iter().filter(|key| *key.credential == *w.name);
            keys.map(|key| key.tenant.to_string()).collect()
        };
        let news = w.b.news(start, 1).await.unwrap();
        let one = news[0].at;
        assert!(news.iter().all(|news| news.at == one), "a moment is whole");
        let news = w.b.news(start, 1000).await.unwrap();
        assert!(news.is_sorted_by_key(|news| news.at));
        assert_eq!(own(news.into_iter().map(|news| news.key).collect()).len(), 3);
        assert_eq!(own(w.b.due(Duration::ZERO, 1000).await.unwrap()), ["m2"]);
        assert_eq!(own(w.b.due(Duration::from_secs(60), 1000).await.unwrap()), ["m2", "m1"]);
        w.won("m2", Known::Version(1), "one").await;
        assert_eq!(own(w.b.due(Duration::from_secs(60), 1000).await.unwrap()), ["m1"]);
        let before = w.a.load(&w.key("m1")).await.unwrap().unwrap();
        w.a.used(vec![w.key("m1"), w.key("m9")]).await.unwrap();
        let after = w.b.load(&w.key("m1")).await.unwrap().unwrap();
        assert_eq!((after.version, after.updated_at), (before.version, before.updated_at));
        assert_eq!(after.last_used_at.unwrap().seconds % 60, 0);
        assert!(after.last_used_at.unwrap().seconds > start.seconds - 120);
    });
}

#[test]
fn an_approval_is_finished_once() {
    everywhere(|w: World| async move {
        let approval = |state: u8| Approval {
            state: std::array::from_fn(|at| if at == 0 { state } else { *w.name.as_bytes().get(at).unwrap_or(&b'.') }),
            key: w.key("m1"),
            verifier: SecretBytes::copy_of(b"verifier-one"),
            redirect_url: "http://127.0.0.1:0/callback".to_owned(),
        };
        w.a.begin_approval(approval(1), TERM).await.unwrap();
        w.a.begin_approval(approval(2), Duration::ZERO).await.unwrap();
        let (one, two) = (approval(1).state, approval(2).state);
        let (first, second) = tokio::join!(w.a.take_approval(&one), w.b.take_approval(&one));
        let taken: Vec<_> = [first.unwrap(), second.unwrap()].into_iter().flatten().collect();
        assert_eq!(taken.len(), 1);
        assert_eq!((exposed(&Some(taken[0].verifier.clone())), &taken[0].key), ("verifier-one", &w.key("m1")));
        assert!(w.b.take_approval(&two).await.unwrap().is_none(), "too old");
        assert!(w.b.take_approval(&[0; 32]).await.unwrap().is_none());
    });
}

#[test]
fn events_come_until_they_are_delivered() {
    everywhere(|w: World| async move {
        let _turn = EVENTS.lock().await;
        w.a.tell(vec![w.event("m1", EventKind::Degraded), w.event("m2", EventKind::Unhealthy)]).await.unwrap();
        let take = async |term| {
            let (events, dropped) = w.b.take_events(1000, term).await.unwrap();
            assert_eq!(dropped, 0);
            let own = events.into_iter().filter(|event| *event.event.key.credential == *w.name);
            own.map(|event| (event.id, event.attempts, event.event.kind)).collect::<Vec<_>>()
        };
        let first = take(Duration::ZERO).await;
        assert_eq!(first.iter().map(|event| event.1).collect::<Vec<_>>(), [0, 0]);
        let second = take(TERM).await;
        assert_eq!(second.iter().map(|event| event.1).collect::<Vec<_>>(), [1, 1], "who took them died");
        assert!(take(TERM).await.is_empty(), "somebody is at it");
        let of = |kind| second.iter().find(|event| event.2 == kind).unwrap().0.clone();
        w.a.delivered(&of(EventKind::Degraded)).await.unwrap();
        w.a.postpone(&of(EventKind::Unhealthy), Duration::ZERO).await.unwrap();
        let third = take(TERM).await;
        assert_eq!((third.len(), third[0].1, third[0].2), (1, 2, EventKind::Unhealthy));
        w.a.postpone(&third[0].0, TERM).await.unwrap();
        assert!(take(TERM).await.is_empty());
    });
}

#[test]
fn a_record_without_tokens_stays_one() {
    everywhere(|w: World| async move {
        let mut given = w.full("m1", "x");
        (given.tokens.refresh, given.tokens.access) = (None, secret(""));
        given.tokens.values.clear();
        w.a.put(vec![given], Existing::Refuse, Vec::new()).await.unwrap();
        let read = w.b.load(&w.key("m1")).await.unwrap().unwrap().tokens;
        assert!(read.refresh.is_none() && read.access.is_some() && read.values.is_empty());
        assert_eq!(tokens("x").scopes, read.scopes);
    });
}
