//! The functions that fuzzers call: each takes any bytes and must neither panic nor break what is asserted in it. Shared by
//! `cargo test` and the crate in `fuzz/`, so it uses the library alone.

use countersign::clock::{Sequence, Timestamp};
use countersign::secret::name::NamePattern;
use countersign::secret::value::SecretBytes;
use countersign::sign::hmac::{Hmac, HmacSpec, KeySpec, SignatureEncoding};
use countersign::sign::material::{HashAlgorithm, KeyEncoding, Material};
use countersign::sign::{SignContext, Signable, Signer};
use http::{HeaderMap, HeaderName, HeaderValue};

const CONTEXT: SignContext<'static> = SignContext {
    now: Timestamp { seconds: 1_790_000_000, nanos: 7_000_000 },
    random: [3; 32],
    fixed_nonce: None,
    tenant: Some("m1"),
    captures: &[("shop", "m1")],
    sequence: Sequence { millis: 1, micros: 2, nanos: 3 },
    access_token: Some(b"token"),
    turn: None,
};

fn spec(sign: &str, set: &str) -> Option<HmacSpec> {
    Some(HmacSpec {
        key: KeySpec::Secret(NamePattern::parse("key").ok()?, KeyEncoding::Text),
        algorithm: HashAlgorithm::Sha256,
        encoding: SignatureEncoding::Hex,
        sign: sign.to_owned(),
        values: vec![("v".to_owned(), "{body|sha256}".to_owned())],
        set: vec![
            (HeaderName::from_static("x-text"), set.to_owned()),
            (HeaderName::from_static("x-sign"), "{signature}".to_owned()),
        ],
        set_query: vec![("app".to_owned(), "a b".to_owned())],
        set_form: Vec::new(),
        set_json: Vec::new(),
    })
}

/// Signs twice; a signature depends on nothing but its input, and no header has a line break or NUL.
fn sign(hmac: Hmac, request: &Signable<'_>) {
    let signer = Signer::Hmac(Box::new(hmac));
    let secret = SecretBytes::new(b"canary-zq9".to_vec());
    let keys: Result<Vec<Material>, _> = signer.requirements().iter().map(|need| need.kind.load(&secret)).collect();
    let Ok(keys) = keys else { return };
    let first = signer.sign(request, &keys, &CONTEXT);
    let second = signer.sign(request, &keys, &CONTEXT);
    match (first, second) {
        (Ok(first), Ok(second)) => {
            assert_eq!(first.headers, second.headers);
            assert_eq!(first.query, second.query);
            for (_, value) in &first.headers {
                assert!(!value.as_bytes().iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)));
            }
        }
        (first, second) => assert_eq!(first.err(), second.err()),
    }
    let _ = signer.masked(request, &keys, &CONTEXT);
    if let Ok(Some(shown)) = signer.transcript(request, &keys, &CONTEXT) {
        assert!(!shown.text.contains("canary-zq9"), "{}", shown.text);
    }
}

/// The text of a template, as `sign` and as a header.
pub(crate) fn templates(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    for (sign_text, set) in [(&*text, "{timestamp}"), ("{path}", &*text)] {
        let Some(spec) = spec(sign_text, set) else { return };
        match Hmac::compile(spec) {
            Ok(hmac) => {
                let mut headers = HeaderMap::new();
                headers.append("content-type", HeaderValue::from_static("application/json"));
                headers.append("x-a", HeaderValue::from_static("1"));
                sign(hmac, &signable(Some("b=2&a=1"), &headers, br#"{"a":"x\r\ny","b":[1]}"#));
            }
            Err(errors) => {
                for (_, error) in errors {
                    assert!(text.get(error.at.clone()).is_some() || error.at == (0..0), "{error:?}");
                }
            }
        }
    }
}

/// A request in lines (query, Content-Type, a header, then the body), signed by tables that read all of it.
pub(crate) fn signature_inputs(data: &[u8]) {
    let mut lines = data.splitn(4, |byte| *byte == b'\n');
    let mut line = || lines.next().unwrap_or_default();
    let (query, kind, header, body) = (line(), line(), line(), line());
    let query = String::from_utf8_lossy(query);
    let mut headers = HeaderMap::new();
    for (name, value) in [("content-type", kind), ("x-a", header), ("x-a", b"2")] {
        if let Ok(value) = HeaderValue::from_bytes(value) {
            headers.append(name, value);
        }
    }
    let request = signable(Some(&query), &headers, body);
    for (text, set) in [
        ("{params(query,form,json)|sorted|pairs('{k}{v}','')}", "{json.a}{form.a}{query.a}"),
        (
            "{params(query,form)|lower_names|merged(',')|sorted(nocase)|pairs('{k|urlencode}={raw_v}','&')}",
            "{header.x-a}",
        ),
        ("{headers(*)|merged(',')|pairs('{k}:{v|squeeze}\\n','')}{sorted_query}", "{body|first(40)}"),
        ("{json./a/0/b}{body|decode_base64}{query|urldecode}", "{query.b|formencode}"),
        ("{body|if(json)|unless(multipart,GET)}{value.v|hmac_sha1(value.v)}", "{params(query)|pairs('{raw}','&')}"),
    ] {
        if let Some(Ok(hmac)) = spec(text, set).map(Hmac::compile) {
            sign(hmac, &request);
        }
    }
}

fn signable<'a>(query: Option<&'a str>, headers: &'a HeaderMap, body: &'a [u8]) -> Signable<'a> {
    Signable { method: "POST", scheme: "https", host: "api.example", path: "/p", query, headers, body: Some(body) }
}
