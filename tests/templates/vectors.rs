//! `tests/vectors/platforms/CASE/case.json`: a request, and what the guide's table for that platform must make of it. A
//! failure says how deep it lies: the text that is signed, or the result.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use countersign::clock::{Sequence, Timestamp};
use countersign::secret::value::SecretBytes;
use countersign::sign::material::Material;
use countersign::sign::{SignContext, Signable, Signer};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;

use super::guide;

#[test]
fn every_platform_comes_out_as_its_documentation_or_sdk_has_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/platforms");
    let mut failures = Vec::new();
    let mut used = HashMap::new();
    let mut count = 0;
    for entry in fs::read_dir(root).unwrap() {
        let folder = entry.unwrap().path();
        let case: Value = serde_json::from_slice(&fs::read(folder.join("case.json")).unwrap()).unwrap();
        count += 1;
        *used.entry(case["guide"].as_str().unwrap().to_owned()).or_insert(0) += 1;
        if let Err(failure) = run(&case) {
            failures.push(format!("{}: {failure}", folder.file_name().unwrap().display()));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(count >= 40 && used.len() >= 19, "only {count} cases of {used:?} were found");
}

fn text(value: &Value) -> Option<&str> {
    value.as_str()
}

fn pairs(value: &Value) -> Vec<(&str, &str)> {
    let list = value.as_array().into_iter().flatten().map(|pair| (&pair[0], &pair[1]));
    list.map(|(name, value)| (name.as_str().unwrap(), value.as_str().unwrap())).collect()
}

/// The guide's table, with what the case has instead of the guide's public ids.
fn signer(case: &Value) -> std::sync::Arc<Signer> {
    let name = text(&case["guide"]).unwrap();
    let mut block = guide::block(name).to_owned();
    for (from, to) in pairs(&case["replace"]) {
        assert!(block.contains(from), "{name} has no {from}");
        block = block.replace(from, to);
    }
    guide::signers(&block).into_iter().find(|(known, _)| known == name).unwrap().1
}

fn run(case: &Value) -> Result<(), String> {
    for told in ["origin", "license"] {
        text(&case[told]).ok_or_else(|| format!("the case does not tell its {told}"))?;
    }
    let signer = signer(case);
    let secrets = &case["secrets"];
    let load = |requirement: &countersign::sign::Requirement| {
        let name = requirement.pattern.as_str();
        let secret = text(&secrets[name]).ok_or_else(|| format!("the case has no secret {name}"))?;
        let bytes = SecretBytes::new(secret.as_bytes().to_vec());
        requirement.kind.load(&bytes).map_err(|reason| format!("secret {name}: {reason}"))
    };
    let keys: Vec<Material> = signer.requirements().iter().map(load).collect::<Result<_, String>>()?;
    let request = &case["request"];
    let mut headers = HeaderMap::new();
    for (name, value) in pairs(&request["headers"]) {
        headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
    }
    let signable = Signable {
        method: text(&request["method"]).unwrap(),
        scheme: text(&request["scheme"]).unwrap_or("https"),
        host: text(&request["host"]).unwrap(),
        path: text(&request["path"]).unwrap(),
        query: text(&request["query"]),
        headers: &headers,
        body: text(&request["body"]).map(str::as_bytes),
    };
    let nanos = case["millis"].as_u64().unwrap_or_default() as u32 * 1_000_000;
    let context = SignContext {
        now: Timestamp { seconds: case["at"].as_i64().unwrap_or_default(), nanos },
        random: [0; 32],
        fixed_nonce: text(&case["nonce"]),
        tenant: Some("m1"),
        captures: &[],
        sequence: Sequence::default(),
        access_token: None,
        turn: None,
    };
    let expect = &case["expect"];
    if let Some(wanted) = text(&expect["text"]) {
        let transcript = signer.transcript(&signable, &keys, &context).map_err(|error| error.to_string())?;
        let shown = transcript.expect("hmac has a text").text;
        let unmasked =
            secrets.as_object().unwrap().iter().fold(shown.clone(), |shown, (name, secret)| {
                shown.replace(&format!("[{name}]"), secret.as_str().unwrap())
            });
        same("text", wanted, &unmasked)?;
        let tells = |(name, secret): (&String, &Value)| {
            let secret = secret.as_str().unwrap();
            (secret.len() > 5 && wanted.contains(secret) && shown.contains(secret)).then(|| name.clone())
        };
        let told: Vec<String> = secrets.as_object().unwrap().iter().filter_map(tells).collect();
        assert!(told.is_empty(), "the transcript tells {told:?}: {shown}");
    }
    let injection = signer.sign(&signable, &keys, &context).map_err(|error| format!("result: {error}"))?;
    let made: HashMap<_, _> = injection.headers.iter().map(|(name, value)| (name.as_str(), value)).collect();
    for (name, wanted) in expect["headers"].as_object().into_iter().flatten() {
        let got = made.get(name.as_str()).ok_or_else(|| format!("result: no header {name}"))?;
        same(&format!("result: header {name}"), wanted.as_str().unwrap(), got.to_str().unwrap())?;
    }
    for name in expect["absent"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        assert!(!made.contains_key(name), "result: {name} is set");
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
