//! A process that ends at each step of a refresh: its runtime is dropped there. The next one finds what it left.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::Notify;

use super::endpoint::{Endpoint, error, tokens};
use super::world::{Hands, Settings, World, memory};
use crate::refresh::{NoTokenKind, Step, Steps};
use crate::store::Store;
use crate::token::record::Reason;

/// Stops a refresh at one step, for good.
#[derive(Debug)]
struct Stop {
    at: Step,
    reached: Arc<Notify>,
}

impl Steps for Stop {
    fn reached(&self, step: Step) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async move {
            if step == self.at {
                self.reached.notify_one();
                std::future::pending::<()>().await;
            }
        })
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// Lets a process begin a refresh and end at `step`.
fn killed_at(step: Step, port: u16, store: &Arc<dyn Store>, clock: &Arc<Hands>) {
    let process = runtime();
    process.block_on(async {
        let reached = Arc::new(Notify::new());
        let steps: Arc<dyn Steps> = Arc::new(Stop { at: step, reached: reached.clone() });
        let world = World::of(Settings::at(port), store.clone(), clock.clone(), Some(steps));
        world.connect("m1", &[]).await;
        let want = world.want("m1");
        tokio::select! {
            _ = world.tokens.wait(&want) => panic!("{step:?} was not reached"),
            () = reached.notified() => {}
        }
    });
}

#[test]
fn at_a_platform_with_grace_nothing_is_lost() {
    for step in Step::ALL {
        let outside = runtime();
        let platform = outside.block_on(Endpoint::start(|number, _| tokens(number)));
        let clock = Hands::new();
        let store = memory(&clock);
        std::thread::scope(|scope| {
            // The platform goes on while processes come and go.
            let (done, ended) = tokio::sync::oneshot::channel::<()>();
            let outside = &outside;
            scope.spawn(move || outside.block_on(async { drop(ended.await) }));
            killed_at(step, platform.port, &store, &clock);
            clock.forward(60); // the lease ran out
            let next = runtime();
            next.block_on(async {
                let world = World::of(Settings::at(platform.port), store.clone(), clock.clone(), None);
                let token = world.tokens.wait(&world.want("m1")).await.unwrap();
                let last = platform.calls();
                assert_eq!(world.stored("m1").await, (format!("access-{last}"), format!("refresh-{last}")), "{step:?}");
                assert_eq!(token.version, 2, "{step:?}");
                let expected = if step == Step::Answered { 2 } else { 1 };
                assert_eq!(last, expected, "{step:?}: what was committed is used, what was not is asked for once more");
                assert!(world.record("m1").await.lease.is_none());
            });
            drop(done);
        });
    }
}

#[test]
fn at_one_without_grace_the_loss_is_told_by_its_name() {
    let outside = runtime();
    let once = |number: usize, _: &str| if number == 1 { tokens(1) } else { error(400, "invalid_grant") };
    let platform = outside.block_on(Endpoint::start(once));
    let clock = Hands::new();
    let store = memory(&clock);
    std::thread::scope(|scope| {
        let (done, ended) = tokio::sync::oneshot::channel::<()>();
        let outside = &outside;
        scope.spawn(move || outside.block_on(async { drop(ended.await) }));
        killed_at(Step::Answered, platform.port, &store, &clock);
        clock.forward(60);
        runtime().block_on(async {
            let world = World::of(Settings::at(platform.port), store.clone(), clock.clone(), None);
            let none = world.tokens.wait(&world.want("m1")).await.unwrap_err();
            assert_eq!((none.kind, none.reason), (NoTokenKind::Reauthorize, Reason::RefreshInterrupted));
            assert_eq!(world.stored("m1").await.1, "refresh-0", "nothing is wiped");
        });
        drop(done);
    });
}
