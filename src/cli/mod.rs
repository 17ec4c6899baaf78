//! The command line: one file per subcommand.
//!
//! [`args`] says what may be written, [`exit`] what the status means, [`terminal`] writes to people and
//! programs, [`source`] reads `proxy.toml` and its secrets for the commands that only look. Data goes to
//! standard output, everything else to standard error. Called by `main` alone.

pub mod args;
mod ca;
mod check;
mod connect;
mod connections;
pub mod demo;
mod demo_command;
pub mod exit;
mod explain;
mod health;
pub mod run;
mod source;
mod status;
pub mod terminal;

use std::ffi::OsString;

use clap::Parser as _;

use args::{Args, Command, Global, RunArgs};
use exit::Exit;

/// Runs one command line and says how the process ends.
pub fn main(words: impl IntoIterator<Item = OsString>) -> Exit {
    let args = match Args::try_parse_from(words) {
        Ok(args) => args,
        Err(refused) => return refuse(&refused),
    };
    if let Some(refused) = args.misplaced() {
        return refuse(&refused);
    }
    match dispatch(args) {
        Ok(exit) => exit,
        Err(error) => {
            terminal::error(&error);
            exit::of(&error)
        }
    }
}

/// Help and version are asked for, everything else is a mistake.
fn refuse(refused: &clap::Error) -> Exit {
    let _ = refused.print(); // nobody is left to tell when the terminal is gone
    if refused.use_stderr() { Exit::Usage } else { Exit::Fine }
}

fn dispatch(args: Args) -> anyhow::Result<Exit> {
    let global = args.global;
    match args.command.unwrap_or_else(|| Command::Run(RunArgs::default())) {
        Command::Run(own) => Ok(run_proxy(&global, own.or(args.run))),
        Command::Check => check::command(&global),
        Command::Explain(own) => explain::command(&global, &own),
        Command::Ca(own) => ca::command(&global, &own),
        Command::Status => status::command(&global),
        Command::Health => health::command(&global),
        Command::Connect(own) => connect::command(&global, &own),
        Command::Connections(own) => connections::command(&global, &own),
        Command::State(own) => connections::state(&global, &own),
        Command::Demo => demo_command::command(&global),
    }
}

fn run_proxy(global: &Global, own: RunArgs) -> Exit {
    let options = run::Options {
        unix_socket: own.unix_socket,
        drain_delay: own.drain_delay,
        log_level: global.log_level.map(Into::into),
        log_format: global.log_format.map(Into::into),
    };
    match run::run(&global.config, &options) {
        run::Ended::Drained => Exit::Fine,
        run::Ended::BadInput => Exit::Bad,
        run::Ended::Passing => Exit::Passing,
        run::Ended::CutOff => Exit::TimedOut,
    }
}

/// A runtime on this thread alone, for commands that ask a running proxy something.
fn small_runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}
