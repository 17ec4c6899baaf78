#![allow(clippy::unwrap_used, clippy::expect_used)]

use http::{HeaderMap, HeaderName};
use proptest::prelude::*;

use super::api_key::{ApiKey, prefix_fits};
use super::basic::{Basic, PublicValue};
use super::bearer::Bearer;
use super::hmac::{Hmac, HmacSpec, KeySpec, SignatureEncoding};
use super::material::{HashAlgorithm, KeyEncoding, Kind, Material};
use super::{Injection, Place, SignContext, SignError, Signable, Signer, Slot};
use crate::clock::{Sequence, Timestamp};
use crate::secret::name::NamePattern;
use crate::secret::value::{BadReason, SecretBytes};
use crate::template::TemplateError;

const CONTEXT: SignContext<'static> = SignContext {
    now: Timestamp { seconds: 1_790_000_000, nanos: 123_000_000 },
    random: [
        0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0a, 0x0b, 0x0c, 0x0d, 0x0e, 0x0f, 0xff, 0xff,
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    ],
    fixed_nonce: None,
    tenant: None,
    captures: &[],
    sequence: Sequence { millis: 0, micros: 0, nanos: 0 },
    access_token: None,
    turn: None,
};

fn pattern(name: &str) -> NamePattern {
    NamePattern::parse(name).unwrap()
}

fn secret(text: &[u8]) -> SecretBytes {
    SecretBytes::new(text.to_vec())
}

fn keys(signer: &Signer, secrets: &[&str]) -> Vec<Material> {
    let load = |(requirement, text): (&super::Requirement, &&str)| requirement.kind.load(&secret(text.as_bytes()));
    signer.requirements().iter().zip(secrets).map(load).collect::<Result<_, _>>().unwrap()
}

fn get<'a>(headers: &'a HeaderMap, body: Option<&'a [u8]>) -> Signable<'a> {
    Signable {
        method: "GET",
        scheme: "https",
        host: "api.example.com",
        path: "/v1/a%2Fb",
        query: Some("x=1&y=a%20b"),
        headers,
        body,
    }
}

fn sign(signer: &Signer, secrets: &[&str]) -> Result<Injection, SignError> {
    signer.sign(&get(&HeaderMap::new(), None), &keys(signer, secrets), &CONTEXT)
}

fn spec(sign: &str, set: &[(&str, &str)]) -> HmacSpec {
    HmacSpec {
        key: KeySpec::Secret(pattern("key"), KeyEncoding::Text),
        algorithm: HashAlgorithm::Sha256,
        encoding: SignatureEncoding::Hex,
        sign: sign.to_owned(),
        values: Vec::new(),
        set: set.iter().map(|(name, text)| (name.parse::<HeaderName>().unwrap(), (*text).to_owned())).collect(),
        set_query: Vec::new(),
        set_form: Vec::new(),
        set_json: Vec::new(),
    }
}

fn hmac(spec: HmacSpec) -> Signer {
    Signer::Hmac(Box::new(Hmac::compile(spec).unwrap()))
}

fn mistakes(spec: HmacSpec) -> Vec<(Place, TemplateError)> {
    Hmac::compile(spec).unwrap_err()
}

/// RFC 7617 sections 2 and 2.1.
#[test]
fn basic_is_that_of_the_rfc() {
    let signer = Signer::Basic(Box::new(Basic::new(PublicValue::Literal("Aladdin".to_owned()), pattern("p"))));
    let injection = sign(&signer, &["open sesame\n"]).unwrap();
    assert_eq!(injection.headers[0].1, "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
    assert!(injection.headers[0].1.is_sensitive());
    let signer = Signer::Basic(Box::new(Basic::new(PublicValue::Secret(pattern("u")), pattern("p"))));
    let injection = sign(&signer, &["test", "123£"]).unwrap();
    assert_eq!(injection.headers[0].1, "Basic dGVzdDoxMjPCow==");
    let shown = signer.masked(&get(&HeaderMap::new(), None), &[], &CONTEXT).unwrap();
    assert_eq!(shown.headers[0].1, "Basic [u:p]");
}

#[test]
fn a_key_goes_into_its_slot_and_nowhere_else() {
    let key = |slot, prefix: &str| Signer::ApiKey(Box::new(ApiKey::new(pattern("k"), slot, prefix.to_owned())));
    let header = key(Slot::Header("x-api-key".parse().unwrap()), "Token ");
    let made = sign(&header, &["abc\r\n"]).unwrap();
    assert_eq!(made.headers[0].1, "Token abc");
    assert!(made.headers[0].1.is_sensitive() && made.query.is_empty() && made.cookies.is_empty());
    let made = sign(&key(Slot::Query("api key".to_owned()), ""), &["a+b/c=£"]).unwrap();
    assert_eq!(made.query, ["api%20key=a%2Bb%2Fc%3D%C2%A3"]);
    let query = key(Slot::Query("key".to_owned()), "");
    let shown = query.masked(&get(&HeaderMap::new(), None), &[], &CONTEXT).unwrap();
    assert_eq!(shown.query, ["key=[k]"]);
    let made = sign(&key(Slot::Cookie("sid".to_owned()), "v."), &["abc"]).unwrap();
    assert_eq!(made.cookies, ["sid=v.abc"]);
    assert!(!prefix_fits("a\r\n", header.slots().first().unwrap()));
    assert!(!prefix_fits("a; b", &Slot::Cookie("sid".to_owned())));
}

#[test]
fn a_bearer_token_is_sent_as_it_is_and_shown_by_name() {
    let signer = Signer::Bearer(Bearer::new(pattern("shop/token")));
    let made = sign(&signer, &["ya29.a"]).unwrap();
    assert_eq!(made.headers[0].1, "Bearer ya29.a");
    let shown = signer.masked(&get(&HeaderMap::new(), None), &[], &CONTEXT).unwrap();
    assert_eq!(shown.headers[0].1, "Bearer [shop/token]");
    assert_eq!(signer.slots(), [Slot::Header(http::header::AUTHORIZATION)]);
    let signed = signer.sign(&get(&HeaderMap::new(), None), &[], &CONTEXT);
    assert!(signed.is_err(), "a request is never sent bare");
}

#[test]
fn a_secret_that_cannot_be_used_says_why() {
    let reason = |kind: Kind, bytes: &[u8]| kind.load(&secret(bytes)).err();
    let key = |encoding| Kind::HmacKey(HashAlgorithm::Sha256, encoding);
    let cases: &[(Kind, &[u8], Option<BadReason>)] = &[
        (Kind::HeaderText, b"abc\r\n\n", None),
        (Kind::HeaderText, b"", Some(BadReason::Empty)),
        (Kind::HeaderText, b"\r\n\n", Some(BadReason::Empty)),
        (Kind::HeaderText, b"\xEF\xBB\xBFabc", Some(BadReason::ByteOrderMark)),
        (Kind::HeaderText, b"\xFF\xFEa\0b\0", Some(BadReason::ByteOrderMark)),
        (Kind::HeaderText, b"a\nb", Some(BadReason::LineBreak)),
        (Kind::HeaderText, b"a\0b", Some(BadReason::ControlByte)),
        (Kind::HeaderText, b"a\tb", Some(BadReason::ControlByte)),
        (Kind::HeaderText, b"a\x7Fb", Some(BadReason::ControlByte)),
        (Kind::HeaderText, "é".as_bytes(), Some(BadReason::NonAscii)),
        (Kind::Text, "é".as_bytes(), None),
        (Kind::Text, b"\xE9", Some(BadReason::Encoding("UTF-8"))),
        (Kind::Text, "a\u{85}".as_bytes(), Some(BadReason::ControlByte)),
        (Kind::Password, b"a:b c", None),
        (key(KeyEncoding::Text), b"a\0b", Some(BadReason::ControlByte)),
        (key(KeyEncoding::Text), b"\n", Some(BadReason::Empty)),
        (key(KeyEncoding::Bytes), b"\0\n", None),
        (key(KeyEncoding::Bytes), b"", Some(BadReason::Empty)),
        (key(KeyEncoding::Hex), b" 0aFF\n", None),
        (key(KeyEncoding::Hex), b"0aF", Some(BadReason::Encoding("hex"))),
        (key(KeyEncoding::Hex), b"zz", Some(BadReason::Encoding("hex"))),
        (key(KeyEncoding::Base64), b"-_8=\n", None),
        (key(KeyEncoding::Base64), b"+/8", None),
        (key(KeyEncoding::Base64), b"a", Some(BadReason::Encoding("base64"))),
        (key(KeyEncoding::Base64), b" \n", Some(BadReason::Empty)),
    ];
    for (kind, bytes, expected) in cases {
        assert_eq!(reason(*kind, bytes), *expected, "{kind:?} {bytes:?}");
    }
    assert!(matches!(reason(Kind::Username, b"a:b"), Some(BadReason::NotAllowed(_))));
    assert!(matches!(reason(Kind::CookieText, b"a b"), Some(BadReason::NotAllowed(_))));
    let large = vec![b'a'; 65 * 1024];
    assert!(matches!(reason(Kind::Text, &large), Some(BadReason::TooLarge { .. })));
}

/// RFC 4231; the SHA-1 column and the further ones are computed with Python's `hmac` (SHA-384 and MD5 equal RFC 4231 and RFC 2202).
#[test]
fn hmacs_are_those_of_the_rfc() {
    let file = include_str!("../../tests/vectors/rfc4231.json");
    let file: serde_json::Value = serde_json::from_str(file).unwrap();
    let unhex = |text: &str| -> Vec<u8> {
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    };
    for case in file["cases"].as_array().unwrap() {
        let text = |name: &str| case[name].as_str();
        let (key, data) = (unhex(text("key_hex").unwrap()), unhex(text("data_hex").unwrap()));
        for (algorithm, column) in [
            (HashAlgorithm::Sha1, "hmac_sha1"),
            (HashAlgorithm::Sha256, "hmac_sha256"),
            (HashAlgorithm::Sha512, "hmac_sha512"),
        ] {
            let Some(wanted) = text(column) else { continue };
            assert!(mac(algorithm, &key, &data).starts_with(&unhex(wanted)), "{case} {column}");
        }
    }
    let (key, data) = (b"Jefe", b"what do ya want for nothing?");
    let wanted = "af45d2e376484031617f78d2b58a6b1b9c7ef464f5a01b47e42ec3736322445e8e2240ca5e69e2c78b3239ecfab21649";
    assert_eq!(mac(HashAlgorithm::Sha384, key, data), unhex(wanted));
    assert_eq!(mac(HashAlgorithm::Md5, key, data), unhex("750c783e6ab0b503eaa86e310a5db738"));
}

fn mac(algorithm: HashAlgorithm, key: &[u8], data: &[u8]) -> Vec<u8> {
    let kind = Kind::HmacKey(algorithm, KeyEncoding::Bytes);
    let Material::Hmac(key) = kind.load(&secret(key)).unwrap() else { panic!("an HMAC key is no text") };
    assert_eq!(format!("{key:?}"), "Key(..)");
    let mut out = Vec::new();
    key.sign(data, &mut out);
    out
}

#[test]
fn one_attempt_has_one_time_nonce_and_uuid() {
    let text = "{timestamp} {timestamp_ms} {nonce} {uuid}";
    let signer = hmac(spec(text, &[("x-t", text), ("x-s", "{signature}")]));
    let headers = HeaderMap::new();
    let secrets = keys(&signer, &["k"]);
    let transcript = signer.transcript(&get(&headers, None), &secrets, &CONTEXT).unwrap().unwrap();
    let expected = "1790000000 1790000000123 000102030405060708090a0b0c0d0e0f ffffffff-ffff-4fff-bfff-ffffffffffff";
    assert_eq!(transcript.text, expected);
    let made = signer.sign(&get(&headers, None), &secrets, &CONTEXT).unwrap();
    assert_eq!(made.headers[0].1, expected);
    let fixed = SignContext { fixed_nonce: Some("n-1"), ..CONTEXT };
    let transcript = signer.transcript(&get(&headers, None), &secrets, &fixed).unwrap().unwrap();
    assert!(transcript.text.contains(" n-1 "));
}

#[test]
fn texts_for_people_name_secrets_instead_of_showing_them() {
    let set = [("x-s", "{signature}"), ("x-k", "{secret:app/key|base64}"), ("x-v", "{value.pair|base64}")];
    let mut spec =
        spec("{secret:app/key}{value.pair}{secret:app/key|sha256|hex}{path|hmac_md5(secret:other)|hex}", &set);
    spec.values = vec![("pair".to_owned(), "u:{secret:app/key}".to_owned())];
    let signer = hmac(spec);
    let names: Vec<_> = signer.requirements().iter().map(|r| (r.pattern.as_str(), r.kind)).collect();
    assert_eq!(names[1], ("app/key", Kind::Text));
    let headers = HeaderMap::new();
    let secrets = keys(&signer, &["the-key", "hush-hush", "other-key"]);
    let transcript = signer.transcript(&get(&headers, None), &secrets, &CONTEXT).unwrap().unwrap();
    assert!(transcript.text.starts_with("[app/key]u:[app/key][app/key]"), "{}", transcript.text);
    let shown = signer.masked(&get(&headers, None), &secrets, &CONTEXT).unwrap();
    let real = signer.sign(&get(&headers, None), &secrets, &CONTEXT).unwrap();
    assert_eq!(shown.headers[0], real.headers[0], "a signature may be seen");
    assert_eq!(shown.headers[1].1, "[app/key]");
    assert_eq!(shown.headers[2].1, "u:[app/key]");
    assert_eq!(real.headers[1].1, "aHVzaC1odXNo");
    assert!(!format!("{signer:?} {secrets:?}").contains("hush"));
}

/// What the credential sets stands in its lists; where that tells a secret, people see its name, and no digest of it.
#[test]
fn lists_for_people_name_the_secrets_in_them() {
    let list = "{params(query)|without(sign)|sorted|pairs('{k}={v|urlencode}','&')}";
    let mut spec = spec(&format!("{list} {{value.all|sha256|hex}}"), &[("x-s", "{signature}"), ("x-d", "{http_date}")]);
    spec.values = vec![("all".to_owned(), format!("{list}{{headers('x-*')|pairs('{{k}}','')}}"))];
    spec.set_query = vec![
        ("token".to_owned(), "{secret:app/token}".to_owned()),
        ("none".to_owned(), "{query.no}".to_owned()),
        ("sign".to_owned(), "{signature}".to_owned()),
    ];
    let signer = hmac(spec);
    let headers = HeaderMap::new();
    let secrets = keys(&signer, &["the-key", "hush hush"]);
    let transcript = signer.transcript(&get(&headers, None), &secrets, &CONTEXT).unwrap().unwrap();
    let shown = "token=[app/token]&x=1&y=a%20b";
    assert_eq!(transcript.text, format!("{shown} {shown}x-d"));
    let made = signer.sign(&get(&headers, None), &secrets, &CONTEXT).unwrap();
    assert_eq!(made.query[0], "token=hush%20hush");
    assert_eq!(made.query.len(), 2, "what comes out empty is not set");
    let real = "token=hush%20hush&x=1&y=a%20b";
    let mut digest = String::new();
    for byte in ring::digest::digest(&ring::digest::SHA256, format!("{real}x-d").as_bytes()).as_ref() {
        digest += &format!("{byte:02x}");
    }
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, b"the-key");
    let tag = ring::hmac::sign(&key, format!("{real} {digest}").as_bytes());
    let wanted: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(made.headers[0].1, wanted);
}

#[test]
fn what_is_covered_is_what_any_template_reads() {
    let covers = |sign: &str| hmac(spec(sign, &[("x-s", "{signature}")])).covers();
    assert!(!covers("{method}{path}").query && !covers("{path}").body);
    for text in ["{query}", "{target}", "{url|lower}", "{query.a}"] {
        assert!(covers(text).query, "{text}");
    }
    assert!(covers("{body|sha256|hex}").body);
    let digest = hmac(spec("{path}", &[("x-s", "{signature}"), ("x-d", "{body|md5|hex}")]));
    assert_eq!(digest.holds(), super::body::Holds::Always);
    for text in ["{form.a}", "{json.a}", "{params(query,form)|pairs('{k}','')}", "{path|if(body)}"] {
        assert!(covers(text).body, "{text}");
    }
    for text in ["{sorted_query}", "{params(query)|pairs('{k}','')}", "{path|unless(query)}"] {
        assert!(covers(text).query && !covers(text).body, "{text}");
    }
    let grows = hmac(spec("{nonce(increasing)}", &[("x-s", "{signature}")]));
    assert!(grows.needs_sequence() && !grows.needs_random());
}

#[test]
fn every_mistake_of_a_table_is_told_with_its_place() {
    let mut wrong = spec("{bdy}\n{path|sha265}", &[("x-s", "{signature|nope}"), ("x-b", "{body|sha256}")]);
    wrong.values = vec![("a".to_owned(), "{value.b}".to_owned()), ("b".to_owned(), "{signature}".to_owned())];
    let places: Vec<_> = mistakes(wrong).into_iter().map(|(place, error)| (place, error.at.start)).collect();
    let expected = [
        (Place::Value("a".to_owned()), 7),
        (Place::Value("b".to_owned()), 1),
        (Place::Sign, 1),
        (Place::Sign, 12),
        (Place::Set("x-s".to_owned()), 11),
        (Place::Set("x-b".to_owned()), 1),
    ];
    assert_eq!(places, expected);
    for (sign, set) in [
        ("{path}", &[("x-s", "constant")][..]),
        ("{header.x-t}", &[("x-s", "{signature}"), ("x-t", "1")]),
        ("{path}", &[("authorization", "{header.authorization} {signature}")]),
        ("{path}", &[("host", "{signature}")]),
        ("{path}", &[("x-s", "{signature}"), ("x-s", "{signature}")]),
    ] {
        assert_eq!(mistakes(spec(sign, set)).len(), 1, "{sign} {set:?}");
    }
}

#[test]
fn what_no_header_may_have_is_refused_when_signing() {
    let signer = hmac(spec("{path}", &[("x-s", "{signature}"), ("x-b", "{body}")]));
    let headers = HeaderMap::new();
    let secrets = keys(&signer, &["k"]);
    for body in ["a\r\nx: y", "a\nb", "a\0b"] {
        let result = signer.sign(&get(&headers, Some(body.as_bytes())), &secrets, &CONTEXT);
        assert_eq!(result.err(), Some(SignError::NotAHeader("x-b".to_owned())));
    }
    let signer = hmac(spec("{tenant}", &[("x-s", "{signature}")]));
    assert_eq!(sign(&signer, &["k"]).err(), Some(SignError::Missing("tenant".to_owned())));
}

proptest! {
    /// The signature that is sent is one that ring, another implementation, verifies.
    #[test]
    fn what_is_signed_verifies_elsewhere(
        body in proptest::collection::vec(any::<u8>(), 0..200),
        key in "[!-~]{1,100}",
        path in "/[a-z%/]{0,20}",
    ) {
        let signer = hmac(spec("{method}\n{path}\n{body}", &[("x-s", "{signature}")]));
        let headers = HeaderMap::new();
        let request = Signable { path: &path, ..get(&headers, Some(&body)) };
        let made = signer.sign(&request, &keys(&signer, &[&key]), &CONTEXT).unwrap();
        let text = [b"GET\n", path.as_bytes(), b"\n", &body].concat();
        let ring = ring::hmac::sign(&ring::hmac::Key::new(ring::hmac::HMAC_SHA256, key.as_bytes()), &text);
        let wanted: String = ring.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        prop_assert_eq!(made.headers[0].1.to_str().unwrap(), wanted);
    }

    #[test]
    fn a_header_never_has_a_line_break(
        body in proptest::collection::vec(any::<u8>(), 0..50),
        tenant in "\\PC{0,20}",
        template in "(x|\\{body\\}|\\{body\\|trim\\}|\\{tenant\\|lower\\}|\\{body\\|json\\}|\\{signature\\}){1,5}",
    ) {
        let signer = hmac(spec("{path}", &[("x-s", "{signature}"), ("x-t", &template)]));
        let headers = HeaderMap::new();
        let context = SignContext { tenant: Some(&tenant), ..CONTEXT };
        if let Ok(made) = signer.sign(&get(&headers, Some(&body)), &keys(&signer, &["k"]), &context) {
            for (_, value) in &made.headers {
                prop_assert!(!value.as_bytes().iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)));
            }
        }
    }
}
