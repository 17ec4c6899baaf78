//! Who may ask: the name by which the listener was called, the token, and browsers of other sites.
//!
//! A page of another site can make a browser send requests here. It cannot read the answers unless it
//! rebinds its own name to this address, hence the check of the name; and changing calls need a token
//! that no browser has, and are refused when a browser says that another site began them.

use std::net::IpAddr;

use http::header::{AUTHORIZATION, HOST, HeaderMap, HeaderName, ORIGIN};
use http::uri::Authority;
use http::{Request, Version};
use subtle::ConstantTimeEq as _;

use super::{AdminToken, Kind, Source};

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    /// 400
    #[error("the request needs exactly one valid Host header")]
    Host,
    /// 421
    #[error("this listener answers to loopback names and its own address only")]
    Misdirected,
    /// 403
    #[error("a browser sent this request for another site")]
    CrossSite,
    /// 403
    #[error(
        "this call needs [admin] token in proxy.toml: name a secret there and send it as \"Authorization: Bearer\""
    )]
    Off,
    /// 403
    #[error("the secret that [admin] token names has no usable value")]
    Unusable,
    /// 401
    #[error("send the admin token as \"Authorization: Bearer TOKEN\"")]
    NoToken,
    /// 401
    #[error("the token is not the admin token")]
    WrongToken,
}

/// Checks the name by which the listener was called (Host, and the target when it is absolute).
pub(super) fn check_name<B>(request: &Request<B>, kind: Kind, local: IpAddr, names: &[String]) -> Result<(), Refusal> {
    let mut hosts = request.headers().get_all(HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.to_str().map_err(|_| Refusal::Host)?,
        // HTTP/1.0 knows no Host; probes use it, browsers do not.
        (None, _) if request.version() == Version::HTTP_10 && kind == Kind::Health => return Ok(()),
        (None, _) if request.version() == Version::HTTP_10 => return Err(Refusal::Misdirected),
        _ => return Err(Refusal::Host),
    };
    let host: Authority = host.parse().map_err(|_| Refusal::Host)?;
    let target = request.uri().authority();
    for called in [Some(&host), target].into_iter().flatten() {
        if called.as_str().contains('@') {
            return Err(Refusal::Host);
        }
        if !is_own_name(called.host(), kind, local, names) {
            return Err(Refusal::Misdirected);
        }
    }
    Ok(())
}

/// The health listener is called by any of its host's addresses, behind address translation too; what it
/// keeps out is names, since only names can be rebound.
fn is_own_name(host: &str, kind: Kind, local: IpAddr, names: &[String]) -> bool {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if let Ok(address) = bare.parse::<IpAddr>() {
        let address = address.to_canonical();
        return address.is_loopback() || address == local.to_canonical() || kind == Kind::Health;
    }
    let name = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    name == "localhost" || names.contains(&name)
}

/// Refuses a changing call that a browser sent for another site.
pub(super) fn check_site(headers: &HeaderMap) -> Result<(), Refusal> {
    let site = HeaderName::from_static("sec-fetch-site");
    if headers.get_all(site).iter().any(|site| site != "same-origin" && site != "none") {
        return Err(Refusal::CrossSite);
    }
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let same = |origin: &http::HeaderValue| {
        let origin = origin.to_str().unwrap_or_default();
        origin.strip_prefix("http://").is_some_and(|authority| authority.eq_ignore_ascii_case(host))
    };
    match headers.get_all(ORIGIN).iter().all(same) {
        true => Ok(()),
        false => Err(Refusal::CrossSite),
    }
}

/// Checks the token. Its comparison takes the same time wherever the first difference is.
pub(super) fn check_token(headers: &HeaderMap, source: &dyn Source) -> Result<(), Refusal> {
    let values = match source.admin_token() {
        AdminToken::NotConfigured => return Err(Refusal::Off),
        AdminToken::Unusable => return Err(Refusal::Unusable),
        AdminToken::Values(values) => values,
    };
    let mut sent = headers.get_all(AUTHORIZATION).iter();
    let (Some(sent), None) = (sent.next(), sent.next()) else { return Err(Refusal::NoToken) };
    let token = bearer(sent.as_bytes()).ok_or(Refusal::NoToken)?;
    let mut equal = subtle::Choice::from(0);
    for value in values.iter().filter(|value| !value.expose().is_empty()) {
        equal |= value.expose().ct_eq(token);
    }
    if bool::from(equal) { Ok(()) } else { Err(Refusal::WrongToken) }
}

/// The token of `Bearer TOKEN`; the scheme is in any case (RFC 9110 section 11.1).
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = value.split_at_checked("bearer".len())?;
    let token = rest.strip_prefix(b" ")?.trim_ascii();
    (scheme.eq_ignore_ascii_case(b"bearer") && !token.is_empty()).then_some(token)
}
