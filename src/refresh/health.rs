//! Whether the platform accepts a credential's client. An `invalid_client` is no merchant's fault: the credential is
//! unhealthy until a call with the same secrets, tried every five minutes, or one with others is accepted.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::scene::Secrets;
use super::view::Unhealthy;
use crate::clock::Timestamp;
use crate::snapshot::credential::Value;
use crate::token::machine::RECHECK;

/// Sets of secrets of one credential that are remembered as refused.
const REFUSED: usize = 1000;

/// The sets of secrets that the platform refused; a credential without tenants in its secrets has one at most.
#[derive(Debug, Default)]
pub(super) struct Healths(Vec<Refused>);

#[derive(Debug)]
struct Refused {
    /// The name of the first secret: tells tenants apart where each has its own.
    name: String,
    value: Arc<Value>,
    why: Unhealthy,
    again: Instant,
}

impl Refused {
    fn is(&self, secrets: &Secrets) -> bool {
        self.name == secrets.name && Arc::ptr_eq(&self.value, &secrets.value)
    }
}

/// What the credential is now, where it was not so before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turned {
    /// It became unhealthy.
    Unhealthy,
    /// It became healthy.
    Healthy,
}

impl Healths {
    /// Whether a call with these secrets may be made; else what was said of them and how long not. Leave is given to
    /// one call in five minutes.
    pub(super) fn ask(&mut self, secrets: &Secrets) -> Result<(), (Unhealthy, Duration)> {
        let now = Instant::now();
        let Some(refused) = self.0.iter_mut().find(|refused| refused.is(secrets)) else { return Ok(()) };
        if now < refused.again {
            return Err((refused.why.clone(), refused.again - now));
        }
        refused.again = now + RECHECK;
        Ok(())
    }

    /// Whether other secrets were refused last time, so that these are worth a call.
    pub(super) fn are_newer(&self, secrets: &Secrets) -> bool {
        self.0.iter().any(|refused| refused.name == secrets.name && !refused.is(secrets))
    }

    /// The platform accepted them.
    pub(super) fn accepted(&mut self, secrets: &Secrets) -> Option<Turned> {
        let before = self.0.len();
        self.0.retain(|refused| refused.name != secrets.name);
        (before > 0 && self.0.is_empty()).then_some(Turned::Healthy)
    }

    /// The platform refused them.
    pub(super) fn refused(&mut self, secrets: &Secrets, detail: Option<String>, at: Timestamp) -> Option<Turned> {
        let again = Instant::now() + RECHECK;
        let value = secrets.value.clone();
        if let Some(known) = self.0.iter_mut().find(|refused| refused.name == secrets.name) {
            (known.value, known.why.detail, known.again) = (value, detail, again);
            return None;
        }
        let turned = self.0.is_empty().then_some(Turned::Unhealthy);
        if self.0.len() < REFUSED {
            self.0.push(Refused { name: secrets.name.clone(), value, why: Unhealthy { since: at, detail }, again });
        }
        turned
    }

    /// What is wrong, while anything is.
    pub(super) fn unhealthy(&self) -> Option<Unhealthy> {
        self.0.first().map(|refused| refused.why.clone())
    }
}
