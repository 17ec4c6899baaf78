//! `run`: the proxy in the foreground, until a signal ends it.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::config::model::{Config, ListenAddr, LogFormat};
use crate::config::{self, Severity};
use crate::observe::{Format, log};
use crate::reload::Overrides;
use crate::server::{Drained, Server, Start, StartError};

/// Worker threads with `threads = "auto"`, at most.
const THREADS_AUTO: usize = 4;

/// What the command line says to `run`.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// One more way in.
    pub unix_socket: Option<PathBuf>,
    /// Instead of `[drain] delay`.
    pub drain_delay: Option<Duration>,
    /// Instead of `[log] level`.
    pub log_level: Option<tracing::Level>,
    /// Instead of `[log] format`.
    pub log_format: Option<LogFormat>,
}

/// How `run` ended; the exit status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Drained after a signal: 0.
    Drained,
    /// Wrong configuration or secrets: 1.
    BadInput,
    /// A port is taken, or the system lacks something: 4.
    Passing,
    /// The drain's deadline came first: 5.
    CutOff,
}

impl Options {
    /// The changes that the command line makes, at start and at every reload.
    fn overrides(&self) -> Overrides {
        let options = self.clone();
        Arc::new(move |config: &mut Config| {
            if let Some(path) = &options.unix_socket {
                config.listen.proxy.push(ListenAddr::Unix(path.clone()));
            }
            if let Some(delay) = options.drain_delay {
                config.drain.delay = delay;
            }
            if let Some(level) = options.log_level {
                config.log.level = level;
            }
            if let Some(format) = options.log_format {
                config.log.format = format;
            }
        })
    }
}

/// Runs until SIGTERM or SIGINT. Messages go to standard error.
#[allow(clippy::print_stderr)]
pub fn run(path: &Path, options: &Options) -> Ended {
    let overrides = options.overrides();
    let Some(config) = load(path, &overrides) else { return Ended::BadInput };
    let format = format_of(config.log.format);
    if log::init(config.log.level, format).is_err() {
        eprintln!("error: the log was already started");
        return Ended::Passing;
    }
    no_core_dumps();
    let runtime = match runtime(config.threads) {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: the system gives no threads: {error}");
            return Ended::Passing;
        }
    };
    runtime.block_on(async {
        let start = Start { config, path: path.to_owned(), overrides, format };
        match Server::start(start).await {
            Ok(server) => serve(server).await,
            Err(error) => {
                for line in error.to_string().lines() {
                    eprintln!("error: {line}");
                }
                if matches!(&error, StartError::State(error) if !error.is_passing()) {
                    return Ended::BadInput;
                }
                if matches!(error, StartError::Secrets(_) | StartError::Playground(_) | StartError::Authority(_)) {
                    Ended::BadInput
                } else {
                    Ended::Passing
                }
            }
        }
    })
}

/// The checked configuration; what is wrong with it is printed.
#[allow(clippy::print_stderr)]
fn load(path: &Path, overrides: &Overrides) -> Option<Config> {
    let loaded = config::load(path);
    for diagnostic in &loaded.diagnostics {
        if diagnostic.severity == Severity::Error || std::io::stderr().is_terminal() {
            eprintln!("{}", diagnostic.render(&loaded.source));
        }
    }
    let mut config = loaded.config?;
    overrides(&mut config);
    Some(config)
}

pub(super) fn format_of(format: LogFormat) -> Format {
    match format {
        LogFormat::Json => Format::Json,
        LogFormat::Text => Format::Text,
        LogFormat::Auto if std::io::stderr().is_terminal() => Format::Text,
        LogFormat::Auto => Format::Json,
    }
}

fn runtime(threads: Option<usize>) -> std::io::Result<tokio::runtime::Runtime> {
    let available = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let threads = threads.unwrap_or_else(|| available.min(THREADS_AUTO));
    // One thread has nobody to share its work with: the runtime that knows that costs less at every turn.
    let mut builder = match threads {
        1 => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    builder.worker_threads(threads).enable_all().build()
}

/// A core dump would hold every secret. Best effort: a system that forbids the call is said so.
fn no_core_dumps() {
    use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    if setrlimit(Resource::Core, none).is_err() || set_dumpable_behavior(DumpableBehavior::NotDumpable).is_err() {
        tracing::warn!("core dumps could not be switched off");
    }
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn end(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

async fn serve(server: Server) -> Ended {
    let (mut signals, mut hangup) = match Signals::new().and_then(|ends| Ok((ends, signal(SignalKind::hangup())?))) {
        Ok(both) => both,
        Err(error) => {
            tracing::error!(%error, "signals cannot be received");
            return Ended::Passing;
        }
    };
    for listener in &server.listeners {
        tracing::info!(kind = listener.kind, address = %listener.address, route = listener.route.as_deref(), "listening");
    }
    loop {
        tokio::select! {
            () = signals.end() => break,
            _ = hangup.recv() => server.reload().await,
        }
    }
    let drain = server.proxy.live.load().snapshot.plan.config.drain.clone();
    tracing::info!(deadline = ?drain.deadline, delay = ?drain.delay, "draining");
    server.announce_end();
    let graceful = async {
        tokio::time::sleep(drain.delay).await;
        match server.drain(drain.deadline).await {
            Drained::Complete => Ended::Drained,
            Drained::CutOff => {
                tracing::warn!("the drain's deadline came before the last request ended");
                Ended::CutOff
            }
        }
    };
    tokio::select! {
        ended = graceful => ended,
        // Asked twice: at once.
        () = signals.end() => Ended::CutOff,
    }
}

/// Starts the proxy within this process, for the demo.
pub async fn start(path: PathBuf) -> anyhow::Result<super::demo::Running> {
    let loaded = config::load(&path);
    let texts: Vec<String> = loaded.diagnostics.iter().map(|one| one.render(&loaded.source)).collect();
    let Some(config) = loaded.config else { anyhow::bail!("{}", texts.join("\n")) };
    let drain = config.drain.deadline;
    let format = format_of(config.log.format);
    let server = Server::start(Start { config, path, overrides: Arc::new(|_| {}), format }).await?;
    let Some(proxy) = server.address else { anyhow::bail!("the proxy has no TCP address") };
    let admin = server.admin;
    let stop = Box::pin(async move {
        server.drain(drain).await;
    });
    Ok(super::demo::Running { proxy, admin, stop })
}
