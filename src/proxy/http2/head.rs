//! An HTTP/2 request's head in the shape that the request path reads: the target a path, the authority in Host, cookies
//! on one line. What is ambiguous is refused, never repaired. Caller: [`super::answer`].
//!
//! The library has refused already what breaks the form of a message (RFC 9113 sections 8.2 and 8.3): upper-case names,
//! control characters, connection-specific fields, pseudo-header fields that are unknown, doubled or misplaced.

use http::header::{COOKIE, EXPECT, HOST};
use http::request::Parts;
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Method, Uri};

use crate::proxy::failure::{Failure, Then};

/// Rewrites a head. The version stays HTTP/2, for what differs there.
pub fn translate(parts: &mut Parts) -> Result<(), Failure> {
    if parts.method == Method::CONNECT {
        // What would follow is no HTTP that is checked here; interception takes CONNECT over HTTP/1.1 alone.
        return Err(Failure {
            then: Then::Close,
            ..Failure::no_route("CONNECT over HTTP/2: this proxy opens no tunnels")
        });
    }
    if let Some((name, _)) = parts.headers.iter().find(|(_, value)| has_outer_space(value)) {
        return Err(Failure::bad_request(format!("a space at the start or end of the value of {name}")));
    }
    let target = path(&parts.uri)?;
    if parts.uri.scheme().is_some_and(|scheme| *scheme != Scheme::HTTP && *scheme != Scheme::HTTPS) {
        return Err(Failure::bad_request("the :scheme is neither http nor https"));
    }
    host(&parts.uri, &mut parts.headers)?;
    join_cookies(&mut parts.headers)?;
    // Nothing is asked for here: frames are taken as they come, within the windows (RFC 9110 section 10.1.1).
    parts.headers.remove(EXPECT);
    parts.uri = Uri::from(target);
    Ok(())
}

/// RFC 9113 section 8.2.1.
fn has_outer_space(value: &HeaderValue) -> bool {
    let is_space = |byte: Option<&u8>| byte.is_some_and(|byte| matches!(byte, b' ' | b'\t'));
    is_space(value.as_bytes().first()) || is_space(value.as_bytes().last())
}

fn path(uri: &Uri) -> Result<PathAndQuery, Failure> {
    let none = || Failure::bad_request("the request has no :path");
    let target = uri.path_and_query().ok_or_else(none)?;
    // An absent one reads like `/` and is not equal to it.
    if target.as_str() == "/" && *target != PathAndQuery::from_static("/") {
        return Err(none());
    }
    Ok(target.clone())
}

/// RFC 9113 section 8.3.1: `:authority` is what Host is elsewhere. Both name the same, or there is one alone.
fn host(uri: &Uri, headers: &mut HeaderMap) -> Result<(), Failure> {
    let Some(authority) = uri.authority() else { return Ok(()) };
    let differs = |line: &HeaderValue| !line.as_bytes().eq_ignore_ascii_case(authority.as_str().as_bytes());
    if headers.get_all(HOST).iter().any(differs) {
        return Err(Failure::bad_request("the Host header differs from :authority"));
    }
    if headers.get_all(HOST).iter().nth(1).is_some() {
        return Err(Failure::bad_request("the request has more than one Host header"));
    }
    let line = HeaderValue::from_str(authority.as_str());
    let line = line.map_err(|_| Failure::bad_request(":authority is not a host name with an optional port"))?;
    headers.insert(HOST, line);
    Ok(())
}

/// RFC 9113 section 8.2.3: a client may send each cookie as a field of its own; elsewhere they are one.
fn join_cookies(headers: &mut HeaderMap) -> Result<(), Failure> {
    let crumbs = headers.get_all(COOKIE);
    if crumbs.iter().nth(1).is_none() {
        return Ok(());
    }
    let all: Vec<&[u8]> = crumbs.iter().map(HeaderValue::as_bytes).collect();
    let mut line = HeaderValue::from_bytes(&all.join(&b"; "[..]))
        .map_err(|_| Failure::bad_request("the cookies cannot be put on one line"))?;
    line.set_sensitive(true);
    headers.insert(COOKIE, line);
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use http::Request;

    use super::*;
    use crate::observe::Outcome;

    fn parts(uri: Uri, fields: &[(&'static str, &'static str)]) -> Parts {
        let mut request = Request::builder().uri(uri);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn translated(uri: &'static str, fields: &[(&'static str, &'static str)]) -> Result<Parts, Failure> {
        let mut parts = parts(Uri::from_static(uri), fields);
        translate(&mut parts).map(|()| parts)
    }

    #[test]
    fn the_authority_becomes_the_host_and_the_target_a_path() {
        for fields in [&[][..], &[("host", "API.test:8080")]] {
            let parts = translated("https://api.test:8080/a?b=c", fields).unwrap();
            assert_eq!(parts.uri, "/a?b=c");
            assert_eq!(parts.uri.authority(), None);
            assert_eq!(parts.headers.get_all(HOST).iter().collect::<Vec<_>>(), ["api.test:8080"]);
        }
        assert_eq!(translated("/a", &[("host", "api.test")]).unwrap().headers[HOST], "api.test");
    }

    #[test]
    fn what_is_ambiguous_is_refused() {
        for (uri, fields) in [
            ("http://api.test/", &[("host", "other.test")][..]),
            ("http://api.test/", &[("host", "api.test:80")]),
            ("http://api.test/", &[("host", "api.test"), ("host", "other.test")]),
            ("http://api.test/", &[("host", "api.test"), ("host", "api.test")]),
            ("http://api.test/", &[("host", "")]),
            ("ftp://api.test/", &[]),
            ("http://api.test/", &[("x", " a")]),
            ("http://api.test/", &[("x", "a\t")]),
        ] {
            assert_eq!(translated(uri, fields).unwrap_err().name, Outcome::BadRequest, "{uri} {fields:?}");
        }
        let mut nowhere = parts(Uri::from_parts(http::uri::Parts::default()).unwrap(), &[("host", "api.test")]);
        assert_eq!(translate(&mut nowhere).unwrap_err().name, Outcome::BadRequest, "no :path");
        let mut connect = parts(Uri::from_static("api.test:443"), &[]);
        connect.method = Method::CONNECT;
        assert_eq!(translate(&mut connect).unwrap_err().name, Outcome::NoRoute);
    }

    #[test]
    fn cookies_are_one_line() {
        let parts = translated("http://api.test/", &[("cookie", "a=1"), ("x", "y"), ("cookie", "b=2; c=3")]).unwrap();
        assert_eq!(parts.headers.get_all(COOKIE).iter().collect::<Vec<_>>(), ["a=1; b=2; c=3"]);
    }
}
