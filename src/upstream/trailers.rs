//! Which fields of a trailer section are passed on (RFC 9110 section 6.5.1): none that frames, routes, authenticates
//! or describes the message, since whoever joins trailers with the head would take it for one that was checked.
//!
//! Callers: `answer` for what comes down, `http2` for what goes up. Towards HTTP/1.1 upstreams none goes up.

use http::{HeaderMap, HeaderName};

use super::error::{Fault, UpstreamError};
use crate::sign::seal::looks_like;

/// Fields of one trailer section at most; their bytes are bounded by whoever reads them from the wire.
const FIELDS: usize = 100;

/// Never in a trailer, besides every `content-*`, `proxy-*`, `if-*`, `access-control-*` and `countersign-*` but
/// `content-md5` and `content-digest`.
const NEVER: [&str; 30] = [
    "age",
    "authorization",
    "cache-control",
    "connection",
    "cookie",
    "date",
    "expect",
    "expires",
    "forwarded",
    "host",
    "http2-settings",
    "keep-alive",
    "location",
    "max-forwards",
    "origin",
    "pragma",
    "range",
    "retry-after",
    "set-cookie",
    "strict-transport-security",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "vary",
    "via",
    "warning",
    "www-authenticate",
    "x-forwarded-for",
    "x-forwarded-host",
];
const NEVER_BEGINS: [&str; 5] = ["content-", "proxy-", "if-", "access-control-", "countersign-"];
const YET: [&str; 2] = ["content-md5", "content-digest"];

/// What of an answer's trailers the worker gets; nothing where nothing is left.
pub(super) fn of_answer(fields: HeaderMap) -> Result<Option<HeaderMap>, UpstreamError> {
    passable(fields, &[]).map_err(|count| {
        UpstreamError::new(Fault::Protocol, format!("the answer has {count} trailer fields, at most {FIELDS} pass"))
    })
}

/// What of a request's trailers goes up: none of `forbidden` either. With too many fields none does.
pub(super) fn of_request(fields: HeaderMap, forbidden: &[HeaderName]) -> Option<HeaderMap> {
    passable(fields, forbidden).unwrap_or_default()
}

fn passable(mut fields: HeaderMap, forbidden: &[HeaderName]) -> Result<Option<HeaderMap>, usize> {
    if fields.len() > FIELDS {
        return Err(fields.len());
    }
    while let Some(name) = fields.keys().find(|name| !may_pass(name, forbidden)).cloned() {
        fields.remove(name);
    }
    Ok((!fields.is_empty()).then_some(fields))
}

fn may_pass(name: &HeaderName, forbidden: &[HeaderName]) -> bool {
    // What a sloppy server reads `_` as.
    let plain = name.as_str().replace('_', "-");
    let plain = plain.strip_prefix("http-").unwrap_or(&plain);
    let never = NEVER.contains(&plain) || NEVER_BEGINS.iter().any(|start| plain.starts_with(start));
    let slot = |slot: &HeaderName| slot == name || looks_like(name.as_str(), slot.as_str());
    (!never || YET.contains(&plain)) && !forbidden.iter().any(slot)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn map(names: &[&str]) -> HeaderMap {
        names.iter().map(|n| (n.parse().unwrap(), HeaderValue::from_static("1"))).collect()
    }

    fn names(map: Option<HeaderMap>) -> Vec<String> {
        let mut names: Vec<_> = map.iter().flat_map(|map| map.keys()).map(ToString::to_string).collect();
        names.sort();
        names
    }

    #[test]
    fn results_pass_and_what_frames_or_authenticates_does_not() {
        let fields = map(&["grpc-status", "grpc-message", "content-length", "Transfer_Encoding", "countersign-error"]);
        assert_eq!(names(of_answer(fields).unwrap()), ["grpc-message", "grpc-status"]);
        assert_eq!(names(of_answer(map(&["host", "http_authorization", "set-cookie", "te"])).unwrap()), [""; 0]);
        assert_eq!(names(of_answer(map(&["content-digest", "etag"])).unwrap()), ["content-digest", "etag"]);
    }

    #[test]
    fn no_trailer_of_a_request_stands_where_a_credential_does() {
        let slots = ["x-api-key".parse().unwrap()];
        let fields = map(&["x-api-key", "X_Api_Key", "x-checksum"]);
        assert_eq!(names(of_request(fields, &slots)), ["x-checksum"]);
    }

    #[test]
    fn their_number_is_bounded() {
        let many: Vec<String> = (0..=FIELDS).map(|index| format!("x-{index}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(of_answer(map(&many)).unwrap_err().fault, Fault::Protocol);
        assert!(of_request(map(&many), &[]).is_none());
        assert!(of_answer(map(&many[1..])).unwrap().is_some());
    }
}
