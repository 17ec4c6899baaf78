//! The machine: each transition by itself. What always holds is in `machine_promises`.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use serde_json::json;

use super::answer::{Class, Refusal};
use super::event::EventKind;
use super::grant::OAuth;
use super::machine::{
    Attempt, Change, Client, Need, Next, Outcome, Outside, RECHECK, Seed, Source, Step, Turn, after,
    after_interruption, connected, due_on_use, held, need, template, usable_until,
};
use super::record::{ConnectionKey, LastRefresh, Reason, Record, State, TokenSet};
use super::times::{self, Use, Window};
use super::vectors::{oauth, policy, secret};
use crate::clock::Timestamp;

pub(super) const NOW: Timestamp = Timestamp::from_seconds(1_790_000_000);

pub(super) fn consent() -> OAuth {
    oauth(&json!({ "grant": "refresh_token", "token_url": "https://as.test/token", "scope": ["read", "write"] }))
}

pub(super) fn own() -> OAuth {
    oauth(&json!({ "grant": "client_credentials", "token_url": "https://as.test/token" }))
}

pub(super) fn tokens(now: Timestamp, life: i64, name: &str) -> TokenSet {
    TokenSet {
        access: Some(secret(name)),
        refresh: Some(secret(&format!("r-{name}"))),
        issued_at: Some(now),
        expires_at: Some(now.plus_seconds(life)),
        ..TokenSet::default()
    }
}

pub(super) fn connection(oauth: &OAuth) -> Record {
    let record = template(ConnectionKey::new("shop", "m1"), oauth, &[], NOW);
    Record { tokens: tokens(NOW, 3600, "a"), version: 3, ..record }
}

pub(super) const STORED: Attempt = Attempt { source: Source::Stored, doubt: None, turn: Turn::First };

pub(super) fn refusal(reason: Reason, class: Class) -> Outcome {
    Outcome::Refused(Refusal { reason, class, detail: None })
}

pub(super) fn dead() -> Outcome {
    refusal(Reason::InvalidGrant, Class::Dead)
}

pub(super) fn step(next: Next) -> Step {
    let Next::Commit(step) = next else { panic!("{next:?}") };
    *step
}

pub(super) fn kinds(change: &Change) -> Vec<EventKind> {
    change.events.iter().map(|event| event.kind).collect()
}

/// What a store makes of a change.
pub(super) fn written(record: &Record, change: Change, now: Timestamp) -> Record {
    let mut next = record.clone();
    (next.state, next.reason, next.detail) = (change.state, change.reason, change.detail);
    (next.failures, next.last_refresh, next.seed) = (change.failures, change.last_refresh, change.seed);
    next.tokens = change.tokens.unwrap_or(next.tokens);
    next.next_refresh_at = change.next_refresh_in.map(|pause| now.plus(pause));
    next.version += 1;
    next
}

/// The window of reference: `expires - margin - 5 %` to `expires - margin`, margin = max(20 %, min(5 min, 50 %)).
/// Seconds after issue, worked out by hand.
#[test]
fn the_margins_are_those_of_the_manual() {
    let window = |life: i64, not_before: u64| {
        let policy = super::grant::RefreshPolicy { not_before: Duration::from_secs(not_before), ..policy() };
        let Window { earliest, latest } = times::refresh_window(NOW, NOW.plus_seconds(life), &policy);
        (earliest.since(NOW).as_secs_f64(), latest.since(NOW).as_secs_f64())
    };
    assert_eq!(window(3600, 0), (2700.0, 2880.0)); // 20 % = 720 s
    assert_eq!(window(900, 0), (555.0, 600.0)); // 5 min
    assert_eq!(window(299, 0), (134.55, 149.5)); // 50 %
    assert_eq!(window(2_592_000, 0), (1_944_000.0, 2_073_600.0));
    // Exact Online: not before 30 s before the end; half of the 29 s that are left.
    assert_eq!(window(600, 30), (570.0, 584.5));
    assert_eq!(window(0, 0), (0.0, 0.0));
}

#[test]
fn a_token_ends_before_its_end() {
    let end = |life: i64| times::usable_until(&tokens(NOW, life, "a")).unwrap().since(NOW).as_secs_f64();
    assert_eq!((end(3600), end(10), end(5)), (3599.0, 9.0, 4.5));
    let mut record = connection(&consent());
    let usable = |record: &Record, second: i64| usable_until(record, &policy(), NOW.plus_seconds(second)).is_some();
    assert!(usable(&record, 3598) && !usable(&record, 3599));
    record.state = State::Reauthorize;
    assert!(usable(&record, 3598) && !usable(&record, 3599), "a live token is used to its end");
    record.tokens.expires_at = None;
    assert!(usable(&record, 3599) && !usable(&record, 3600));
    record.state = State::Degraded;
    assert!(usable(&record, 1_000_000), "until it is refused");
    record.state = State::Revoked;
    assert!(!usable(&record, 0));
}

#[test]
fn an_unused_connection_waits_for_its_use_or_its_refresh_token() {
    let after =
        |tokens: &TokenSet, usage| times::next_refresh_in(tokens, usage, &policy(), NOW, 0.0).unwrap().as_secs();
    let mut set = tokens(NOW, 3600, "a");
    assert_eq!((after(&set, Use::Active), after(&set, Use::Idle)), (2700, 604_800));
    set.refresh_expires_at = Some(NOW.plus_seconds(100_000));
    assert_eq!(after(&set, Use::Idle), 80_000);
    set.expires_at = Some(NOW.plus_seconds(2_592_000));
    assert_eq!(after(&set, Use::Active), 80_000, "the refresh token ends first");
    set.refresh_expires_at = None;
    assert_eq!(after(&set, Use::Idle), 1_944_000);
    assert!(!due_on_use(&set, &policy(), NOW) && due_on_use(&set, &policy(), NOW.plus_seconds(1_944_000)));
}

#[test]
fn pauses_double_and_a_platform_may_ask_for_its_own() {
    let pause = |failures, asked: Option<u64>, random| {
        times::pause(failures, asked.map(Duration::from_secs), &policy(), random).as_secs_f64()
    };
    let bounds: Vec<f64> = [1, 2, 3, 8, 9, 10, u32::MAX].into_iter().map(|n| pause(n, None, 1.0)).collect();
    assert_eq!(bounds, [1.0, 2.0, 4.0, 128.0, 256.0, 300.0, 300.0]);
    assert_eq!((pause(9, None, 0.0), pause(9, None, 0.5)), (0.1, 128.0));
    assert_eq!((pause(1, Some(600), 0.0), pause(1, Some(600), 1.0)), (600.0, 601.0));
    assert_eq!((pause(1, Some(86_400), 1.0), pause(1, Some(0), 1.0)), (3600.0, 1.0));
}

#[test]
fn a_passing_failure_degrades_and_success_recovers() {
    let (oauth, record) = (consent(), connection(&consent()));
    let failed = step(after(&record, &oauth, STORED, Outcome::Unsent(Reason::Refused), NOW, 1.0));
    assert_eq!((failed.change.state, failed.change.reason), (State::Degraded, Some(Reason::Refused)));
    assert_eq!((failed.change.failures, failed.client), (1, Client::Unknown));
    assert_eq!(kinds(&failed.change), [EventKind::Degraded]);
    let degraded = written(&record, failed.change, NOW);
    assert_eq!(held(&degraded, NOW), Duration::from_secs(1));
    let passing = Class::Passing { retry_after: Some(Duration::from_secs(30)) };
    let again = step(after(&degraded, &oauth, STORED, refusal(Reason::RateLimited, passing), NOW, 0.0));
    assert_eq!((again.change.failures, again.change.next_refresh_in), (2, Some(Duration::from_secs(30))));
    assert!(again.change.events.is_empty(), "told once");
    let well = step(after(&degraded, &oauth, STORED, Outcome::Fresh(Box::new(tokens(NOW, 3600, "b"))), NOW, 0.0));
    assert_eq!((well.change.state, well.change.failures, well.client), (State::Active, 0, Client::Accepted));
    assert_eq!(kinds(&well.change), [EventKind::Recovered]);
    let event = &well.change.events[0];
    assert_eq!((event.previous, event.state, event.version), (Some(State::Degraded), Some(State::Active), 5));
}

#[test]
fn a_dead_grant_is_told_once_and_not_tried_again_until_something_changes() {
    let (oauth, record) = (consent(), connection(&consent()));
    let change = step(after(&record, &oauth, STORED, dead(), NOW, 0.5)).change;
    assert_eq!((change.state, change.reason), (State::Reauthorize, Some(Reason::InvalidGrant)));
    assert_eq!((change.next_refresh_in, kinds(&change)), (None, vec![EventKind::Reauthorize]));
    let gone = written(&record, change, NOW);
    assert!(matches!(need(Some(&gone), &oauth, Seed::None, Outside::Same, NOW), Need::Nothing));
    let asked = need(Some(&gone), &oauth, Seed::None, Outside::Changed, NOW);
    assert!(matches!(asked, Need::Call(Attempt { source: Source::Stored, .. })));
    let seed = need(Some(&gone), &oauth, Seed::Is([1; 32]), Outside::Same, NOW);
    let Need::Call(attempt) = seed else { panic!("{seed:?}") };
    let change = step(after(&gone, &oauth, attempt, dead(), NOW, 0.5)).change;
    assert_eq!((change.seed, change.events.len()), (Some([1; 32]), 0));
    let gone = written(&gone, change, NOW);
    assert!(matches!(need(Some(&gone), &oauth, Seed::Is([1; 32]), Outside::Same, NOW), Need::Nothing));
    assert!(matches!(need(Some(&gone), &oauth, Seed::Is([2; 32]), Outside::Same, NOW), Need::Call(_)));
}

#[test]
fn the_client_is_not_the_merchant() {
    let (oauth, record) = (consent(), connection(&consent()));
    let step = step(after(&record, &oauth, STORED, refusal(Reason::InvalidClient, Class::Client), NOW, 0.5));
    assert_eq!((step.change.state, step.change.reason, step.client), (State::Active, None, Client::Refused));
    assert_eq!((step.change.next_refresh_in, step.change.events.len()), (Some(RECHECK), 0));
}

#[test]
fn a_lost_answer_is_asked_for_once_more_and_named_when_it_was_the_last() {
    let (oauth, record) = (consent(), connection(&consent()));
    let Next::Again(second) = after(&record, &oauth, STORED, Outcome::Lost(Reason::Timeout), NOW, 0.5) else {
        panic!()
    };
    assert_eq!((second.source, second.doubt), (Source::Stored, Some(Reason::AnswerLost)));
    let change = step(after(&record, &oauth, second, dead(), NOW, 0.5)).change;
    assert_eq!((change.state, change.reason), (State::Reauthorize, Some(Reason::AnswerLost)));
    // Lost twice: a pause, and the doubt stays until the token is refused or replaced, through other failures.
    let change = step(after(&record, &oauth, second, Outcome::Lost(Reason::Timeout), NOW, 0.5)).change;
    assert_eq!((change.state, change.reason), (State::Degraded, Some(Reason::Timeout)));
    let mut doubtful = written(&record, change, NOW);
    for _ in 0..3 {
        let Need::Call(attempt) = need(Some(&doubtful), &oauth, Seed::None, Outside::Same, NOW) else { panic!() };
        assert_eq!(attempt.doubt, Some(Reason::AnswerLost));
        let change = step(after(&doubtful, &oauth, attempt, Outcome::Unsent(Reason::Refused), NOW, 0.5)).change;
        doubtful = written(&doubtful, change, NOW);
    }
    let Need::Call(attempt) = need(Some(&doubtful), &oauth, Seed::None, Outside::Same, NOW) else { panic!() };
    assert_eq!(step(after(&doubtful, &oauth, attempt, dead(), NOW, 0.5)).change.reason, Some(Reason::AnswerLost));
}

#[test]
fn an_answer_that_cannot_be_read_may_have_used_up_the_token() {
    let (oauth, record) = (consent(), connection(&consent()));
    let change = step(after(&record, &oauth, STORED, refusal(Reason::BadAnswer, Class::Unread), NOW, 0.5)).change;
    assert_eq!((change.state, change.reason), (State::Degraded, Some(Reason::BadAnswer)));
    assert_eq!(change.last_refresh.unwrap().failed, Some(Reason::AnswerLost));
}

#[test]
fn a_kill_is_named_when_it_cost_the_connection() {
    let (oauth, record) = (consent(), connection(&consent()));
    let attempt = after_interruption(STORED);
    let change = step(after(&record, &oauth, attempt, dead(), NOW, 0.5)).change;
    assert_eq!((change.state, change.reason), (State::Reauthorize, Some(Reason::RefreshInterrupted)));
    let own_attempt = Attempt { source: Source::Own, ..STORED };
    assert_eq!(after_interruption(own_attempt).doubt, None);
}

#[test]
fn an_access_token_alone_ends_with_its_time() {
    let oauth = consent();
    let mut record = connection(&oauth);
    record.tokens.refresh = None;
    assert!(matches!(need(Some(&record), &oauth, Seed::None, Outside::Same, NOW), Need::Nothing));
    let over = need(Some(&record), &oauth, Seed::None, Outside::Same, NOW.plus_seconds(3599));
    let Need::Ended(change) = over else { panic!("{over:?}") };
    assert_eq!((change.state, change.reason), (State::Reauthorize, Some(Reason::RefreshExpired)));
    assert_eq!(kinds(&change), [EventKind::Reauthorize]);
    record.tokens.expires_at = None;
    assert!(matches!(need(Some(&record), &oauth, Seed::None, Outside::Same, NOW.plus_seconds(1 << 40)), Need::Nothing));
    let mut record = connection(&oauth);
    record.tokens.refresh_expires_at = Some(NOW.plus_seconds(10));
    assert!(matches!(need(Some(&record), &oauth, Seed::None, Outside::Same, NOW), Need::Call(_)));
    let over = need(Some(&record), &oauth, Seed::None, Outside::Same, NOW.plus_seconds(10));
    assert!(matches!(over, Need::Ended(change) if change.reason == Some(Reason::RefreshExpired)));
}

#[test]
fn seeds_begin_connections_and_break_none() {
    let oauth = consent();
    assert!(matches!(need(None, &oauth, Seed::None, Outside::Same, NOW), Need::Nothing));
    let first = need(None, &oauth, Seed::Is([1; 32]), Outside::Same, NOW);
    let Need::Call(attempt) = first else { panic!("{first:?}") };
    let empty = template(ConnectionKey::new("shop", "m1"), &oauth, &[("shop", "acme")], NOW);
    let fresh = Outcome::Fresh(Box::new(tokens(NOW, 3600, "b")));
    let change = step(after(&empty, &oauth, attempt, fresh, NOW, 0.0)).change;
    assert_eq!((change.seed, kinds(&change)), (Some([1; 32]), vec![EventKind::Connected]));
    let record = written(&empty, change, NOW);
    let stored = need(Some(&record), &oauth, Seed::Is([1; 32]), Outside::Same, NOW);
    assert!(matches!(stored, Need::Call(Attempt { source: Source::Stored, .. })));
    // A changed seed is tried; a bad one costs nothing and is not tried again.
    let changed = need(Some(&record), &oauth, Seed::Is([2; 32]), Outside::Same, NOW);
    let Need::Call(attempt) = changed else { panic!("{changed:?}") };
    assert_eq!(attempt.source, Source::Seed([2; 32]));
    let change = step(after(&record, &oauth, attempt, dead(), NOW, 0.0)).change;
    assert_eq!((change.state, change.seed, change.events.len()), (State::Active, Some([2; 32]), 0));
    let record = written(&record, change, NOW);
    let stored = need(Some(&record), &oauth, Seed::Is([2; 32]), Outside::Same, NOW);
    assert!(matches!(stored, Need::Call(Attempt { source: Source::Stored, .. })));
    // What an approval brought is not undone by a seed that was there all along.
    let mut approved = connection(&oauth);
    let stored = need(Some(&approved), &oauth, Seed::Is([1; 32]), Outside::Same, NOW);
    assert!(matches!(stored, Need::Call(Attempt { source: Source::Stored, .. })));
    approved.state = State::Reauthorize;
    let seed = need(Some(&approved), &oauth, Seed::Is([1; 32]), Outside::Same, NOW);
    assert!(matches!(seed, Need::Call(Attempt { source: Source::Seed(_), .. })));
}

#[test]
fn granted_scopes_are_compared_with_those_before_or_those_asked_for() {
    let oauth = consent();
    let scopes = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let told = |before: &str, now: &str| {
        let mut record = connection(&oauth);
        record.tokens.scopes = scopes(before);
        let fresh = TokenSet { scopes: scopes(now), ..tokens(NOW, 3600, "b") };
        let change = step(after(&record, &oauth, STORED, Outcome::Fresh(Box::new(fresh)), NOW, 0.0)).change;
        change.events.into_iter().find(|event| event.kind == EventKind::ScopeChanged).and_then(|event| event.detail)
    };
    assert_eq!(told("", "write read"), None);
    assert_eq!(told("read", "read"), None);
    assert_eq!(told("", ""), None);
    assert_eq!(told("", "read").as_deref(), Some("gone: write; new: "));
    assert_eq!(told("read", "read admin").as_deref(), Some("gone: ; new: admin"));
}

#[test]
fn a_token_that_had_ended_when_it_came_is_kept_and_not_asked_for_in_a_circle() {
    let (oauth, record) = (consent(), connection(&consent()));
    let fresh = Outcome::Fresh(Box::new(tokens(NOW.plus_seconds(-7200), 3600, "b")));
    let change = step(after(&record, &oauth, STORED, fresh, NOW, 1.0)).change;
    assert_eq!((change.state, change.failures), (State::Degraded, 1));
    assert_eq!(change.tokens.unwrap().refresh.unwrap().expose(), b"r-b");
    assert_eq!(change.next_refresh_in, Some(Duration::from_secs(1)));
}

#[test]
fn an_approval_makes_a_connection_again() {
    let oauth = consent();
    let mut before = connection(&oauth);
    (before.state, before.seed) = (State::Revoked, Some([7; 32]));
    let (record, events) = connected(Some(&before), connection(&oauth), &oauth, NOW, 0.0);
    assert_eq!((record.state, record.seed, record.failures), (State::Active, Some([7; 32]), 0));
    assert_eq!(record.last_refresh, Some(LastRefresh { at: NOW, failed: None }));
    assert_eq!(record.next_refresh_at, Some(NOW.plus_seconds(2700)));
    assert_eq!((events[0].kind, events[0].previous), (EventKind::Connected, Some(State::Revoked)));
}
