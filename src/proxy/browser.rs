//! Keeps web pages out: a page can make its visitor's browser send requests to loopback, and must not use the
//! credentials there. Browsers say on whose behalf they ask; programs say nothing and pass. Called by `request`.
//!
//! What a browser cannot be made to leave out is relied on: `Sec-Fetch-Site` (W3C Fetch Metadata, section 2.4) and, for
//! all but simple reads, `Origin` (RFC 6454 section 7.3).

use http::header::ORIGIN;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::failure::Failure;
use crate::observe::Outcome;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Refuses what a page of another site sent. `authority` is the host of the request, `upstream` the one it was matched
/// by; both are lower case and without port. `listed` are the origins that the route lets in, as browsers write them.
pub fn check(headers: &HeaderMap, authority: &str, upstream: &str, listed: &[String]) -> Result<(), Failure> {
    let is_listed =
        |origin: &HeaderValue| listed.iter().any(|known| origin.as_bytes().eq_ignore_ascii_case(known.as_bytes()));
    let mut origins = headers.get_all(ORIGIN).iter();
    if let (Some(origin), None) = (origins.next(), origins.next())
        && is_listed(origin)
    {
        // Always another site than this one, so that Sec-Fetch-Site has nothing to add.
        return Ok(());
    }
    if headers.get_all(SEC_FETCH_SITE).iter().any(|site| site != "same-origin" && site != "none") {
        return Err(denied("a web page of another site sent this request (Sec-Fetch-Site)"));
    }
    let known = |host: &str| host.eq_ignore_ascii_case(authority) || host.eq_ignore_ascii_case(upstream);
    if headers.get_all(ORIGIN).iter().any(|origin| !host_of(origin).is_some_and(known)) {
        return Err(denied("the Origin is neither the host of the request nor the route's"));
    }
    Ok(())
}

/// The host of `scheme://host[:port]`; IPv6 with brackets. `null` has none.
fn host_of(origin: &HeaderValue) -> Option<&str> {
    let (_, authority) = origin.to_str().ok()?.split_once("://")?;
    let end = authority.rfind(']').map_or(0, |bracket| bracket + 1);
    Some(authority[end..].find(':').map_or(authority, |colon| &authority[..end + colon]))
}

fn denied(detail: &str) -> Failure {
    Failure::new(Outcome::ClientDenied, detail)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn allowed(lines: &[(&'static str, &'static str)]) -> bool {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_static(value));
        }
        check(&headers, "127.0.0.1", "api.example.com", &["https://app.example".to_owned()]).is_ok()
    }

    #[test]
    fn programs_and_typed_addresses_pass() {
        assert!(allowed(&[]));
        assert!(allowed(&[("sec-fetch-site", "none")]));
        assert!(allowed(&[("sec-fetch-site", "same-origin"), ("origin", "http://127.0.0.1:8080")]));
        assert!(allowed(&[("origin", "https://API.example.com")]), "a client that names its upstream");
    }

    #[test]
    fn pages_of_other_sites_do_not() {
        for site in ["cross-site", "same-site", "", "anything"] {
            assert!(!allowed(&[("sec-fetch-site", site)]), "{site}");
        }
        for origin in
            ["https://evil.example", "null", "", "http://127.0.0.1.evil.example", "https://api.example.com.evil"]
        {
            assert!(!allowed(&[("origin", origin)]), "{origin}");
        }
        assert!(!allowed(&[("sec-fetch-site", "none"), ("sec-fetch-site", "cross-site")]), "any line counts");
        assert!(!allowed(&[("origin", "http://127.0.0.1"), ("origin", "https://evil.example")]), "any line counts");
    }

    #[test]
    fn listed_pages_pass_as_browsers_send_them() {
        assert!(allowed(&[("origin", "https://app.example"), ("sec-fetch-site", "cross-site")]));
        assert!(!allowed(&[("sec-fetch-site", "cross-site")]), "no origin, no exception");
        for near in
            ["https://app.example:8443", "http://app.example", "https://app.example.evil", "https://x.app.example"]
        {
            assert!(!allowed(&[("origin", near)]), "{near}");
        }
        assert!(!allowed(&[("origin", "https://app.example"), ("origin", "https://evil.example")]), "any line counts");
    }

    #[test]
    fn addresses_in_brackets_are_hosts() {
        assert_eq!(host_of(&HeaderValue::from_static("http://[::1]:8080")), Some("[::1]"));
        assert_eq!(host_of(&HeaderValue::from_static("http://[::1]")), Some("[::1]"));
        assert_eq!(host_of(&HeaderValue::from_static("http://h:1")), Some("h"));
    }
}
