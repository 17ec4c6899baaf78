//! Time of a signature, ours beside the reference library's, in turns within one run, so that what else the machine does
//! meets both. The median and the quartiles of many short rounds; the first rounds are not counted.
//!
//!     cargo run --release --manifest-path bench/signers/Cargo.toml

use std::error::Error;
use std::hint::black_box;
use std::time::{Duration, Instant, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use aws_smithy_runtime_api::client::identity::Identity;
use countersign::clock::Timestamp;
use countersign::secret::name::NamePattern;
use countersign::secret::value::SecretBytes;
use countersign::sign::basic::PublicValue;
use countersign::sign::material::Material;
use countersign::sign::sigv4::{Payload, Placement, SigV4, Spec};
use countersign::sign::{SignContext, Signable, Signer};
use http::{HeaderMap, HeaderName, HeaderValue};

const ROUNDS: usize = 200;
const WARM: usize = 20;
const EACH: u32 = 500;
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
const AT: u64 = 1_440_938_160;
const HEADERS: [(&str, &str); 3] =
    [("content-type", "application/x-amz-json-1.0"), ("x-amz-target", "DynamoDB_20120810.GetItem"), ("accept", "*/*")];

type Failure = Box<dyn Error>;

fn main() -> Result<(), Failure> {
    let body = vec![b'a'; 1024];
    let ours = ours(&body)?;
    let theirs = theirs(&body)?;
    let (one, two) = (ours()?, theirs()?);
    assert_eq!(one, two, "both make the same signature");
    println!("| SigV4 over 1 KiB, header form | median | quartiles |\n|---|---|---|");
    let mut times = [Vec::new(), Vec::new()];
    for round in 0..WARM + ROUNDS {
        for (place, run) in [&ours as &dyn Fn() -> Result<String, Failure>, &theirs].iter().enumerate() {
            let begin = Instant::now();
            for _ in 0..EACH {
                black_box(run()?);
            }
            if round >= WARM {
                times[place].push(begin.elapsed() / EACH);
            }
        }
    }
    for (name, times) in ["countersign", "aws-sigv4 1.6.4"].iter().zip(&mut times) {
        times.sort_unstable();
        let at = |share: usize| micros(times[times.len() * share / 4]);
        println!("| {name} | {} | {} to {} |", at(2), at(1), at(3));
    }
    Ok(())
}

fn micros(time: Duration) -> String {
    format!("{:.2} us", time.as_secs_f64() * 1e6)
}

/// As for a request of the proxy: secrets are loaded, the signing key of the day is kept beside them.
fn ours(body: &[u8]) -> Result<impl Fn() -> Result<String, Failure>, Failure> {
    let signer = Signer::SigV4(Box::new(SigV4::new(Spec {
        access_key_id: PublicValue::Literal("AKIDEXAMPLE".to_owned()),
        secret_access_key: NamePattern::parse("key")?,
        session_token: None,
        region: "us-east-1".into(),
        service: "dynamodb".into(),
        sign_headers: vec![HeaderName::from_static("accept")],
        placement: Placement::Header,
        payload: Payload::Signed,
        expires: 900,
    })));
    let secret = SecretBytes::new(SECRET.as_bytes().to_vec());
    let load = |need: &countersign::sign::Requirement| need.kind.load(&secret).map_err(|why| format!("{why:?}"));
    let keys: Vec<Material> = signer.requirements().iter().map(load).collect::<Result<_, _>>()?;
    let headers: HeaderMap =
        HEADERS.iter().map(|&(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v))).collect();
    let body = body.to_vec();
    Ok(move || {
        let request = Signable {
            method: "POST",
            scheme: "https",
            host: "dynamodb.us-east-1.amazonaws.com",
            path: "/",
            query: None,
            headers: &headers,
            body: Some(&body),
        };
        let context = SignContext {
            now: Timestamp::from_seconds(AT as i64),
            random: [0; 32],
            fixed_nonce: None,
            tenant: None,
            captures: &[],
        };
        let made = signer.sign(black_box(&request), &keys, &context)?;
        let (_, value) = made.headers.last().ok_or("no header")?;
        Ok(value.to_str()?.to_owned())
    })
}

fn theirs(body: &[u8]) -> Result<impl Fn() -> Result<String, Failure>, Failure> {
    let identity: Identity = Credentials::new("AKIDEXAMPLE", SECRET, None, None, "bench").into();
    let body = body.to_vec();
    let at = SystemTime::UNIX_EPOCH + Duration::from_secs(AT);
    Ok(move || {
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region("us-east-1")
            .name("dynamodb")
            .time(at)
            .settings(SigningSettings::default())
            .build()?
            .into();
        let uri = "https://dynamodb.us-east-1.amazonaws.com/";
        let request = SignableRequest::new("POST", uri, HEADERS.into_iter(), SignableBody::Bytes(black_box(&body)))?;
        let (made, _) = sign(request, &params)?.into_parts();
        let found = made.headers().find(|(name, _)| name.eq_ignore_ascii_case("authorization"));
        Ok(found.ok_or("no header")?.1.to_owned())
    })
}
