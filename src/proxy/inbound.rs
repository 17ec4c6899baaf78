//! A request's head as it came, checked: framing, Host, target. What is ambiguous is refused, never repaired.

use std::borrow::Cow;
use std::net::IpAddr;

use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING, VIA};
use http::request::Parts;
use http::uri::Scheme;
use http::{HeaderMap, Method, Uri, Version};

use super::failure::{Failure, Then};
use super::names::Names;
use crate::config::model::Limits;
use crate::observe::Outcome;
use crate::route::host::NAME_LIMIT;

/// What a request says of where it wants to go.
#[derive(Debug)]
pub struct Inbound<'r> {
    /// The host, lower case, without port; IPv6 with brackets.
    pub host: Cow<'r, str>,
    /// The port, where one was named.
    pub port: Option<u16>,
    /// How the target was written.
    pub form: Form,
    /// The path, never decoded; begins with `/`.
    pub path: &'r str,
    /// The query without `?`.
    pub query: Option<&'r str>,
    /// Which headers it has.
    pub names: Names,
}

/// How the target of a request was written (RFC 9112 section 3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `/path?query`
    Origin,
    /// `http://host/path?query`
    Absolute,
}

/// Checks a head.
pub fn read<'r>(parts: &'r Parts, limits: &Limits) -> Result<Inbound<'r>, Failure> {
    check_size(&parts.headers, &parts.uri, limits)?;
    check_method(&parts.method)?;
    let names = Names::of(&parts.headers);
    if names.any(Names::CONTENT_LENGTH | Names::TRANSFER_ENCODING) {
        check_framing(&parts.headers)?;
    }
    let target = check_target(&parts.uri)?;
    let named = host_header(&parts.headers, parts.version)?;
    if target == Form::Absolute {
        return absolute(parts, named, names);
    }
    let Some(named) = named else { return Err(Failure::bad_request("the request has no Host header")) };
    let (host, port) = authority(named)?;
    Ok(Inbound { host, port, form: Form::Origin, path: parts.uri.path(), query: parts.uri.query(), names })
}

/// Checks the head of a CONNECT: the host (lower case) and port of its target (RFC 9110 section 9.3.6).
pub fn read_connect<'r>(parts: &'r Parts, limits: &Limits) -> Result<(Cow<'r, str>, u16), Failure> {
    check_size(&parts.headers, &parts.uri, limits)?;
    check_framing(&parts.headers)?;
    let body = parts.headers.get(CONTENT_LENGTH).is_some_and(|length| length.as_bytes() != b"0");
    if body || parts.headers.contains_key(TRANSFER_ENCODING) {
        return Err(Failure::bad_request("CONNECT with a body"));
    }
    let no_target = || Failure::bad_request("the target of CONNECT is not host:port");
    let (None, None, Some(target)) = (parts.uri.scheme(), parts.uri.path_and_query(), parts.uri.authority()) else {
        return Err(no_target());
    };
    let (host, port) = authority(target.as_str())?;
    let port = port.ok_or_else(no_target)?;
    if let Some(named) = host_header(&parts.headers, parts.version)? {
        let (other, other_port) = authority(named)?;
        if other != host || other_port.is_some_and(|other| other != port) {
            return Err(Failure::bad_request("the Host header differs from the target of CONNECT"));
        }
    }
    Ok((host, port))
}

/// Whether a request has already passed through this process.
pub fn has_passed(headers: &HeaderMap, via: &str) -> bool {
    headers.get_all(VIA).iter().any(|line| line.as_bytes().windows(via.len()).any(|part| part == via.as_bytes()))
}

/// Whether a host names this machine itself.
pub fn is_loopback_name(host: &str, more: &[String]) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
        || more.iter().any(|name| name == host)
}

fn check_size(headers: &HeaderMap, uri: &Uri, limits: &Limits) -> Result<(), Failure> {
    let too_large =
        |detail: String| Err(Failure { then: Then::Close, ..Failure::new(Outcome::HeadersTooLarge, detail) });
    if headers.len() > limits.headers {
        return too_large(format!("{} headers, at most {} (limits.headers)", headers.len(), limits.headers));
    }
    let target = uri.path_and_query().map_or(0, |target| target.as_str().len());
    let bytes = headers.iter().fold(target, |sum, (name, value)| sum + name.as_str().len() + value.len() + 4);
    if bytes > limits.head {
        return too_large(format!("a head of over {} bytes (limits.head)", limits.head));
    }
    Ok(())
}

fn check_method(method: &Method) -> Result<(), Failure> {
    if *method == Method::CONNECT {
        return Err(Failure { then: Then::Close, ..Failure::no_route("CONNECT: this proxy opens no tunnels") });
    }
    // TRACE would make the upstream echo the credential to the worker.
    if *method == Method::TRACE || method.as_str().eq_ignore_ascii_case("track") {
        return Err(Failure::bad_request("TRACE is refused: the answer would show the credential"));
    }
    Ok(())
}

/// RFC 9112 section 6.3: a request's length is one number, or exactly one final `chunked`.
fn check_framing(headers: &HeaderMap) -> Result<(), Failure> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    if let Some(coding) = codings.next() {
        if codings.next().is_some() || !coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked") {
            return Err(Failure::bad_request("Transfer-Encoding is something else than one \"chunked\""));
        }
        if headers.contains_key(CONTENT_LENGTH) {
            return Err(Failure::bad_request("both Content-Length and Transfer-Encoding"));
        }
    }
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    if let Some(length) = lengths.next()
        && (lengths.next().is_some() || !length.as_bytes().iter().all(u8::is_ascii_digit))
    {
        return Err(Failure::bad_request("Content-Length is not one number"));
    }
    Ok(())
}

fn check_target(uri: &Uri) -> Result<Form, Failure> {
    let target = uri.path_and_query().map_or("", |target| target.as_str());
    if !target.starts_with('/') {
        return Err(Failure::bad_request("the request target is neither a path nor an http:// URL"));
    }
    if target.bytes().any(|byte| byte <= b' ' || byte >= 0x7f || byte == b'\\' || byte == b'#') {
        return Err(Failure::bad_request("the request target has a byte that must be percent-encoded"));
    }
    match (uri.scheme(), uri.authority()) {
        (None, None) => Ok(Form::Origin),
        (Some(scheme), Some(_)) if *scheme == Scheme::HTTP || *scheme == Scheme::HTTPS => Ok(Form::Absolute),
        _ => Err(Failure::bad_request("the request target is neither a path nor an http:// URL")),
    }
}

fn host_header(headers: &HeaderMap, version: Version) -> Result<Option<&str>, Failure> {
    let mut lines = headers.get_all(HOST).iter();
    let Some(line) = lines.next() else {
        if version == Version::HTTP_10 {
            return Ok(None);
        }
        return Err(Failure::bad_request("the request has no Host header"));
    };
    if lines.next().is_some() {
        return Err(Failure::bad_request("the request has more than one Host header"));
    }
    line.to_str().map(Some).map_err(|_| Failure::bad_request("the Host header is not a host name"))
}

fn absolute<'r>(parts: &'r Parts, named: Option<&'r str>, names: Names) -> Result<Inbound<'r>, Failure> {
    let target = parts.uri.authority().map_or("", |authority| authority.as_str());
    let (host, port) = authority(target)?;
    let default = if parts.uri.scheme() == Some(&Scheme::HTTPS) { 443 } else { 80 };
    if let Some(named) = named {
        let (other, other_port) = authority(named)?;
        if other != host || other_port.unwrap_or(default) != port.unwrap_or(default) {
            return Err(Failure::bad_request("the Host header differs from the request target"));
        }
    }
    Ok(Inbound { host, port, form: Form::Absolute, path: parts.uri.path(), query: parts.uri.query(), names })
}

/// `host[:port]` without user info; anything else is refused whole.
fn authority(text: &str) -> Result<(Cow<'_, str>, Option<u16>), Failure> {
    let refuse = || Failure::bad_request("the Host header is not a host name with an optional port");
    let end = if text.starts_with('[') { text.rfind(']').map_or(0, |bracket| bracket + 1) } else { 0 };
    let length = end + text.as_bytes()[end..].iter().take_while(|&&byte| byte != b':').count();
    let (host, rest) = text.split_at_checked(length).ok_or_else(refuse)?;
    let port = match rest.strip_prefix(':') {
        None => None,
        Some(digits) => Some(canonical_port(digits).ok_or_else(refuse)?),
    };
    if host.is_empty() || host.len() > NAME_LIMIT {
        return Err(refuse());
    }
    if let Some(inner) = host.strip_prefix('[') {
        let address = inner.strip_suffix(']').and_then(|inner| inner.parse::<std::net::Ipv6Addr>().ok());
        let address = address.ok_or_else(refuse)?;
        return Ok((Cow::Owned(format!("[{address}]")), port));
    }
    // Without an early end, so that it compiles to vector instructions.
    let (sound, upper) = host.bytes().fold((true, false), |(sound, upper), byte| {
        let fits = byte.is_ascii_alphanumeric() | (byte == b'-') | (byte == b'_') | (byte == b'.');
        (sound & fits, upper | byte.is_ascii_uppercase())
    });
    match (sound, upper) {
        (false, _) => Err(refuse()),
        (true, true) => Ok((Cow::Owned(host.to_ascii_lowercase()), port)),
        (true, false) => Ok((Cow::Borrowed(host), port)),
    }
}

fn canonical_port(digits: &str) -> Option<u16> {
    let fits = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) && !digits.starts_with('0');
    if fits { digits.parse().ok() } else { None }
}

#[cfg(test)]
#[path = "inbound_tests.rs"]
mod tests;
