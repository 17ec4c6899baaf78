//! Secrets made to be found: every form in which one could show, and where to look for it.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};

/// How every canary begins; nothing innocent has these eight characters.
pub(super) const MARK: &str = "QzX7canA";

/// A secret for one purpose.
pub(super) fn canary(purpose: &str) -> String {
    format!("{MARK}~{purpose}/+k=9%Lm")
}

/// Every form of a secret that a search looks for.
pub(super) fn forms(secret: &[u8]) -> Vec<String> {
    let start = &secret[..secret.len().min(8)];
    let mut forms = vec![hex(secret), hex(start), hex(secret).to_uppercase(), hex(start).to_uppercase()];
    for text in [secret, start] {
        if let Ok(text) = std::str::from_utf8(text) {
            forms.extend([text.to_owned(), percent(text), percent(text).to_lowercase()]);
        }
        // As `Debug` shows bytes.
        forms.push(text.iter().map(u8::to_string).collect::<Vec<_>>().join(", "));
    }
    // Base64 at each of its three alignments, without the characters that neighbours share.
    for shift in 0..3 {
        let shifted: Vec<u8> = std::iter::repeat_n(b'.', shift).chain(secret.iter().copied()).collect();
        for engine in [STANDARD, URL_SAFE] {
            let text = engine.encode(&shifted);
            let whole = (shifted.len() / 3) * 4;
            forms.push(text[if shift == 0 { 0 } else { 4 }..whole].to_owned());
        }
    }
    forms
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(super) fn percent(text: &str) -> String {
    let escape = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(escape).collect()
}

/// What was said in public, piece by piece.
#[derive(Default)]
pub(super) struct Public(Vec<(String, String)>);

impl Public {
    pub(super) fn add(&mut self, place: impl Into<String>, text: impl Into<String>) {
        self.0.push((place.into(), text.into()));
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Fails when a form of a secret is in any piece.
    #[track_caller]
    pub(super) fn holds_none_of(&self, secrets: &[Vec<u8>]) {
        let all: Vec<String> = secrets.iter().flat_map(|secret| forms(secret)).collect();
        for (place, text) in &self.0 {
            let found = all.iter().find(|form| text.contains(&**form));
            assert!(found.is_none(), "{place} shows a secret ({found:?}):\n{text}");
        }
    }
}

#[test]
fn a_search_finds_every_form_of_a_secret() {
    let secret = canary("test");
    let forms = forms(secret.as_bytes());
    for (what, text) in [
        ("plain", format!("x{secret}y")),
        ("its beginning", format!("x{MARK}y")),
        ("hex", hex(secret.as_bytes())),
        ("percent", percent(&secret)),
        ("base64", STANDARD.encode(&secret)),
        ("base64 after a name", STANDARD.encode(format!("user:{secret}"))),
        ("base64 after another", STANDARD.encode(format!("shop:{secret}:x"))),
        ("base64 after one more", URL_SAFE.encode(format!("users:{secret}"))),
        ("bytes", format!("{:?}", secret.as_bytes())),
    ] {
        assert!(forms.iter().any(|form| text.contains(&**form)), "{what}: {text}");
    }
    assert!(!forms.iter().any(|form| "nothing of it".contains(&**form)));
}
