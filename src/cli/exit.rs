//! How the process ends: six statuses, documented in every long help, and which error means which.

use std::io::ErrorKind;
use std::process::ExitCode;

/// The paragraph of the long help.
pub const HELP: &str = "\
Exit status:
  0  fine
  1  bad configuration, secret or input
  2  usage: the command line is wrong
  3  a person must act
  4  a passing failure: a port is taken, an upstream cannot be reached, nothing is running
  5  timed out";

/// The status of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Fine.
    Fine = 0,
    /// Bad configuration, secret or input.
    Bad = 1,
    /// The command line is wrong.
    Usage = 2,
    /// A person must act.
    PersonMustAct = 3,
    /// It may work later: a port is taken, an upstream or the proxy cannot be reached.
    Passing = 4,
    /// Timed out.
    TimedOut = 5,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// An error with a status of its own; any other error is [`Exit::Bad`].
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Ended {
    /// The status.
    pub exit: Exit,
    /// One line for people.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Ended {
    /// An error that ends the process with this status.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), hint: None }
    }

    /// The same with a hint.
    #[must_use]
    pub fn with_hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}

/// The status that an error stands for.
pub fn of(error: &anyhow::Error) -> Exit {
    if let Some(ended) = error.downcast_ref::<Ended>() {
        return ended.exit;
    }
    let passing = |kind| matches!(kind, ErrorKind::AddrInUse | ErrorKind::ConnectionRefused);
    let mut causes = error.chain().filter_map(|cause| cause.downcast_ref::<std::io::Error>());
    if causes.any(|cause| passing(cause.kind())) { Exit::Passing } else { Exit::Bad }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context as _;

    #[test]
    fn errors_have_the_documented_status() {
        assert_eq!(of(&anyhow::anyhow!("no")), Exit::Bad);
        assert_eq!(of(&Ended::new(Exit::TimedOut, "late").into()), Exit::TimedOut);
        let taken = Err::<(), _>(std::io::Error::from(ErrorKind::AddrInUse)).context("cannot listen");
        assert_eq!(taken.err().map(|error| of(&error)), Some(Exit::Passing));
    }
}
