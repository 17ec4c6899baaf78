//! Runs the vectors below `tests/vectors/sigv4`: AWS's own suite, requests signed by botocore, the examples of the S3
//! documentation. A failure says how deep it lies: canonical text, string to sign, or result.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::path::Path;

use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::tz::Offset;
use serde_json::Value;

use super::*;
use crate::clock::Timestamp;
use crate::secret::value::SecretBytes;
use crate::sign::Signer;

fn read(file: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/sigv4").join(file);
    let all: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    for told in ["origin", "license"] {
        assert!(all[told].is_string(), "{file} does not tell its {told}");
    }
    all
}

/// Runs every case and fails with all that went wrong.
fn run(file: &str, least: usize, case: impl Fn(&Value, &Value) -> Result<(), String>) {
    let all = read(file);
    let cases = all["cases"].as_array().unwrap();
    assert!(cases.len() >= least, "only {} cases in {file}", cases.len());
    let failed = cases.iter().filter_map(|one| Some(format!("{}: {}", one["name"], case(&all, one).err()?)));
    let failed: Vec<String> = failed.collect();
    assert!(failed.is_empty(), "{} of {} cases of {file}:\n{}", failed.len(), cases.len(), failed.join("\n"));
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn same(depth: &str, wanted: &str, got: &str) -> Result<(), String> {
    if wanted == got { Ok(()) } else { Err(format!("{depth}\n  wanted {wanted:?}\n  got    {got:?}")) }
}

/// A request of a vector.
struct Case<'v> {
    method: &'v str,
    path: &'v str,
    query: Option<&'v str>,
    host: String,
    headers: HeaderMap,
    body: &'v [u8],
    at: i64,
    spec: Spec,
    paths: Option<Paths>,
    secrets: [&'v str; 2],
}

struct Made {
    transcript: Transcript,
    injection: Injection,
}

impl Case<'_> {
    fn sign(&self) -> Made {
        let mut scheme = SigV4::new(self.spec.clone());
        scheme.paths = self.paths.or(scheme.paths);
        let signer = Signer::SigV4(Box::new(scheme));
        let load = |need: &Requirement| {
            let secret = self.secrets[usize::from(need.place == Place::SessionToken)];
            need.kind.load(&SecretBytes::new(secret.as_bytes().to_vec())).unwrap()
        };
        let keys: Vec<Material> = signer.requirements().iter().map(load).collect();
        let request = Signable {
            method: self.method,
            scheme: "https",
            host: &self.host,
            path: self.path,
            query: self.query,
            headers: &self.headers,
            body: Some(self.body),
        };
        let context = SignContext {
            now: Timestamp::from_seconds(self.at),
            random: [0; 32],
            fixed_nonce: None,
            tenant: None,
            captures: &[],
            sequence: crate::clock::Sequence::default(),
            access_token: None,
            turn: None,
        };
        let mut transcript = signer.transcript(&request, &keys, &context).unwrap().unwrap();
        // The vectors' canonical texts have the token, which people do not see.
        if self.spec.session_token.is_some() {
            let token = self.secrets[1];
            let mut encoded = Vec::new();
            encode::url(token.as_bytes(), &mut encoded);
            let shown = if self.spec.placement == Placement::Query { text_of_ascii(encoded) } else { token.to_owned() };
            transcript.text = transcript.text.replace("[token]", &shown);
        }
        Made { transcript, injection: signer.sign(&request, &keys, &context).unwrap() }
    }

    /// `Host` apart, and what the signer makes.
    fn header(&mut self, name: &str, value: &str) {
        let value = value.trim_end_matches('\n');
        if name.eq_ignore_ascii_case("host") {
            self.host = value.to_owned();
            return;
        }
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        if !self.spec.sign_headers.contains(&name) {
            self.spec.sign_headers.push(name.clone());
        }
        self.headers.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
}

impl Made {
    fn check(&self, canonical: &str, string_to_sign: &str, signature: &str) -> Result<(), String> {
        same("canonical text", canonical, &self.transcript.text)?;
        same("string to sign", string_to_sign, &self.transcript.string_to_sign)?;
        same("signature", signature, self.signature())
    }

    fn signature(&self) -> &str {
        let header = self.injection.headers.iter().find(|(name, _)| *name == AUTHORIZATION);
        let whole = header.map_or_else(|| self.injection.query[0].as_str(), |(_, value)| value.to_str().unwrap());
        whole.rsplit_once("Signature=").unwrap().1
    }
}

fn spec(id: &str, token: Option<&str>, region: &str, service: &str) -> Spec {
    Spec {
        access_key_id: PublicValue::Literal(id.to_owned()),
        secret_access_key: NamePattern::parse("key").unwrap(),
        session_token: token.map(|_| NamePattern::parse("token").unwrap()),
        region: region.into(),
        service: service.into(),
        sign_headers: Vec::new(),
        placement: Placement::Header,
        payload: Payload::Signed,
        expires: 900,
    }
}

fn seconds(compact: &str) -> i64 {
    let time: jiff::civil::DateTime = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", compact).unwrap();
    Offset::UTC.to_timestamp(time).unwrap().as_second()
}

/// The suite has services neither S3 nor another: paths are encoded once, and normalised or not as a case says.
#[test]
fn the_suite_of_aws() {
    run("aws_suite.json", 19, |_, case| {
        let context = &case["context"];
        let credentials = &context["credentials"];
        for placement in [Placement::Header, Placement::Query] {
            let (path, query) = match text(&case["request"]["target"]).split_once('?') {
                Some((path, query)) => (path, Some(query)),
                None => (text(&case["request"]["target"]), None),
            };
            let token = credentials["token"].as_str();
            let made =
                spec(text(&credentials["access_key_id"]), token, text(&context["region"]), text(&context["service"]));
            let time: jiff::Timestamp = text(&context["timestamp"]).parse().unwrap();
            let normalized = context["normalize"] == true;
            let mut one = Case {
                method: text(&case["request"]["method"]),
                path,
                query,
                host: String::new(),
                headers: HeaderMap::new(),
                body: text(&case["request"]["body"]).as_bytes(),
                at: time.as_second(),
                spec: Spec { placement, expires: context["expiration_in_seconds"].as_u64().unwrap() as u32, ..made },
                paths: Some(if normalized { Paths::Suite } else { Paths::SuiteAsSent }),
                secrets: [text(&credentials["secret_access_key"]), token.unwrap_or_default()],
            };
            for header in case["request"]["headers"].as_array().unwrap() {
                one.header(text(&header[0]), text(&header[1]));
            }
            if context["sign_body"] == true && placement == Placement::Header {
                one.header("x-amz-content-sha256", "the SDK's own");
            }
            let form = if placement == Placement::Header { "header" } else { "query" };
            let expect = &case[form];
            let made = one.sign();
            made.check(text(&expect["canonical_request"]), text(&expect["string_to_sign"]), text(&expect["signature"]))
                .map_err(|error| format!("{form}: {error}"))?;
        }
        Ok(())
    });
}

#[test]
fn requests_that_botocore_signed() {
    run("botocore_random.json", 20, |_, case| {
        let token = case["session_token"].as_str();
        let request = &case["request"];
        let made = spec(text(&case["access_key_id"]), token, text(&case["region"]), text(&case["service"]));
        let mut one = Case {
            method: text(&request["method"]),
            path: text(&request["path"]),
            query: request["query"].as_str().filter(|query| !query.is_empty()),
            host: String::new(),
            headers: HeaderMap::new(),
            body: text(&request["body_utf8"]).as_bytes(),
            at: seconds(text(&case["timestamp"])),
            spec: Spec {
                placement: if case["mode"] == "presign" { Placement::Query } else { Placement::Header },
                payload: if case["mode"] == "unsigned" { Payload::Unsigned } else { Payload::Signed },
                expires: case["expires"].as_u64().unwrap_or(900) as u32,
                ..made
            },
            paths: None,
            secrets: [text(&case["secret_access_key"]), token.unwrap_or_default()],
        };
        for header in request["headers"].as_array().unwrap() {
            one.header(text(&header[0]), text(&header[1]));
        }
        let made = one.sign();
        let expect = &case["expect"];
        made.check(text(&expect["canonical_request"]), text(&expect["string_to_sign"]), text(&expect["signature"]))?;
        if let Some(url) = expect["signed_url"].as_str() {
            let query = one.query.map_or(String::new(), |query| format!("{query}&"));
            let got = format!("https://{}{}?{query}{}", one.host, one.path, made.injection.query[0]);
            return same("result", url, &got);
        }
        for (name, wanted) in expect["added_headers"].as_object().into_iter().flatten() {
            let found = made.injection.headers.iter().find(|(made, _)| made.as_str().eq_ignore_ascii_case(name));
            same(name, text(wanted), found.map_or("", |(_, value)| value.to_str().unwrap()))?;
        }
        let found = made.injection.headers.iter().find(|(name, _)| *name == AUTHORIZATION).unwrap();
        same("result", text(&expect["authorization"]), found.1.to_str().unwrap())
    });
}

#[test]
fn the_examples_of_the_s3_documentation() {
    run("s3_documented.json", 7, |all, case| {
        let (request, expect) = (&case["request"], &case["expect"]);
        let presigned = request["expires"].as_u64();
        let made = spec(text(&all["access_key_id"]), None, text(&all["region"]), text(&all["service"]));
        let mut one = Case {
            method: text(&request["method"]),
            path: text(&request["path"]),
            query: request["canonical_query"].as_str().filter(|query| !query.is_empty() && presigned.is_none()),
            host: String::new(),
            headers: HeaderMap::new(),
            body: text(&request["body"]).as_bytes(),
            at: seconds(text(&all["timestamp"])),
            spec: Spec {
                placement: if presigned.is_some() { Placement::Query } else { Placement::Header },
                payload: if request["body"].is_string() { Payload::Signed } else { Payload::AsSent },
                expires: presigned.unwrap_or(900) as u32,
                ..made
            },
            paths: None,
            secrets: [text(&all["secret_access_key"]), ""],
        };
        for (name, value) in request["headers"].as_object().unwrap() {
            // What a worker sent as X-Amz-Date has gone before a request is signed.
            if !name.eq_ignore_ascii_case("x-amz-date") {
                one.header(name, text(value));
            }
        }
        let mut made = one.sign();
        made.check(text(&expect["canonical_request"]), text(&expect["string_to_sign"]), text(&expect["signature"]))?;
        let Some(chunks) = case["chunks"].as_array() else { return Ok(()) };
        chunked(made.injection.reframing.take().unwrap(), chunks, case)
    });
}

/// The body of the documentation, sent in chunks of other sizes with signatures that are worth nothing.
fn chunked(reframing: Box<Reframing>, chunks: &[Value], case: &Value) -> Result<(), String> {
    let trailer = case["trailer"]["trailer"].as_str();
    let zeros = "0".repeat(64);
    let mut sent = Vec::new();
    for size in [66_000, 560, 0] {
        sent.extend_from_slice(format!("{size:x};chunk-signature={zeros}\r\n").as_bytes());
        sent.extend(std::iter::repeat_n(b'a', size));
        sent.extend_from_slice(if size == 0 { b"" } else { b"\r\n" });
    }
    if let Some(trailer) = trailer {
        sent.extend_from_slice(format!("{trailer}\r\nx-amz-trailer-signature:{zeros}\r\n").as_bytes());
    }
    sent.extend_from_slice(b"\r\n");
    let length = reframing.length;
    let (mut reframer, mut left) = (reframing.reframer, Vec::new());
    for piece in sent.chunks(1000) {
        reframer.push(piece, &mut left).unwrap();
    }
    reframer.finish(&mut left).unwrap();
    let mut wanted = Vec::new();
    for chunk in chunks {
        let size = chunk["len"].as_u64().unwrap() as usize;
        wanted.extend_from_slice(format!("{size:x};chunk-signature={}\r\n", text(&chunk["signature"])).as_bytes());
        wanted.extend(std::iter::repeat_n(b'a', size));
        wanted.extend_from_slice(if size == 0 { b"" } else { b"\r\n" });
    }
    if let Some(trailer) = trailer {
        let signature = text(&case["trailer"]["signature"]);
        wanted.extend_from_slice(format!("{trailer}\r\nx-amz-trailer-signature:{signature}\r\n").as_bytes());
    }
    wanted.extend_from_slice(b"\r\n");
    let lines = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace("aaaaaaaa", "");
    same("chunks", &lines(&wanted), &lines(&left))?;
    if wanted != left || length != Length::Exact(left.len() as u64) {
        return Err(format!("{} bytes were told to be {length:?}", left.len()));
    }
    match case["wire_length"].as_u64() {
        Some(wire) if wire != left.len() as u64 => Err(format!("{} bytes leave instead of {wire}", left.len())),
        _ => Ok(()),
    }
}
