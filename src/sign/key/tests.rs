//! Keys in every form, against the cases of `tests/vectors/keys/keys.json`, and the signatures that RFCs print.

#![allow(clippy::unwrap_used)]

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use serde_json::Value;

use super::{EcdsaForm, KeyAlgorithm, PrivateKey};
use crate::secret::value::{BadReason, SecretBytes};
use crate::sign::material::{Kind, Material};

fn algorithm(name: &str) -> KeyAlgorithm {
    match name {
        "rsa-sha256" => KeyAlgorithm::RsaSha256,
        "pss-sha512" => KeyAlgorithm::PssSha512,
        "ecdsa-p256" => KeyAlgorithm::EcdsaP256,
        "ecdsa-p384" => KeyAlgorithm::EcdsaP384,
        "ed25519" => KeyAlgorithm::Ed25519,
        other => panic!("{other} is no algorithm of the cases"),
    }
}

fn load(raw: &[u8], algorithm: KeyAlgorithm) -> Result<PrivateKey, BadReason> {
    match Kind::PrivateKey(algorithm).load(&SecretBytes::new(raw.to_vec()))? {
        Material::Private(key) => Ok(key),
        other => panic!("{other:?} is no private key"),
    }
}

fn verifies(key: &PrivateKey, with: &'static dyn VerificationAlgorithm, text: &[u8], signature: &[u8]) -> bool {
    UnparsedPublicKey::new(with, key.public()).verify(text, signature).is_ok()
}

#[test]
fn a_key_is_read_in_every_form_and_what_is_none_is_named() {
    let file: Value = serde_json::from_str(include_str!("../../../tests/vectors/keys/keys.json")).unwrap();
    let cases = file["cases"].as_array().unwrap();
    assert!(cases.len() >= 70, "only {} cases", cases.len());
    let mut failures = Vec::new();
    for case in cases {
        let name = case["name"].as_str().unwrap();
        let raw = match (case["text"].as_str(), case["base64"].as_str()) {
            (Some(text), _) => text.as_bytes().to_vec(),
            (_, Some(encoded)) => STANDARD.decode(encoded).unwrap(),
            _ => panic!("{name} has no key"),
        };
        let algorithm = algorithm(case["algorithm"].as_str().unwrap());
        let made = load(&raw, algorithm);
        match (case["found"].as_str(), made) {
            (None, Ok(key)) => {
                let signature = key.sign(b"text", EcdsaForm::Der).unwrap();
                let with: &'static dyn VerificationAlgorithm = match algorithm {
                    KeyAlgorithm::RsaSha256 => &signature::RSA_PKCS1_2048_8192_SHA256,
                    KeyAlgorithm::PssSha512 => &signature::RSA_PSS_2048_8192_SHA512,
                    KeyAlgorithm::EcdsaP256 => &signature::ECDSA_P256_SHA256_ASN1,
                    KeyAlgorithm::EcdsaP384 => &signature::ECDSA_P384_SHA384_ASN1,
                    _ => &signature::ED25519,
                };
                if !verifies(&key, with, b"text", &signature) || verifies(&key, with, b"texT", &signature) {
                    failures.push(format!("{name}: the signature is not that of the key"));
                }
                assert_eq!(format!("{key:?}"), "PrivateKey(..)");
            }
            (Some(found), Err(BadReason::Key(message))) => {
                let tried = "Forms tried: PEM (PKCS#8, PKCS#1, SEC1), JWK, base64, DER";
                if !message.starts_with(&format!("this is {found}")) || !message.contains(tried) {
                    failures.push(format!("{name}: {message}"));
                }
            }
            (wanted, made) => failures.push(format!("{name}: wanted {wanted:?}, got {made:?}")),
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn what_is_no_file_of_a_key_at_all_has_its_own_reason() {
    assert_eq!(load(b" \n", KeyAlgorithm::Ed25519).unwrap_err(), BadReason::Empty);
    assert!(matches!(load(&[b'x'; 70_000], KeyAlgorithm::Ed25519), Err(BadReason::TooLarge { .. })));
    let reason = load(b"hunter2hunter2!!", KeyAlgorithm::EcdsaP256).unwrap_err();
    assert_eq!(reason.label(), "key");
    assert!(!reason.to_string().contains("hunter2"), "{reason}");
}

/// RFC 7515 appendices A.2 and A.3, RFC 8037 appendix A.4: RS256 and EdDSA come out byte for byte; of ES256 the printed
/// signature and ours verify with the same key.
#[test]
fn signatures_are_those_that_the_rfcs_print() {
    let file: Value = serde_json::from_str(include_str!("../../../tests/vectors/jose/rfc_examples.json")).unwrap();
    let mut seen = 0;
    for case in file["cases"].as_array().unwrap() {
        let algorithm = match case["alg"].as_str().unwrap() {
            "RS256" => KeyAlgorithm::RsaSha256,
            "ES256" => KeyAlgorithm::EcdsaP256,
            "EdDSA" => KeyAlgorithm::Ed25519,
            _ => continue,
        };
        let key = load(case["jwk"].to_string().as_bytes(), algorithm).unwrap();
        let (text, printed) = case["token"].as_str().unwrap().rsplit_once('.').unwrap();
        let made = key.sign(text.as_bytes(), EcdsaForm::Fixed).unwrap();
        if algorithm == KeyAlgorithm::EcdsaP256 {
            assert_eq!(made.len(), 64);
            for signature in [made, URL_SAFE_NO_PAD.decode(printed).unwrap()] {
                assert!(verifies(&key, &signature::ECDSA_P256_SHA256_FIXED, text.as_bytes(), &signature));
            }
        } else {
            assert_eq!(URL_SAFE_NO_PAD.encode(made), printed, "{}", case["name"]);
        }
        seen += 1;
    }
    assert_eq!(seen, 3);
}
