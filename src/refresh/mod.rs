//! Tokens that refresh themselves: the table of usable ones, which requests look into, and the tasks that fill it.
//! Requests never make a token call. Callers: `proxy` (looking up, waiting), `server` (start, reload, drain, views),
//! `cli` (steering a store without a running proxy).
//!
//! `tokens` is what they call; `table` what a request looks into; `attempt` the one task of a connection, with `call`
//! (asking the platform) and `commit` (storing the answer); `background` what no request causes; `derive` second tokens; `events` who is told.
//! `approve` is a person's consent. What follows from what is `token::machine`'s.

pub mod approve;
mod attempt;
mod background;
mod call;
mod commit;
mod derive;
mod endpoints;
mod events;
mod health;
mod inner;
mod scene;
mod standard;
mod steer;
mod step;
mod table;
mod tokens;
mod view;

pub use step::{Step, Steps};
pub use tokens::{Parts, Sharing, Tokens};
pub use view::{NoToken, NoTokenKind, PlatformRevoked, Revoked, SteerError, Token, TokenKind, Unhealthy, Want};

#[cfg(test)]
mod tests;
