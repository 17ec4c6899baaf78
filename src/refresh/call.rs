//! One token call: from what the machine wants to what came of it. Nothing is stored here.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::endpoints::Pass;
use super::inner::Inner;
use super::scene::{Client, Filled, Scene, Secrets};
use super::view::PlatformRevoked;
use crate::control::outward::{CallError, Lost, Unsent};
use crate::secret::value::SecretBytes;
use crate::token::Record;
use crate::token::answer::{self, Answer, Class, Refusal};
use crate::token::call::{self, Ask};
use crate::token::grant::Grant;
use crate::token::machine::{Attempt, Outcome, Source};
use crate::token::record::{Reason, TokenSet};

/// With what a call is made.
pub(super) struct Called<'c> {
    pub(super) scene: &'c Scene,
    pub(super) client: &'c Client,
    pub(super) secrets: &'c Secrets,
    pub(super) filled: &'c Filled,
    pub(super) seed: Option<&'c SecretBytes>,
}

/// What came of a call.
pub(super) struct Answered {
    pub(super) outcome: Outcome,
    /// In words, where the outcome has none of its own.
    pub(super) words: Option<String>,
}

impl Answered {
    fn misconfigured(detail: String) -> Self {
        let refusal = Refusal { reason: Reason::BadAnswer, class: Class::Configuration, detail: Some(detail) };
        Self { outcome: Outcome::Refused(refusal), words: None }
    }
}

/// Makes the call of an attempt.
pub(super) async fn ask(
    inner: &Inner,
    with: &Called<'_>,
    record: &Record,
    attempt: Attempt,
    pass: &mut Pass,
) -> Answered {
    let client = with.client;
    let token = match attempt.source {
        Source::Own => None,
        Source::Stored => record.tokens.refresh.as_ref(),
        Source::Seed(_) => with.seed,
    };
    let token = token.map(|token| std::str::from_utf8(token.expose()).map(|text| Zeroizing::new(text.to_owned())));
    let token = match token {
        Some(Ok(text)) => Some(text),
        Some(Err(_)) => return Answered::misconfigured("the refresh token is no text".to_owned()),
        None if attempt.source == Source::Own => None,
        None => return Answered::misconfigured("there is no refresh token".to_owned()),
    };
    let ask = match (&token, client.oauth.grant) {
        (Some(token), _) => Ask::Refresh { token: token.as_str() },
        (None, Grant::Password) => Ask::Password,
        (None, _) => Ask::Client,
    };
    make(inner, with, &ask, &record.tokens, Some(pass)).await
}

/// Makes a call. `before` are the tokens that it was made with.
pub(super) async fn make(
    inner: &Inner,
    with: &Called<'_>,
    ask: &Ask<'_>,
    before: &TokenSet,
    mut pass: Option<&mut Pass>,
) -> Answered {
    let Called { client, secrets, filled, .. } = with;
    let built = client.with_input(&secrets.value, filled, |input| {
        call::token_request(input, ask).map(|request| (request, call::sent(input, ask)))
    });
    let (request, sent) = match built {
        Ok(built) => built,
        Err(why) => return Answered::misconfigured(why.to_string()),
    };
    let way = with.scene.way(client, request.uri());
    let began = Instant::now();
    let answered = inner.parts.outward.call(request, &way, client.oauth.refresh.timeout).await;
    inner.parts.metrics.calls().took(began.elapsed());
    let mut failed = |reason| {
        if let Some(pass) = pass.as_mut() {
            pass.failed(reason, inner.parts.clock.now(), inner.random());
        }
        reason
    };
    match answered {
        Err(CallError::Unsent { why, detail }) => {
            let reason = if why == Unsent::Timeout { Reason::Timeout } else { Reason::Refused };
            Answered { outcome: Outcome::Unsent(failed(reason)), words: Some(detail) }
        }
        Err(CallError::Lost { why: why @ (Lost::Broken | Lost::Timeout), detail }) => {
            let reason = if why == Lost::Timeout { Reason::Timeout } else { Reason::Refused };
            Answered { outcome: Outcome::Lost(failed(reason)), words: Some(detail) }
        }
        Err(CallError::Lost { why: Lost::NotHttp | Lost::TooLarge, detail }) => {
            let reason = failed(Reason::BadAnswer);
            let refusal = Refusal { reason, class: Class::Unread, detail: Some(detail) };
            Answered { outcome: Outcome::Refused(refusal), words: None }
        }
        Ok(answer) => {
            if answer.status().is_server_error() {
                failed(Reason::Http5xx);
            } else if let Some(pass) = pass {
                pass.answered();
            }
            let seen = Answer { status: answer.status(), headers: answer.headers(), body: answer.body(), sent: &sent };
            let outcome = match answer::read(&client.oauth, &seen, before, inner.store_now()) {
                Ok(tokens) => Outcome::Fresh(Box::new(tokens)),
                Err(refusal) => Outcome::Refused(refusal),
            };
            Answered { outcome, words: None }
        }
    }
}

/// Ends tokens at the platform: the refresh token, and with it what came of it; without one the access token.
pub(super) async fn revoke(inner: &Inner, with: &Called<'_>, tokens: &TokenSet) -> PlatformRevoked {
    let (token, hint) = match (&tokens.refresh, &tokens.access) {
        (Some(token), _) => (token, "refresh_token"),
        (None, Some(token)) => (token, "access_token"),
        (None, None) => return PlatformRevoked::None,
    };
    let Ok(token) = std::str::from_utf8(token.expose()) else { return PlatformRevoked::Failed };
    let built =
        with.client.with_input(&with.secrets.value, with.filled, |input| call::revoke_request(input, token, hint));
    let request: Request<Bytes> = match built {
        Ok(Some(request)) => request,
        Ok(None) => return PlatformRevoked::None,
        Err(error) => {
            tracing::warn!(credential = %with.client.name, %error, "no revocation at the platform");
            return PlatformRevoked::Failed;
        }
    };
    let way = with.scene.way(with.client, request.uri());
    let limit: Duration = with.client.oauth.refresh.timeout;
    match inner.parts.outward.call(request, &way, limit).await.map(|answer| answer.status()) {
        Ok(status) if status.is_success() => PlatformRevoked::Revoked,
        Ok(status) => {
            failed(with, format!("it answered {}", StatusCode::as_u16(&status)));
            PlatformRevoked::Failed
        }
        Err(error) => {
            failed(with, error.to_string());
            PlatformRevoked::Failed
        }
    }
}

fn failed(with: &Called<'_>, why: String) {
    tracing::warn!(credential = %with.client.name, why, "the platform did not revoke tokens");
}
