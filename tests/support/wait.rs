//! Waiting with a deadline, so that a scenario that hangs fails and says where.

use std::future::Future;
use std::time::Duration;

/// Nothing that a scenario waits for takes as long.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);
/// How often a condition is looked at.
const EVERY: Duration = Duration::from_millis(5);

/// The result of `work`, or a failure that names what was awaited.
pub(crate) async fn within<T>(what: &str, work: impl Future<Output = T>) -> T {
    match tokio::time::timeout(DEADLINE, work).await {
        Ok(done) => done,
        Err(_) => panic!("{what}: nothing within {DEADLINE:?}"),
    }
}

/// Waits until `look` says yes.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, mut look: impl FnMut() -> F) {
    within(what, async {
        while !look().await {
            tokio::time::sleep(EVERY).await;
        }
    })
    .await;
}
