//! The configuration as the program uses it: plain, checked values. Made by `config::load` alone.
//!
//! Every key here is documented in `docs/CONFIGURATION.md`. Durations and sizes are parsed;
//! `None` stands for `"none"` or `"off"`.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::SocketAddr;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::route::tenant::TenantPattern;
use crate::secret::name::NamePattern;
use crate::sign::Signer;
pub use crate::tls::{Pin, TlsVersion};
use crate::token::OAuth;

pub use super::model_net::{Dns, Egress, NoProxy, Trust};
pub use super::model_oauth::{Events, State, StateUrl};
pub use super::model_route::{Indexes, Route, RouteClock, Settings};

/// A place in `proxy.toml`, in bytes.
pub type Span = Range<usize>;

/// A value and where it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spanned<T> {
    /// The value.
    pub value: T,
    /// Where it was written.
    pub span: Span,
}

/// One checked `proxy.toml`.
#[derive(Clone, Debug)]
pub struct Config {
    /// [`Source::mark`] of the text that it was made of.
    pub mark: u64,
    /// `[listen]`
    pub listen: Listen,
    /// `[runtime] threads`; `None` is `"auto"`.
    pub threads: Option<usize>,
    /// `[log]`
    pub log: Log,
    /// `[secrets]`
    pub secrets: Secrets,
    /// `[admin]`
    pub admin: Admin,
    /// `[limits]`
    pub limits: Limits,
    /// `[drain]`
    pub drain: Drain,
    /// `[state]`
    pub state: State,
    /// `[events]`, where changes of connections are told to somebody.
    pub events: Option<Events>,
    /// `[intercept]`, where it is enabled.
    pub intercept: Option<Intercept>,
    /// `[connect_to]`: upstream `host:port` (lower case) to the `host:port` to connect to instead.
    pub connect_to: Vec<(Authority, Authority)>,
    /// `[tls] roots`
    pub trust: Trust,
    /// `[dns]`
    pub dns: Dns,
    /// `[egress]`
    pub egress: Option<Egress>,
    /// `[playground]`: the built-in upstream for newcomers, where configured.
    pub playground: Option<SocketAddr>,
    /// `[credential.*]`, in the order of the file; last, where it has one, that of `[egress]`.
    pub credentials: Vec<Credential>,
    /// `[client.*]`, in the order of the file.
    pub clients: Vec<Client>,
    /// `[[route]]`, in the order of the file.
    pub routes: Vec<Route>,
}

/// Where a configuration came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// As it is shown in messages.
    pub name: String,
    /// The whole text.
    pub text: String,
    /// Paths in the file are relative to this folder.
    pub folder: PathBuf,
}

impl Source {
    /// Tells whether the text is still the same, without keeping it.
    pub fn mark(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.text.hash(&mut hasher);
        hasher.finish()
    }
}

/// A TCP address or a Unix socket.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ListenAddr {
    /// `127.0.0.1:8080`, `[::1]:8080`
    Tcp(SocketAddr),
    /// `unix:/run/countersign/proxy.sock`
    Unix(PathBuf),
}

/// `[listen]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// Default `["127.0.0.1:8080"]`.
    pub proxy: Vec<ListenAddr>,
    /// Permissions of Unix sockets; default 0660.
    pub socket_mode: u32,
    /// Default `127.0.0.1:9901`; `None` is `"off"`.
    pub admin: Option<SocketAddr>,
    /// `/livez`, `/readyz` and `/metrics` only; may listen on any address.
    pub health: Option<SocketAddr>,
    /// TLS by name: ends TLS with a leaf for the name that the client asks for. Only with `[intercept]`.
    pub tls: Option<SocketAddr>,
    /// Whether proxy, route, TLS and admin ports may listen on other than loopback addresses.
    pub allow_remote: bool,
    /// More names that count as loopback names (lower case).
    pub names: Vec<String>,
}

pub use super::intercept::{AuthoritySource, Intercept};

/// `[log]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// `error`, `warn`, `info`, `debug` or `trace`; default `info`.
    pub level: tracing::Level,
    /// Default `auto`: text on a terminal, JSON elsewhere.
    pub format: LogFormat,
    /// Whether each request has its line; default on.
    pub access: bool,
}

/// `[log] format`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    Auto,
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// `[secrets]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Secrets {
    /// The directory, made absolute; default `/run/secrets/countersign`.
    pub dir: PathBuf,
    /// Where `dir` was written, if it was.
    pub dir_span: Option<Span>,
    /// Default 10 s.
    pub poll: Option<Duration>,
    /// File events beside polling; `false` is `watch = "poll"`.
    pub events: bool,
    /// Default keep.
    pub on_missing: OnMissing,
    /// Default refuse.
    pub at_start: AtStart,
    /// How long a replaced value is kept as the fallback; default 10 min.
    pub overlap: Duration,
}

/// `[secrets] on_missing`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnMissing {
    /// A deleted file keeps its last good value.
    Keep,
    /// A deleted file ends its credential at once.
    Fail,
}

/// `[secrets] at_start`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtStart {
    /// A bad or missing secret ends the start with status 1.
    Refuse,
    /// Live but not ready until all are good.
    Wait,
    /// Ready; routes with bad secrets answer 503.
    Serve,
}

/// `[admin]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// Name of the secret that changing calls must carry; without it they are off.
    pub token: Option<Spanned<NamePattern>>,
    /// Whether reading needs it too; default false.
    pub protect_reads: bool,
}

/// `[limits]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a request head; default 64 KiB.
    pub head: usize,
    /// Headers of a request; default 100.
    pub headers: usize,
    /// Worker connections; default 10 000.
    pub connections: usize,
    /// Requests at one time; default 1024.
    pub in_flight: usize,
    /// Bytes of all held bodies together; default 64 MiB.
    pub buffered: usize,
}

/// `[drain]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drain {
    /// Default 25 s.
    pub deadline: Duration,
    /// Default 0 s.
    pub delay: Duration,
}

/// A host name or address and a port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Authority {
    /// Lower case; IPv6 without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// `[credential.NAME]`
#[derive(Clone, Debug)]
pub struct Credential {
    /// The name.
    pub name: String,
    /// Where the table begins.
    pub span: Span,
    /// The scheme with its parameters.
    pub signer: Arc<Signer>,
    /// Where each of [`Signer::requirements`] was written, in the same order.
    pub secret_spans: Vec<Span>,
    /// Everything about its tokens, where it is `oauth2`; its `signer` is [`Signer::Token`].
    pub oauth: Option<Arc<OAuth>>,
    /// TLS towards its token endpoints; `Some` where it is `oauth2`.
    pub token_tls: Option<RouteTls>,
    /// The seed of its refresh token ([`OAuth::seed`]), read like a secret of its own named `seed:NAME`. Its signer
    /// signs nothing: it says which file it is, and that it is a text.
    pub seed: Option<Box<Credential>>,
}

impl Credential {
    /// A credential without tokens.
    pub(crate) fn plain(name: String, span: Span, signer: Signer, secret_spans: Vec<Span>) -> Self {
        Self { name, span, signer: Arc::new(signer), secret_spans, oauth: None, token_tls: None, seed: None }
    }
}

/// `[client.NAME]`: a caller that can be told from others.
#[derive(Clone, Debug)]
pub struct Client {
    /// The name.
    pub name: String,
    /// How it proves who it is.
    pub proof: Proof,
    /// The tenants that it may act for; `None` is any.
    pub tenants: Option<Vec<TenantPattern>>,
}

/// How a client proves who it is.
#[derive(Clone, Debug)]
pub enum Proof {
    /// A token in `Proxy-Authorization`. Kept as a credential named `client:NAME`, so that its secret obeys the same
    /// rules: read, rotated and shown like any other.
    Token(Box<Credential>),
    /// The user of the process behind a Unix socket.
    Uid(u32),
}

/// Who may use a route.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouteCallers {
    /// Indexes into [`Config::clients`]; `None` is anyone.
    pub clients: Option<Vec<usize>>,
    /// Origins whose pages may, as browsers write them.
    pub origins: Vec<String>,
}

/// `stand_in`: what the proxy answers itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StandIn {
    /// A token endpoint's answer with a placeholder.
    Token,
}

/// `upstream`, or its default `https://{host}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// Whether TLS is spoken.
    pub tls: bool,
    /// `None`: the host that the request was matched by.
    pub host: Option<Box<str>>,
    /// The port; 443 or 80 by default.
    pub port: u16,
}

impl Upstream {
    /// As a URL without path; `matched` is the host where `upstream` names none. The default port is left out.
    pub fn url(&self, matched: &str) -> String {
        let (scheme, default) = if self.tls { ("https", 443) } else { ("http", 80) };
        let host = self.host.as_deref().unwrap_or(matched);
        let host = if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host.to_owned() };
        if self.port == default { format!("{scheme}://{host}") } else { format!("{scheme}://{host}:{}", self.port) }
    }
}

/// `tenant`
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TenantSource {
    /// `"{shop}"`: a capture of the host, by name.
    Capture(String),
    /// `{ header = "Countersign-Tenant" }`
    Header(http::HeaderName),
    /// `{ query = "shop" }`: a query parameter by its decoded name.
    Query(String),
    /// `{ path = 1 }`: a segment of the path, counted from 1.
    Path(usize),
    /// `{ slot = true }`: where the credential's secret would stand.
    Slot,
}

/// `tls` of a route, or of an `oauth2` credential's token endpoints.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouteTls {
    /// PEM certificate chain (may hold the key as well).
    pub client_cert: Option<Spanned<NamePattern>>,
    /// PEM key; `None` with a `client_cert`: the same file holds both.
    pub client_key: Option<Spanned<NamePattern>>,
    /// PEM bundle that replaces the public roots.
    pub ca: Option<Spanned<NamePattern>>,
    /// Name for SNI and verification instead of the host.
    pub server_name: Option<String>,
    /// Minimum version; default 1.2.
    pub min: TlsVersion,
    /// Keys of which the chain must have one, in order; empty pins nothing.
    pub pins: Vec<Pin>,
}

/// `timeouts` of a route; `None` is `"none"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Name lookup, TCP and TLS together; default 5 s.
    pub connect: Duration,
    /// From the whole request sent to the answer's head; default 60 s.
    pub response: Option<Duration>,
    /// How long an unused connection is kept; default 50 s.
    pub pool: Duration,
    /// Silence within a body; default 5 min.
    pub body: Option<Duration>,
    /// Silence of both sides of a WebSocket; default none.
    pub tunnel: Option<Duration>,
}

/// `limits` of a route; `None` is `"none"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteLimits {
    /// Largest body that a signature may hold; default 16 MiB.
    pub signed_body: usize,
    /// Largest body; default none.
    pub request_body: Option<u64>,
    /// Largest body kept for a second attempt; default 64 KiB.
    pub replay_body: usize,
    /// Requests at one time; default 256.
    pub in_flight: usize,
}
