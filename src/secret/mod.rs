//! Secrets: their names, their values, one directory read as one generation, and the watcher.
//!
//! `name`, `value`, `set` and `wanted` are pure; `dir` reads files; `watch` gathers file events;
//! `source` joins both and polling into one stream of updates. Nothing here knows what a credential is. Secret types have neither `Debug` that
//! shows content, nor `Display`, nor serde.

pub mod dir;
pub mod name;
pub mod set;
pub mod source;
pub mod value;
pub mod wanted;
pub mod watch;
