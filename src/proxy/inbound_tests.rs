#![allow(clippy::unwrap_used)]

use super::*;
use http::Request;

fn limits() -> Limits {
    Limits { head: 65_536, headers: 100, connections: 10, in_flight: 10, buffered: 1 << 20 }
}

fn parts(target: &str, headers: &[(&str, &str)]) -> Parts {
    let mut request = Request::builder().uri(target);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

fn host_and_port(target: &str, headers: &[(&str, &str)]) -> Result<(String, Option<u16>), Outcome> {
    let parts = parts(target, headers);
    read(&parts, &limits()).map(|inbound| (inbound.host.into_owned(), inbound.port)).map_err(|failure| failure.name)
}

#[test]
fn the_host_is_one_well_formed_name() {
    let named = |host: &str| host_and_port("/x", &[("host", host)]);
    assert_eq!(named("API.test"), Ok(("api.test".into(), None)));
    assert_eq!(named("api.test:8080"), Ok(("api.test".into(), Some(8080))));
    assert_eq!(named("[::1]:80"), Ok(("[::1]".into(), Some(80))));
    for bad in ["", "a b", "a,b", "user@a", "a/b", "a:", "a:x", "a:0080", "a:70000", "a%00b", "[::1", "[x]", "a:1:2"] {
        assert_eq!(named(bad), Err(Outcome::BadRequest), "{bad:?}");
    }
    assert_eq!(host_and_port("/x", &[]), Err(Outcome::BadRequest));
    assert_eq!(host_and_port("/x", &[("host", "a"), ("host", "a")]), Err(Outcome::BadRequest));
}

#[test]
fn an_absolute_target_must_agree_with_host() {
    let at = |target: &str, host: &str| host_and_port(target, &[("host", host)]);
    assert_eq!(at("http://a.test/x", "a.test"), Ok(("a.test".into(), None)));
    assert_eq!(at("http://a.test:80/x", "a.test"), Ok(("a.test".into(), Some(80))));
    assert_eq!(at("https://a.test/x", "a.test:443"), Ok(("a.test".into(), None)));
    assert_eq!(at("http://a.test/x", "b.test"), Err(Outcome::BadRequest));
    assert_eq!(at("http://a.test:81/x", "a.test"), Err(Outcome::BadRequest));
    assert_eq!(at("http://u@a.test/x", "a.test"), Err(Outcome::BadRequest));
    assert_eq!(at("ftp://a.test/x", "a.test"), Err(Outcome::BadRequest));
}

#[test]
fn framing_is_one_number_or_one_chunked() {
    let framed = |headers: &[(&str, &str)]| {
        let all: Vec<(&str, &str)> = headers.iter().copied().chain([("host", "a")]).collect();
        host_and_port("/x", &all).map(|_| ())
    };
    assert_eq!(framed(&[("transfer-encoding", "chunked")]), Ok(()));
    assert_eq!(framed(&[("transfer-encoding", "Chunked")]), Ok(()));
    assert_eq!(framed(&[("content-length", "5")]), Ok(()));
    for bad in [
        &[("transfer-encoding", "gzip, chunked")][..],
        &[("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")],
        &[("transfer-encoding", "chunked"), ("content-length", "5")],
        &[("content-length", "5"), ("content-length", "5")],
        &[("content-length", "+5")],
    ] {
        assert_eq!(framed(bad), Err(Outcome::BadRequest), "{bad:?}");
    }
}

#[test]
fn a_head_is_refused_one_past_its_bound() {
    let mut limits = limits();
    limits.headers = 2;
    let two = parts("/", &[("host", "a"), ("x", "1")]);
    assert!(read(&two, &limits).is_ok());
    let three = parts("/", &[("host", "a"), ("x", "1"), ("y", "1")]);
    assert_eq!(read(&three, &limits).unwrap_err().name, Outcome::HeadersTooLarge);
}

#[test]
fn trace_and_connect_are_refused() {
    let with = |method: Method| {
        let mut parts = parts("/", &[("host", "a")]);
        parts.method = method;
        read(&parts, &limits()).unwrap_err().name
    };
    assert_eq!(with(Method::TRACE), Outcome::BadRequest);
    assert_eq!(with(Method::CONNECT), Outcome::NoRoute);
}

#[test]
fn a_request_that_has_passed_is_known_by_via() {
    let headers = parts("/", &[("via", "1.1 other, 1.1 countersign-ab12")]).headers;
    assert!(has_passed(&headers, "countersign-ab12"));
    assert!(!has_passed(&headers, "countersign-ab13"));
}
