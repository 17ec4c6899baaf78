//! The vectors of `tests/vectors/oauth1`, at three depths: normalised parameters, base string, signature.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue};
use proptest::prelude::*;
use serde_json::Value;
use zeroize::Zeroizing;

use super::*;
use crate::clock::Timestamp;
use crate::secret::value::SecretBytes;
use crate::sign::Signer;
use crate::template::encode::form_decode;

fn vectors(file: &str) -> Value {
    let path = format!("{}/tests/vectors/oauth1/{file}", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// A request of a case: scheme, host, path, query, headers.
struct Asked<'c> {
    case: &'c Value,
    headers: HeaderMap,
}

impl<'c> Asked<'c> {
    fn new(case: &'c Value) -> Self {
        let form = case["form_body"].as_str().map(|_| "application/x-www-form-urlencoded");
        let kind = case["content_type"].as_str().or(form);
        let headers = kind.map(|kind| (CONTENT_TYPE, HeaderValue::from_str(kind).unwrap())).into_iter().collect();
        Self { case, headers }
    }

    fn signable(&self) -> Signable<'_> {
        let (scheme, rest) = self.case["url"].as_str().unwrap().split_once("://").unwrap();
        let (host, target) = rest.split_at(rest.find('/').unwrap());
        let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
        let body = self.case["form_body"].as_str().or(self.case["body"].as_str()).map(str::as_bytes);
        let method = self.case["method"].as_str().unwrap();
        Signable { method, scheme, host, path, query, headers: &self.headers, body }
    }
}

fn context(case: &Value) -> SignContext<'_> {
    let seconds = case["timestamp"].as_str().map_or(0, |text| text.parse().unwrap());
    SignContext {
        now: Timestamp::from_seconds(seconds),
        random: [7; 32],
        fixed_nonce: case["nonce"].as_str(),
        tenant: None,
        captures: &[],
        sequence: crate::clock::Sequence::default(),
        access_token: None,
        turn: None,
    }
}

fn name(text: &str) -> NamePattern {
    NamePattern::parse(text).unwrap()
}

fn signer(case: &Value) -> OAuth1 {
    let literal = |key: &str| case[key].as_str().map(|text| PublicValue::Literal(text.to_owned()));
    let token = case["token"].as_str().map(|_| name("token_secret"));
    let secrets = || Secrets { consumer: name("consumer_secret"), token: token.clone() };
    OAuth1::new(OAuth1Spec {
        consumer_key: literal("consumer_key").unwrap(),
        token: literal("token"),
        realm: literal("realm"),
        proof: match case["signature_method"].as_str().unwrap() {
            "HMAC-SHA1" => Proof::Hmac(HmacHash::Sha1, secrets()),
            "HMAC-SHA256" => Proof::Hmac(HmacHash::Sha256, secrets()),
            "HMAC-SHA512" => Proof::Hmac(HmacHash::Sha512, secrets()),
            "PLAINTEXT" => Proof::PlainText(secrets()),
            _ => Proof::RsaSha256(name("rsa_key")),
        },
        placement: match case["placement"].as_str().unwrap() {
            "QUERY" => Placement::Query,
            "BODY" => Placement::Form,
            _ => Placement::Header,
        },
    })
}

fn keys(signer: &OAuth1, case: &Value, all: &Value) -> Vec<Material> {
    let load = |need: &Requirement| {
        let text = case[need.pattern.as_str()].as_str().or(all[need.pattern.as_str()].as_str()).unwrap();
        need.kind.load(&SecretBytes::new(text.as_bytes().to_vec())).unwrap()
    };
    signer.requirements().iter().map(load).collect()
}

fn decoded(text: &str) -> String {
    String::from_utf8(form_decode(text.as_bytes()).into_owned()).unwrap()
}

/// Name and value of every parameter that an injection has, realm included, decoded.
fn placed(injection: &Injection) -> BTreeMap<String, String> {
    let pair = |text: &String| text.split_once('=').map(|(name, value)| (decoded(name), decoded(value))).unwrap();
    let mut all: BTreeMap<_, _> = injection.query.iter().map(pair).collect();
    if let Some(BodyChange::Form(pairs)) = injection.body.as_deref() {
        all.extend(pairs.iter().map(pair));
    }
    for (_, value) in &injection.headers {
        let list = value.to_str().unwrap().strip_prefix("OAuth ").unwrap();
        let pairs = list.split(", ").map(|pair| pair.split_once('=').unwrap());
        all.extend(pairs.map(|(name, value)| (decoded(name), decoded(value.trim_matches('"')))));
    }
    all
}

#[test]
fn documented_requests_have_their_published_base_strings_and_signatures() {
    let all = vectors("documented.json");
    for case in all["cases"].as_array().unwrap() {
        let (asked, label) = (Asked::new(case), case["name"].as_str().unwrap());
        let pairs = case["params"].as_array().unwrap();
        let protocol: Vec<(&'static str, Zeroizing<String>)> = pairs
            .iter()
            .filter_map(|pair| {
                let known = PARAMETERS.iter().find(|known| pair[0] == **known)?;
                Some((*known, Zeroizing::new(pair[1].as_str().unwrap().to_owned())))
            })
            .collect();
        let base = Base::new(&asked.signable(), &protocol).unwrap();
        if let Some(wanted) = case["normalized"].as_str() {
            assert_eq!(base.normalised(), wanted, "{label}: normalised parameters");
        }
        assert_eq!(base.string().as_str(), case["base_string"].as_str().unwrap(), "{label}: base string");
        let made =
            serde_json::json!({"consumer_key": "k", "token": "t", "signature_method": "HMAC-SHA1", "placement": ""});
        let signer = signer(&made);
        let signature = signer.signature(&asked.signable(), &protocol, &keys(&signer, case, &all)).unwrap();
        assert_eq!(signature.as_str(), case["signature"].as_str().unwrap(), "{label}: signature");
    }
}

#[test]
fn oauthlib_makes_the_same_of_every_method_and_placement() {
    let all = vectors("oauthlib.json");
    let cases = all["cases"].as_array().unwrap();
    assert!(cases.len() > 10);
    for case in cases {
        let (asked, label, expect) = (Asked::new(case), case["name"].as_str().unwrap(), &case["expect"]);
        let signer = signer(case);
        let keys = keys(&signer, case, &all);
        let shown = signer.transcript(&asked.signable(), &keys, &context(case)).unwrap();
        assert_eq!(shown.is_some(), expect["base_string"].is_string(), "{label}");
        if let Some(shown) = shown {
            assert_eq!(shown.text, expect["normalized"].as_str().unwrap(), "{label}: normalised parameters");
            assert_eq!(shown.string_to_sign, expect["base_string"].as_str().unwrap(), "{label}: base string");
        }
        let injection = signer.sign(&asked.signable(), &keys, &context(case)).unwrap();
        let made = placed(&injection);
        let mut wanted: BTreeMap<String, String> = BTreeMap::new();
        for (name, value) in [
            ("oauth_consumer_key", &case["consumer_key"]),
            ("oauth_token", &case["token"]),
            ("oauth_signature_method", &case["signature_method"]),
            ("oauth_timestamp", &case["timestamp"]),
            ("oauth_nonce", &case["nonce"]),
            ("oauth_version", &"1.0".into()),
            ("realm", &case["realm"]),
            ("oauth_signature", &expect["signature"]),
        ] {
            wanted.extend(value.as_str().map(|value| (name.to_owned(), value.to_owned())));
        }
        assert_eq!(made, wanted, "{label}: result");
    }
}

#[test]
fn people_see_names_in_the_place_of_secrets_and_the_same_signature() {
    let secrets = || Secrets { consumer: name("shop/secret"), token: Some(name("shop/token-secret")) };
    let with = |proof| {
        OAuth1::new(OAuth1Spec {
            consumer_key: PublicValue::Secret(name("shop/key")),
            token: Some(PublicValue::Literal("t k".to_owned())),
            realm: Some(PublicValue::Literal("a \"b\"".to_owned())),
            proof,
            placement: Placement::Header,
        })
    };
    let case = serde_json::json!({
        "url": "https://a.example/x?y=1", "method": "GET", "nonce": "n", "timestamp": "1",
        "shop/key": "ck secret", "shop/secret": "cs secret", "shop/token-secret": "ts secret",
    });
    let (asked, context) = (Asked::new(&case), context(&case));
    let signer = with(Proof::Hmac(HmacHash::Sha1, secrets()));
    let made = keys(&signer, &case, &case);
    let shown = signer.masked(&asked.signable(), &made, &context).unwrap();
    let line = shown.headers[0].1.to_str().unwrap().to_owned();
    let real = signer.sign(&asked.signable(), &made, &context).unwrap();
    assert!(real.headers[0].1.is_sensitive());
    let real = real.headers[0].1.to_str().unwrap();
    assert!(
        line.starts_with("OAuth realm=\"a \\\"b\\\"\", oauth_consumer_key=\"[shop/key]\", oauth_token=\"t%20k\", ")
    );
    assert_eq!(line.replace("[shop/key]", "ck%20secret"), real);
    let text = signer.transcript(&asked.signable(), &made, &context).unwrap().unwrap();
    assert!(text.text.starts_with("oauth_consumer_key=[shop/key]&"), "{}", text.text);
    assert!(text.string_to_sign.contains("oauth_consumer_key%3D[shop/key]%26"), "{}", text.string_to_sign);
    let plain = with(Proof::PlainText(secrets()));
    let shown = plain.masked(&asked.signable(), &keys(&plain, &case, &case), &context).unwrap();
    let line = shown.headers[0].1.to_str().unwrap().to_owned();
    assert!(line.contains("oauth_signature=\"[shop/secret]&[shop/token-secret]\""), "{line}");
    assert!(Signer::OAuth1(Box::new(plain)).covers() == Covers::default());
}

#[test]
fn every_attempt_has_a_nonce_of_128_bits() {
    let case = serde_json::json!({
        "url": "https://a.example/", "method": "GET", "consumer_key": "k", "consumer_secret": "s",
        "signature_method": "HMAC-SHA256", "placement": "QUERY",
    });
    let (asked, signer) = (Asked::new(&case), signer(&case));
    let keys = keys(&signer, &case, &case);
    let nonce = |random: [u8; 32]| {
        let context = SignContext { random, ..context(&case) };
        placed(&signer.sign(&asked.signable(), &keys, &context).unwrap())["oauth_nonce"].clone()
    };
    assert_eq!(nonce([7; 32]), "07".repeat(16));
    let mut other = [7; 32];
    other[15] = 8;
    assert_ne!(nonce(other), nonce([7; 32]));
}

#[test]
fn a_form_is_signed_by_its_type_alone() {
    let base = |kind: &str| {
        let case = serde_json::json!({
            "url": "https://a.example/", "method": "POST", "content_type": kind, "body": "a=1",
        });
        let asked = Asked::new(&case);
        Base::new(&asked.signable(), &[]).unwrap().normalised().to_owned()
    };
    assert_eq!(base("Application/X-WWW-Form-Urlencoded;charset=utf-8"), "a=1");
    assert_eq!(base("application/json"), "");
    assert_eq!(base("multipart/form-data; boundary=x"), "");
    let case = serde_json::json!({
        "url": "https://a.example/", "method": "POST", "content_type": "application/x-www-form-urlencoded", "body": "a",
    });
    let mut asked = Asked::new(&case);
    asked.headers.insert(http::header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    assert!(Base::new(&asked.signable(), &[]).is_err(), "nobody can sign fields that are compressed");
}

proptest! {
    /// The normalised parameters, sent as a query, are normalised to themselves; one changed byte changes the text.
    #[test]
    fn normalised_parameters_are_their_own_normal_form(query in "[ -~é]{0,60}", at in 0_usize..60) {
        let sent: String = query.chars().filter(|c| c.is_ascii() && *c != '#').collect();
        let headers = HeaderMap::new();
        let request = |query| Signable {
            method: "GET", scheme: "https", host: "a.example", path: "/", query, headers: &headers, body: None,
        };
        let once = Base::new(&request(Some(&sent)), &[]).unwrap();
        let twice = Base::new(&request(Some(once.normalised())), &[]).unwrap();
        prop_assert_eq!(once.normalised(), twice.normalised());
        prop_assert!(once.string().bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~%&".contains(&b)));
        if let Some(byte) = sent.as_bytes().get(at).filter(|byte| byte.is_ascii_lowercase()) {
            let other = if *byte == b'a' { 'b' } else { 'a' };
            let changed: String =
                sent.char_indices().map(|(index, c)| if index == at { other } else { c }).collect();
            // Within an escape a digit's case may be all that changed.
            let changed = Base::new(&request(Some(&changed)), &[]).unwrap();
            prop_assert!(changed.string() != once.string() || sent.contains('%'));
        }
    }
}
