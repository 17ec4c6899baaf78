//! The words around [`super::demo`]: its story on standard error, its result on standard output.

use super::args::{Format, Global};
use super::demo::{Plan, demo};
use super::exit::Exit;
use super::{run, terminal};
use crate::config::model::LogFormat;
use crate::observe::log;

/// Runs it; [`Exit::Bad`] when it did not go as promised.
pub(super) fn command(global: &Global) -> anyhow::Result<Exit> {
    let format = run::format_of(global.log_format.map_or(LogFormat::Auto, Into::into));
    log::init(global.log_level.map_or(tracing::Level::WARN, Into::into), format)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime.block_on(demo(Plan::default(), run::start, terminal::note))?;
    match global.format {
        Format::Json => terminal::json(&outcome)?,
        Format::Text => terminal::data(&outcome.text()),
    }
    Ok(if outcome.passed() { Exit::Fine } else { Exit::Bad })
}
