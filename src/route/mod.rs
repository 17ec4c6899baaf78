//! Matching: host patterns, path and method match, tenant choice. PURE.

pub mod host;
