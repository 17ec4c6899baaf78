//! `proxy.toml`: text in, [`model::Config`] and every mistake out.
//!
//! [`load`] reads a file, [`parse`] a text; `run`, `check`, `explain`, reload and tests use these
//! two alone. `keys` and `keys_*` are the one table of all keys, `fields` reads against
//! it, `sections`, `net`, `credential`, `oauth` and `route` make values, `check` and `oauth_check` compare them with one another,
//! `diagnostic` prints. Whether a secret exists and is good is `snapshot`'s question.

mod check;
mod client;
mod credential;
mod credential_hmac;
mod credential_http_signature;
mod credential_oauth1;
mod credential_sigv4;
pub mod diagnostic;
mod fields;
mod hints;
pub mod intercept;
mod keys;
mod keys_client;
mod keys_http_signature;
mod keys_net;
mod keys_oauth;
mod keys_oauth1;
mod keys_route;
mod keys_sigv4;
mod literal;
pub mod model;
mod model_net;
mod model_oauth;
mod model_route;
mod net;
mod oauth;
mod oauth_check;
mod oauth_derive;
mod oauth_parts;
mod oauth_state;
mod oauth_text;
mod parts;
mod plain;
mod reference;
mod route;
mod route_callers;
mod route_settings;
mod schema;
mod sections;
mod source;
mod system_roots;
mod units;

#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;

use toml::de::DeTable;

pub use diagnostic::{Diagnostic, DiagnosticJson, Severity};
pub use reference::reference;
pub use source::{FILE_LIMIT, load};
pub(crate) use units::duration;

use fields::{Fields, Mistakes};
use model::{Config, Source, Span};

/// Messages of one run; what is over it is counted, not printed.
const DIAGNOSTICS_LIMIT: usize = 100;

/// What became of a configuration.
#[derive(Debug)]
pub struct Loaded {
    /// Its name and text, for printing the diagnostics.
    pub source: Arc<Source>,
    /// `None` when there is an error.
    pub config: Option<Config>,
    /// Errors and warnings in the order of the file; at most [`DIAGNOSTICS_LIMIT`] and one.
    pub diagnostics: Vec<Diagnostic>,
}

/// Reads a configuration. `name` is shown in messages; relative paths are below `folder`.
pub fn parse(name: &str, text: &str, folder: &Path) -> Loaded {
    parse_owned(name, text.to_owned(), folder, parts::FROM)
}

/// Reads a text, in parts where it has at least `parts_from` bytes. A large file without a mistake is read that way;
/// what is to be said of any other is found by reading it as a whole.
fn parse_owned(name: &str, text: String, folder: &Path, parts_from: usize) -> Loaded {
    let source = |text| Arc::new(Source { name: name.to_owned(), text, folder: folder.to_owned() });
    if text.len() >= parts_from
        && let Some(config) = parts::read(&text, folder)
    {
        let source = source(text);
        let config = Some(Config { mark: source.mark(), ..config });
        return Loaded { source, config, diagnostics: Vec::new() };
    }
    let (config, diagnostics, masked) = whole(&text, folder);
    let failed = diagnostics.iter().any(|d| d.severity == Severity::Error);
    let source = source(source::masked(text, &masked));
    let config = config.filter(|_| !failed).map(|config| Config { mark: source.mark(), ..config });
    Loaded { source, config, diagnostics: ordered(diagnostics) }
}

/// The configuration, what is wrong with it, and what must not be printed.
fn whole(text: &str, folder: &Path) -> (Option<Config>, Vec<Diagnostic>, Vec<Span>) {
    let (table, mut problems) = DeTable::parse_recoverable(text);
    problems.sort_by_key(|problem| problem.span().map(|span| span.start));
    if let Some(first) = problems.iter().find(|problem| !source::is_duplicate(problem)) {
        return (None, vec![source::syntax(first, text)], source::suspects(text));
    }
    let mistakes = Mistakes::default();
    for problem in &problems {
        mistakes.add(source::duplicate(problem, text));
    }
    let table = table.get_ref();
    source::mask_literals(table, &mistakes);
    let config = read(table, text, folder, &mistakes, None);
    let (diagnostics, masked) = mistakes.into_parts();
    (config, diagnostics, masked)
}

/// By position, errors before warnings at one place; cut at [`DIAGNOSTICS_LIMIT`].
fn ordered(mut diagnostics: Vec<Diagnostic>) -> Vec<Diagnostic> {
    diagnostics.sort_by_key(|d| (d.span.as_ref().map(|span| span.start), d.severity == Severity::Warning));
    let more = diagnostics.len().saturating_sub(DIAGNOSTICS_LIMIT);
    if more > 0 {
        diagnostics.truncate(DIAGNOSTICS_LIMIT);
        diagnostics.push(Diagnostic::whole_file(format!("{more} more mistakes are not shown")));
    }
    diagnostics
}

/// The configuration, or `None` when a credential or route could not be made (and a mistake says why). With `parts`,
/// credentials and routes are there and not in `table`.
fn read(
    table: &DeTable<'_>,
    text: &str,
    folder: &Path,
    mistakes: &Mistakes,
    parts: Option<&parts::Parts<'_>>,
) -> Option<Config> {
    let root = Fields::open(table, 0..0, &keys::ROOT, mistakes);
    let mut taken = sections::Taken::new();
    let listen = sections::listen(&root.table("listen"), folder, &mut taken);
    let intercept = intercept::read(&root.table("intercept"), folder);
    intercept::needed(&root, intercept.as_ref());
    let admin = sections::admin(&root.table("admin"));
    let credentials = match parts {
        None => credential::credentials(&root, text),
        Some(parts) => parts.credentials(mistakes)?,
    };
    let clients = client::clients(&root);
    let by_name = credentials.iter().enumerate().map(|(index, c)| (&*c.name.value, index)).collect();
    let clients_by_name = clients.iter().enumerate().map(|(index, c)| (c.name.value, index)).collect();
    let around =
        route::Around { folder, allow_remote: listen.allow_remote, credentials: &by_name, clients: &clients_by_name };
    let routes = match parts {
        None => route::routes(&root, &around, &mut taken, &mut route::Shared::new(&around, route::Places::Each)),
        Some(parts) => parts.routes(&around, &mut taken)?,
    };
    let playground = sections::playground(&root.table("playground"), &mut taken);
    sections::listen_twice(&taken, mistakes);
    check::reachable(&routes, &listen, mistakes);
    check::unique(&routes, mistakes);
    check::ambiguous(&routes, text, mistakes);
    check::together(&routes, &credentials, mistakes);
    client::check(&clients, &routes, &listen, mistakes);
    route_callers::slots(&routes, &credentials, mistakes);
    check::unused(&routes, &credentials, mistakes);
    let trust = net::trust(&root.table("tls"));
    let (egress, egress_credential) = net::egress(&root.table("egress"), text, credentials.len());
    let connect_to = sections::connect_to(&root);
    net::clear_text(&routes, egress.as_ref(), &connect_to, mistakes);
    let dns = intercept::dns(net::dns(&root.table("dns")), &listen, &root);
    check::kinds(&routes, &credentials, egress_credential.as_ref(), &admin, &trust, mistakes);
    let state = oauth_state::state(&root.table("state"), folder, oauth_check::consent(&credentials));
    let events = oauth_state::events(&root);
    oauth_check::together(&routes, &credentials, mistakes);
    oauth_check::sealed(&state, &credentials, mistakes);
    oauth_check::kinds(&state, events.as_ref(), &routes, &credentials, mistakes);
    intercept::kinds(intercept.as_ref(), &credentials, mistakes);
    Some(Config {
        mark: 0,
        listen,
        threads: sections::threads(&root.table("runtime")),
        log: sections::log(&root.table("log")),
        secrets: sections::secrets(&root.table("secrets"), folder),
        admin,
        limits: sections::limits(&root.table("limits")),
        drain: sections::drain(&root.table("drain")),
        state,
        events,
        intercept,
        connect_to,
        trust,
        dns,
        egress,
        playground,
        credentials: made(credentials.into_iter().map(|c| c.made).chain(egress_credential.map(Some)))?,
        clients: clients.into_iter().map(|c| c.made).collect::<Option<_>>()?,
        routes: made(routes.into_iter().map(|r| r.made))?,
    })
}

/// All of them, where each could be made; without the room that a collection keeps of what it was made of.
fn made<T>(all: impl Iterator<Item = Option<T>>) -> Option<Vec<T>> {
    let mut all: Vec<T> = all.collect::<Option<_>>()?;
    all.shrink_to_fit();
    Some(all)
}
