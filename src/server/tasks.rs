//! The tasks behind a running proxy: one that reloads, one that sweeps the pool.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::MissedTickBehavior;

use super::view::View;
use crate::admin::{ReloadResult, ReloadView};
use crate::proxy::Proxy;
use crate::reload::{self, ConfigChange, Reloader};
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
    reloader: Reloader,
    mut source: Source,
    mut commands: mpsc::Receiver<Command>,
    view: Arc<View>,
) {
    loop {
        tokio::select! {
            update = source.next() => match update {
                Update::Secrets(set) => secrets(&reloader, &view, &set),
                Update::ConfigTouched => drop(config(&reloader, &mut source, &view).await),
                Update::Warning(warning) => tracing::warn!("{warning}"),
            },
            Some(Command::Reload(reply)) = commands.recv() => {
                let outcome = config(&reloader, &mut source, &view).await;
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

async fn config(reloader: &Reloader, source: &mut Source, view: &View) -> ReloadView {
    match reloader.read_config() {
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
