//! `connections export`: tokens in clear, as `connections import` takes them. Never on a terminal.

use std::io::{IsTerminal as _, Write as _};

use super::args::ExportArgs;
use super::lines;
use super::opened::{Opened, ended};
use crate::cli::exit::{Ended, Exit};
use crate::server::connections::of_store;
use crate::store::Filter;

/// Records that are read at a time.
const PAGE: u32 = 500;

pub(super) async fn export(own: &ExportArgs, opened: &Opened) -> anyhow::Result<Exit> {
    if std::io::stdout().is_terminal() {
        return Err(Ended::new(Exit::Bad, "tokens are not printed on a terminal")
            .with_hint("send them to a file or a program: countersign connections export --yes-print-tokens > FILE")
            .into());
    }
    let store = opened.steering.tokens().store();
    let filter = Filter { credential: own.credential.clone(), tenant: own.tenant.clone(), state: None };
    let mut after = None;
    loop {
        let page = store.list(&filter, after.as_ref(), PAGE).await.map_err(|error| ended(of_store(&error)))?;
        let mut out = std::io::stdout().lock();
        for line in page.iter().filter_map(lines::written) {
            // A backup that is not whole must not look like one.
            out.write_all(&line)?;
        }
        out.flush()?;
        let Some(last) = page.last().filter(|_| page.len() == PAGE as usize) else { return Ok(Exit::Fine) };
        after = Some(last.key.clone());
    }
}
