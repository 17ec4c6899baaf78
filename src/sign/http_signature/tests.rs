#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue};
use ring::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use serde_json::Value;

use super::*;
use crate::clock::Timestamp;
use crate::secret::value::SecretBytes;
use crate::sign::target::Target;

fn read(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors").join(name);
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value[name].as_str().unwrap_or_else(|| panic!("no {name} in {value}"))
}

fn pattern(name: &str) -> NamePattern {
    NamePattern::parse(name).unwrap()
}

fn spec(components: &[&str]) -> Spec {
    Spec {
        key: pattern("key"),
        key_encoding: KeyEncoding::Text,
        algorithm: Algorithm::HmacSha256,
        key_id: None,
        components: components.iter().map(|one| (*one).to_owned()).collect(),
        parameters: vec![Parameter::Created],
        label: "sig1".to_owned(),
        tag: None,
        expires: None,
        digest: DigestHash::Sha256,
        profile: Profile::Rfc9421,
    }
}

fn context(at: i64) -> SignContext<'static> {
    SignContext {
        now: Timestamp::from_seconds(at),
        random: std::array::from_fn(|at| at as u8),
        fixed_nonce: None,
        tenant: None,
        captures: &[],
        sequence: crate::clock::Sequence::default(),
        access_token: None,
        turn: None,
    }
}

fn material(signer: &HttpSignature, keys: &[&[u8]]) -> Vec<Material> {
    let load = |(need, key): (&Requirement, &&[u8])| need.kind.load(&SecretBytes::new(key.to_vec())).unwrap();
    signer.requirements().iter().zip(keys).map(load).collect()
}

/// A request as it would leave.
struct Request {
    method: String,
    host: String,
    target: Target,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Request {
    fn new(method: &str, host: &str, target: &str, headers: &[(&str, &str)], body: &str) -> Self {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            map.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        let (method, host) = (method.to_owned(), host.to_owned());
        Self { method, host, target: target.into(), headers: map, body: body.as_bytes().to_vec() }
    }

    /// Of a vector: `start_line`, `headers`, `body`; what the case signed before is not among the headers.
    fn of(message: &Value) -> Self {
        let mut line = text(message, "start_line").split(' ');
        let (method, target) = (line.next().unwrap(), line.next().unwrap());
        let all: Vec<(&str, &str)> = message["headers"]
            .as_array()
            .unwrap()
            .iter()
            .map(|pair| (pair[0].as_str().unwrap(), pair[1].as_str().unwrap()))
            .collect();
        let host = all.iter().find(|(name, _)| *name == "Host").unwrap().1;
        let made = ["Host", "Signature", "Signature-Input"];
        let headers: Vec<(&str, &str)> = all.iter().filter(|(name, _)| !made.contains(name)).copied().collect();
        Self::new(method, host, target, &headers, text(message, "body"))
    }

    fn signable(&self) -> Signable<'_> {
        let (path, query) = match self.target.as_str().split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (self.target.as_str(), None),
        };
        Signable {
            method: &self.method,
            scheme: "https",
            host: &self.host,
            path,
            query,
            headers: &self.headers,
            body: Some(&self.body),
        }
    }

    /// The values of these components, one a line, or the first mistake.
    fn values(&self, components: &[&str]) -> Result<String, String> {
        let signer = HttpSignature::new(spec(components)).map_err(|mistakes| mistakes[0].to_string())?;
        let keys = material(&signer, &[b"k"]);
        let made = signer.transcript(&self.signable(), &keys, &context(1)).map_err(|error| error.to_string())?;
        Ok(made.text.rsplit_once('\n').map_or(String::new(), |(lines, _)| lines.to_owned()))
    }
}

/// `("a" "b";x);created=1;keyid="k"` as components and parameters.
fn read_parameters(value: &str) -> (Vec<String>, Vec<(String, String)>) {
    let (inner, parameters) = value.split_once(')').unwrap();
    let components =
        inner.trim_start_matches('(').split(' ').filter(|one| !one.is_empty()).map(str::to_owned).collect();
    (components, structured::parameters(parameters).unwrap())
}

/// What a case of appendix B was made with.
fn spec_of(case: &Value, input: &str) -> (Spec, i64, Option<String>) {
    let (components, parameters) = read_parameters(input);
    let of = |name: &str| parameters.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    let string = |name| of(name).map(|value| structured::text_of(value).unwrap());
    let order = parameters.iter().map(|(name, _)| Parameter::ALL.into_iter().find(|one| one.as_str() == name).unwrap());
    let created = of("created").unwrap().parse().unwrap();
    let spec = Spec {
        key_encoding: KeyEncoding::Base64,
        algorithm: Algorithm::ALL.into_iter().find(|one| one.as_str() == text(case, "alg")).unwrap(),
        key_id: string("keyid").map(PublicValue::Literal),
        components,
        parameters: order.collect(),
        label: text(case, "label").to_owned(),
        tag: string("tag"),
        ..spec(&[])
    };
    (spec, created, string("nonce"))
}

fn same(depth: &str, wanted: &str, got: &str) -> Result<(), String> {
    if wanted == got { Ok(()) } else { Err(format!("{depth}\n  wanted {wanted:?}\n  got    {got:?}")) }
}

/// Canonical text, text to sign, headers: says at which of them a case fails.
fn compare(
    signer: &HttpSignature,
    request: &Request,
    keys: &[Material],
    context: &SignContext<'_>,
    case: &Value,
) -> Result<(), String> {
    let signable = request.signable();
    let shown = signer.transcript(&signable, keys, context).map_err(|error| error.to_string())?;
    same("canonical text", text(case, "signature_base"), &shown.text)?;
    same("text to sign", text(case, "signature_base"), &shown.string_to_sign)?;
    let injection = signer.sign(&signable, keys, context).map_err(|error| error.to_string())?;
    let made = |name: &str| {
        let found = injection.headers.iter().find(|(known, _)| known.as_str() == name);
        found.map_or("", |(_, value)| value.to_str().unwrap()).to_owned()
    };
    for (name, wanted) in case["headers"].as_object().unwrap() {
        same(&format!("result: {name}"), wanted.as_str().unwrap(), &made(name))?;
    }
    Ok(())
}

/// Whether `signature` is that of the key over `base`, as ring sees it.
fn verifies(algorithm: Algorithm, key: &Material, base: &[u8], signature: &[u8]) -> bool {
    let with: &'static dyn VerificationAlgorithm = match algorithm {
        Algorithm::HmacSha256 => panic!("an HMAC is compared"),
        Algorithm::Ed25519 => &signature::ED25519,
        Algorithm::EcdsaP256Sha256 => &signature::ECDSA_P256_SHA256_FIXED,
        Algorithm::EcdsaP384Sha384 => &signature::ECDSA_P384_SHA384_FIXED,
        Algorithm::RsaPssSha512 => &signature::RSA_PSS_2048_8192_SHA512,
        Algorithm::RsaV15Sha256 => &signature::RSA_PKCS1_2048_8192_SHA256,
    };
    let Material::Private(key) = key else { panic!("no private key") };
    UnparsedPublicKey::new(with, key.public()).verify(base, signature).is_ok()
}

/// The bytes of `label=:base64:`.
fn bytes_of(header: &str) -> Vec<u8> {
    STANDARD.decode(header.split_once("=:").unwrap().1.trim_end_matches(':')).unwrap()
}

/// The signature that a signer made: the printed one, or, where it differs each time, one that verifies as the printed one does.
fn judge(
    signer: &HttpSignature,
    request: &Request,
    keys: &[Material],
    context: &SignContext<'_>,
    case: &Value,
) -> Result<(), String> {
    let injection = signer.sign(&request.signable(), keys, context).map_err(|error| error.to_string())?;
    let made = injection.headers.last().unwrap().1.to_str().unwrap();
    let published = text(case, "signature_header");
    if case["deterministic"] == true {
        return same("result: signature", published, made);
    }
    let base = text(case, "signature_base").as_bytes();
    let good = |signature: &str| verifies(signer.spec.algorithm, &keys[0], base, &bytes_of(signature));
    let mut broken = base.to_vec();
    broken[1] ^= 1;
    match (good(published), good(made), verifies(signer.spec.algorithm, &keys[0], &broken, &bytes_of(made))) {
        (true, true, false) => Ok(()),
        other => Err(format!("result: the signature does not verify: {other:?}")),
    }
}

/// Appendix B of RFC 9421 as published; `tests/vectors/rfc9421` names the source.
#[test]
fn the_vectors_of_the_rfc() {
    let all = read("rfc9421/appendix_b.json");
    let (mut wrong, mut count) = (Vec::new(), 0);
    for case in all["cases"].as_array().unwrap() {
        let name = text(case, "name");
        let input = text(case, "signature_input_header").split_once('=').unwrap().1;
        let (spec, created, nonce) = spec_of(case, input);
        let key = &all["keys"][spec.key_id.as_ref().map_or("", |id| match id {
            PublicValue::Literal(id) => id.as_str(),
            PublicValue::Secret(_) => "",
        })];
        let key = key["private_pem"].as_str().unwrap_or_else(|| text(key, "base64")).as_bytes();
        if case["message"] == "response" {
            // An answer, which nobody signs here: what it covers is refused when the configuration loads.
            let refused = HttpSignature::new(spec.clone()).unwrap_err();
            assert_eq!(refused[0].to_string(), "@status is of answers, and only requests are signed");
            let signer = HttpSignature::new(Spec { components: Vec::new(), ..spec.clone() }).unwrap();
            let keys = material(&signer, &[key]);
            let base = text(case, "signature_base").as_bytes();
            assert!(verifies(spec.algorithm, &keys[0], base, &bytes_of(text(case, "signature_header"))));
            assert!(verifies(spec.algorithm, &keys[0], base, &signer.signature(base, &keys).unwrap()));
            continue;
        }
        let message = if case["message"] == "request" { &all["request"] } else { &case["message"] };
        let signer = HttpSignature::new(spec).unwrap();
        let keys = material(&signer, &[key]);
        let context = SignContext { fixed_nonce: nonce.as_deref(), ..context(created) };
        let request = Request::of(message);
        let shallow = serde_json::json!({
            "signature_base": case["signature_base"],
            "headers": { "signature-input": case["signature_input_header"] },
        });
        let judged = compare(&signer, &request, &keys, &context, &shallow);
        if let Err(why) = judged.and_then(|()| judge(&signer, &request, &keys, &context, case)) {
            wrong.push(format!("{name}: {why}"));
        }
        count += 1;
    }
    assert!(wrong.is_empty() && count == 6, "{}", wrong.join("\n"));
}

/// Every algorithm, with keys of `tests/vectors/keys` where the appendix has none.
#[test]
fn what_is_signed_verifies_and_one_flipped_bit_does_not() {
    let appendix = read("rfc9421/appendix_b.json");
    let others = read("keys/keys.json");
    let other = |algorithm: &str| {
        let cases = others["cases"].as_array().unwrap();
        let good =
            |case: &&Value| case["algorithm"] == algorithm && case["found"].is_null() && case["text"].is_string();
        text(cases.iter().find(good).unwrap(), "text").to_owned()
    };
    let pem = |name: &str| text(&appendix["keys"][name], "private_pem").to_owned();
    for (algorithm, key, length) in [
        (Algorithm::Ed25519, pem("test-key-ed25519"), 64),
        (Algorithm::EcdsaP256Sha256, pem("test-key-ecc-p256"), 64),
        (Algorithm::EcdsaP384Sha384, other("ecdsa-p384"), 96),
        (Algorithm::RsaPssSha512, pem("test-key-rsa-pss"), 256),
        (Algorithm::RsaV15Sha256, other("rsa-sha256"), 256),
    ] {
        let signer = HttpSignature::new(Spec { algorithm, ..spec(&["@path", "content-digest"]) }).unwrap();
        let keys = material(&signer, &[key.as_bytes()]);
        let request = Request::new("POST", "a.test", "/b", &[], "body");
        let base = signer.make(&request.signable(), &keys, &context(1), Reader::Upstream).unwrap().base;
        let signature = signer.signature(&base, &keys).unwrap();
        assert_eq!(signature.len(), length, "{algorithm:?}");
        assert!(verifies(algorithm, &keys[0], &base, &signature), "{algorithm:?}");
        for at in [0, base.len() / 2, base.len() - 1] {
            let mut broken = base.to_vec();
            broken[at] ^= 1;
            assert!(!verifies(algorithm, &keys[0], &broken, &signature), "{algorithm:?} {at}");
        }
    }
}

/// The examples of RFC 9421 sections 2.1 and 2.2.
#[test]
fn components_are_worth_what_the_rfc_says() {
    let fields = Request::new(
        "POST",
        "WWW.Example.com:443",
        "/path?param=value&foo=bar&baz=batman&qux=",
        &[
            ("x-ows", "  Leading and trailing whitespace.   "),
            ("cache-control", "max-age=60"),
            ("cache-control", "   must-revalidate"),
            ("example-dict", " a=1,    b=2;x=1;y=2,   c=(a   b   c), d"),
            ("x-empty", ""),
            ("example-header", "value, with, lots"),
            ("example-header", "of, commas"),
            ("x-latin", "\u{e9}"),
        ],
        "",
    );
    for (component, wanted) in [
        ("X-OWS", "\"x-ows\": Leading and trailing whitespace."),
        ("cache-control", "\"cache-control\": max-age=60, must-revalidate"),
        ("example-dict", "\"example-dict\": a=1,    b=2;x=1;y=2,   c=(a   b   c), d"),
        ("example-dict;sf", "\"example-dict\";sf: a=1, b=2;x=1;y=2, c=(a b c), d"),
        ("example-dict;key=\"a\"", "\"example-dict\";key=\"a\": 1"),
        ("example-dict;key=d", "\"example-dict\";key=\"d\": ?1"),
        ("\"example-dict\";key=\"b\"", "\"example-dict\";key=\"b\": 2;x=1;y=2"),
        ("example-dict;key=\"c\"", "\"example-dict\";key=\"c\": (a b c)"),
        ("x-empty", "\"x-empty\": "),
        ("example-header", "\"example-header\": value, with, lots, of, commas"),
        ("example-header;bs", "\"example-header\";bs: :dmFsdWUsIHdpdGgsIGxvdHM=:, :b2YsIGNvbW1hcw==:"),
        // printf '\xc3\xa9' | base64
        ("x-latin;bs", "\"x-latin\";bs: :w6k=:"),
        ("host", "\"host\": WWW.Example.com:443"),
        ("@method", "\"@method\": POST"),
        ("@authority", "\"@authority\": www.example.com"),
        ("@scheme", "\"@scheme\": https"),
        ("@target-uri", "\"@target-uri\": https://www.example.com/path?param=value&foo=bar&baz=batman&qux="),
        ("@request-target", "\"@request-target\": /path?param=value&foo=bar&baz=batman&qux="),
        ("@path", "\"@path\": /path"),
        ("@query", "\"@query\": ?param=value&foo=bar&baz=batman&qux="),
        ("@query-param;name=\"baz\"", "\"@query-param\";name=\"baz\": batman"),
        ("@query-param;name=qux", "\"@query-param\";name=\"qux\": "),
    ] {
        assert_eq!(fields.values(&[component]).as_deref(), Ok(wanted), "{component}");
    }
    let odd = "/parameters?var=this%20is%20a%20big%0Amultiline%20value&bar=with+plus+whitespace&fa%C3%A7ade%22%3A%20=something&t=~*x";
    let odd = Request::new("GET", "www.example.com", odd, &[], "");
    let wanted = "\"@query-param\";name=\"var\": this%20is%20a%20big%0Amultiline%20value\n\
         \"@query-param\";name=\"bar\": with%20plus%20whitespace\n\
         \"@query-param\";name=\"fa%C3%A7ade%22%3A%20\": something\n\
         \"@query-param\";name=\"t\": %7E*x";
    let names = ["var", "bar", "fa%C3%A7ade%22%3A%20", "t"].map(|name| format!("@query-param;name=\"{name}\""));
    assert_eq!(odd.values(&names.each_ref().map(String::as_str)).as_deref(), Ok(wanted));
    let bare = Request::new("GET", "example.com:8443", "/", &[], "");
    let wanted = "\"@query\": ?\n\"@authority\": example.com:8443\n\"@request-target\": /";
    assert_eq!(bare.values(&["@query", "@authority", "@request-target"]).as_deref(), Ok(wanted));
}

#[test]
fn what_is_not_there_or_cannot_be_covered_is_said() {
    let request = Request::new(
        "GET",
        "a.test",
        "/?x=1&%78=2",
        &[("x-text", "no dict ionary"), ("x-latin", "\u{e9}"), ("x-fields", "a=1"), ("content_digest", "x")],
        "",
    );
    for (component, wanted) in [
        ("x-none", "the request has no header x-none, which the signature covers"),
        ("x-none;bs", "the request has no header x-none, which the signature covers"),
        ("content-length", "the request has no header content-length, which the signature covers"),
        ("x-fields;key=\"b\"", "the request has no member b of the header x-fields, which the signature covers"),
        ("@query-param;name=\"y\"", "the request has no query parameter y, which the signature covers"),
        ("@query-param;name=\"x\"", "the query parameter x cannot be signed: it is there more than once"),
        ("x-text;sf", "the header x-text cannot be signed: it is no structured field (RFC 8941)"),
        ("x-text;key=\"a\"", "the header x-text cannot be signed: it is no dictionary (RFC 8941)"),
        (
            "x-latin",
            "the header x-latin cannot be signed: it has bytes beyond ASCII, which only the parameter `bs` can cover",
        ),
        (
            "content-digest",
            "the header content_digest cannot be signed: servers may take it for the content-digest that is made here",
        ),
        ("@status", "@status is of answers, and only requests are signed"),
        ("@method;req", "the parameter `req` is of answers, and only requests are signed"),
        ("@nothing", "a request has no component @nothing"),
        ("x-fields;tr", "trailers cannot be signed: they come after the head, which carries the signature"),
        ("x-fields;sf;bs", "only one of `sf`, `key` and `bs` can be given"),
        ("x-fields;nope", "the component x-fields has no parameter `nope`"),
        ("@path;sf", "the component @path has no parameter `sf`"),
        ("@query-param", "@query-param needs `name` with a text"),
        ("x-fields;key", "x-fields needs `key` with a text"),
        ("signature", "the header signature cannot be signed: it is made by signing"),
        ("Transfer-Encoding", "the header transfer-encoding cannot be signed: it belongs to the connection"),
        ("a b", "\"a b\" is no component of a signature"),
        ("x;", "\"x;\" is no component of a signature"),
        ("", "\"\" is no component of a signature"),
    ] {
        assert_eq!(request.values(&[component]), Err(wanted.to_owned()), "{component}");
    }
    let twice = HttpSignature::new(spec(&["@path", "Date", "\"date\""])).unwrap_err();
    assert_eq!(twice, [SpecError::Twice(2, "\"date\"".to_owned())]);
}

/// Lines of RFC 9421 section 2.3 in an order of their own; `openssl dgst -sha256 -hmac k` over the base.
#[test]
fn parameters_stand_in_the_order_that_was_asked_for() {
    let request = Request::new("GET", "a.test", "/", &[], "");
    let all = Spec {
        key_id: Some(PublicValue::Literal("a \"key\"".to_owned())),
        tag: Some("orders".to_owned()),
        expires: Some(300),
        parameters: vec![
            Parameter::Tag,
            Parameter::Alg,
            Parameter::KeyId,
            Parameter::Nonce,
            Parameter::Expires,
            Parameter::Created,
        ],
        ..spec(&["@path"])
    };
    let signer = HttpSignature::new(all).unwrap();
    let keys = material(&signer, &[b"k"]);
    let made = signer.sign(&request.signable(), &keys, &context(1_790_000_000)).unwrap();
    let value = |name: &str| made.headers.iter().find(|(known, _)| known.as_str() == name).unwrap().1.clone();
    assert_eq!(
        value("signature-input"),
        "sig1=(\"@path\");tag=\"orders\";alg=\"hmac-sha256\";keyid=\"a \\\"key\\\"\";nonce=\"000102030405060708090a0b0c0d0e0f\";expires=1790000300;created=1790000000"
    );
    assert!(signer.needs_random());
    assert!(made.headers.iter().all(|(_, value)| value.is_sensitive()));
    assert_eq!(value("signature"), "sig1=:wKf+hGhrhKIjFdXkT/4bezXLg5qOELiqvZ5P98JSu0g=:");
}

/// Made with eBay's own library; `tests/vectors/ebay` names it.
#[test]
fn the_headers_of_ebay() {
    let file = read("ebay/digital_signature.json");
    let case = &file["cases"][0];
    let ebay = Spec {
        key_id: Some(PublicValue::Secret(pattern("jwe"))),
        profile: Profile::Ebay,
        algorithm: Algorithm::Ed25519,
        ..spec(&EBAY_COMPONENTS)
    };
    let signer = HttpSignature::new(ebay).unwrap();
    let jwe = text(&case["headers"], "x-ebay-signature-key");
    let keys = material(&signer, &[text(case, "private_pem").as_bytes(), jwe.as_bytes()]);
    let sent = &case["request"];
    let request = |body| Request::new(text(sent, "method"), text(sent, "authority"), text(sent, "path"), &[], body);
    let context = context(case["created"].as_i64().unwrap());
    let with_body = request(text(sent, "body"));
    let made = signer.make(&with_body.signable(), &keys, &context, Reader::Upstream).unwrap();
    assert_eq!(String::from_utf8_lossy(&made.base), text(case, "signature_base"));
    let injection = signer.sign(&with_body.signable(), &keys, &context).unwrap();
    let names: Vec<&str> = injection.headers.iter().map(|(name, _)| name.as_str()).collect();
    let wanted = ["content-digest", "x-ebay-signature-key", "x-ebay-enforce-signature", "signature-input", "signature"];
    assert_eq!(names, wanted);
    for (name, value) in &injection.headers {
        assert_eq!(value.to_str().unwrap(), text(&case["headers"], name.as_str()));
    }

    let without = request("");
    let injection = signer.sign(&without.signable(), &keys, &context).unwrap();
    assert!(!injection.headers.iter().any(|(name, _)| *name == CONTENT_DIGEST));
    let input = &injection.headers.iter().find(|(name, _)| *name == SIGNATURE_INPUT).unwrap().1;
    assert_eq!(input, "sig1=(\"x-ebay-signature-key\" \"@method\" \"@path\" \"@authority\");created=1790000000");

    // People see the name of the JWE's secret, in the headers and in the text.
    let shown = signer.masked(&without.signable(), &keys, &context).unwrap();
    assert_eq!(shown.headers[0].1, "[jwe]");
    let text = signer.transcript(&without.signable(), &keys, &context).unwrap().text;
    assert!(text.starts_with("\"x-ebay-signature-key\": [jwe]\n") && !text.contains(jwe));
}

#[test]
fn a_key_id_that_is_a_secret_is_masked_and_the_signature_is_the_real_one() {
    let request = Request::new("GET", "a.test", "/", &[], "");
    let secret =
        Spec { key_id: Some(PublicValue::Secret(pattern("id"))), parameters: vec![Parameter::KeyId], ..spec(&[]) };
    let signer = HttpSignature::new(secret).unwrap();
    let keys = material(&signer, &[b"k", b"key-7"]);
    let real = signer.sign(&request.signable(), &keys, &context(1)).unwrap();
    let shown = signer.masked(&request.signable(), &keys, &context(1)).unwrap();
    assert_eq!(real.headers[0].1, "sig1=();keyid=\"key-7\"");
    assert_eq!(shown.headers[0].1, "sig1=();keyid=\"[id]\"");
    assert_eq!(real.headers[1].1, shown.headers[1].1);
}
