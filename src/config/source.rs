//! The file itself: reading it within bounds, mistakes of TOML, and what of it may be printed.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::de::{DeTable, DeValue};

use super::diagnostic::{Diagnostic, MASK};
use super::fields::Mistakes;
use super::hints::mask_value;
use super::model::{Source, Span};
use super::{Loaded, parse_owned, parts};

/// Largest `proxy.toml`, in bytes; ten thousand routes are about 3 MiB.
pub const FILE_LIMIT: u64 = 16 * 1024 * 1024;

/// Keys whose values are secrets in every section of every version: a literal there is never printed.
const SECRET_KEYS: [&str; 16] = [
    "password",
    "passwd",
    "passphrase",
    "client_secret",
    "secret_access_key",
    "session_token",
    "consumer_secret",
    "token_secret",
    "access_token",
    "refresh_token",
    "private_key",
    "api_key",
    "apikey",
    "bearer",
    "basic",
    "digest",
];

/// Reads the file at `path`. A file that cannot be read is one diagnostic without a place.
pub fn load(path: &Path) -> Loaded {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let folder = absolute.parent().map_or_else(|| PathBuf::from("/"), Path::to_owned);
    let name = path.display().to_string();
    let refuse = |diagnostic: Diagnostic| Loaded {
        source: Arc::new(Source { name: name.clone(), text: String::new(), folder: folder.clone() }),
        config: None,
        diagnostics: vec![diagnostic],
    };
    let mut bytes = Vec::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(FILE_LIMIT + 1).read_to_end(&mut bytes));
    if let Err(error) = read {
        let hint = match error.kind() {
            std::io::ErrorKind::NotFound => "name the file with --config FILE",
            std::io::ErrorKind::PermissionDenied => "let the user that runs countersign read it",
            _ => "name a regular file with --config FILE",
        };
        return refuse(Diagnostic::whole_file(format!("cannot read the configuration: {error}")).with_hint(hint));
    }
    if bytes.len() as u64 > FILE_LIMIT {
        return refuse(Diagnostic::whole_file("the configuration is over 16 MiB").with_hint("is it the right file?"));
    }
    match String::from_utf8(bytes) {
        Ok(text) => parse_owned(&name, text, &folder, parts::FROM),
        Err(error) => {
            let good = error.utf8_error().valid_up_to();
            let line = error.as_bytes()[..good].iter().filter(|b| **b == b'\n').count() + 1;
            let message = format!("the configuration is not UTF-8: line {line} has other bytes");
            refuse(Diagnostic::whole_file(message).with_hint("save the file as UTF-8"))
        }
    }
}

/// The text with every byte of the given places replaced, so that places stay where they are.
pub(super) fn masked(text: String, places: &[Span]) -> String {
    if places.is_empty() {
        return text;
    }
    let mut bytes = text.into_bytes();
    for place in places {
        let end = place.end.min(bytes.len());
        for byte in &mut bytes[place.start.min(end)..end] {
            if *byte != b'\n' {
                *byte = MASK as u8;
            }
        }
    }
    // Whole characters are replaced by ASCII, so this cannot fail; if it did, nothing would be shown.
    String::from_utf8(bytes).unwrap_or_default()
}

/// A key or table that is there twice is a mistake like any other; the rest can still be read.
pub(super) fn is_duplicate(problem: &toml::de::Error) -> bool {
    problem.message().starts_with("duplicate key")
}

/// A key or table that is there twice.
pub(super) fn duplicate(problem: &toml::de::Error, text: &str) -> Diagnostic {
    let span = problem.span().unwrap_or(0..0);
    let name = text.get(span.clone()).unwrap_or_default();
    Diagnostic::error(span, format!("`{name}` is there twice"))
        .with_hint("keep one of them, with everything that belongs to it")
}

/// A mistake of TOML.
pub(super) fn syntax(problem: &toml::de::Error, text: &str) -> Diagnostic {
    let mut span = problem.span().unwrap_or(text.len()..text.len());
    let message = problem.message().trim_end_matches(", expected literal string");
    let hint = match message {
        m if m.starts_with("invalid multi-line") => {
            // The parser points at the end of the file, a person looks for the beginning.
            let fence = if m.contains("literal") { "'''" } else { "\"\"\"" };
            if let Some(at) = text.get(..span.start).unwrap_or(text).rfind(fence) {
                span = at..at + fence.len();
            }
            "close the string with the three quotes that it begins with"
        }
        m if m.starts_with("string values must be quoted") => "write the value in double quotes",
        m if m.contains(" string, expected") => "close the string with the quote that it begins with",
        m if m.starts_with("unclosed") => "add the bracket or brace that closes it",
        m if m.starts_with("missing comma") => {
            "put a comma before it, or close the list or table that was opened above"
        }
        _ => "",
    };
    let diagnostic = Diagnostic::error(span, format!("this is not TOML: {message}"));
    if hint.is_empty() { diagnostic } else { diagnostic.with_hint(hint) }
}

/// Whether a key's value is a secret; asked for every key of the file, most of which are shorter or begin otherwise.
fn is_secret(key: &str) -> bool {
    let first = key.as_bytes().first().map(u8::to_ascii_lowercase);
    SECRET_KEYS.iter().any(|secret| secret.as_bytes().first() == first.as_ref() && key.eq_ignore_ascii_case(secret))
}

/// Masks literals under keys whose values are secrets, whatever else is wrong with their lines.
pub(super) fn mask_literals(table: &DeTable<'_>, mistakes: &Mistakes) {
    for (key, value) in table {
        match value.get_ref() {
            DeValue::Table(inner) => mask_literals(inner, mistakes),
            DeValue::Array(items) => {
                for inner in items.iter().filter_map(|item| item.get_ref().as_table()) {
                    mask_literals(inner, mistakes);
                }
            }
            _ if is_secret(key.get_ref()) => {
                mask_value(value, mistakes);
            }
            _ => {}
        }
    }
}

/// Values that may be secret in a text that is not TOML: what stands after `=` and a secret's key
/// and is no table, to the end of the line or of the long string that begins there.
pub(super) fn suspects(text: &str) -> Vec<Span> {
    let lower = text.to_ascii_lowercase();
    let mut found = Vec::new();
    for key in SECRET_KEYS {
        found.extend(lower.match_indices(key).filter_map(|(at, _)| suspect(text, at + key.len())));
    }
    found
}

/// The value after a secret's key that ends at `from`, in the same line.
fn suspect(text: &str, from: usize) -> Option<Span> {
    let line = text[from..].split('\n').next().unwrap_or_default();
    let equals = line.find('=')? + 1;
    let value = line[equals..].trim();
    if value.is_empty() || value.starts_with('{') {
        return None;
    }
    let start = from + equals + line[equals..].find(value)?;
    let long = ["\"\"\"", "'''"].into_iter().find(|fence| value.starts_with(fence));
    let end = match long {
        Some(fence) => text[start + 3..].find(fence).map_or(text.len(), |at| start + at + 6),
        None => start + value.len(),
    };
    Some(start..end)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn masking_keeps_every_place() {
        let text = "a = \"é\nx\" # z";
        let out = masked(text.to_owned(), &[4..10, 90..99]);
        assert_eq!(out.len(), text.len());
        assert_eq!(out, "a = \u{1a}\u{1a}\u{1a}\n\u{1a}\u{1a} # z");
    }

    #[test]
    fn suspects_are_the_values_of_secret_keys() {
        let text = "password = hunter2\nbasic = { password = { secret = \"a\" }\nname = x\n";
        assert_eq!(suspects(text).first(), Some(&(11..18)));
        assert_eq!(suspects(text).len(), 1);
        let text = "password = \"\"\"\nhunter2\nx\"\"\" # é\nPassword = '''\nhunter2";
        let spans = suspects(text);
        assert_eq!(
            spans.iter().map(|span| &text[span.clone()]).collect::<Vec<_>>(),
            ["\"\"\"\nhunter2\nx\"\"\"", "'''\nhunter2"]
        );
    }
}
