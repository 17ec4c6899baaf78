//! Headers that belong to one connection only (RFC 9110 section 7.6.1), and those that never leave.

use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HOST, TE, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName};

use super::failure::Failure;
use super::names::Names;
use crate::sign::seal::looks_like;
use crate::upstream::lease::Trailers;

/// Names that frame or route a request: a twin with `_` could mean them to a sloppy server.
const LOOK_ALIKES: [&str; 6] =
    ["content-length", "transfer-encoding", "host", "connection", "authorization", "proxy-authorization"];

/// Makes a worker's headers fit to leave: without hop-by-hop ones, those that `Connection` names, the proxy's own, and look-alikes.
pub fn clean_request(headers: &mut HeaderMap, names: Names) -> Result<(), Failure> {
    headers.remove(HOST);
    if !names.any(Names::UNFIT | Names::EXPECT | Names::UNDERSCORE) {
        return Ok(());
    }
    if names.any(Names::CONNECTION) {
        for name in connection_names(headers)? {
            if name == TRANSFER_ENCODING {
                return Err(Failure::bad_request("the Connection header lists Transfer-Encoding"));
            }
            // Framing is ours whatever Connection says.
            if name != CONTENT_LENGTH {
                headers.remove(name);
            }
        }
        headers.remove(CONNECTION);
    }
    remove_where(headers, |name| {
        let text = name.as_str();
        is_unfit(name)
            || *name == EXPECT
            || (text.contains('_') && LOOK_ALIKES.iter().any(|real| looks_like(text, real)))
    });
    Ok(())
}

/// Whether the worker takes trailers; asked before its headers are cleaned.
pub fn trailers(headers: &HeaderMap) -> Trailers {
    let mut words = headers.get_all(TE).iter().flat_map(|line| line.as_bytes().split(|&byte| byte == b','));
    match words.any(|word| word.trim_ascii().eq_ignore_ascii_case(b"trailers")) {
        true => Trailers::Welcome,
        false => Trailers::Unmentioned,
    }
}

/// Whether this is a gRPC call, in which either side may be silent for as long as it likes.
pub fn is_grpc(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).map(|value| value.as_bytes());
    kind.and_then(|kind| kind.get(..16)).is_some_and(|start| start.eq_ignore_ascii_case(b"application/grpc"))
}

fn is_unfit(name: &HeaderName) -> bool {
    Names::one(name).any(Names::UNFIT)
}

fn remove_where(headers: &mut HeaderMap, unfit: impl Fn(&HeaderName) -> bool) {
    while let Some(name) = headers.keys().find(|name| unfit(name)).cloned() {
        headers.remove(name);
    }
}

/// Makes an upstream's headers fit to be passed on. A malformed `Connection` list ends nothing here.
pub fn clean_answer(headers: &mut HeaderMap, names: Names) {
    if !names.any(Names::UNFIT) {
        return;
    }
    // RFC 9112 section 6.3, rule 3: Transfer-Encoding has framed the answer, and the other must not be passed on.
    if names.any(Names::TRANSFER_ENCODING) {
        headers.remove(CONTENT_LENGTH);
        headers.remove(TRANSFER_ENCODING);
    }
    if names.any(Names::CONNECTION) {
        for name in connection_names(headers).unwrap_or_default() {
            if name != CONTENT_LENGTH {
                headers.remove(name);
            }
        }
        headers.remove(CONNECTION);
    }
    if names.any(Names::UPGRADE | Names::HOP | Names::OWN) {
        remove_where(headers, is_unfit);
    }
}

/// The headers that `Connection` names, `close` and `keep-alive` apart.
fn connection_names(headers: &HeaderMap) -> Result<Vec<HeaderName>, Failure> {
    let mut names = Vec::new();
    for line in headers.get_all(CONNECTION) {
        if line.as_bytes().eq_ignore_ascii_case(b"keep-alive") || line.as_bytes().eq_ignore_ascii_case(b"close") {
            continue;
        }
        for token in line.as_bytes().split(|&byte| byte == b',') {
            let token = token.trim_ascii();
            if token.is_empty() || token.eq_ignore_ascii_case(b"close") || token.eq_ignore_ascii_case(b"keep-alive") {
                continue;
            }
            let name = HeaderName::from_bytes(token)
                .map_err(|_| Failure::bad_request("the Connection header lists something that is no header name"))?;
            names.push(name);
        }
    }
    Ok(names)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn clean(headers: &mut HeaderMap) -> Result<(), Failure> {
        let names = Names::of(headers);
        clean_request(headers, names)
    }

    fn map(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
        }
        map
    }

    #[test]
    fn what_connection_names_goes_first() {
        let mut headers = map(&[
            ("connection", "close, x-foo"),
            ("connection", "Authorization,host, content-length"),
            ("x-foo", "1"),
            ("authorization", "worker"),
            ("content-length", "5"),
            ("x-bar", "2"),
        ]);
        clean(&mut headers).unwrap();
        assert_eq!(headers, map(&[("content-length", "5"), ("x-bar", "2")]));
    }

    #[test]
    fn hop_by_hop_own_and_look_alike_headers_never_leave() {
        let mut headers = map(&[
            ("te", "trailers"),
            ("upgrade", "h2c"),
            ("proxy-authorization", "Basic x"),
            ("proxy_authorization", "Basic x"),
            ("keep-alive", "timeout=5"),
            ("expect", "100-continue"),
            ("countersign-tenant", "m1"),
            ("content_length", "7"),
            ("http_authorization", "x"),
            ("x_api", "stays"),
        ]);
        clean(&mut headers).unwrap();
        assert_eq!(headers, map(&[("x_api", "stays")]));
    }

    #[test]
    fn te_is_read_in_every_spelling() {
        assert_eq!(trailers(&map(&[("te", "deflate;q=0.5 , Trailers")])), Trailers::Welcome);
        assert_eq!(trailers(&map(&[("te", "gzip"), ("te", "trailers")])), Trailers::Welcome);
        assert_eq!(trailers(&map(&[("te", "trailers2, gzip")])), Trailers::Unmentioned);
        assert_eq!(trailers(&map(&[])), Trailers::Unmentioned);
    }

    #[test]
    fn grpc_is_told_by_its_content_type() {
        assert!(is_grpc(&map(&[("content-type", "application/grpc")])));
        assert!(is_grpc(&map(&[("content-type", "Application/gRPC-Web+proto")])));
        assert!(!is_grpc(&map(&[("content-type", "application/json")])));
        assert!(!is_grpc(&map(&[])));
    }

    #[test]
    fn a_malformed_connection_list_is_refused() {
        assert!(clean(&mut map(&[("connection", "a b")])).is_err());
        let mut framed = map(&[("connection", "close, Transfer-Encoding"), ("transfer-encoding", "chunked")]);
        assert!(clean(&mut framed).is_err());
    }

    #[test]
    fn an_answer_that_came_in_chunks_leaves_without_a_length() {
        let mut headers = map(&[("content-length", "5"), ("transfer-encoding", "chunked"), ("x", "1")]);
        let names = Names::of(&headers);
        clean_answer(&mut headers, names);
        assert_eq!(headers, map(&[("x", "1")]));
    }
}
