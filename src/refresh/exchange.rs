//! One token call for an approval: the client's secrets, the way out, the answer. Callers: `approve` beside it.

use std::collections::BTreeMap;

use http::Uri;

use super::tokens::Tokens;
use crate::clock::Timestamp;
use crate::control::egress::egress;
use crate::control::outward::{Plain, Way};
use crate::secret::value::SecretBytes;
use crate::sign::Signer;
use crate::sign::basic::PublicValue;
use crate::snapshot::Snapshot;
use crate::token::OAuth;
use crate::token::answer::{self, Answer, Refusal};
use crate::token::call::{self, Ask, CallError, CallInput};
use crate::token::grant::Insecure;
use crate::token::record::TokenSet;

/// Why there are no tokens.
#[derive(Debug, thiserror::Error)]
pub(super) enum ExchangeError {
    #[error(transparent)]
    Call(#[from] CallError),
    #[error("secret {secret} of credential {credential}: {reason}")]
    Secret { credential: String, secret: String, reason: String },
    #[error("{0}")]
    Unanswered(String),
    #[error("{}", .0.reason.as_str())]
    Refused(Refusal),
}

/// Who we are at a platform, for one connection.
pub(super) struct Client<'s> {
    oauth: &'s OAuth,
    index: usize,
    tenant: &'s str,
    captures: &'s BTreeMap<String, String>,
    client_id: Option<SecretBytes>,
    client_secret: Option<SecretBytes>,
}

impl<'s> Client<'s> {
    pub(super) fn of(
        snapshot: &'s Snapshot,
        credential: &str,
        tenant: &'s str,
        captures: &'s BTreeMap<String, String>,
    ) -> Result<Self, ExchangeError> {
        let missing = |secret: String, reason: String| ExchangeError::Secret {
            credential: credential.to_owned(),
            secret,
            reason,
        };
        let index = snapshot.plan.credential_index.get(credential).copied();
        let found = index.and_then(|index| Some((index, snapshot.plan.config.credentials[index].oauth.as_deref()?)));
        let Some((index, oauth)) = found else { return Err(missing(String::new(), "not oauth2".to_owned())) };
        let state = &snapshot.credentials[index];
        let (mut client_id, mut client_secret) = (None, None);
        if let Signer::Token(token) = &*state.signer
            && !state.signer.requirements().is_empty()
        {
            let fill = |name: &str| fill(name, tenant, captures);
            let value = state.instance(fill).and_then(|instance| instance.value());
            let value = value.map_err(|why| missing(why.secret, why.reason.to_string()))?;
            let secrets = token.call_secrets(&value.keys);
            (client_id, client_secret) = (secrets.client_id.cloned(), secrets.client_secret.cloned());
        }
        if let Some(PublicValue::Literal(id)) = &oauth.client_id {
            client_id = Some(SecretBytes::copy_of(id.as_bytes()));
        }
        Ok(Self { oauth, index, tenant, captures, client_id, client_secret })
    }

    /// Calls with what requests to the platform are made of.
    pub(super) fn with<T>(&self, make: impl FnOnce(&CallInput<'_>) -> T) -> T {
        let fill = |name: &str| fill(name, self.tenant, self.captures);
        let id = self.client_id.as_ref().and_then(|bytes| std::str::from_utf8(bytes.expose()).ok());
        let secret = self.client_secret.as_ref().and_then(|bytes| std::str::from_utf8(bytes.expose()).ok());
        let input = CallInput {
            oauth: self.oauth,
            client_id: id,
            client_secret: secret,
            username: None,
            password: None,
            fill: &fill,
        };
        make(&input)
    }
}

fn fill<'v>(name: &str, tenant: &'v str, captures: &'v BTreeMap<String, String>) -> Option<&'v str> {
    match name {
        "tenant" if !tenant.is_empty() => Some(tenant),
        name => captures.get(name).map(String::as_str),
    }
}

/// Makes a token call and reads its answer.
pub(super) async fn tokens(
    tokens: &Tokens,
    snapshot: &Snapshot,
    client: &Client<'_>,
    ask: &Ask<'_>,
    now: Timestamp,
) -> Result<TokenSet, ExchangeError> {
    let (request, sent) = client.with(|input| {
        let sent = call::sent(input, ask);
        call::token_request(input, ask).map(|request| (request, sent))
    })?;
    let way = way(snapshot, client, request.uri());
    let outcome = tokens.outward().call(request, &way, client.oauth.refresh.timeout).await;
    let answered = outcome.map_err(|error| ExchangeError::Unanswered(error.to_string()))?;
    let (head, body) = answered.into_parts();
    let answer = Answer { status: head.status, headers: &head.headers, body: &body, sent: &sent };
    answer::read(client.oauth, &answer, &TokenSet::default(), now).map_err(ExchangeError::Refused)
}

fn way(snapshot: &Snapshot, client: &Client<'_>, uri: &Uri) -> Way {
    let config = &snapshot.plan.config;
    let identity = snapshot.plan.token_identity[client.index];
    let plain = match client.oauth.token_url.insecure {
        Insecure::Allowed => Plain::Allowed,
        Insecure::Refused => Plain::Refused,
    };
    let tls = config.credentials[client.index].token_tls.as_ref();
    Way {
        client: identity.and_then(|index| snapshot.identities[index].client.clone()),
        server_name: tls.and_then(|tls| tls.server_name.clone()),
        plain,
        ..Way::to(uri, config, egress(snapshot, None).as_ref())
    }
}
