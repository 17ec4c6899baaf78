//! A sealed request's head in the terms of HTTP/2: target and Host become pseudo-header fields, and nothing else of
//! what was signed changes.

use http::header::{CONNECTION, HOST, TE, TRANSFER_ENCODING, UPGRADE};
use http::request::Parts;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderName, HeaderValue, Request, Uri, Version};

use super::super::lease::Trailers;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// RFC 9113 section 8.3.1. Nothing where the Host is no authority.
pub(super) fn of(mut parts: Parts, trailers: Trailers) -> Option<Request<()>> {
    let host = parts.headers.remove(HOST)?;
    let mut uri = parts.uri.into_parts();
    uri.scheme = Some(Scheme::HTTPS);
    uri.authority = Some(Authority::try_from(host.as_bytes()).ok()?);
    uri.path_and_query.get_or_insert_with(|| PathAndQuery::from_static("/"));
    parts.uri = Uri::from_parts(uri).ok()?;
    parts.version = Version::HTTP_2;
    // Section 8.2.2; the request path has none of them but for HTTP/1.1.
    for name in [CONNECTION, KEEP_ALIVE, PROXY_CONNECTION, TRANSFER_ENCODING, UPGRADE, TE] {
        parts.headers.remove(name);
    }
    if trailers == Trailers::Welcome {
        parts.headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    parts.extensions.clear();
    Some(Request::from_parts(parts, ()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn parts(target: &str, host: &str) -> Parts {
        Request::builder().uri(target).header("host", host).header("x", "1").body(()).unwrap().into_parts().0
    }

    #[test]
    fn the_target_stays_as_it_is_and_host_becomes_the_authority() {
        let head = of(parts("/a%2fb?c=%20&&d", "api.test:8443"), Trailers::Unmentioned).unwrap();
        assert_eq!(head.uri().path_and_query().unwrap(), "/a%2fb?c=%20&&d");
        assert_eq!(head.uri().authority().unwrap(), "api.test:8443");
        assert_eq!(head.uri().scheme_str(), Some("https"));
        assert_eq!(head.headers().keys().map(|name| name.as_str()).collect::<Vec<_>>(), ["x"]);
        let head = of(parts("/", "[2001:db8::1]"), Trailers::Welcome).unwrap();
        assert_eq!(
            (head.uri().authority().unwrap().as_str(), &head.headers()[TE]),
            ("[2001:db8::1]", &"trailers".parse().unwrap())
        );
    }

    #[test]
    fn a_host_that_is_no_authority_is_not_sent() {
        assert!(of(parts("/", "a b"), Trailers::Unmentioned).is_none());
    }
}
