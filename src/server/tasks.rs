//! The tasks behind a running proxy: one that reloads, one that sweeps the pool.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::MissedTickBehavior;

use super::view::View;
use crate::admin::{ReloadResult, ReloadView};
use crate::proxy::Proxy;
use crate::reload::{self, ConfigChange, Reloader, Why};
use crate::secret::set::SecretSet;
use crate::secret::source::{Source, Update};

/// How often the pool is swept.
const SWEEP: Duration = Duration::from_secs(1);

/// What others ask of the reload loop.
#[derive(Debug)]
pub(super) enum Command {
    /// Read everything again.
    Reload(oneshot::Sender<ReloadView>),
}

/// Follows files and commands, one change at a time, until it is aborted.
pub(super) async fn reload_loop(
    mut reloader: Reloader,
    mut source: Source,
    mut commands: mpsc::Receiver<Command>,
    view: Arc<View>,
) {
    loop {
        let due = reloader.due_in();
        tokio::select! {
            update = source.next() => match update {
                Update::Secrets(set) => {
                    reloader.watching(source.mode());
                    secrets(&reloader, &view, &set);
                }
                Update::ConfigTouched => drop(config(&mut reloader, Why::Touched, &mut source, &view).await),
                Update::Warning(warning) => {
                    reloader.watching(source.mode());
                    tracing::warn!("{warning}");
                }
            },
            () = tokio::time::sleep(due.unwrap_or_default()), if due.is_some() => {
                // A certificate that came before its time: the files are the same, the day is another.
                if reloader.due_in().is_some_and(|rest| rest.is_zero()) {
                    secrets(&reloader, &view, &source.current().await);
                }
            }
            Some(Command::Reload(reply)) = commands.recv() => {
                let outcome = config(&mut reloader, Why::Asked, &mut source, &view).await;
                // Whoever asked may have gone.
                let _ = reply.send(outcome);
            }
        }
    }
}

fn secrets(reloader: &Reloader, view: &View, set: &SecretSet) {
    reloader.secrets(set);
    view.secrets_changed(set);
}

async fn config(reloader: &mut Reloader, why: Why, source: &mut Source, view: &View) -> ReloadView {
    match reloader.read_config(why) {
        ConfigChange::Same => {
            let generation = source.current().await.generation;
            ReloadView { result: ReloadResult::Ok, generation, messages: Vec::new() }
        }
        ConfigChange::Accepted(plan) => {
            let set = source.want(reload::wanted(&plan)).await;
            let outcome = reloader.config(plan, &set);
            view.secrets_changed(&set);
            outcome
        }
        ConfigChange::Refused(messages) => {
            let set = source.read_all().await;
            secrets(reloader, view, &set);
            ReloadView { result: ReloadResult::Failed, generation: set.generation, messages }
        }
    }
}

/// Closes what the pool and the workers need not keep.
pub(super) async fn sweep_loop(proxy: Arc<Proxy>) {
    let mut ticks = tokio::time::interval(SWEEP);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        proxy.pool.sweep();
        proxy.connections.sweep();
    }
}
