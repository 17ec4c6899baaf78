//! Who is calling, and whether the route and the tenant are open to them. Called by `request` once a route matched,
//! before anything about credentials is said.
//!
//! A caller proves itself by a token in `Proxy-Authorization`, which never leaves (`hop`), or by the user of the process
//! behind a Unix socket. Web pages are kept out by `browser`.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::PROXY_AUTHORIZATION;
use http::request::Parts;
use http::{HeaderMap, HeaderValue};
use zeroize::Zeroizing;

use super::failure::{Challenge, Failure};
use super::inbound::Form;
use super::matching::{Entry, Matched};
use super::tenant;
use crate::clock::Timestamp;
use crate::config::model::{Config, Proof};
use crate::observe::Outcome;
use crate::snapshot::Snapshot;

/// What a listener knows of the process at the other end of a connection.
#[derive(Clone, Debug, Default)]
pub struct Peer {
    /// The user of the process that connected (`SO_PEERCRED`); Unix sockets alone tell it.
    uid: Option<u32>,
    /// The `Proxy-Authorization` of the CONNECT that the connection is within: a client sends it there alone.
    connect: Vec<HeaderValue>,
}

/// Where the requests of a connection arrive, and from whom.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// The listener, or the TLS inside it.
    pub entry: Arc<Entry>,
    /// The process at the other end.
    pub peer: Peer,
}

impl Peer {
    /// The process behind a Unix socket.
    pub fn of(socket: &tokio::net::UnixStream) -> Self {
        Self { uid: socket.peer_cred().ok().map(|cred| cred.uid()), connect: Vec::new() }
    }

    /// The same process, within a CONNECT with these headers.
    pub fn within(&self, connect: &HeaderMap) -> Self {
        let mut lines: Vec<HeaderValue> = connect.get_all(PROXY_AUTHORIZATION).iter().cloned().collect();
        lines.iter_mut().for_each(|line| line.set_sensitive(true));
        Self { uid: self.uid, connect: lines }
    }
}

/// What came in `Proxy-Authorization`.
enum Sent {
    Nothing,
    /// Not readable, of another scheme, or more than one: never right.
    Unreadable,
    Token(Zeroizing<Vec<u8>>),
}

/// One answer whether a proof is absent, unknown, wrong, or another client's.
const DENIED: &str = "the route is for its clients alone, and the request carries no proof of one of them";

/// Notes in `client` who is calling (an index into `Config::clients`), and refuses whom the route does not take.
pub fn admit(
    snapshot: &Snapshot,
    matched: &Matched<'_>,
    form: Form,
    (parts, peer): (&Parts, &Peer),
    now: Timestamp,
    client: &mut Option<usize>,
) -> Result<(), Failure> {
    let config = &*snapshot.plan.config;
    if config.clients.is_empty() {
        return Ok(());
    }
    let route = &config.routes[matched.route];
    let taken = |index: &usize| route.callers.clients.as_ref().is_none_or(|clients| clients.contains(index));
    let own: Vec<&HeaderValue> = parts.headers.get_all(PROXY_AUTHORIZATION).iter().collect();
    let sent = if own.is_empty() { sent(&peer.connect.iter().collect::<Vec<_>>()) } else { sent(&own) };
    let by_token = match &sent {
        Sent::Token(token) => snapshot.client_by_token(token, now),
        Sent::Nothing | Sent::Unreadable => None,
    };
    *client = by_token.filter(taken).or_else(|| by_uid(config, peer.uid?).filter(taken));
    if route.callers.clients.is_some() && client.is_none() {
        let asked = matches!(sent, Sent::Nothing) && form == Form::Absolute;
        let challenge = if asked { Challenge::Proxy } else { Challenge::None };
        return Err(Failure { challenge, ..Failure::new(Outcome::ClientDenied, DENIED) });
    }
    // What a stand-in reads of its request's body may name the tenant: it asks by itself.
    if route.stand_in.is_none() && client.is_some_and(|index| config.clients[index].tenants.is_some()) {
        check_tenant(config, *client, tenant::find(&snapshot.plan, matched, parts)?.as_deref())?;
    }
    Ok(())
}

/// Asks a CONNECT for a proof where no request inside could do without: the host has no route that takes anyone.
/// Whether the proof is right is each request's question, since routes differ.
pub fn admit_connect(config: &Config, host: &str, (parts, peer): (&Parts, &Peer)) -> Result<(), Failure> {
    let known = peer.uid.and_then(|uid| by_uid(config, uid)).is_some();
    if known || parts.headers.contains_key(PROXY_AUTHORIZATION) {
        return Ok(());
    }
    let mut routes = config.routes.iter().filter(|route| route.host.is_of(host));
    if routes.all(|route| route.callers.clients.is_some()) {
        return Err(Failure { challenge: Challenge::Proxy, ..Failure::new(Outcome::ClientDenied, DENIED) });
    }
    Ok(())
}

/// Refuses a tenant that the client may not ask for.
pub fn check_tenant(config: &Config, client: Option<usize>, tenant: Option<&str>) -> Result<(), Failure> {
    let Some((client, tenant)) = client.map(|index| &config.clients[index]).zip(tenant) else { return Ok(()) };
    let Some(patterns) = &client.tenants else { return Ok(()) };
    if patterns.iter().any(|pattern| pattern.matches(tenant)) {
        return Ok(());
    }
    let detail = format!("the tenant is not one that client {} may ask for", client.name);
    Err(Failure::new(Outcome::ClientDenied, detail))
}

fn by_uid(config: &Config, uid: u32) -> Option<usize> {
    config.clients.iter().position(|client| matches!(client.proof, Proof::Uid(other) if other == uid))
}

/// `Bearer TOKEN`, or `Basic` with the token as password (RFC 7617); the scheme is in any case.
fn sent(lines: &[&HeaderValue]) -> Sent {
    let line = match lines {
        [] => return Sent::Nothing,
        [line] => line,
        _ => return Sent::Unreadable,
    };
    let line = line.as_bytes();
    let space = line.iter().position(|&byte| byte == b' ').unwrap_or(line.len());
    let (scheme, rest) = (&line[..space], line[space..].trim_ascii());
    let token = if scheme.eq_ignore_ascii_case(b"bearer") {
        Some(Zeroizing::new(rest.to_vec()))
    } else if scheme.eq_ignore_ascii_case(b"basic") {
        STANDARD.decode(rest).ok().map(Zeroizing::new).and_then(|pair| {
            let colon = pair.iter().position(|&byte| byte == b':')?;
            Some(Zeroizing::new(pair[colon + 1..].to_vec()))
        })
    } else {
        None
    };
    token.filter(|token| !token.is_empty()).map_or(Sent::Unreadable, Sent::Token)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn token(lines: &[&'static str]) -> Option<String> {
        let lines: Vec<HeaderValue> = lines.iter().map(|line| HeaderValue::from_static(line)).collect();
        match sent(&lines.iter().collect::<Vec<_>>()) {
            Sent::Token(token) => Some(String::from_utf8(token.to_vec()).unwrap()),
            Sent::Nothing => Some("nothing".to_owned()),
            Sent::Unreadable => None,
        }
    }

    #[test]
    fn a_token_comes_as_bearer_or_as_a_password() {
        assert_eq!(token(&[]).as_deref(), Some("nothing"));
        assert_eq!(token(&["Bearer t0"]).as_deref(), Some("t0"));
        assert_eq!(token(&["bearer  t0 "]).as_deref(), Some("t0"));
        // printf worker:t0:x | base64
        assert_eq!(token(&["Basic d29ya2VyOnQwOng="]).as_deref(), Some("t0:x"), "the first colon ends the user");
        // printf :t0 | base64
        assert_eq!(token(&["BASIC OnQw"]).as_deref(), Some("t0"));
        // printf t0 | base64, printf t0: | base64
        for bad in ["", "Bearer", "Bearer ", "Basic dDA=", "Basic dDA6", "Basic !", "Digest t0", "t0"] {
            assert_eq!(token(&[bad]), None, "{bad}");
        }
        assert_eq!(token(&["Bearer t0", "Bearer t0"]), None, "two are never one");
    }
}
