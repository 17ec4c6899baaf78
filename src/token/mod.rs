//! OAuth 2 without I/O: what a token request looks like, what its answer means, and what becomes of a connection.
//! PURE: configuration, record, answer and time in; request, next record and events out.
//!
//! [`grant`] is one `oauth2` credential as the configuration wrote it; [`record`] one connection as the store keeps it.
//! [`call`] builds token requests, [`answer`] reads what came back, [`approve`] is a person's consent, [`machine`] what
//! becomes of the record, [`times`] when, [`breaker`] whether an endpoint is asked at all.
//! Callers: `config` (building), `store`, `refresh`, `cli`.

pub mod answer;
pub mod approve;
pub mod breaker;
pub mod call;
pub mod derive;
mod detail;
pub mod event;
mod expiry;
pub mod fill;
pub mod grant;
pub mod machine;
pub mod record;
mod step;
pub mod times;

pub use event::{Event, EventKind};
pub use grant::OAuth;
pub use record::{ConnectionKey, Record};

#[cfg(test)]
mod answer_tests;
#[cfg(test)]
mod call_tests;
#[cfg(test)]
mod machine_promises;
#[cfg(test)]
mod machine_tests;
#[cfg(test)]
pub(crate) mod vectors;
