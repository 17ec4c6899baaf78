//! The words of the machine: what may be done with a connection, what came of it, what is to be stored. Data alone; the
//! rules are in [`super::machine`], which hands these on to its callers.

use std::time::Duration;

use super::answer::Refusal;
use super::event::Event;
use super::record::{LastRefresh, Reason, State, TokenSet};

/// What a refresh changes. Written with the lease's owner and version; ends lease and intent.
#[derive(Clone, Debug)]
pub struct Change {
    /// The new state.
    pub state: State,
    /// Why.
    pub reason: Option<Reason>,
    /// What the platform said.
    pub detail: Option<String>,
    /// New tokens; `None` leaves the old.
    pub tokens: Option<TokenSet>,
    /// Failed refreshes in a row.
    pub failures: u32,
    /// From now until it is refreshed next; `None`: not by itself.
    pub next_refresh_in: Option<Duration>,
    /// This attempt.
    pub last_refresh: Option<LastRefresh>,
    /// The seed that the refresh token came from.
    pub seed: Option<[u8; 32]>,
    /// Told in the same transaction.
    pub events: Vec<Event>,
}

/// Which secret a token call sends as the grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The client's own (`client_credentials`, `password`).
    Own,
    /// The record's refresh token.
    Stored,
    /// The seed with this digest.
    Seed([u8; 32]),
}

/// A token call that may be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// With which secret.
    pub source: Source,
    /// Set if the refresh token may have been used up by an earlier call: then a refusal has this reason
    /// ([`Reason::RefreshInterrupted`] or [`Reason::AnswerLost`]).
    pub doubt: Option<Reason>,
    /// Which one of a row of calls without pause this is.
    pub turn: Turn,
}

/// Which one of a row of calls without pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// The first.
    First,
    /// The one more after a lost answer.
    Second,
}

/// The seed of a connection, as it is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seed {
    /// There is none, or its file cannot be read.
    None,
    /// SHA-256 of the content of its file.
    Is([u8; 32]),
}

/// Whether something changed outside that makes a dead connection worth another call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outside {
    /// Nothing.
    Same,
    /// The secrets of the token call are others than at the last one, or a person asked (`connections refresh`).
    Changed,
}

/// Whether the platform is to be asked.
#[derive(Debug)]
pub enum Need {
    /// It may be.
    Call(Attempt),
    /// It must not, nor is anything to be written: dead, revoked, or there is nothing to send yet.
    Nothing,
    /// It must not, and this is to be stored: what the record has is over.
    Ended(Box<Change>),
}

/// What came of a token call.
#[derive(Debug)]
pub enum Outcome {
    /// New tokens.
    Fresh(Box<TokenSet>),
    /// Whatever else was answered.
    Refused(Refusal),
    /// All or part of the request was sent, and no whole answer came ([`Reason::Timeout`] or [`Reason::Refused`]).
    Lost(Reason),
    /// Not one byte of the request was sent.
    Unsent(Reason),
}

/// What to do after a token call.
#[derive(Debug)]
pub enum Next {
    /// Store this.
    Commit(Box<Step>),
    /// Call once more at once.
    Again(Attempt),
    /// The connection was ended while the call was under way: nothing is stored, and what came, if anything, is
    /// revoked at the platform.
    Discard,
}

/// What to store, and what it says about the credential.
#[derive(Debug)]
pub struct Step {
    /// For the store.
    pub change: Change,
    /// For the credential.
    pub client: Client,
}

/// What an answer says about the client itself. A credential is unhealthy from a `Refused` to the next `Accepted`; the
/// caller keeps that and tells `credential.unhealthy` and `credential.healthy` when it changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    /// It is accepted.
    Accepted,
    /// It is not.
    Refused,
    /// Nothing.
    Unknown,
}
