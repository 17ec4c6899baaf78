//! Vectors at every depth, and what they do not say.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

use std::fs;
use std::path::Path;

use http::header::WWW_AUTHENTICATE;
use http::{HeaderMap, HeaderValue};
use serde_json::Value;

use super::*;
use crate::clock::Timestamp;
use crate::secret::value::SecretBytes;
use crate::sign::material::Kind;
use crate::sign::{Signer, Slot};

fn challenge(line: &str) -> Option<Challenge> {
    let mut headers = HeaderMap::new();
    headers.insert(WWW_AUTHENTICATE, HeaderValue::from_bytes(line.as_bytes()).unwrap());
    Challenge::strongest(&headers)
}

fn pattern(name: &str) -> NamePattern {
    NamePattern::parse(name).unwrap()
}

fn material(kind: Kind, text: &str) -> Material {
    kind.load(&SecretBytes::new(text.as_bytes().to_vec())).unwrap()
}

fn context<'a>(turn: Option<&'a Turn>, cnonce: Option<&'a str>) -> SignContext<'a> {
    SignContext {
        now: Timestamp::from_seconds(0),
        random: [0x5A; 32],
        fixed_nonce: cnonce,
        tenant: None,
        captures: &[],
        turn,
        sequence: crate::clock::Sequence::default(),
        access_token: None,
    }
}

fn signer(user: PublicValue) -> Signer {
    Signer::Digest(Box::new(Digest::new(user, pattern("password"))))
}

fn request<'a>(method: &'a str, path: &'a str, query: Option<&'a str>, headers: &'a HeaderMap) -> Signable<'a> {
    Signable { method, scheme: "https", host: "api.test", path, query, headers, body: None }
}

fn header(injection: &Injection) -> String {
    let [(name, value)] = &*injection.headers else { panic!("one header") };
    assert!(*name == AUTHORIZATION && value.is_sensitive());
    String::from_utf8(value.as_bytes().to_vec()).unwrap()
}

#[test]
fn every_vector_comes_out_as_published() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/digest.json");
    let file: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    let mut failures = Vec::new();
    let cases = file["cases"].as_array().unwrap();
    for case in cases {
        if let Err(failure) = run(case) {
            failures.push(format!("{}: {failure}", case["name"]));
        }
    }
    assert!(cases.len() >= 10 && file["origin"].is_string() && file["license"].is_string());
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    for left in file["not_answered"].as_array().unwrap() {
        println!("{} is not answered: {}", left["name"], left["reason"]);
        assert_eq!(challenge(left["challenge"].as_str().unwrap()), None);
    }
}

fn run(case: &Value) -> Result<(), String> {
    let text = |name: &str| case[name].as_str().unwrap_or_else(|| panic!("{} has no {name}", case["name"]));
    let asked = challenge(text("challenge")).ok_or("the challenge was not read")?;
    let mut turn = Turn::first(asked, [0; 16]);
    turn.count = u32::from_str_radix(text("nc"), 16).unwrap();
    let headers = HeaderMap::new();
    let request = request(text("method"), text("path"), case["query"].as_str(), &headers);
    let context = context(Some(&turn), Some(text("cnonce")));
    let keys = [material(Kind::Password, text("password"))];
    let signer = signer(PublicValue::Literal(text("username").to_owned()));
    let wrong = |error: SignError| error.to_string();
    let transcript = signer.transcript(&request, &keys, &context).map_err(wrong)?.expect("a text");
    let expect = &case["expect"];
    same("canonical text", &expect["text"], &transcript.text)?;
    same("string to sign", &expect["string_to_sign"], &transcript.string_to_sign)?;
    let made = header(&signer.sign(&request, &keys, &context).map_err(wrong)?);
    let response = made.split(" response=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or_default();
    same("result: response", &expect["response"], response)?;
    same("result: header", &expect["header"], &made)?;
    same(
        "result: as people see it",
        &expect["header"],
        &header(&signer.masked(&request, &keys, &context).map_err(wrong)?),
    )
}

fn same(depth: &str, wanted: &Value, got: &str) -> Result<(), String> {
    if wanted == got { Ok(()) } else { Err(format!("{depth}\n  wanted {wanted}\n  got    {got:?}")) }
}

#[test]
fn without_a_challenge_nothing_is_put_in() {
    let headers = HeaderMap::new();
    let request = request("GET", "/a", Some("b=1"), &headers);
    let keys = [material(Kind::Password, "Circle of Life")];
    let signer = signer(PublicValue::Literal("Mufasa".to_owned()));
    for made in
        [signer.sign(&request, &keys, &context(None, None)), signer.masked(&request, &keys, &context(None, None))]
    {
        let made = made.unwrap();
        assert!(made.headers.is_empty() && made.query.is_empty() && made.cookies.is_empty());
    }
    let transcript = signer.transcript(&request, &keys, &context(None, None)).unwrap().unwrap();
    assert_eq!(transcript.text, "Mufasa:<realm>:[password]\nGET:/a?b=1");
    assert_eq!(transcript.string_to_sign, "[H(1)]:<nonce>:<nc>:<cnonce>:<qop>:<H(2)>");
    assert_eq!(signer.slots(), [Slot::Header(AUTHORIZATION)]);
    assert!(
        signer.covers().query
            && signer.holds() == crate::sign::body::Holds::Never
            && !signer.is_constant()
            && signer.needs_random()
    );
}

#[test]
fn a_secret_user_is_never_shown() {
    let headers = HeaderMap::new();
    let request = request("GET", "/", None, &headers);
    let keys = [material(Kind::Username, "mufasa-the-king"), material(Kind::Password, "Circle of Life")];
    let signer = signer(PublicValue::Secret(pattern("user")));
    for line in [r#"Digest realm="r", nonce="n", qop="auth""#, r#"Digest realm="r", nonce="n", userhash=true"#] {
        let turn = Turn::first(challenge(line).unwrap(), [0; 16]);
        let context = context(Some(&turn), None);
        let shown = header(&signer.masked(&request, &keys, &context).unwrap());
        assert!(shown.starts_with(r#"Digest username="[user]", realm="r", "#), "{shown}");
        let transcript = signer.transcript(&request, &keys, &context).unwrap().unwrap();
        assert!(transcript.text.starts_with("[user]:r:[password]\n"), "{}", transcript.text);
        let real = header(&signer.sign(&request, &keys, &context).unwrap());
        assert!(!real.contains("[user]") && real.split("realm").nth(1) == shown.split("realm").nth(1));
    }
    assert!(Kind::Username.load(&SecretBytes::new(b"a:b".to_vec())).is_err());
}

#[test]
fn a_session_has_one_client_nonce_and_others_a_new_one_each_time() {
    let headers = HeaderMap::new();
    let request = request("GET", "/", None, &headers);
    let keys = [material(Kind::Password, "p")];
    let signer = signer(PublicValue::Literal("u".to_owned()));
    let cnonce = |algorithm: &str| {
        let line = format!(r#"Digest realm="r", nonce="n", qop="auth", algorithm={algorithm}"#);
        let turn = Turn::first(challenge(&line).unwrap(), [0x11; 16]);
        let made = header(&signer.sign(&request, &keys, &context(Some(&turn), None)).unwrap());
        made.split("cnonce=\"").nth(1).unwrap()[..32].to_owned()
    };
    assert_eq!(cnonce("MD5-sess"), "11".repeat(16));
    assert_eq!(cnonce("MD5"), "5a".repeat(16));
}

#[test]
fn what_the_server_wrote_comes_back_escaped_and_never_breaks_out() {
    let headers = HeaderMap::new();
    let request = request("GET", "/a\"b", None, &headers);
    let keys = [material(Kind::Password, "p")];
    let signer = signer(PublicValue::Literal("u\"\\".to_owned()));
    let turn = Turn::first(challenge(r#"Digest realm="a\"\\b", nonce="n\"", opaque="\o""#).unwrap(), [0; 16]);
    let made = header(&signer.sign(&request, &keys, &context(Some(&turn), None)).unwrap());
    assert!(
        made.starts_with(r#"Digest username="u\"\\", realm="a\"\\b", uri="/a\"b", nonce="n\"", response=""#),
        "{made}"
    );
    assert!(made.ends_with(r#", opaque="o""#), "{made}");
}
