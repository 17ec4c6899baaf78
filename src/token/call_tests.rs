//! Calls: what must not be called, what takes whose place, approvals. The dialects are in `tests/vectors/oauth`.

#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};

use super::approve::{Callback, CallbackError, Decision, authorize_url, challenge, state_digest, verifier};
use super::call::{Ask, CallError, CallInput, sent, token_request};
use super::grant::{Insecure, OAuth};
use super::vectors::oauth;

fn input<'a>(oauth: &'a OAuth, fill: &'a dyn Fn(&str) -> Option<&'a str>) -> CallInput<'a> {
    let (client_id, client_secret) = (Some("id"), Some("secret"));
    CallInput { oauth, client_id, client_secret, username: None, password: None, fill }
}

fn keys(more: Value) -> Value {
    let mut keys =
        json!({ "grant": "client_credentials", "token_url": "https://as.test/token", "client_auth": "post" });
    keys.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    keys
}

#[test]
fn only_a_url_that_may_be_called_is_called() {
    let asked = |url: &str, insecure| {
        let fill = |name: &str| match name {
            "tenant" => Some("evil.test/"),
            "at" => Some("x@y"),
            "good" => Some("acme"),
            _ => None,
        };
        let mut oauth = oauth(&keys(json!({ "token_url": url })));
        oauth.token_url.insecure = insecure;
        token_request(&input(&oauth, &fill), &Ask::Client).map(|request| request.uri().to_string())
    };
    let bad = Err(CallError::Url { key: "token_url" });
    for url in [
        "http://as.test/token",
        "https://{tenant}.as.test/token",
        "https://{at}/token",
        "https://user:pw@as.test/",
        "ftp://as.test/",
        "/token",
        "https:///token",
        "as.test",
    ] {
        assert_eq!(asked(url, Insecure::Refused), bad, "{url}");
    }
    assert_eq!(asked("http://as.test/token", Insecure::Allowed).unwrap(), "http://as.test/token");
    for url in ["http://127.0.0.1:8080/t", "http://[::1]/t", "http://localhost/t", "https://acme.as.test/t"] {
        assert_eq!(asked(url, Insecure::Refused).unwrap(), url);
    }
    assert_eq!(
        asked("https://{good}.as.test/{tenant}", Insecure::Refused).unwrap(),
        "https://acme.as.test/evil.test%2F"
    );
    let missing = CallError::Variable { key: "token_url", variable: "nobody".to_owned() };
    assert_eq!(asked("https://{nobody}/", Insecure::Refused), Err(missing));
}

#[test]
fn what_is_written_takes_the_place_of_what_is_usual() {
    let fill = |name: &str| (name == "tenant").then_some("m 1");
    let more =
        json!({ "extra": { "grant_type": "own", "shop": "{tenant}" }, "scope": ["a", "b"], "scope_separator": "," });
    let oauth = oauth(&keys(more));
    let request = token_request(&input(&oauth, &fill), &Ask::Client).unwrap();
    let body = std::str::from_utf8(request.body()).unwrap();
    assert_eq!(body, "scope=a%2Cb&client_id=id&client_secret=secret&grant_type=own&shop=m+1");
}

#[test]
fn a_call_without_its_secret_is_not_made() {
    for auth in ["basic", "basic_raw", "post", "json", "query"] {
        let oauth = oauth(&keys(json!({ "client_auth": auth })));
        let input = CallInput { client_secret: None, ..input(&oauth, &|_| None) };
        assert_eq!(token_request(&input, &Ask::Client).unwrap_err(), CallError::Missing("client_secret"), "{auth}");
    }
    let oauth = oauth(&keys(json!({ "client_auth": "none" })));
    let unnamed = token_request(&input(&oauth, &|_| None), &Ask::Password).unwrap_err();
    assert_eq!(unnamed, CallError::Missing("username"));
}

#[test]
fn every_secret_of_a_call_is_told_for_masking() {
    let oauth = oauth(&keys(json!({ "client_auth": "basic" })));
    let secrets = sent(&input(&oauth, &|_| None), &Ask::Refresh { token: "r" });
    let secrets: Vec<&str> = secrets.iter().map(|secret| secret.as_str()).collect();
    assert!(["secret", "r", "Basic aWQ6c2VjcmV0"].iter().all(|one| secrets.contains(one)), "{secrets:?}");
    assert!(!secrets.contains(&"id"), "a client id that the configuration shows is no secret");
}

/// RFC 7636 appendix B.
#[test]
fn pkce_is_as_published() {
    let random = [
        116, 24, 223, 180, 151, 153, 224, 37, 79, 250, 96, 125, 216, 173, 187, 186, 22, 212, 37, 77, 105, 214, 191,
        240, 91, 88, 5, 88, 83, 132, 141, 121,
    ];
    assert_eq!(*verifier(&random), "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk");
    assert_eq!(challenge("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"), "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
    assert_ne!(state_digest("a"), state_digest("b"));
}

#[test]
fn a_browser_is_sent_where_it_belongs() {
    let more = json!({ "grant": "authorization_code", "authorize_url": "https://{shop}.test/authorize?scope=fixed%20one",
        "scope": ["a"], "audience": "https://api.test" });
    let oauth = oauth(&keys(more));
    let fill = |name: &str| (name == "shop").then_some("acme");
    let url = authorize_url(&input(&oauth, &fill), "st", "ch", "http://127.0.0.1:7/callback").unwrap();
    assert_eq!(
        url,
        "https://acme.test/authorize?scope=fixed%20one&response_type=code&client_id=id\
         &redirect_uri=http%3A%2F%2F127.0.0.1%3A7%2Fcallback&state=st&code_challenge=ch&code_challenge_method=S256\
         &audience=https%3A%2F%2Fapi.test"
    );
}

#[test]
fn a_callback_is_read_once_and_whole() {
    let read = |query: &str| Callback::read(query, "code");
    let good = read("code=a%2Bb&state=s&iss=https%3A%2F%2Fas.test&shop=x&shop=y").unwrap();
    assert_eq!((good.state.as_str(), good.issuer.as_deref()), ("s", Some("https://as.test")));
    assert!(matches!(good.outcome, Decision::Approved(code) if *code == "a+b"));
    let denied = read("error=access_denied&error_description=No%0Away&state=s").unwrap();
    assert!(matches!(denied.outcome, Decision::Denied { error, detail }
        if error == "access_denied" && detail.as_deref() == Some("No way")));
    assert_eq!(read("code=a").err(), Some(CallbackError::Missing("state")));
    assert_eq!(read("state=s").err(), Some(CallbackError::Missing("code")));
    assert_eq!(read("state=s&code=a&code=b").err(), Some(CallbackError::Twice("code")));
    assert_eq!(read("state=s&state=t&code=a").err(), Some(CallbackError::Twice("state")));
    assert_eq!(read(&"a&".repeat(100)).err(), Some(CallbackError::TooMany));
    let renamed = Callback::read("spapi_oauth_code=c&state=s", "spapi_oauth_code").unwrap();
    assert!(matches!(renamed.outcome, Decision::Approved(code) if *code == "c"));
}
