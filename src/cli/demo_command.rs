//! not here yet
use super::args::Global;
use super::exit::Exit;
pub(super) fn command(_: &Global) -> anyhow::Result<Exit> {
    anyhow::bail!("demo is missing")
}
