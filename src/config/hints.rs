//! What to say about keys and values that do not fit: the nearest name, the section that a key
//! belongs to, how a value is written. Called by `fields` and the readers of sections.

use toml::de::{DeTable, DeValue};

use super::fields::{Mistakes, Value};
use super::keys::ROOT;
use super::model::Span;
use super::schema::{Key, Kind, Section};
use super::units::nearest;

/// Masks every string below a table whose meaning is not known.
pub(super) fn mask_strings(table: &DeTable<'_>, mistakes: &Mistakes) {
    for (_, value) in table {
        mask_value(value, mistakes);
    }
}

/// Masks a string, or every string below a value.
pub(super) fn mask_value(value: &Value<'_>, mistakes: &Mistakes) {
    match value.get_ref() {
        DeValue::Table(table) => mask_strings(table, mistakes),
        DeValue::Array(items) => items.iter().for_each(|item| mask_value(item, mistakes)),
        DeValue::Boolean(_) => {}
        _ => mistakes.mask(value.span()),
    }
}

/// A key that this section does not have: a later one, a mistyped one, or one of another section.
pub(super) fn unknown(name: &str, span: Span, section: &'static Section, mistakes: &Mistakes) {
    if section.later.contains(&name) {
        return mistakes.hinted(
            span,
            format!("`{name}` is not supported by this version"),
            format!("remove it; {} has {}", section.title, names(section)),
        );
    }
    let message = format!("unknown key `{name}` in {}", section.title);
    let hint = match nearest(name, section.keys.iter().map(|key| key.name)) {
        Some(near) => format!("did you mean `{near}`?"),
        None => match elsewhere(name, section) {
            Some(home) => format!("`{name}` is a key of {}", home.title),
            None => format!("{} has {}", section.title, names(section)),
        },
    };
    mistakes.hinted(span, message, hint);
}

/// The keys of a section, for hints.
pub(super) fn names(section: &Section) -> String {
    let names: Vec<&str> = section.keys.iter().map(|key| key.name).collect();
    names.join(", ")
}

/// Another section with a key of this name.
fn elsewhere(name: &str, section: &'static Section) -> Option<&'static Section> {
    fn search(at: &'static Section, name: &str) -> Option<&'static Section> {
        if at.key(name).is_some() {
            return Some(at);
        }
        at.keys.iter().find_map(|key| match key.kind {
            Kind::Table(below) | Kind::Tables(below) | Kind::TableOrTables(below) | Kind::Named(below) => {
                search(below, name)
            }
            _ => None,
        })
    }
    search(&ROOT, name).filter(|found| !std::ptr::eq(*found, section))
}

/// What to do about a key that must be there.
pub(super) fn how_to_add(key: &Key) -> String {
    let (name, help) = (key.name, key.help.replace('`', ""));
    match key.kind {
        Kind::SecretName => format!("add {name} = \"NAME\", {help}: a file below [secrets] dir"),
        Kind::SecretOnly | Kind::Public => format!("add {name} = {{ secret = \"NAME\" }}, a file below [secrets] dir"),
        Kind::TextOrTexts(what) => {
            format!("add {name} = \"NAME\", {what}, or {name} = \"none\" if the upstream wants no proof")
        }
        Kind::Text(what) => format!("add {name} = \"..\", {what}: {help}"),
        _ => format!("add {name}: {help}"),
    }
}

/// What a value is, with its article.
pub(super) fn type_name(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// What to do about a value of the wrong type, where that can be told.
pub(super) fn type_hint(name: &str, kind: &Kind, value: &DeValue<'_>) -> Option<String> {
    match (kind, value) {
        (Kind::Tables(section), DeValue::Table(_)) => Some(format!("write {} with two brackets", section.title)),
        (Kind::Table(section), _) if section.key("grant").is_some() => {
            Some(format!("write {name} = {{ grant = \"client_credentials\", token_url = \"https://..\", .. }}"))
        }
        (Kind::Table(section), _) if section.key("password").is_some() => {
            Some(format!("write {name} = {{ username = \"..\", password = {{ secret = \"NAME\" }} }}"))
        }
        (Kind::Table(section), _) if section.key("header").is_some() => {
            Some(format!("write {name} = {{ secret = \"NAME\", header = \"X-API-Key\" }}"))
        }
        (Kind::Table(section), DeValue::String(_)) if section.key("secret").is_some() => {
            Some(format!("write {name} = {{ secret = \"NAME\" }}"))
        }
        (Kind::Table(_), DeValue::Array(_)) => Some(format!("write [{name}] with one bracket, once")),
        (Kind::Duration { .. }, DeValue::Integer(n)) => Some(format!("for seconds write {name} = \"{}s\"", n.as_str())),
        (Kind::Size { .. }, DeValue::Integer(n)) => Some(format!("for bytes write {name} = \"{}B\"", n.as_str())),
        (Kind::Flag, DeValue::String(text)) if matches!(&**text, "true" | "false") => {
            Some(format!("write {name} = {text} without quotes"))
        }
        (Kind::Count { .. }, DeValue::String(text)) if text.parse::<u64>().is_ok() => {
            Some(format!("write {name} = {text} without quotes"))
        }
        (Kind::Choice(words), DeValue::Boolean(on)) if words.contains(&"on") => {
            Some(format!("write {name} = \"{}\"", if *on { "on" } else { "off" }))
        }
        (Kind::Choice(words), DeValue::Float(number)) if words.contains(&number.as_str()) => {
            Some(format!("write {name} = \"{}\" with quotes", number.as_str()))
        }
        _ => None,
    }
}
