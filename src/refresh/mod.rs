//! Tokens that refresh themselves: the table of usable ones, which requests look into, and the tasks that fill it.
//! Requests never make a token call. Callers: `proxy` (looking up, waiting), `server` (start, reload, drain, views),
//! `cli` (steering a store without a running proxy).

pub mod approve;
mod exchange;
mod tokens;
mod view;

pub use tokens::{Parts, Sharing, Tokens};
pub use view::{NoToken, NoTokenKind, PlatformRevoked, Revoked, SteerError, Token, Unhealthy, Want};
