//! `run`: not here yet.
use super::args::{Global, RunArgs};
use super::exit::Exit;
pub(super) fn command(_: &Global, _: &RunArgs) -> anyhow::Result<Exit> {
    anyhow::bail!("run is missing")
}
