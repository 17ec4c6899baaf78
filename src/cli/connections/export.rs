//! `connections export`: tokens in clear, as `connections import` takes them. Never on a terminal.

use std::io::{IsTerminal as _, Write as _};

use super::args::ExportArgs;
use super::lines;
use super::opened::{Opened, ended};
use crate::cli::exit::{Ended, Exit};
use crate::cli::terminal;
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
    let (mut after, mut shut) = (None, 0_usize);
    loop {
        let page = store.list(&filter, after.as_ref(), PAGE).await.map_err(|error| ended(of_store(&error)))?;
        let mut out = std::io::stdout().lock();
        for line in page.iter().filter(|one| one.shut.is_none()).filter_map(|one| lines::written(&one.record)) {
            out.write_all(&line)?;
        }
        out.flush()?;
        for why in page.iter().filter_map(|one| one.shut.as_ref()) {
            shut += 1;
            terminal::note(&why.to_string());
        }
        let Some(last) = page.last().filter(|_| page.len() == PAGE as usize) else { break };
        after = Some(last.record.key.clone());
    }
    if shut > 0 {
        // A backup that is not whole must not look like one.
        let message =
            format!("{shut} connections are not in it: their tokens cannot be opened with any key of [state] key");
        return Err(Ended::new(Exit::Bad, message).into());
    }
    Ok(Exit::Fine)
}
