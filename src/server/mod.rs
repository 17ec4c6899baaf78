//! Start and end of the running proxy: configuration, secrets, listeners, the tasks behind them, the drain.
//!
//! [`Server::start`] is what `run` and `demo` share; nothing here reads the command line or exits.

mod authority;
pub mod connections;
pub mod state;
mod tasks;
mod view;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use http::HeaderValue;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};

use crate::admin::{self, ListenerView};
use crate::clock::{Clock as _, Sequences, SystemClock};
use crate::config::model::{AtStart, Config, ListenAddr};
use crate::observe::Format;
use crate::observe::access::AccessLog;
use crate::observe::metrics::{Metrics, WatchMode};
use crate::playground::certs;
use crate::playground::upstream::{Upstream, UpstreamConfig};
use crate::proxy::Proxy;
use crate::proxy::gate::Gate;
use crate::proxy::intercept::leaves::Leaves;
use crate::proxy::listener::{BindError, Bound, Drain};
use crate::proxy::live::Live;
use crate::proxy::matching::EntryKind;
use crate::proxy::registry::Registry;
use crate::refresh::Tokens;
use crate::reload::{self, Overrides, Reloader};
use crate::secret::dir::Reader;
use crate::secret::source::{Events, Settings, Source};
use crate::secret::watch::Mode;
use crate::snapshot::health::Problem;
use crate::snapshot::plan::Plan;
use crate::snapshot::{FingerprintKey, Moment};
use crate::upstream::pool::Pool;
use view::View;

/// Reload requests that wait at most; more are answered with the one under way.
const COMMANDS: usize = 4;

/// How long tunnels may take to end after the deadline of a drain.
const CUT_WAIT: Duration = Duration::from_millis(200);

/// What a start needs beside the configuration.
pub struct Start {
    /// The checked configuration, overrides applied.
    pub config: Config,
    /// Where it came from, for reloads.
    pub path: PathBuf,
    /// Applied at every reload.
    pub overrides: Overrides,
    /// How access lines are written.
    pub format: Format,
}

/// A running proxy.
pub struct Server {
    /// Shared state, for tests and the demo.
    pub proxy: Arc<Proxy>,
    /// What listens where, with real ports.
    pub listeners: Vec<ListenerView>,
    /// The first TCP address of `listen.proxy`.
    pub address: Option<SocketAddr>,
    /// The admin listener.
    pub admin: Option<SocketAddr>,
    commands: mpsc::Sender<tasks::Command>,
    begin_drain: watch::Sender<bool>,
    connections_gone: mpsc::Receiver<()>,
    view: Arc<View>,
    background: Vec<tokio::task::JoinHandle<()>>,
    admin_stop: watch::Sender<bool>,
    _playground: Option<Upstream>,
}

/// Why a start ended.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The secrets directory or secrets in it, under `at_start = "refuse"`.
    #[error("{}", .0.join("\n"))]
    Secrets(Vec<String>),
    /// An address is taken or forbidden.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The admin or health address is taken or forbidden.
    #[error("cannot listen on {address} ({kind}): {error}")]
    Admin {
        /// The address.
        address: SocketAddr,
        /// Which listener.
        kind: &'static str,
        /// Why.
        error: std::io::Error,
    },
    /// The store of connections cannot be opened.
    #[error(transparent)]
    State(#[from] state::StateError),
    /// The CA of interception cannot be made or read.
    #[error(transparent)]
    Authority(#[from] authority::AuthorityError),
    /// The playground's certificates or upstream.
    #[error("playground: {0}")]
    Playground(String),
    /// The system gives no randomness or no thread.
    #[error("{0}")]
    System(String),
}

/// How a drain ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// Every request was answered.
    Complete,
    /// The deadline came first.
    CutOff,
}

impl Server {
    /// Reads secrets, binds, and serves.
    pub async fn start(start: Start) -> Result<Self, StartError> {
        let Start { config, path, overrides, format } = start;
        let playground = start_playground(&config).await?;
        let plan = Arc::new(Plan::new(Arc::new(config)));
        let config = plan.config.clone();
        let reader = Reader::new(config.secrets.dir.clone(), reload::wanted(&plan));
        let events = if config.secrets.events { Events::Auto } else { Events::Off };
        let settings = Settings { events, poll: config.secrets.poll, config: Some(path.clone()) };
        let (source, set) = Source::start(reader, settings);
        let fingerprint_key = FingerprintKey::new(&random_key()?);
        let moment = Moment { now: SystemClock.now(), fingerprint_key: fingerprint_key.clone() };
        let made = authority::made(&config, &moment)?;
        let snapshot = reload::first(plan, &set, made, &moment);
        check_secrets(&config, &snapshot.problems())?;

        let metrics = Arc::new(Metrics::new(env!("CARGO_PKG_VERSION"), moment.now));
        metrics.set_watch_mode(if source.mode() == Mode::Inotify { WatchMode::Events } else { WatchMode::Poll });

        let bound = bind_all(&config).await?;
        let admin = bind_admin(config.listen.admin, "admin").await?;
        let health = bind_admin(config.listen.health, "health").await?;
        let listeners = list(&bound, admin.as_ref(), health.as_ref(), playground.as_ref());
        let own: Vec<SocketAddr> =
            bound.iter().filter_map(Bound::local_addr).chain(addr(&admin)).chain(addr(&health)).collect();
        let (steering, reaching) = state::start(&snapshot, &set, own.clone(), metrics.clone()).await?.unzip();
        let tokens = steering.as_ref().map(|steering| steering.tokens().clone());
        let live = |metrics: &Arc<Metrics>| Live::new(snapshot, None, metrics);
        let proxy = Arc::new(new_proxy(&config, format, metrics, tokens, live)?);
        reload::announce(&proxy);
        proxy.pool.set_own_addresses(own);
        proxy.pool.set_dns(&config.dns);

        let (commands, receiver) = mpsc::channel(COMMANDS);
        let view = Arc::new(View::new(proxy.clone(), listeners.clone(), commands.clone(), steering, &set));
        let (drain, begin_drain, connections_gone) = Drain::new();
        let connections = Gate::new(config.limits.connections);
        let address = bound.iter().find(|b| b.entry.kind == EntryKind::Shared).and_then(Bound::local_addr);
        for one in bound {
            tokio::spawn(one.serve(proxy.clone(), connections.clone(), drain.clone()));
        }
        drop(drain);
        let (admin_stop, stopping) = watch::channel(false);
        let admin_address = addr(&admin);
        serve_admin(admin, admin::Kind::Admin, &view, &stopping);
        serve_admin(health, admin::Kind::Health, &view, &stopping);
        let reloader = Reloader::new(proxy.clone(), path, overrides, fingerprint_key);
        let mut background = vec![
            tokio::spawn(tasks::reload_loop(reloader, source, receiver, view.clone())),
            tokio::spawn(tasks::sweep_loop(proxy.clone())),
        ];
        background.extend(reaching.flatten());
        Ok(Self {
            proxy,
            listeners,
            address,
            admin: admin_address,
            commands,
            begin_drain,
            connections_gone,
            view,
            background,
            admin_stop,
            _playground: playground,
        })
    }

    /// Reads `proxy.toml` and the secrets again, as an event would.
    pub async fn reload(&self) {
        let (reply, done) = tokio::sync::oneshot::channel();
        if self.commands.send(tasks::Command::Reload(reply)).await.is_ok() {
            let _ = done.await; // the loop has logged what came of it
        }
    }

    /// From now on not ready; what arrives is still served.
    pub fn announce_end(&self) {
        self.view.set_draining();
    }

    /// Takes nothing new, lets what is under way finish until the deadline, then ends.
    pub async fn drain(mut self, deadline: Duration) -> Drained {
        self.announce_end();
        let _ = self.begin_drain.send(true);
        self.proxy.connections.drain();
        let finished = tokio::time::timeout(deadline, self.connections_gone.recv()).await;
        if finished.is_err() {
            self.proxy.connections.cut();
            let _ = tokio::time::timeout(CUT_WAIT, self.connections_gone.recv()).await;
        }
        for task in &self.background {
            task.abort();
        }
        if let Some(tokens) = &self.proxy.tokens {
            // Token calls under way end within their own limit, and what they brought is stored.
            tokens.drain().await;
            let _ = tokens.store().close().await; // what is to be kept is written already
        }
        let _ = self.admin_stop.send(true);
        self.proxy.pool.close();
        if let Some(access) = &self.proxy.access {
            access.close();
        }
        if finished.is_ok() { Drained::Complete } else { Drained::CutOff }
    }
}

async fn start_playground(config: &Config) -> Result<Option<Upstream>, StartError> {
    let Some(listen) = config.playground else { return Ok(None) };
    let problem = |error: &dyn std::fmt::Display| StartError::Playground(error.to_string());
    certs::make_missing(&config.secrets.dir).map_err(|error| problem(&error))?;
    let settings = UpstreamConfig::playground(&config.secrets.dir, listen).map_err(|error| problem(&error))?;
    Upstream::start(settings).await.map(Some).map_err(|error| problem(&error))
}

fn check_secrets(config: &Config, problems: &[Problem]) -> Result<(), StartError> {
    if problems.is_empty() || config.secrets.at_start != AtStart::Refuse {
        return Ok(());
    }
    let dir = &config.secrets.dir;
    if let Err(error) = std::fs::read_dir(dir) {
        return Err(StartError::Secrets(vec![format!(
            "the secrets directory {} cannot be read by uid {}: {error}{} (set [secrets] dir, or mount it; in Kubernetes give the pod an fsGroup)",
            dir.display(),
            rustix::process::getuid().as_raw(),
            owner(dir)
        )]));
    }
    let line = |p: &Problem| {
        format!(
            "secret {} of credential {}: {} ({})",
            p.secret,
            p.credential,
            p.reason,
            dir.join(p.secret.as_str()).display()
        )
    };
    Err(StartError::Secrets(problems.iter().map(line).collect()))
}

/// Mode and owner of what is there.
fn owner(dir: &Path) -> String {
    use std::os::unix::fs::MetadataExt as _;
    let Ok(found) = std::fs::metadata(dir) else { return String::new() };
    format!(", mode {:04o}, owner {}:{}", found.mode() & 0o7777, found.uid(), found.gid())
}

fn random_key() -> Result<[u8; 32], StartError> {
    use ring::rand::{SecureRandom, SystemRandom};
    let mut key = [0; 32];
    SystemRandom::new().fill(&mut key).map_err(|_| StartError::System("the system gives no random bytes".into()))?;
    Ok(key)
}

fn new_proxy(
    config: &Config,
    format: Format,
    metrics: Arc<Metrics>,
    tokens: Option<Arc<Tokens>>,
    live: impl FnOnce(&Arc<Metrics>) -> Live,
) -> Result<Proxy, StartError> {
    let access = match config.log.access {
        false => None,
        true => Some(
            AccessLog::to_stderr(format, metrics.access_lines_dropped.clone())
                .map_err(|error| StartError::System(format!("no thread for the access log: {error}")))?,
        ),
    };
    let key = random_key()?;
    let id: String = key[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    let via = format!("countersign-{id}");
    Ok(Proxy {
        live: ArcSwap::from_pointee(live(&metrics)),
        pool: Pool::default(),
        clock: Arc::new(SystemClock),
        sequences: Sequences::default(),
        metrics,
        access,
        connections: Registry::default(),
        in_flight: Gate::new(config.limits.in_flight),
        buffered: Gate::new(config.limits.buffered),
        tokens,
        leaves: Leaves::default(),
        via_line: HeaderValue::try_from(format!("1.1 {via}")).map_err(|error| StartError::System(error.to_string()))?,
        via,
    })
}

async fn bind_all(config: &Config) -> Result<Vec<Bound>, StartError> {
    let mode = config.listen.socket_mode;
    let shared = config.listen.proxy.iter().map(|address| (address, EntryKind::Shared));
    let own = config
        .routes
        .iter()
        .filter_map(|route| route.listen.as_ref().map(|address| (address, EntryKind::OwnPort(route.name.clone()))));
    let mut bound = Vec::new();
    for (address, kind) in shared.chain(own) {
        bound.push(Bound::bind(address, kind, mode).await?);
    }
    if let Some(address) = config.listen.tls {
        bound.push(Bound::bind(&ListenAddr::Tcp(address), EntryKind::TlsByName, mode).await?);
    }
    Ok(bound)
}

async fn bind_admin(address: Option<SocketAddr>, kind: &'static str) -> Result<Option<TcpListener>, StartError> {
    let Some(address) = address else { return Ok(None) };
    TcpListener::bind(address).await.map(Some).map_err(|error| StartError::Admin { address, kind, error })
}

fn serve_admin(listener: Option<TcpListener>, kind: admin::Kind, view: &Arc<View>, stopping: &watch::Receiver<bool>) {
    let Some(listener) = listener else { return };
    let mut stopping = stopping.clone();
    let stopped = async move {
        let _ = stopping.wait_for(|stop| *stop).await;
    };
    tokio::spawn(admin::serve(listener, kind, view.clone(), stopped));
}

fn addr(listener: &Option<TcpListener>) -> Option<SocketAddr> {
    listener.as_ref().and_then(|listener| listener.local_addr().ok())
}

fn list(
    bound: &[Bound],
    admin: Option<&TcpListener>,
    health: Option<&TcpListener>,
    playground: Option<&Upstream>,
) -> Vec<ListenerView> {
    let workers = bound.iter().map(|one| match &one.entry.kind {
        EntryKind::TlsByName => ListenerView { kind: "tls", address: one.display(), route: None },
        EntryKind::Shared | EntryKind::Inside(_) => ListenerView { kind: "proxy", address: one.display(), route: None },
        EntryKind::OwnPort(route) => ListenerView { kind: "route", address: one.display(), route: Some(route.clone()) },
    });
    let others = [("admin", admin), ("health", health)].into_iter().filter_map(|(kind, listener)| {
        let address = listener?.local_addr().ok()?;
        Some(ListenerView { kind, address: address.to_string(), route: None })
    });
    let playground = playground.map(|upstream| ListenerView {
        kind: "playground",
        address: upstream.address().to_string(),
        route: None,
    });
    workers.chain(others).chain(playground).collect()
}
