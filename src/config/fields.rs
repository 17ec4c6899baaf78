//! Reading one table of the parsed file against its [`Section`]: every mistake is recorded, and a
//! value that cannot be used is replaced by its default so that the rest is checked too.

use std::cell::RefCell;
use std::time::Duration;

use toml::de::{DeTable, DeValue};

use super::diagnostic::Diagnostic;
use super::hints::{how_to_add, mask_strings, type_hint, type_name, unknown};
use super::model::{Span, Spanned};
use super::schema::{Fallback, Key, Kind, Section, show_duration, show_size};
use super::units::{self, nearest};
use crate::secret::name::{NameError, NamePattern};

/// A value of the parsed file.
pub(super) type Value<'i> = toml::Spanned<DeValue<'i>>;

/// What was found so far, and what must not be printed.
#[derive(Debug, Default)]
pub(super) struct Mistakes {
    found: RefCell<Vec<Diagnostic>>,
    masked: RefCell<Vec<Span>>,
}

impl Mistakes {
    /// Records one.
    pub(super) fn add(&self, diagnostic: Diagnostic) {
        self.found.borrow_mut().push(diagnostic);
    }

    /// An error without a hint.
    pub(super) fn error(&self, span: Span, message: impl Into<String>) {
        self.add(Diagnostic::error(span, message));
    }

    /// An error and what to do.
    pub(super) fn hinted(&self, span: Span, message: impl Into<String>, hint: impl Into<String>) {
        self.add(Diagnostic::error(span, message).with_hint(hint));
    }

    /// Keeps a literal that is or may be a secret out of every printed line.
    pub(super) fn mask(&self, span: Span) {
        self.masked.borrow_mut().push(span);
    }

    /// Whether nothing was found and nothing is to be masked.
    pub(super) fn is_empty(&self) -> bool {
        self.found.borrow().is_empty() && self.masked.borrow().is_empty()
    }

    /// Everything found, and the places to mask.
    pub(super) fn into_parts(self) -> (Vec<Diagnostic>, Vec<Span>) {
        (self.found.into_inner(), self.masked.into_inner())
    }
}

/// One table with its section. A table that is not there reads as all defaults.
pub(super) struct Fields<'t, 'i> {
    table: Option<&'t DeTable<'i>>,
    span: Span,
    section: &'static Section,
    mistakes: &'t Mistakes,
}

impl<'t, 'i> Fields<'t, 'i> {
    /// Opens a table: unknown, later and missing keys are recorded at once.
    pub(super) fn open(table: &'t DeTable<'i>, span: Span, section: &'static Section, mistakes: &'t Mistakes) -> Self {
        for (name, _) in table {
            if section.key(name.get_ref()).is_none() {
                unknown(name.get_ref(), name.span(), section, mistakes);
            }
        }
        let fields = Self { table: Some(table), span, section, mistakes };
        for key in section.keys.iter().filter(|key| key.default == Fallback::Required) {
            if fields.value(key.name).is_none() {
                let message = format!("{} needs `{}`", fields.caption(), key.name);
                mistakes.hinted(fields.span.clone(), message, how_to_add(key));
            }
        }
        fields
    }

    /// The table in words: a route by its name where it has one.
    fn caption(&self) -> String {
        match self.value("name").and_then(|name| name.get_ref().as_str()) {
            Some(name) if self.section.key("name").is_some() => format!("route `{name}`"),
            _ => self.section.title.to_owned(),
        }
    }

    /// A table that is not in the file.
    pub(super) fn absent(section: &'static Section, mistakes: &'t Mistakes) -> Self {
        Self { table: None, span: 0..0, section, mistakes }
    }

    /// Where the table is.
    pub(super) fn span(&self) -> Span {
        self.span.clone()
    }

    /// Where mistakes go.
    pub(super) fn mistakes(&self) -> &'t Mistakes {
        self.mistakes
    }

    /// The value of a key as it was parsed.
    pub(super) fn value(&self, name: &str) -> Option<&'t Value<'i>> {
        self.table?.get(name)
    }

    /// Whether it has one of these keys.
    pub(super) fn has_any(&self, keys: &[&str]) -> bool {
        self.table.is_some_and(|table| table.keys().any(|key| keys.contains(&&**key.get_ref())))
    }

    /// Where the value of a key is; the table when it is not there.
    pub(super) fn span_of(&self, name: &str) -> Span {
        self.value(name).map_or(self.span(), toml::Spanned::span)
    }

    fn key(&self, name: &str) -> &'static Key {
        // Names come from this module's callers alone, and the tests read every one of them.
        debug_assert!(self.section.key(name).is_some(), "{} has no {name}", self.section.title);
        self.section.key(name).unwrap_or(&self.section.keys[0])
    }

    /// The type of a key.
    pub(super) fn kind(&self, name: &str) -> Kind {
        self.key(name).kind
    }

    /// A string.
    pub(super) fn text(&self, name: &str) -> Option<Spanned<&'t str>> {
        let value = self.value(name)?;
        match value.get_ref() {
            DeValue::String(text) => Some(Spanned { value: text, span: value.span() }),
            _ => self.mismatch(name, value),
        }
    }

    /// A string that has a default.
    pub(super) fn text_or_default(&self, name: &str) -> Spanned<&'t str> {
        self.text(name).unwrap_or_else(|| Spanned { value: self.default_text(name), span: self.span_of(name) })
    }

    /// What an absent key stands for, as it would be written.
    pub(super) fn default_text(&self, name: &str) -> &'static str {
        match self.key(name).default {
            Fallback::Is(text) => text,
            Fallback::Required | Fallback::Absent => "",
        }
    }

    /// A list of strings; `None` when it is absent or no list.
    pub(super) fn texts(&self, name: &str) -> Option<Vec<Spanned<&'t str>>> {
        let value = self.value(name)?;
        let DeValue::Array(items) = value.get_ref() else {
            if let DeValue::String(text) = value.get_ref() {
                let message = format!("`{name}` must be {}, not a string", self.key(name).kind.expected());
                self.mistakes.hinted(value.span(), message, format!("write {name} = [\"{text}\"]"));
                return None;
            }
            return self.mismatch(name, value);
        };
        let mut out = Vec::with_capacity(items.len());
        for item in items.iter() {
            match item.get_ref() {
                DeValue::String(text) => out.push(Spanned { value: &**text, span: item.span() }),
                _ => self.mismatch(name, item).unwrap_or(()),
            }
        }
        Some(out)
    }

    /// `true` or `false`.
    pub(super) fn flag(&self, name: &str) -> bool {
        let default = self.default_text(name) == "true";
        let Some(value) = self.value(name) else { return default };
        match value.get_ref() {
            DeValue::Boolean(flag) => *flag,
            _ => self.mismatch(name, value).unwrap_or(default),
        }
    }

    /// One of the words of a [`Kind::Choice`].
    pub(super) fn choice(&self, name: &str) -> &'t str {
        let default = self.default_text(name);
        let Kind::Choice(words) = self.key(name).kind else { return default };
        let Some(text) = self.text(name) else { return default };
        if words.contains(&text.value) {
            return text.value;
        }
        let mut wrong = Diagnostic::error(
            text.span,
            format!("`{name}` must be {}, not \"{}\"", self.key(name).kind.expected(), text.value),
        );
        if let Some(word) = nearest(text.value, words.iter().copied()) {
            wrong = wrong.with_hint(format!("did you mean \"{word}\"?"));
        }
        self.mistakes.add(wrong);
        default
    }

    /// A whole number, or `None` for the word of its kind.
    pub(super) fn count(&self, name: &str) -> Option<usize> {
        let default = || self.default_text(name).parse().ok();
        let Kind::Count { least, most, word } = self.key(name).kind else { return default() };
        let Some(value) = self.value(name) else { return default() };
        let number = match value.get_ref() {
            DeValue::String(text) if word == Some(&**text) => return None,
            DeValue::Integer(number) => {
                let digits = number.as_str().replace('_', "");
                u64::from_str_radix(digits.trim_start_matches('+'), number.radix()).ok()
            }
            _ => return self.mismatch(name, value).or_else(default),
        };
        match number.filter(|n| (least..=most).contains(n)).and_then(|n| usize::try_from(n).ok()) {
            Some(number) => Some(number),
            None => {
                let expected = self.key(name).kind.expected();
                self.mistakes.error(value.span(), format!("`{name}` must be {expected}"));
                default()
            }
        }
    }

    /// A share within the bounds of its [`Kind::Fraction`].
    pub(super) fn fraction(&self, name: &str) -> f64 {
        let default = || self.default_text(name).parse().unwrap_or(1.0);
        let Kind::Fraction { least, most } = self.key(name).kind else { return default() };
        let Some(value) = self.value(name) else { return default() };
        let number: Option<f64> = match value.get_ref() {
            DeValue::Float(number) => number.as_str().replace('_', "").parse().ok(),
            DeValue::Integer(number) => number.as_str().replace('_', "").parse().ok(),
            _ => return self.mismatch(name, value).unwrap_or_else(default),
        };
        number.filter(|number| (least..=most).contains(number)).unwrap_or_else(|| {
            self.mistakes.error(value.span(), format!("`{name}` must be {}", self.key(name).kind.expected()));
            default()
        })
    }

    /// The tables of a key whose kind is [`Kind::TableOrTables`]; `None` when it is absent or neither.
    pub(super) fn tables(&self, name: &str) -> Option<Vec<Fields<'t, 'i>>> {
        let value = self.value(name)?;
        let Kind::TableOrTables(section) = self.key(name).kind else { return None };
        let open = |value: &'t Value<'i>| match value.get_ref() {
            DeValue::Table(table) => Some(Fields::open(table, value.span(), section, self.mistakes)),
            _ => self.mismatch(name, value),
        };
        match value.get_ref() {
            DeValue::Array(items) => Some(items.iter().filter_map(open).collect()),
            _ => open(value).map(|one| vec![one]),
        }
    }

    /// Bytes, or `None` for the word of its kind.
    pub(super) fn size(&self, name: &str) -> Option<u64> {
        let default = self.default_text(name);
        let Kind::Size { least, most, word } = self.key(name).kind else { return None };
        self.measure(name, default, word, least..=most, units::size, show_size)
    }

    /// Bytes that fit into memory, for keys without a word.
    pub(super) fn bytes(&self, name: &str) -> usize {
        self.size(name).and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(usize::MAX)
    }

    /// A duration, or `None` for the word of its kind.
    pub(super) fn duration(&self, name: &str) -> Option<Duration> {
        let default = self.default_text(name);
        let Kind::Duration { least, most, word } = self.key(name).kind else { return None };
        self.measure(name, default, word, least..=most, units::duration, show_duration)
    }

    /// A duration, for keys without a word.
    pub(super) fn wait(&self, name: &str) -> Duration {
        self.duration(name).unwrap_or(Duration::ZERO)
    }

    fn measure<T: PartialOrd + Copy>(
        &self,
        name: &str,
        default: &str,
        word: Option<&str>,
        range: std::ops::RangeInclusive<T>,
        parse: fn(&str) -> Result<T, units::UnitError>,
        show: fn(T) -> String,
    ) -> Option<T> {
        let default = || parse(default).ok();
        let Some(value) = self.value(name) else { return default() };
        let DeValue::String(text) = value.get_ref() else {
            return self.mismatch(name, value).or_else(default);
        };
        if word == Some(&**text) {
            return None;
        }
        match parse(text) {
            Err(error) => {
                let expected = self.key(name).kind.expected();
                let message = format!("`{name}` must be {expected}, not \"{text}\"");
                self.mistakes.hinted(value.span(), message, error.to_string());
                default()
            }
            Ok(found) if range.contains(&found) => Some(found),
            Ok(_) => {
                let (least, most) = (show(*range.start()), show(*range.end()));
                self.mistakes
                    .error(value.span(), format!("`{name}` must be from \"{least}\" to \"{most}\", not \"{text}\""));
                default()
            }
        }
    }

    /// The table of a key whose kind is [`Kind::Table`].
    pub(super) fn table(&self, name: &str) -> Fields<'t, 'i> {
        let section = match self.key(name).kind {
            Kind::Table(section) | Kind::TextOrTable(_, section) => section,
            _ => self.section,
        };
        let Some(value) = self.value(name) else { return Fields::absent(section, self.mistakes) };
        match value.get_ref() {
            DeValue::Table(table) => Fields::open(table, value.span(), section, self.mistakes),
            _ => {
                self.mismatch(name, value).unwrap_or(());
                Fields { span: value.span(), ..Fields::absent(section, self.mistakes) }
            }
        }
    }

    /// The entries of a key whose kind is [`Kind::Map`] or [`Kind::Named`], in the order of the file.
    pub(super) fn entries(&self, name: &str) -> Vec<(Spanned<&'t str>, &'t Value<'i>)> {
        let Some(value) = self.value(name) else { return Vec::new() };
        match value.get_ref() {
            DeValue::Table(table) => in_order(table),
            _ => self.mismatch(name, value).unwrap_or_default(),
        }
    }

    /// The name of a secret, bare or as `{ secret = ".." }`.
    pub(super) fn secret(&self, name: &str) -> Option<Spanned<NamePattern>> {
        let value = self.value(name)?;
        match value.get_ref() {
            DeValue::String(text) => self.secret_name(text, value.span()),
            DeValue::Table(table) => self.secret_table(name, value, table),
            _ => {
                self.mistakes.mask(value.span());
                self.mismatch(name, value)
            }
        }
    }

    /// `{ secret = ".." }` and nothing else: a literal is refused and masked.
    pub(super) fn secret_only(&self, name: &str) -> Option<Spanned<NamePattern>> {
        let value = self.value(name)?;
        let DeValue::Table(table) = value.get_ref() else {
            self.mistakes.mask(value.span());
            self.mistakes.hinted(
                value.span(),
                format!("`{name}` is secret and cannot be written into the configuration"),
                format!("put it into a file below [secrets] dir and name that file: {name} = {{ secret = \"NAME\" }}"),
            );
            return None;
        };
        self.secret_table(name, value, table)
    }

    /// The secret of a `{ secret = ".." }` table.
    pub(super) fn secret_table(
        &self,
        name: &str,
        value: &Value<'i>,
        table: &DeTable<'i>,
    ) -> Option<Spanned<NamePattern>> {
        let only = table.len() == 1;
        match table.get("secret").map(|inner| (inner.get_ref(), inner.span())) {
            Some((DeValue::String(text), span)) if only => self.secret_name(text, span),
            _ => {
                mask_strings(table, self.mistakes);
                let message = format!("`{name}` must be {{ secret = \"NAME\" }} with nothing else in it");
                self.mistakes.error(value.span(), message);
                None
            }
        }
    }

    /// The name of a secret, written bare.
    pub(super) fn secret_name(&self, text: &str, span: Span) -> Option<Spanned<NamePattern>> {
        match NamePattern::parse(text) {
            Ok(value) => Some(Spanned { value, span }),
            Err(error) => {
                let hint = match error {
                    NameError::Absolute => text.rsplit('/').find(|part| !part.is_empty()).map_or_else(
                        || "write the file's path below [secrets] dir".to_owned(),
                        |file| format!("write the file's path below [secrets] dir, such as \"{file}\""),
                    ),
                    NameError::Brace | NameError::Variable(_) => {
                        "write a variable as {tenant}, or as {NAME} for a capture of the route's host".to_owned()
                    }
                    _ => "write the file's path below [secrets] dir, such as \"partner/key\"".to_owned(),
                };
                self.mistakes.hinted(span, error.to_string(), hint);
                None
            }
        }
    }

    /// Records that a value has the wrong type. Always `None`.
    pub(super) fn mismatch<T>(&self, name: &str, value: &Value<'i>) -> Option<T> {
        let kind = &self.key(name).kind;
        let found = type_name(value.get_ref());
        let message = format!("`{name}` must be {}, not {found}", kind.expected());
        let mut wrong = Diagnostic::error(value.span(), message);
        if let Some(hint) = type_hint(name, kind, value.get_ref()) {
            wrong = wrong.with_hint(hint);
        }
        self.mistakes.add(wrong);
        None
    }
}

/// The entries of a table in the order of the file (the parser sorts them by name).
pub(super) fn in_order<'t, 'i>(table: &'t DeTable<'i>) -> Vec<(Spanned<&'t str>, &'t Value<'i>)> {
    let mut entries: Vec<_> =
        table.iter().map(|(key, value)| (Spanned { value: &**key.get_ref(), span: key.span() }, value)).collect();
    entries.sort_by_key(|(key, _)| key.span.start);
    entries
}
