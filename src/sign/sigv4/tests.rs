//! What the vectors do not say: what a worker has signed goes, secrets are masked, texts depend on the request.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::*;
use crate::clock::Timestamp;
use crate::secret::value::SecretBytes;
use crate::sign::hmac::{Hmac, HmacSpec, KeySpec, SignatureEncoding};
use crate::sign::material::{HashAlgorithm, KeyEncoding};
use crate::sign::seal::{Draft, Step, Twins};
use crate::sign::target::Host;
use crate::sign::{Signer, spoken};

const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

fn name(text: &str) -> NamePattern {
    NamePattern::parse(text).unwrap()
}

fn spec(service: &str) -> Spec {
    Spec {
        access_key_id: PublicValue::Literal("AKIDEXAMPLE".to_owned()),
        secret_access_key: name("aws/secret"),
        session_token: None,
        region: "us-east-1".into(),
        service: service.into(),
        sign_headers: Vec::new(),
        placement: Placement::Header,
        payload: Payload::Signed,
        expires: 900,
    }
}

fn signer(spec: Spec) -> Signer {
    Signer::SigV4(Box::new(SigV4::new(spec)))
}

fn keys(signer: &Signer) -> Vec<Material> {
    let secret = |need: &Requirement| match need.place {
        Place::AccessKeyId => "AKIDOFSECRET",
        Place::SessionToken => "tok/en+==",
        _ => SECRET,
    };
    let load = |need: &Requirement| need.kind.load(&SecretBytes::new(secret(need).as_bytes().to_vec())).unwrap();
    signer.requirements().iter().map(load).collect()
}

fn draft(target: &str, headers: &[(&str, &str)]) -> Draft {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
    }
    let host = Host::new("bucket.s3.us-east-1.amazonaws.com").unwrap();
    Draft { method: Method::PUT, tls: true, host, target: target.into(), headers: map }
}

fn context<'a>(captures: &'a [(&'a str, &'a str)]) -> SignContext<'a> {
    SignContext {
        now: Timestamp::from_seconds(1_440_938_160),
        random: [0; 32],
        fixed_nonce: None,
        tenant: Some("m1"),
        captures,
        sequence: crate::clock::Sequence::default(),
        access_token: None,
        turn: None,
    }
}

#[test]
fn what_the_worker_has_signed_goes() {
    let signer = signer(spec("s3"));
    let target = "/k%20ey?X-Amz-Algorithm=a&x=1&X-Amz-Credential=b&X-Amz-Date=c&X-Amz-Expires=d&X-Amz-SignedHeaders=e\
                  &X-Amz-Security-Token=f&X%2DAmz-Signature=g&X-Amz-Content-Sha256=h&AWSAccessKeyId=i&Signature=j&Expires=k&y";
    let mut draft = draft(
        target,
        &[
            ("authorization", "AWS4-HMAC-SHA256 Credential=dummy/1/2/3/aws4_request, SignedHeaders=host, Signature=00"),
            ("x-amz-date", "20000101T000000Z"),
            ("x-amz-security-token", "dummy"),
            ("x_amz_security_token", "dummy"),
            ("x-amz-content-sha256", "dummy"),
            ("x-amz-meta-a", "stays"),
        ],
    );
    draft.strip(signer.slots(), Twins::Possible);
    assert_eq!(draft.target.as_str(), "/k%20ey?x=1&y");
    draft.apply(&signer.sign(&draft.signable(Some(b"hello")), &keys(&signer), &context(&[])).unwrap());
    let mut left: Vec<&str> = draft.headers.keys().map(HeaderName::as_str).collect();
    left.sort_unstable();
    assert_eq!(left, ["authorization", "x-amz-content-sha256", "x-amz-date", "x-amz-meta-a"]);
    // printf hello | sha256sum
    let digest = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
    assert_eq!(draft.headers["x-amz-content-sha256"], digest);
    assert_eq!(draft.headers["x-amz-date"], "20150830T123600Z");
    let made = draft.headers["authorization"].to_str().unwrap();
    let begins = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/s3/aws4_request, \
                  SignedHeaders=host;x-amz-content-sha256;x-amz-date;x-amz-meta-a, Signature=";
    assert!(made.starts_with(begins), "{made}");
    assert!(draft.headers["authorization"].is_sensitive());
}

#[test]
fn the_old_parameters_belong_to_s3_alone() {
    let of = |service: &str| signer(spec(service)).slots().contains(&Slot::Query("Signature".to_owned()));
    assert!(of("s3") && of("s3-outposts") && !of("sqs"));
}

#[test]
fn people_see_names_in_the_place_of_secrets() {
    for placement in [Placement::Header, Placement::Query] {
        let signer = signer(Spec {
            access_key_id: PublicValue::Secret(name("aws/id")),
            session_token: Some(name("aws/token")),
            placement,
            ..spec("sqs")
        });
        let keys = keys(&signer);
        let draft = draft("/q?a=1", &[]);
        let request = draft.signable(Some(b""));
        let transcript = signer.transcript(&request, &keys, &context(&[])).unwrap().unwrap();
        let (real, shown) = (
            signer.sign(&request, &keys, &context(&[])).unwrap(),
            signer.masked(&request, &keys, &context(&[])).unwrap(),
        );
        let all = |one: &Injection| {
            let headers = one.headers.iter().map(|(_, value)| value.to_str().unwrap().to_owned());
            headers.chain(one.query.clone()).collect::<Vec<_>>().join("\n")
        };
        let (real, shown) = (all(&real), all(&shown));
        let encoded = "tok%2Fen%2B%3D%3D";
        for (secret, mask) in [("AKIDOFSECRET", "[aws/id]"), ("tok/en+==", "[aws/token]")] {
            assert!(real.contains(secret) || real.contains(encoded), "{real}");
            assert!(shown.contains(mask), "{shown}");
            for text in [&shown, &transcript.text, &transcript.string_to_sign] {
                assert!(!text.contains(secret) && !text.contains(encoded), "{text}");
            }
        }
        let signature = real.rsplit_once("Signature=").unwrap().1;
        assert!(shown.ends_with(signature), "the signature is the real one");
    }
}

#[test]
fn regions_and_services_may_come_from_the_route() {
    let region = Words::new(vec![Word::Text("eu-".into()), Word::Capture("place".into())]);
    let service = Words::new(vec![Word::Capture("kind".into())]);
    let signer = signer(Spec { region, service, ..spec("") });
    let signed = |kind: &str| {
        let captures = [("place", "west-1"), ("kind", kind)];
        let draft = draft("/a%20b", &[]);
        let request = draft.signable(Some(b""));
        let made = signer.transcript(&request, &keys(&signer), &context(&captures)).unwrap().unwrap();
        (made.text.lines().nth(1).unwrap().to_owned(), made.string_to_sign.lines().nth(2).unwrap().to_owned())
    };
    assert_eq!(signed("sqs"), ("/a%2520b".to_owned(), "20150830/eu-west-1/sqs/aws4_request".to_owned()));
    assert_eq!(signed("s3"), ("/a%20b".to_owned(), "20150830/eu-west-1/s3/aws4_request".to_owned()));
}

#[test]
fn bodies_are_held_only_for_a_digest() {
    let holds = |payload, headers: &[(&str, &str)]| {
        signer(Spec { payload, ..spec("s3") }).holds_body(&draft("/", headers).headers)
    };
    let digest = [("x-amz-content-sha256", "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824")];
    let chunks = [("x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER")];
    assert!(holds(Payload::Signed, &[]) && holds(Payload::Signed, &digest) && holds(Payload::AsSent, &[]));
    assert!(!holds(Payload::Signed, &chunks) && !holds(Payload::AsSent, &digest) && !holds(Payload::Unsigned, &digest));
    let query = signer(Spec { placement: Placement::Query, ..spec("s3") });
    assert!(query.holds() == crate::sign::body::Holds::Never && !query.holds_body(&HeaderMap::new()));
}

#[test]
fn the_length_that_leaves_is_signed_where_the_configuration_asks() {
    let signer = signer(Spec { sign_headers: vec![CONTENT_LENGTH], payload: Payload::AsSent, ..spec("s3") });
    let headers = [
        ("content-length", "20"),
        ("x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"),
        ("x-amz-decoded-content-length", "66560"),
    ];
    let mut draft = draft("/k", &headers);
    let keys = keys(&signer);
    let made = signer.transcript(&draft.signable(None), &keys, &context(&[])).unwrap().unwrap();
    // The S3 documentation's example of this body has this length.
    assert!(made.text.contains("\ncontent-length:66824\n"), "{}", made.text);
    draft.apply(&signer.sign(&draft.signable(None), &keys, &context(&[])).unwrap());
    assert_eq!(draft.headers["content-length"], "66824");
}

#[test]
fn the_tenant_may_stand_where_the_access_key_id_does() {
    let scheme = signer(spec("s3"));
    assert!(spoken::has_slot(&scheme));
    let texts = |authorization: &str, query: Option<&str>| {
        spoken::texts(&scheme, &draft("/", &[("authorization", authorization)]).headers, query)
    };
    let v4 = "AWS4-HMAC-SHA256 Credential=m1/20150830/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=00";
    assert_eq!(texts(v4, None), ["m1"]);
    assert_eq!(texts("AWS m1:c2ln", None), ["m1"]);
    assert_eq!(texts("", Some("X-Amz-Credential=m1%2F20150830%2Fx&a")), ["m1"]);
    assert_eq!(texts("", Some("AWSAccessKeyId=m1")), ["m1"]);
    assert!(texts(&v4.replace("m1", "AKIDEXAMPLE"), None).is_empty(), "the configured id names no tenant");
    assert!(texts("Bearer x", None).is_empty());
}

#[test]
fn one_flipped_bit_of_the_request_is_another_signature() {
    let signer = signer(spec("sqs"));
    let keys = keys(&signer);
    let signature = |target: &str, headers: &[(&str, &str)], body: &[u8]| {
        let draft = draft(target, headers);
        let made = signer.sign(&draft.signable(Some(body)), &keys, &context(&[])).unwrap();
        made.headers.last().unwrap().1.to_str().unwrap().rsplit_once('=').unwrap().1.to_owned()
    };
    let base = signature("/a?b=1", &[("content-type", "x")], b"body");
    assert_eq!(base, signature("/a?b=1", &[("content-type", "x"), ("accept", "y")], b"body"));
    for other in [
        signature("/c?b=1", &[("content-type", "x")], b"body"),
        signature("/a?b=3", &[("content-type", "x")], b"body"),
        signature("/a?b=1", &[("content-type", "y")], b"body"),
        signature("/a?b=1", &[("content-type", "x")], b"bodz"),
        signature("/a?b=1", &[("content-type", "x"), ("x-amz-target", "t")], b"body"),
    ] {
        assert_ne!(base, other);
    }
}

/// What it has signed would not be what leaves.
#[test]
fn a_credential_that_signs_the_body_refuses_chunks_that_are_made_anew() {
    let aws = Arc::new(signer(spec("s3")));
    let other = |sign: &str| {
        let spec = HmacSpec {
            key: KeySpec::Secret(name("key"), KeyEncoding::Text),
            algorithm: HashAlgorithm::Sha256,
            encoding: SignatureEncoding::Hex,
            sign: sign.to_owned(),
            values: Vec::new(),
            set: vec![(HeaderName::from_static("x-signature"), "{signature}".to_owned())],
            set_query: Vec::new(),
            set_form: Vec::new(),
            set_json: Vec::new(),
        };
        Arc::new(Signer::Hmac(Box::new(Hmac::compile(spec).unwrap())))
    };
    let (aws_keys, other_keys) = (keys(&aws), keys(&other("{path}")));
    let sealed = |other: &Arc<Signer>, kind: &str| {
        let headers = [("x-amz-content-sha256", kind), ("x-amz-decoded-content-length", "5")];
        let steps = [(&aws, &aws_keys), (other, &other_keys)].map(|(signer, keys)| Step {
            signer,
            keys: keys.as_slice(),
            kept: None,
        });
        draft("/k", &headers).seal(&steps, Some(b""), &context(&[])).map(drop)
    };
    let chunks = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD";
    assert!(matches!(sealed(&other("{body}"), chunks), Err(SignError::Unfit(_))));
    assert_eq!(sealed(&other("{path}"), chunks), Ok(()));
    assert_eq!(sealed(&other("{body}"), "UNSIGNED-PAYLOAD"), Ok(()));
}
