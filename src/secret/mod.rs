//! Secrets: their names, their values, one directory read as one generation, and the watcher.
//!
//! `name` and `value` are pure; `dir` reads files; `watch` turns file events and polling into
//! "read again". Nothing here knows what a credential is. Secret types have neither `Debug` that
//! shows content, nor `Display`, nor serde.

pub mod dir;
pub mod name;
pub mod set;
pub mod value;
pub mod wanted;
