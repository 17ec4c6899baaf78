//! What always holds of the machine, under random sequences of requests, answers, faults, kills, revocations and clock
//! moves. Its transitions are in `machine_tests`.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::machine_tests::*;
use std::time::Duration;

use super::answer::Class;
use super::event::EventKind;
use super::grant::OAuth;
use super::machine::{
    Change, Need, Next, Outcome, Outside, Seed, Source, after, after_interruption, connected, need, template,
    usable_until,
};
use super::record::{ConnectionKey, Reason, Record, State, TokenSet};
use super::times::{self, RETRY_AFTER_MAX, Use};
use super::vectors::policy;
use crate::clock::Timestamp;

/// What happens to a connection.
#[derive(Clone, Debug)]
enum Happens {
    Time(i64),
    Used,
    Call(Came),
    Killed,
    Revoked,
    Approved,
    Seed(u8),
    Asked,
}

/// What comes of a call.
#[derive(Clone, Debug)]
enum Came {
    Fresh { life: i64, refresh: bool, end: bool },
    Refused(u8, Option<u64>),
    Lost,
    Unsent,
}

fn came() -> impl Strategy<Value = Came> {
    prop_oneof![
        (-5i64..10_000, any::<bool>(), any::<bool>()).prop_map(|(life, refresh, end)| Came::Fresh {
            life,
            refresh,
            end
        }),
        (0u8..6, proptest::option::of(0u64..100_000)).prop_map(|(kind, asked)| Came::Refused(kind, asked)),
        Just(Came::Lost),
        Just(Came::Unsent),
    ]
}

fn happens() -> impl Strategy<Value = Happens> {
    prop_oneof![
        3 => (-400i64..8_000).prop_map(Happens::Time),
        1 => Just(Happens::Used),
        6 => came().prop_map(Happens::Call),
        1 => Just(Happens::Killed),
        1 => Just(Happens::Revoked),
        1 => Just(Happens::Approved),
        1 => (0u8..3).prop_map(Happens::Seed),
        1 => Just(Happens::Asked),
    ]
}

/// A connection in a world that does as it likes.
struct World {
    oauth: OAuth,
    record: Option<Record>,
    seed: Seed,
    outside: Outside,
    /// A refresh was sent by a process that was killed.
    interrupted: bool,
    now: Timestamp,
    random: f64,
    made: u32,
}

impl World {
    fn outcome(&mut self, came: &Came) -> Outcome {
        self.made += 1;
        match *came {
            Came::Fresh { life, refresh, end } => {
                let mut set = tokens(self.now, life, &format!("t{}", self.made));
                set.refresh = set.refresh.filter(|_| refresh);
                set.expires_at = set.expires_at.filter(|_| end);
                Outcome::Fresh(Box::new(set))
            }
            Came::Refused(kind, asked) => match kind {
                0 => dead(),
                1 => refusal(Reason::InvalidClient, Class::Client),
                2 => refusal(Reason::BadAnswer, Class::Configuration),
                3 => refusal(Reason::BadAnswer, Class::Unread),
                _ => refusal(Reason::Http5xx, Class::Passing { retry_after: asked.map(Duration::from_secs) }),
            },
            Came::Lost => Outcome::Lost(Reason::Timeout),
            Came::Unsent => Outcome::Unsent(Reason::Refused),
        }
    }

    /// A call, if one is needed; whatever comes is judged against what always holds.
    fn call(&mut self, came: &Came) -> Result<(), TestCaseError> {
        let before = self.record.clone();
        let mut attempt = match need(before.as_ref(), &self.oauth, self.seed, self.outside, self.now) {
            Need::Nothing => return Ok(()),
            Need::Ended(change) => {
                let record = before.unwrap();
                prop_assert!(change.tokens.is_none() && change.state == State::Reauthorize);
                self.record = Some(written(&record, *change, self.now));
                return Ok(());
            }
            Need::Call(attempt) => attempt,
        };
        let record = before.unwrap_or_else(|| template(ConnectionKey::new("shop", "m1"), &self.oauth, &[], self.now));
        prop_assert!(record.state != State::Revoked, "a revoked connection calls nobody");
        let news = self.outside == Outside::Changed || matches!(attempt.source, Source::Seed(_));
        prop_assert!(record.state != State::Reauthorize || news, "a dead connection calls nobody");
        if std::mem::take(&mut self.interrupted) {
            attempt = after_interruption(attempt);
        }
        self.outside = Outside::Same;
        let mut calls = 1;
        let (step, fresh) = loop {
            let outcome = self.outcome(came);
            let fresh = matches!(outcome, Outcome::Fresh(_));
            match after(&record, &self.oauth, attempt, outcome, self.now, self.random) {
                Next::Commit(step) => break (*step, fresh),
                Next::Again(next) => {
                    prop_assert_eq!(next.source, attempt.source, "the same token again");
                    attempt = next;
                    calls += 1;
                    prop_assert!(calls <= 2, "once more, not more");
                }
                Next::Discard => return Err(TestCaseError::fail("nothing was revoked")),
            }
        };
        self.judge(&record, &step.change, fresh)?;
        self.record = Some(written(&record, step.change, self.now));
        Ok(())
    }

    fn judge(&self, record: &Record, change: &Change, fresh: bool) -> Result<(), TestCaseError> {
        prop_assert_eq!(change.tokens.is_some(), fresh, "tokens change by new ones alone");
        prop_assert!(change.state != State::Revoked);
        prop_assert_eq!(change.state == State::Active && record.state != State::Active, {
            fresh && change.failures == 0 && record.state != State::Active
        });
        match change.state {
            State::Reauthorize => prop_assert!(change.next_refresh_in.is_none() && change.reason.is_some()),
            _ if fresh && change.failures == 0 => {}
            _ => {
                let pause = change.next_refresh_in;
                let bad_seed = change.seed != record.seed && change.state == record.state;
                prop_assert!(
                    bad_seed
                        || pause
                            .is_some_and(|pause| { pause >= Duration::from_millis(100) && pause <= RETRY_AFTER_MAX }),
                    "{pause:?}"
                );
            }
        }
        for event in &change.events {
            prop_assert_eq!(event.version, record.version + 1);
        }
        let moved = change.state != record.state && change.state != State::Active;
        prop_assert_eq!(
            change.events.iter().any(|event| { matches!(event.kind, EventKind::Degraded | EventKind::Reauthorize) }),
            moved,
            "every change of state is told, once"
        );
        Ok(())
    }

    fn step(&mut self, happens: &Happens) -> Result<(), TestCaseError> {
        match happens {
            Happens::Time(seconds) => self.now = self.now.plus_seconds(*seconds),
            Happens::Used => {
                let now = self.now;
                self.record.iter_mut().for_each(|record| record.last_used_at = Some(now));
            }
            Happens::Call(came) => return self.call(came),
            Happens::Killed => self.interrupted = self.record.is_some(),
            Happens::Seed(content) => self.seed = Seed::Is([*content; 32]),
            Happens::Asked => self.outside = Outside::Changed,
            Happens::Approved => {
                let fresh = Record { tokens: tokens(self.now, 3600, "p"), ..connection(&self.oauth) };
                let (mut record, _) = connected(self.record.as_ref(), fresh, &self.oauth, self.now, self.random);
                record.version += 1;
                self.record = Some(record);
                self.interrupted = false;
            }
            Happens::Revoked => {
                let Some(record) = &mut self.record else { return Ok(()) };
                // A refresh in flight cannot bring it back.
                (record.state, record.version) = (State::Revoked, record.version + 1);
                record.tokens = TokenSet::default();
                let record = record.clone();
                let outcome = self.outcome(&Came::Fresh { life: 3600, refresh: true, end: true });
                let next = after(&record, &self.oauth, STORED, outcome, self.now, self.random);
                prop_assert!(matches!(next, Next::Discard));
            }
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_the_promises_hold(
        grant in any::<bool>(), random in 0.0f64..1.0, story in proptest::collection::vec(happens(), 1..60),
    ) {
        let oauth = if grant { consent() } else { own() };
        let (seed, outside) = (Seed::None, Outside::Same);
        let mut world = World { oauth, record: None, seed, outside, interrupted: false, now: NOW, random, made: 0 };
        for happens in &story {
            let before = world.record.clone();
            world.step(happens)?;
            let (Some(before), Some(record)) = (before, &world.record) else { continue };
            prop_assert!(record.version >= before.version, "the version only grows");
            let back = before.state == State::Revoked && record.state != State::Revoked;
            prop_assert!(!back || matches!(happens, Happens::Approved), "revoked stays revoked");
            if let Some(end) = usable_until(record, &world.oauth.refresh, world.now) {
                prop_assert!(record.state != State::Revoked && record.tokens.access.is_some());
                prop_assert!(end.is_none_or(|end| end > world.now));
                prop_assert!(record.tokens.expires_at.is_none_or(|end| end > world.now), "ended tokens are not used");
            }
        }
    }

    /// Spread within the window, whatever the life.
    #[test]
    fn a_refresh_comes_before_the_end(life in 1i64..100_000_000, random in 0.0f64..=1.0, not_before in 0u64..600) {
        let policy = super::grant::RefreshPolicy { not_before: Duration::from_secs(not_before), ..policy() };
        let set = TokenSet { refresh: None, ..tokens(NOW, life, "a") };
        let end = times::usable_until(&set).unwrap();
        let at = NOW.plus(times::next_refresh_in(&set, Use::Active, &policy, NOW, random).unwrap());
        let window = times::window_of(&set, &policy).unwrap();
        prop_assert!(window.earliest <= at && at <= window.latest.plus(Duration::from_micros(1)));
        prop_assert!(at <= end, "{at:?} {end:?}");
        if not_before > 1 {
            prop_assert!(at >= NOW.plus_seconds(life).minus(Duration::from_secs(not_before)));
        }
    }

    #[test]
    fn pauses_keep_their_bounds(failures in any::<u32>(), asked in proptest::option::of(any::<u64>()), random in any::<f64>()) {
        let pause = times::pause(failures, asked.map(Duration::from_secs), &policy(), random);
        prop_assert!(pause >= Duration::from_millis(100) && pause <= RETRY_AFTER_MAX);
        prop_assert!(asked.is_some_and(|asked| asked > 0) || pause <= policy().max);
    }
}
