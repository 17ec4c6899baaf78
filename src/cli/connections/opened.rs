//! The store of a configuration, opened for one command, with or without a running proxy.

use std::sync::Arc;

use crate::admin::connections::{Refused, Trouble};
use crate::cli::args::Global;
use crate::cli::exit::{Ended, Exit};
use crate::cli::source;
use crate::clock::{Clock as _, SystemClock};
use crate::config::model::StateUrl;
use crate::control::outward::Outward;
use crate::observe::metrics::Metrics;
use crate::refresh::{Parts, Sharing, Tokens};
use crate::server::connections::Steering;
use crate::server::state;
use crate::snapshot::Snapshot;
use crate::snapshot::plan::Plan;

/// A store, and what steers its connections.
pub(in crate::cli) struct Opened {
    pub(in crate::cli) steering: Steering,
    pub(in crate::cli) snapshot: Arc<Snapshot>,
}

/// Opens it. No task runs behind it: every call does its one step.
pub(in crate::cli) async fn open(global: &Global) -> anyhow::Result<Opened> {
    let config = source::config(global)?;
    if config.credentials.iter().all(|credential| credential.oauth.is_none()) {
        return Err(Ended::new(Exit::Bad, "no credential of the configuration has connections")
            .with_hint("connections belong to credentials with oauth2 = { .. }; docs/CONNECTIONS.md begins with one")
            .into());
    }
    if config.state.url == StateUrl::Memory {
        return Err(Ended::new(
            Exit::Bad,
            "[state] url is \"memory:\": what the running proxy has there, no other process can see",
        )
        .with_hint("ask its admin listener, or keep connections in \"sqlite:PATH\" or \"postgres://..\"")
        .into());
    }
    let plan = Arc::new(Plan::new(Arc::new(config)));
    let read = source::secrets(&plan).map_err(|none| Ended::new(Exit::Bad, none.message).with_hint(none.hint))?;
    let snapshot = Arc::new(source::snapshot(plan.clone(), &read.set));
    let kept = state::open(&plan.config, &read.set, Arc::new(SystemClock)).await.map_err(refused_state)?;
    let outward = Arc::new(Outward::new(Vec::new()));
    outward.resolve_by(&plan.config.dns);
    let tokens = Tokens::new(Parts {
        store: kept.store,
        sharing: Sharing::Shared,
        snapshot: snapshot.clone(),
        outward,
        clock: Arc::new(SystemClock),
        metrics: Arc::new(Metrics::new(env!("CARGO_PKG_VERSION"), SystemClock.now())),
    });
    Ok(Opened { steering: Steering::new(tokens, kept.fingerprints), snapshot })
}

impl Opened {
    /// Ends what opening began.
    pub(in crate::cli) async fn close(self) {
        self.steering.tokens().drain().await;
        // What it did is done; a store that cannot say goodbye is no error of the command.
        let _ = self.steering.tokens().store().close().await;
    }
}

fn refused_state(error: state::StateError) -> Ended {
    let exit = if error.is_passing() { Exit::Passing } else { Exit::Bad };
    Ended::new(exit, error.to_string())
}

/// A refusal with the status of the process that it stands for.
pub(in crate::cli) fn ended(refused: Refused) -> Ended {
    let exit = match refused.trouble {
        Trouble::Ask | Trouble::Unknown | Trouble::Spent | Trouble::Platform => Exit::Bad,
        Trouble::PersonMustAct => Exit::PersonMustAct,
        Trouble::Passing => Exit::Passing,
    };
    Ended::new(exit, refused.message)
}
