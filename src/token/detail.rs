//! What a platform said, made fit for people: no control characters, nothing that was sent, bounded. PURE.

use zeroize::Zeroizing;

use crate::template::encode;

/// Most characters of a detail.
const LENGTH: usize = 300;
/// What stands for a secret.
const MASK: &str = "[masked]";
/// Of what a platform said, at most so many characters are looked at.
const LOOKED_AT: usize = 4096;

/// Cleans what a platform said, and masks every one of `sent`, also as a URL, a form and JSON spell it. `None`: nothing
/// is left that can be shown.
pub(super) fn clean(text: &str, sent: &[Zeroizing<String>]) -> Option<String> {
    let mut out = plain(text);
    let spelled: Vec<Zeroizing<String>> = sent.iter().filter(|secret| !secret.is_empty()).flat_map(spellings).collect();
    // A longer secret first: a shorter one may be a part of it.
    let mut order: Vec<&str> = spelled.iter().map(|secret| secret.as_str()).collect();
    order.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    for secret in &order {
        if out.contains(secret) {
            out = out.replace(secret, MASK);
        }
    }
    let out = cut(&out);
    // A secret that is a part of the mask, or that came to be where one was taken out.
    let left = order.iter().any(|secret| out.contains(secret));
    (!left && !out.is_empty()).then_some(out)
}

/// At most [`LENGTH`] characters.
pub(super) fn cut(text: &str) -> String {
    match text.char_indices().nth(LENGTH) {
        None => text.to_owned(),
        Some(_) => text.chars().take(LENGTH - 1).chain(['\u{2026}']).collect(),
    }
}

/// Without control characters and what changes the direction of text; runs of space are one.
fn plain(text: &str) -> String {
    let odd = |c: char| {
        c.is_control()
            || c.is_whitespace()
            || matches!(c, '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{FEFF}')
    };
    let mut out = String::new();
    for c in text.chars().take(LOOKED_AT) {
        if !odd(c) {
            out.push(c);
        } else if !out.is_empty() && !out.ends_with(' ') {
            out.push(' ');
        }
    }
    out.truncate(out.trim_end().len());
    out
}

fn spellings(secret: &Zeroizing<String>) -> Vec<Zeroizing<String>> {
    let spell = |how: fn(&[u8], &mut Vec<u8>)| {
        let mut bytes = Zeroizing::new(Vec::with_capacity(secret.len() * 6));
        how(secret.as_bytes(), &mut bytes);
        Zeroizing::new(String::from_utf8_lossy(&bytes).into_owned())
    };
    vec![secret.clone(), Zeroizing::new(plain(secret)), spell(encode::url), spell(encode::form), spell(encode::json)]
        .into_iter()
        .filter(|spelled| !spelled.is_empty())
        .collect()
}
