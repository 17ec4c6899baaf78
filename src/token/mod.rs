//! OAuth 2 without I/O: what a token request looks like, what its answer means, and what becomes of a connection.
//! PURE: configuration, record, answer and time in; request, next record and events out.
//!
//! [`grant`] is one `oauth2` credential as the configuration wrote it; [`record`] one connection as the store keeps it.
//! Callers: `config` (building), `store`, `refresh`, `cli`.

pub mod event;
pub mod fill;
pub mod grant;
pub mod record;

pub use event::{Event, EventKind};
pub use grant::OAuth;
pub use record::{ConnectionKey, Record};
