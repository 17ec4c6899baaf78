//! What the program says about itself: the log, the access line, metrics.
//!
//! Everything here takes plain names and numbers; no domain type is imported, so that every
//! layer above may report. Values are escaped where they are written: a line is one record
//! whatever a worker put into its path. Nothing here reads a secret.

pub mod access;
pub mod line;
pub mod log;
pub mod metrics;
pub mod outcome;

pub use line::Format;
pub use outcome::Outcome;
