//! What a key is: the types of the declarative table in `keys.rs`.
//!
//! The reader takes names, types, bounds and defaults from it, and the reference page is printed
//! from it, so the two cannot disagree.

use std::time::Duration;

/// A table of `proxy.toml`.
#[derive(Debug)]
pub(super) struct Section {
    /// As it is called in messages, `[listen]` or `hmac`.
    pub title: &'static str,
    /// What it is for; a paragraph of the reference page.
    pub help: &'static str,
    /// Its keys, in the order of the reference page.
    pub keys: &'static [Key],
    /// Keys that later versions will have; refused by name, never ignored.
    pub later: &'static [&'static str],
    /// An example for the reference page; may be empty.
    pub example: &'static str,
}

/// One key of a [`Section`].
#[derive(Debug)]
pub(super) struct Key {
    pub name: &'static str,
    pub kind: Kind,
    pub default: Fallback,
    pub help: &'static str,
}

/// What a key means when it is absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fallback {
    /// Its absence is an error.
    Required,
    /// Nothing; the help says what that means.
    Absent,
    /// As if this had been written (a string without its quotes).
    Is(&'static str),
}

/// The type of a value, with its bounds.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// A string; the text says of what.
    Text(&'static str),
    /// A list of strings; the text says of what.
    Texts(&'static str),
    /// A string or a list of strings.
    TextOrTexts(&'static str),
    /// `true` or `false`.
    Flag,
    /// A whole number within bounds, or a word.
    Count { least: u64, most: u64, word: Option<&'static str> },
    /// A share within bounds.
    Fraction { least: f64, most: f64 },
    /// `"64KiB"` within bounds, or a word.
    Size { least: u64, most: u64, word: Option<&'static str> },
    /// `"10s"` within bounds, or a word.
    Duration { least: Duration, most: Duration, word: Option<&'static str> },
    /// One of these words.
    Choice(&'static [&'static str]),
    /// The name of a secret, bare or as `{ secret = "NAME" }`.
    SecretName,
    /// Only `{ secret = "NAME" }`.
    SecretOnly,
    /// A string or `{ secret = "NAME" }`.
    Public,
    /// A table.
    Table(&'static Section),
    /// `[[name]]`
    Tables(&'static Section),
    /// A table with keys of the user's choice, each holding such a table.
    Named(&'static Section),
    /// A table with keys of the user's choice; the text says what they and the values are.
    Map(&'static str),
    /// A table, or a list of such tables.
    TableOrTables(&'static Section),
    /// A string or a table; the texts say which.
    TextOrTable(&'static str, &'static Section),
}

impl Section {
    /// The key of this name.
    pub(super) fn key(&self, name: &str) -> Option<&'static Key> {
        // Asked for every key of every table: most names differ in their first byte.
        let first = name.as_bytes().first();
        self.keys.iter().find(|key| key.name.as_bytes().first() == first && key.name == name)
    }
}

impl Kind {
    /// What was expected, for messages: "`poll` must be ...".
    pub(super) fn expected(&self) -> String {
        let or = |word: &Option<&str>| word.map_or(String::new(), |word| format!(" or \"{word}\""));
        match self {
            Self::Text(what) | Self::TextOrTable(what, _) => (*what).to_owned(),
            Self::Texts(what) => format!("a list of strings, each {what}"),
            Self::TextOrTexts(what) => format!("{what} or a list of them"),
            Self::Flag => "true or false".to_owned(),
            Self::Count { least, most, word } => format!("a whole number from {least} to {most}{}", or(word)),
            Self::Fraction { least, most } => format!("a number from {least} to {most}"),
            Self::Size { word, .. } => format!("a size such as \"64KiB\"{}", or(word)),
            Self::Duration { word, .. } => format!("a duration such as \"10s\"{}", or(word)),
            Self::Choice(words) => one_of(words),
            Self::SecretName => "the name of a secret such as \"partner/key\"".to_owned(),
            Self::SecretOnly => "{ secret = \"NAME\" }".to_owned(),
            Self::Public => "a string or { secret = \"NAME\" }".to_owned(),
            Self::Table(_) | Self::Named(_) | Self::Map(_) => "a table".to_owned(),
            Self::TableOrTables(_) => "a table or a list of tables".to_owned(),
            Self::Tables(section) => format!("a list of tables, each under {}", section.title),
        }
    }

    /// The type column of the reference page.
    pub(super) fn documented(&self) -> String {
        match self {
            Self::Size { least, most, .. } => {
                format!("{}, {} to {}", self.expected(), show_size(*least), show_size(*most))
            }
            Self::Duration { least, most, .. } => {
                format!("{}, {} to {}", self.expected(), show_duration(*least), show_duration(*most))
            }
            Self::Table(section) => format!("table, see {}", link(section)),
            Self::Tables(section) | Self::Named(section) => format!("tables, see {}", link(section)),
            Self::TableOrTables(section) => format!("table or a list of tables, see {}", link(section)),
            Self::TextOrTable(what, section) => format!("{what}, or a table, see {}", link(section)),
            Self::Map(what) => format!("table: {what}"),
            Self::SecretName => "name of a secret".to_owned(),
            other => other.expected(),
        }
    }
}

/// A link to a section of the reference page, by the anchor that its heading gets.
fn link(section: &Section) -> String {
    let anchor: String = section
        .title
        .to_lowercase()
        .chars()
        .filter_map(|c| match c {
            ' ' => Some('-'),
            c if c.is_alphanumeric() || c == '_' || c == '-' => Some(c),
            _ => None,
        })
        .collect();
    format!("[{}](#{anchor})", section.title.replace('[', "\\[").replace(']', "\\]"))
}

/// `"a", "b" or "c"`
pub(super) fn one_of(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [only] => format!("\"{only}\""),
        [first @ .., last] => {
            let first: Vec<String> = first.iter().map(|word| format!("\"{word}\"")).collect();
            format!("{} or \"{last}\"", first.join(", "))
        }
    }
}

/// A size in its largest whole unit.
pub(super) fn show_size(bytes: u64) -> String {
    let units = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    let unit = units.iter().find(|(size, _)| bytes >= *size && bytes.is_multiple_of(*size));
    unit.map_or_else(|| format!("{bytes}B"), |(size, name)| format!("{}{name}", bytes / size))
}

/// A duration in its largest whole unit.
pub(super) fn show_duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1000, "s")];
    match units.iter().find(|(size, _)| millis >= *size && millis.is_multiple_of(*size)) {
        Some((size, name)) => format!("{}{name}", millis / size),
        None if millis == 0 => "0s".to_owned(),
        None => format!("{millis}ms"),
    }
}
