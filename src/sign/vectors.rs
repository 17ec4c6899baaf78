//! Runs every case below `tests/vectors`: `<scheme>/<case>/case.json`, with its origin inside.
//! A new case is a new folder. A failure says how deep it lies: the canonical text, or the result.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;

use super::hmac::{Hmac, HmacSpec, KeySpec, SignatureEncoding};
use super::material::{HashAlgorithm, KeyEncoding, Material};
use super::{SignContext, Signable, Signer};
use crate::clock::{Sequence, Timestamp};
use crate::secret::name::NamePattern;
use crate::secret::value::SecretBytes;

#[test]
fn every_vector_comes_out_as_published() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/hmac");
    let mut failures = Vec::new();
    let mut count = 0;
    for entry in fs::read_dir(root).unwrap() {
        let folder = entry.unwrap().path();
        let case: Value = serde_json::from_slice(&fs::read(folder.join("case.json")).unwrap()).unwrap();
        count += 1;
        if let Err(failure) = run(&case) {
            failures.push(format!("{}: {failure}", folder.file_name().unwrap().display()));
        }
    }
    assert!(count >= 20, "only {count} cases were found");
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

fn run(case: &Value) -> Result<(), String> {
    for told in ["origin", "license"] {
        text(&case[told]).ok_or_else(|| format!("the case does not tell its {told}"))?;
    }
    let signer = signer(&case["credential"])?;
    let keys = materials(&signer, &case["secrets"])?;
    let mut headers = HeaderMap::new();
    for (name, value) in pairs(&case["request"]["headers"]) {
        headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(&value).unwrap());
    }
    let request = &case["request"];
    let signable = Signable {
        method: text(&request["method"]).expect("method"),
        scheme: text(&request["scheme"]).unwrap_or("https"),
        host: text(&request["host"]).expect("host"),
        path: text(&request["path"]).expect("path"),
        query: text(&request["query"]),
        headers: &headers,
        body: text(&request["body"]).map(str::as_bytes),
    };
    let context = SignContext {
        now: Timestamp::from_seconds(case["at"].as_i64().unwrap_or_default()),
        random: [0; 32],
        fixed_nonce: text(&case["nonce"]),
        tenant: None,
        captures: &[],
        sequence: Sequence::default(),
        access_token: None,
        turn: None,
    };
    let expect = &case["expect"];
    if let Some(wanted) = text(&expect["text"]) {
        let transcript = signer.transcript(&signable, &keys, &context).map_err(|error| error.to_string())?;
        same("canonical text", wanted, &transcript.expect("hmac has a text").text)?;
    }
    let injection = signer.sign(&signable, &keys, &context).map_err(|error| format!("result: {error}"))?;
    let made: HashMap<_, _> = injection.headers.iter().map(|(name, value)| (name.as_str(), value)).collect();
    for (name, wanted) in pairs(&expect["headers"]) {
        let got = made.get(name.as_str()).ok_or_else(|| format!("result: no header {name}"))?;
        same(&format!("result: header {name}"), &wanted, got.to_str().unwrap())?;
    }
    for wanted in expect["query"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if !injection.query.iter().any(|got| got == wanted) {
            return Err(format!("result: query\n  wanted {wanted:?}\n  got    {:?}", injection.query));
        }
    }
    Ok(())
}

fn same(depth: &str, wanted: &str, got: &str) -> Result<(), String> {
    if wanted == got { Ok(()) } else { Err(format!("{depth}\n  wanted {wanted:?}\n  got    {got:?}")) }
}

fn text(value: &Value) -> Option<&str> {
    value.as_str()
}

/// An object or a list of pairs; the latter where the order matters.
fn pairs(value: &Value) -> Vec<(String, String)> {
    let own = |name: &str, value: &Value| (name.to_owned(), value.as_str().unwrap().to_owned());
    match value {
        Value::Object(map) => map.iter().map(|(name, value)| own(name, value)).collect(),
        Value::Array(list) => list.iter().map(|pair| own(pair[0].as_str().unwrap(), &pair[1])).collect(),
        _ => Vec::new(),
    }
}

fn signer(table: &Value) -> Result<Signer, String> {
    let header = |(name, template): (String, String)| (HeaderName::from_bytes(name.as_bytes()).unwrap(), template);
    let encoding = match text(&table["key_encoding"]) {
        Some("base64") => KeyEncoding::Base64,
        Some("hex") => KeyEncoding::Hex,
        _ => KeyEncoding::Text,
    };
    let spec = HmacSpec {
        key: KeySpec::Secret(NamePattern::parse("key").unwrap(), encoding),
        algorithm: match text(&table["algorithm"]) {
            Some("sha512") => HashAlgorithm::Sha512,
            _ => HashAlgorithm::Sha256,
        },
        encoding: match text(&table["encoding"]) {
            Some("base64") => SignatureEncoding::Base64,
            Some("HEX") => SignatureEncoding::UpperHex,
            _ => SignatureEncoding::Hex,
        },
        sign: text(&table["sign"]).expect("sign").to_owned(),
        values: pairs(&table["values"]),
        set: pairs(&table["set"]).into_iter().map(header).collect(),
        set_query: pairs(&table["set_query"]),
        set_form: pairs(&table["set_form"]),
        set_json: pairs(&table["set_json"]),
    };
    Hmac::compile(spec).map(|hmac| Signer::Hmac(Box::new(hmac))).map_err(|errors| format!("template: {errors:?}"))
}

fn materials(signer: &Signer, secrets: &Value) -> Result<Vec<Material>, String> {
    let each = signer.requirements().iter().map(|requirement| {
        let name = requirement.pattern.as_str();
        let secret = text(&secrets[name]).ok_or_else(|| format!("the case has no secret {name}"))?;
        let bytes = SecretBytes::new(secret.as_bytes().to_vec());
        requirement.kind.load(&bytes).map_err(|reason| format!("secret {name}: {reason}"))
    });
    each.collect()
}
