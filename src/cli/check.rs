//! `check`: every mistake of the configuration, every secret, and what each route would do.
//!
//! `secrets` judges secrets one by one, `routes` says what routes do; here both become one report.
//! Nothing is sent, written or listened on.

mod routes;
mod secrets;

use std::path::Path;
use std::sync::Arc;

use serde::Serialize;

use super::args::{Format, Global};
use super::exit::Exit;
use super::{source, terminal};
use crate::clock::{Clock as _, SystemClock};
use crate::config::model::{AtStart, Config, Source};
use crate::config::{self, Diagnostic, DiagnosticJson, Severity};
use crate::snapshot::plan::Plan;
use routes::RouteRow;
use secrets::{SecretRow, State};

/// Secrets that are said one by one; of more there is a number.
const SAID: usize = 20;

/// What was found.
struct Report {
    source: Arc<Source>,
    diagnostics: Vec<Diagnostic>,
    routes: Vec<RouteRow>,
    secrets: Vec<SecretRow>,
}

#[derive(Serialize)]
struct Json<'r> {
    ok: bool,
    diagnostics: Vec<DiagnosticJson>,
    routes: &'r [RouteRow],
    secrets: &'r [SecretRow],
}

/// Checks and prints; [`Exit::Bad`] when there is an error.
pub(super) fn command(global: &Global) -> anyhow::Result<Exit> {
    let report = look(&global.config);
    match global.format {
        Format::Json => terminal::json(&report.json())?,
        Format::Text => report.print(),
    }
    Ok(if report.errors() == 0 { Exit::Fine } else { Exit::Bad })
}

fn look(path: &Path) -> Report {
    let loaded = config::load(path);
    let mut report =
        Report { source: loaded.source, diagnostics: loaded.diagnostics, routes: Vec::new(), secrets: Vec::new() };
    let Some(config) = loaded.config else { return report };
    let plan = Arc::new(Plan::new(Arc::new(config)));
    report.routes = routes::rows(&plan.config);
    match source::secrets(&plan) {
        Ok(read) => {
            let snapshot = source::snapshot(plan.clone(), &read.set);
            report.secrets = secrets::rows(&snapshot, &read.set, SystemClock.now());
            let found = secret_diagnostics(&plan.config, &report.secrets);
            report.diagnostics.extend(found);
            let span = plan.config.secrets.dir_span.clone();
            let remark = |message| Diagnostic { severity: Severity::Warning, span: span.clone(), message, hint: None };
            report.diagnostics.extend(read.remarks.into_iter().map(remark));
        }
        Err(none) => {
            let span = plan.config.secrets.dir_span.clone();
            let severity = severity_of_missing(&plan.config);
            report.diagnostics.push(Diagnostic { severity, span, message: none.message, hint: Some(none.hint) });
        }
    }
    report
}

/// With another `at_start` the proxy starts without the secret.
fn severity_of_missing(config: &Config) -> Severity {
    if config.secrets.at_start == AtStart::Refuse { Severity::Error } else { Severity::Warning }
}

/// What is wrong with secrets, with the place that names them; at most [`SAID`] and a number.
fn secret_diagnostics(config: &Config, rows: &[SecretRow]) -> Vec<Diagnostic> {
    let dir = config.secrets.dir.display();
    let mut list = Vec::new();
    for row in rows {
        let (severity, message, hint) = match &row.state {
            State::Good | State::MadeAtStart | State::NoSeed => continue,
            State::EndsSoon(days) => (
                Severity::Warning,
                match days {
                    0 => format!("the certificate {} ends today", row.name),
                    1 => format!("the certificate {} ends tomorrow", row.name),
                    days => format!("the certificate {} ends in {days} days", row.name),
                },
                "put a new one into its file; it is in use a second later".to_owned(),
            ),
            State::NoFile => (
                Severity::Warning,
                format!("no file matches the secret {}", row.name),
                format!("requests for a tenant whose file is not below {dir} are answered with 503"),
            ),
            State::Missing => (
                severity_of_missing(config),
                format!("the secret {} is missing", row.name),
                format!("{} needs the file {dir}/{}", row.user(), row.name),
            ),
            State::Bad(reason) => (
                Severity::Error,
                format!("the secret {} cannot be used: {reason}", row.name),
                format!("{} needs it; the file is {dir}/{}", row.user(), row.name),
            ),
        };
        list.push(Diagnostic { severity, span: row.span.clone(), message, hint: Some(hint) });
    }
    list.sort_by_key(|one| one.severity == Severity::Warning);
    let more = list.len().saturating_sub(SAID);
    if more > 1 {
        let severity = if list[SAID..].iter().any(|one| one.severity == Severity::Error) {
            Severity::Error
        } else {
            Severity::Warning
        };
        list.truncate(SAID);
        let message = format!("{more} more secrets are missing or cannot be used");
        list.push(Diagnostic { severity, span: None, message, hint: None });
    }
    list
}

impl Report {
    fn errors(&self) -> usize {
        self.diagnostics.iter().filter(|one| one.severity == Severity::Error).count()
    }

    fn json(&self) -> Json<'_> {
        Json {
            ok: self.errors() == 0,
            diagnostics: self.diagnostics.iter().map(|one| one.json(&self.source)).collect(),
            routes: &self.routes,
            secrets: &self.secrets,
        }
    }

    fn print(&self) {
        terminal::diagnostics(&self.diagnostics, &self.source);
        if !self.routes.is_empty() {
            terminal::data(&routes::text(&self.routes));
        }
        if !self.secrets.is_empty() {
            terminal::data(&format!("\n{}", secrets::text(&self.secrets)));
        }
        let warnings = self.diagnostics.len() - self.errors();
        let counted = |number: usize, word: &str| match number {
            0 => String::new(),
            1 => format!(", 1 {word}"),
            many => format!(", {many} {word}s"),
        };
        let word = if self.errors() == 0 { "ok" } else { "not ok" };
        let found = counted(self.errors(), "error") + &counted(warnings, "warning");
        let name = terminal::harmless(&self.source.name);
        let (routes, secrets) = (counted(self.routes.len(), "route"), counted(self.secrets.len(), "secret"));
        let gap = if self.routes.is_empty() { "" } else { "\n" };
        terminal::data(&format!("{gap}{name}: {word}{routes}{secrets}{found}"));
    }
}
