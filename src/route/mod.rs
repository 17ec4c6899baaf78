//! Matching: host patterns, path and method match. PURE.
//!
//! `config` parses patterns; `snapshot` builds the [`table::Table`]; `proxy` and `explain` ask it.

pub mod host;
pub mod table;
