//! The one place that turns a new generation of secrets, or a new `proxy.toml`, into the snapshot in use.
//!
//! Validation comes before the swap; what is bad keeps its last good self; nothing is half applied.
//! Says what changed: one line and one count per change of state, never one per retry.

mod diff;
mod report;
mod restart;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::admin::{ReloadResult, ReloadView};
use crate::config;
use crate::config::model::Config;
use crate::observe::log;
use crate::observe::metrics::{ConfigReload, WatchMode};
use crate::proxy::Proxy;
use crate::proxy::live::Live;
use crate::secret::set::SecretSet;
use crate::secret::wanted::Wanted;
use crate::secret::watch::Mode;
use crate::snapshot::authority::AuthorityState;
use crate::snapshot::plan::Plan;
use crate::snapshot::{FingerprintKey, Moment, Snapshot};

pub use report::{credentials_now, names_of_route};

/// While a certificate waits for its beginning, the clock is looked at this often.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Makes snapshots and puts them in use.
pub struct Reloader {
    proxy: Arc<Proxy>,
    path: PathBuf,
    overrides: Overrides,
    moment_key: FingerprintKey,
    /// The mark of the text of `proxy.toml` that was judged last.
    judged: u64,
}

/// Why `proxy.toml` is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Somebody asked: it is taken even when its text is the same.
    Asked,
    /// It was touched: its text decides whether anything is done and said.
    Touched,
}

/// Changes the command line makes to a configuration, at start and at every reload alike.
pub type Overrides = Arc<dyn Fn(&mut Config) + Send + Sync>;

/// What became of a changed `proxy.toml`.
#[derive(Debug)]
pub enum ConfigChange {
    /// It was touched, and its text is the one that was judged last.
    Same,
    /// It is good: these secrets are wanted now.
    Accepted(Arc<Plan>),
    /// It has mistakes or needs a restart; the last good one stays.
    Refused(Vec<String>),
}

/// The secrets that a plan names, with their limits.
pub fn wanted(plan: &Plan) -> Wanted {
    let mut wanted = Wanted::new();
    for (pattern, limit) in plan.wanted() {
        wanted.add(&pattern, limit);
    }
    wanted
}

impl Reloader {
    /// For the proxy that runs `path`.
    pub fn new(proxy: Arc<Proxy>, path: PathBuf, overrides: Overrides, fingerprint_key: FingerprintKey) -> Self {
        let judged = proxy.live.load().snapshot.plan.config.mark;
        Self { proxy, path, overrides, moment_key: fingerprint_key, judged }
    }

    /// A new generation of secrets under the same configuration.
    pub fn secrets(&self, set: &SecretSet) {
        let live = self.proxy.live.load_full();
        self.apply(live.snapshot.plan.clone(), set, &live);
    }

    /// How long until a certificate that came before its time may be used; `None` when there is none. At most
    /// [`LOOK_AGAIN`], because the clock may be set meanwhile.
    pub fn due_in(&self) -> Option<Duration> {
        let due = self.proxy.live.load().snapshot.due()?;
        let seconds = (due.seconds - self.proxy.clock.now().seconds).max(0);
        Some(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)).min(LOOK_AGAIN))
    }

    /// Tells the metric how changes are noticed.
    pub fn watching(&self, mode: Mode) {
        self.proxy.metrics.set_watch_mode(if mode == Mode::Inotify { WatchMode::Events } else { WatchMode::Poll });
    }

    /// Reads `proxy.toml` again and decides whether it can take over.
    pub fn read_config(&mut self, why: Why) -> ConfigChange {
        let loaded = config::load(&self.path);
        let mark = loaded.source.mark();
        if std::mem::replace(&mut self.judged, mark) == mark && why == Why::Touched {
            return ConfigChange::Same;
        }
        let texts: Vec<String> = loaded.diagnostics.iter().map(|one| one.render(&loaded.source)).collect();
        let Some(mut new) = loaded.config else {
            self.proxy.metrics.config_reloaded(ConfigReload::Error);
            tracing::error!(file = %self.path.display(), mistakes = texts.len(), first = texts.first().map(String::as_str), "proxy.toml has mistakes; the last good one stays in use");
            return ConfigChange::Refused(texts);
        };
        (self.overrides)(&mut new);
        let live = self.proxy.live.load();
        let keys = restart::needed(&live.snapshot.plan.config, &new);
        if !keys.is_empty() {
            self.proxy.metrics.config_reloaded(ConfigReload::Error);
            let keys = keys.join(", ");
            tracing::error!(file = %self.path.display(), keys, "these keys need a restart; nothing of the changed proxy.toml is applied");
            return ConfigChange::Refused(vec![format!("needs a restart: {keys}")]);
        }
        ConfigChange::Accepted(Arc::new(Plan::new(Arc::new(new))))
    }

    /// Puts an accepted plan in use with the secrets that it wanted.
    pub fn config(&self, plan: Arc<Plan>, set: &SecretSet) -> ReloadView {
        let live = self.proxy.live.load_full();
        diff::Diff::between(&live.snapshot.plan.config, &plan.config).log(plan.config.routes.len());
        log::set_level(plan.config.log.level);
        self.proxy.in_flight.set_limit(plan.config.limits.in_flight);
        self.proxy.buffered.set_limit(plan.config.limits.buffered);
        self.proxy.pool.set_dns(&plan.config.dns);
        self.apply(plan, set, &live);
        report::uncovered(&self.proxy.live.load().snapshot);
        self.proxy.metrics.config_reloaded(ConfigReload::Ok);
        ReloadView { result: ReloadResult::Ok, generation: set.generation, messages: Vec::new() }
    }

    fn apply(&self, plan: Arc<Plan>, set: &SecretSet, live: &Live) {
        let moment = Moment { now: self.proxy.clock.now(), fingerprint_key: self.moment_key.clone() };
        let snapshot = Arc::new(Snapshot::compile(plan, set, Some(&live.snapshot), &moment));
        let next = Arc::new(Live::new(snapshot.clone(), Some(live), &self.proxy.metrics));
        // Before the swap: no request that sees the new identity can be earlier than the end of the old one.
        retire(&live.snapshot, &snapshot);
        self.proxy.live.store(next);
        if let Some(tokens) = &self.proxy.tokens {
            tokens.update(snapshot.clone());
        }
        self.proxy.pool.sweep();
        report::changes(&self.proxy.metrics, Some(&live.snapshot), &snapshot);
    }
}

/// Identities that the new snapshot does not have any more take no new request.
fn retire(old: &Snapshot, new: &Snapshot) {
    for state in &old.identities {
        let Some(client) = &state.client else { continue };
        let kept =
            new.identities.iter().filter_map(|state| state.client.as_ref()).any(|other| other.id() == client.id());
        if !kept {
            client.retire();
        }
    }
}

/// Makes the first snapshot; `made` is the CA of interception where it does not come from the secrets.
pub fn first(plan: Arc<Plan>, set: &SecretSet, made: Option<Arc<AuthorityState>>, moment: &Moment) -> Arc<Snapshot> {
    let first = Snapshot::compile(plan, set, None, moment);
    Arc::new(Snapshot { authority: made.or(first.authority), ..first })
}

/// Tells the metrics what the first snapshot holds.
pub fn announce(proxy: &Proxy) {
    let live = proxy.live.load();
    report::changes(&proxy.metrics, None, &live.snapshot);
    report::uncovered(&live.snapshot);
}
