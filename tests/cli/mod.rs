//! The command line from outside: what is printed where, and the exit status.

mod callers;
mod check;
mod explain;
mod oauth;
mod same;
mod status;
mod usage;

use crate::support::{Ran, Scratch, countersign};

/// Runs a command in the directory of a scratch configuration.
fn run(scratch: &Scratch, words: &[&str]) -> Ran {
    countersign(&scratch.path(""), words)
}
