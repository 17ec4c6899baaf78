//! What may be written on the command line. Nothing is read here but the words and `COUNTERSIGN_LOG`.

use std::path::PathBuf;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{CommandFactory as _, Parser, Subcommand, ValueEnum};
use http::{HeaderName, HeaderValue, Method};

use super::connections::args::{ConnectArgs, ConnectionsArgs, StateArgs};
use super::exit;
use crate::clock::Timestamp;
use crate::config::model::LogFormat;

/// A sidecar signing reverse proxy: workers speak plain HTTP to localhost and hold no secret.
#[derive(Debug, Parser)]
#[command(name = "countersign", version, after_long_help = exit::HELP)]
#[command(after_help = "Without a command it runs the proxy. `countersign help COMMAND` says more.")]
pub struct Args {
    /// What every command understands.
    #[command(flatten)]
    pub global: Global,
    /// Options of `run`, the command that is meant where none is written.
    #[command(flatten)]
    pub run: RunArgs,
    /// The command.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What every command understands.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Options of every command")]
pub struct Global {
    /// The configuration
    #[arg(short, long, global = true, value_name = "FILE", default_value = "proxy.toml")]
    pub config: PathBuf,
    /// How data is printed on standard output: for people or for programs
    #[arg(long, global = true, value_enum, default_value_t = Format::Text)]
    pub format: Format,
    /// Least severe events that the log shows [default: log.level of the configuration]
    #[arg(
        long,
        global = true,
        value_enum,
        value_name = "LEVEL",
        env = "COUNTERSIGN_LOG",
        hide_env_values = true,
        ignore_case = true
    )]
    pub log_level: Option<LogLevel>,
    /// How the log is written [default: log.format of the configuration]
    #[arg(long, global = true, value_enum, value_name = "FORMAT")]
    pub log_format: Option<Format>,
}

/// `--format` and `--log-format`
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs)] // as documentation they would make the help twice as long
pub enum Format {
    Text,
    Json,
}

impl From<Format> for LogFormat {
    fn from(format: Format) -> Self {
        match format {
            Format::Text => Self::Text,
            Format::Json => Self::Json,
        }
    }
}

/// `--log-level`
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs)] // the words are the levels
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl From<LogLevel> for tracing::Level {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Error => Self::ERROR,
            LogLevel::Warn => Self::WARN,
            LogLevel::Info => Self::INFO,
            LogLevel::Debug => Self::DEBUG,
            LogLevel::Trace => Self::TRACE,
        }
    }
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the proxy (the default)
    ///
    /// Runs until SIGTERM or SIGINT, then lets requests finish and exits 0; a second signal exits at once.
    /// A changed configuration or secret is taken up while it runs; SIGHUP reads both again.
    #[command(after_long_help = exit::HELP)]
    Run(RunArgs),
    /// Check the configuration and its secrets
    ///
    /// Says every mistake of the configuration, which secrets are good and which are not, when certificates
    /// end, and what each route would do. Nothing is sent and nothing is written.
    #[command(after_long_help = exit::HELP)]
    Check,
    /// Show what would leave for a request
    ///
    /// Which route takes it, with which credentials and for which tenant; the headers that would be sent and
    /// the text that would be signed. Secrets are shown by their names. Nothing is sent.
    #[command(after_long_help = exit::HELP)]
    Explain(ExplainArgs),
    /// Print the CA that workers trust where TLS is intercepted
    ///
    /// The certificate in PEM, then lines that begin with # and say how curl, Python, Node, Java, Go, Ruby, PHP,
    /// git and the AWS tools are made to trust it. Exits 1 when interception is off or there is no CA yet.
    #[command(after_long_help = exit::HELP)]
    Ca(CaArgs),
    /// Ask the running proxy how it is
    ///
    /// Asks the admin listener that the configuration names: listeners, routes, health of credentials.
    /// Exits 4 when nothing runs there.
    #[command(after_long_help = exit::HELP)]
    Status,
    /// Ask the running proxy whether it is ready, for probes
    ///
    /// Asks /readyz of the health listener, or of the admin listener where there is none. Exits 0 when ready,
    /// 1 when not, 4 when nothing answers: an exec probe for those whose listeners are on loopback only.
    #[command(after_long_help = exit::HELP)]
    Health,
    /// Connect a merchant: approve in a browser, store the tokens
    ///
    /// Prints the URL where somebody approves, alone on the first line, waits until the browser comes back to
    /// this machine, stores the tokens and prints the connection. Exits 3 when it was not approved, 5 when
    /// nobody came back in time.
    #[command(after_long_help = exit::HELP)]
    Connect(ConnectArgs),
    /// See and steer the tokens of merchants
    ///
    /// Works on the store that the configuration names, with or without a running proxy. Tokens are
    /// shown by fingerprints: the same 8 digits are the same token.
    #[command(after_long_help = exit::HELP)]
    Connections(ConnectionsArgs),
    /// Maintain the store of connections
    #[command(after_long_help = exit::HELP)]
    State(StateArgs),
    /// See key and certificate rotated under load
    ///
    /// Starts a partner on loopback that demands a client certificate and a signature, the proxy before it and
    /// a worker that holds no secret, and replaces key and certificate ten times meanwhile. Needs no
    /// configuration and leaves nothing behind. Exits 0 when no request failed and every rotation was in use
    /// within a second.
    #[command(after_long_help = exit::HELP)]
    Demo,
}

/// Options of `run`.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Options of run")]
pub struct RunArgs {
    /// Listen on this Unix socket too
    #[arg(long, value_name = "PATH")]
    pub unix_socket: Option<PathBuf>,
    /// Serve for so long after SIGTERM before draining begins, such as 5s [default: drain.delay of the configuration]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub drain_delay: Option<Duration>,
}

impl RunArgs {
    /// These, and where one is absent that of `other`.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            unix_socket: self.unix_socket.or(other.unix_socket),
            drain_delay: self.drain_delay.or(other.drain_delay),
        }
    }

    fn is_empty(&self) -> bool {
        self.unix_socket.is_none() && self.drain_delay.is_none()
    }
}

/// Options of `ca`.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub struct CaArgs {
    /// The certificate alone
    #[arg(long)]
    pub pem: bool,
}

/// Options of `explain`.
#[derive(Clone, Debug, clap::Args)]
pub struct ExplainArgs {
    /// The method, upper case
    #[arg(value_name = "METHOD", value_parser = method)]
    pub method: Method,
    /// `https://HOST/PATH` of an upstream, `http://127.0.0.1:PORT/PATH` as a worker would send it, or `/PATH` with -H 'Host: ..'
    #[arg(value_name = "URL")]
    pub url: String,
    /// A header of the worker's request; may be repeated
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", value_parser = header)]
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The body: text, @FILE, or @- for standard input
    #[arg(long, value_name = "TEXT|@FILE")]
    pub body: Option<String>,
    /// The tenant, where the route takes it from a header or checks it against its host
    #[arg(long, value_name = "TENANT")]
    pub tenant: Option<String>,
    /// The time to sign with: RFC 3339 or seconds since 1970 [default: now]
    #[arg(long, value_name = "TIME", value_parser = time, allow_hyphen_values = true)]
    pub at: Option<Timestamp>,
    /// The nonce to sign with [default: random]
    #[arg(long, value_name = "NONCE")]
    pub nonce: Option<String>,
    /// What the upstream asks of `digest`, as in its WWW-Authenticate; may be repeated
    #[arg(long, value_name = "CHALLENGE")]
    pub challenge: Vec<HeaderValue>,
}

impl Args {
    /// Options of `run` before another command.
    pub fn misplaced(&self) -> Option<clap::Error> {
        let other = !matches!(self.command, None | Some(Command::Run(_)));
        let why = "--unix-socket and --drain-delay belong to the command run";
        (other && !self.run.is_empty()).then(|| Self::command().error(ErrorKind::ArgumentConflict, why))
    }
}

pub(super) fn duration(text: &str) -> Result<Duration, String> {
    crate::config::duration(text).map_err(|error| error.to_string())
}

fn method(text: &str) -> Result<Method, String> {
    Method::from_bytes(text.as_bytes()).map_err(|_| "this is no method, such as GET".to_owned())
}

fn header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text.split_once(':').ok_or("a header is written \"Name: value\"")?;
    let name = HeaderName::from_bytes(name.trim().as_bytes()).map_err(|_| "this is no name of a header")?;
    let value = HeaderValue::from_str(value.trim()).or_else(|_| HeaderValue::from_bytes(value.trim().as_bytes()));
    Ok((name, value.map_err(|_| "the value has a byte that no header may have")?))
}

fn time(text: &str) -> Result<Timestamp, String> {
    if let Ok(seconds) = text.parse::<i64>() {
        let known = jiff::Timestamp::from_second(seconds).is_ok();
        return if known {
            Ok(Timestamp::from_seconds(seconds))
        } else {
            Err("no calendar has this second".to_owned())
        };
    }
    let time: jiff::Timestamp =
        text.parse().map_err(|_| "write a time such as 2026-01-31T12:00:00Z, or seconds since 1970".to_owned())?;
    let nanos = time.as_nanosecond();
    let (seconds, nanos) = (nanos.div_euclid(1_000_000_000), nanos.rem_euclid(1_000_000_000));
    Ok(Timestamp { seconds: seconds as i64, nanos: nanos as u32 })
}

#[cfg(test)]
#[path = "args_tests.rs"]
mod tests;
