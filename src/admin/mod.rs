//! The admin and the health listener: page, JSON, health paths, metrics.
//!
//! What is shown comes through [`Source`], so that nothing here knows snapshots, pools or files; the shell
//! implements it. `server` accepts connections, `guard` decides who may ask, `api` answers, `answer` makes
//! responses, `page` draws the page, `connections` has everything about connections and `callback` what a merchant's
//! browser sees. Requests of workers never come here.

mod answer;
mod api;
pub mod callback;
pub mod connections;
mod guard;
mod page;
mod server;
pub mod view;

use tokio::sync::oneshot;

pub use answer::Answer;
pub use connections::Connections;
pub use server::serve;
pub use view::{
    CredentialView, Health, ListenerView, Readiness, ReloadResult, ReloadView, RouteView, StatusView, Unhealthy,
};

use crate::clock::Timestamp;
use crate::secret::value::SecretBytes;

/// Which of the two listeners a socket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Everything, for people and programs on this machine.
    Admin,
    /// `/livez`, `/readyz` and `/metrics` only, for other hosts.
    Health,
}

/// The token that changing calls must carry.
#[derive(Clone, Debug)]
pub enum AdminToken {
    /// No `[admin] token`: changing calls are off.
    NotConfigured,
    /// Configured, but its secret has no good value: changing calls are refused.
    Unusable,
    /// Any of these is accepted: the newest value and, for `[secrets] overlap`, the one before.
    Values(Vec<SecretBytes>),
}

/// Whether reading needs the token too (`[admin] protect_reads`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reads {
    /// Reading is open to whoever reaches the listener.
    Open,
    /// All but `/livez` and `/readyz` needs the token.
    Protected,
}

/// Where the listeners get what they show. Every call answers at once, from memory; only [`Connections`] ask a store.
pub trait Source: Send + Sync + 'static {
    /// The time of day, for ages.
    fn now(&self) -> Timestamp;
    /// What runs.
    fn status(&self) -> StatusView;
    /// Every route, in the order of the configuration.
    fn routes(&self) -> Vec<RouteView>;
    /// Every credential, and the identities of routes.
    fn credentials(&self) -> Vec<CredentialView>;
    /// Whether requests are welcome.
    fn readiness(&self) -> Readiness;
    /// Prometheus text, format 0.0.4.
    fn metrics_text(&self) -> String;
    /// The token of changing calls.
    fn admin_token(&self) -> AdminToken;
    /// Whether reads need it too.
    fn reads(&self) -> Reads;
    /// `[listen] names`: more names, in lower case, by which the listeners may be called.
    fn names(&self) -> Vec<String>;
    /// Asks for a reload of `proxy.toml` and the secrets; the outcome comes when it is done.
    fn reload(&self) -> oneshot::Receiver<ReloadView>;
    /// The connections; `None` where no credential of the configuration has any.
    fn connections(&self) -> Option<&dyn Connections>;
}

#[cfg(test)]
mod tests;
