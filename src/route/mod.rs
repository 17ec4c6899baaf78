//! Matching: host patterns, path and method match, names of tenants. PURE.
//!
//! `config` parses patterns; `snapshot` builds the [`table::Table`]; `proxy` and `explain` ask it.

pub mod endpoint;
pub mod host;
pub mod table;
pub mod tenant;
