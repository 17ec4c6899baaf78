//! Lists of parameters and headers: gathered from the request, picked, sorted, and written in a format of their own.
//! Compiled by `pairs_compile`. What a list holds is said in `docs/TEMPLATES.md`, "Lists".

use std::borrow::Cow;
use std::collections::HashMap;

use super::encode::form_decode;
use super::eval::{Input, Own, OwnPlace};
use super::media::{self, Media};
use super::step::Step;
use super::{encode, json};
use crate::sign::material::Material;
use crate::sign::{SignError, Signable};

/// Entries of a list at most: a form of a few bytes an entry would otherwise take a hundred times its size.
const ENTRIES: usize = 10_000;

/// A list from its sources to its text.
#[derive(Debug)]
pub(super) struct Pairs {
    pub(super) from: Box<[Origin]>,
    pub(super) picks: Box<[Pick]>,
    pub(super) format: Box<[Piece]>,
    /// Sorts what the format made of each entry.
    pub(super) sorted: bool,
    pub(super) joint: Box<str>,
}

/// Where entries come from.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Origin {
    Query,
    Form,
    Json,
    Headers(Box<[Name]>),
}

/// A name, or what names begin with.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Name {
    Whole(Box<str>),
    Beginning(Box<str>),
}

impl Name {
    pub(super) fn parse(text: &str) -> Self {
        match text.strip_suffix('*') {
            Some(beginning) => Self::Beginning(beginning.into()),
            None => Self::Whole(text.into()),
        }
    }

    fn is(&self, name: &[u8]) -> bool {
        match self {
            Self::Whole(whole) => whole.as_bytes() == name,
            Self::Beginning(beginning) => name.starts_with(beginning.as_bytes()),
        }
    }
}

/// One step from list to list.
#[derive(Debug)]
pub(super) enum Pick {
    Without(Box<[Name]>),
    Only(Box<[Name]>),
    With(Box<str>, Added),
    NonEmpty,
    Scalars,
    LowerNames,
    Merged(Box<str>),
    Sorted(Order),
}

/// The value of an entry that the template adds.
#[derive(Debug)]
pub(super) enum Added {
    Text(Box<str>),
    Secret(usize, Box<str>),
    Value(usize),
    /// A value that tells a secret.
    SecretValue(usize),
}

/// What entries are sorted by. Entries that are equal in it stay in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Decoded name, then decoded value.
    Whole,
    /// Decoded name.
    Name,
    /// Name in lower case, then value.
    NoCase,
    /// As sent.
    Raw,
}

/// A part of the format of an entry.
#[derive(Debug)]
pub(super) enum Piece {
    Literal(Box<str>),
    Field(Field, Box<[Step]>),
}

/// What a format may use of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Name,
    Value,
    RawName,
    RawValue,
    Raw,
}

/// For whom a list is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reader {
    Upstream,
    People,
}

/// An entry. What was sent is kept beside what it means.
struct Entry<'i> {
    name: Cow<'i, [u8]>,
    value: Cow<'i, [u8]>,
    raw_name: Cow<'i, [u8]>,
    /// Nothing where there was no `=`.
    raw_value: Option<Cow<'i, [u8]>>,
    kind: EntryKind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum EntryKind {
    Plain,
    /// A JSON array or object.
    Compound,
    /// Stands for a secret where people read: functions leave it as it is.
    Mask,
}

impl<'i> Entry<'i> {
    /// Of a name and a value that are not encoded.
    fn plain(name: &'i [u8], value: &'i [u8], kind: EntryKind) -> Self {
        let (name, value) = (Cow::Borrowed(name), Cow::Borrowed(value));
        Self { raw_name: name.clone(), raw_value: Some(value.clone()), name, value, kind }
    }

    fn raw(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.raw_name);
        if let Some(value) = &self.raw_value {
            out.push(b'=');
            out.extend_from_slice(value);
        }
    }
}

impl Pairs {
    /// Whether the list depends on the query.
    pub(super) fn reads_query(&self) -> bool {
        self.from.contains(&Origin::Query) || self.steps().any(Step::reads_query)
    }

    /// Whether the list depends on the body.
    pub(super) fn reads_body(&self) -> bool {
        self.from.iter().any(|from| matches!(from, Origin::Form | Origin::Json)) || self.steps().any(Step::reads_body)
    }

    /// The places of the values that it uses.
    pub(super) fn values(&self) -> impl Iterator<Item = usize> {
        let added = self.picks.iter().filter_map(|pick| match pick {
            Pick::With(_, Added::Value(index) | Added::SecretValue(index)) => Some(*index),
            _ => None,
        });
        added.chain(self.steps().filter_map(Step::value))
    }

    fn steps(&self) -> impl Iterator<Item = &Step> {
        let fields = self.format.iter().filter_map(|piece| match piece {
            Piece::Field(_, steps) => Some(steps),
            Piece::Literal(_) => None,
        });
        fields.flat_map(|steps| steps.iter())
    }

    /// The text of the list, appended to `out`.
    pub(super) fn write(&self, input: &Input<'_>, reader: Reader, out: &mut Vec<u8>) -> Result<(), SignError> {
        let mut entries = Vec::new();
        for from in &self.from {
            gather(from, input, reader, &mut entries)?;
            if entries.len() > ENTRIES {
                return Err(SignError::Unreadable(format!("it has more than {ENTRIES} parameters")));
            }
        }
        for pick in &self.picks {
            pick.apply(input, reader, &mut entries)?;
        }
        if !self.sorted {
            for (index, entry) in entries.iter().enumerate() {
                if index > 0 {
                    out.extend_from_slice(self.joint.as_bytes());
                }
                self.write_entry(entry, input, out)?;
            }
            return Ok(());
        }
        let mut texts = Vec::with_capacity(entries.len());
        for entry in &entries {
            let mut text = Vec::new();
            self.write_entry(entry, input, &mut text)?;
            texts.push(text);
        }
        texts.sort();
        for (index, text) in texts.iter().enumerate() {
            if index > 0 {
                out.extend_from_slice(self.joint.as_bytes());
            }
            out.extend_from_slice(text);
        }
        Ok(())
    }

    fn write_entry(&self, entry: &Entry<'_>, input: &Input<'_>, out: &mut Vec<u8>) -> Result<(), SignError> {
        for piece in &self.format {
            let (field, steps) = match piece {
                Piece::Literal(text) => {
                    out.extend_from_slice(text.as_bytes());
                    continue;
                }
                Piece::Field(field, steps) => (*field, steps),
            };
            if field == Field::Raw {
                apply(steps, &raw_of(entry), input, out)?;
                continue;
            }
            let text = match field {
                Field::Name => &*entry.name,
                Field::RawName => &*entry.raw_name,
                Field::Value => &*entry.value,
                _ => entry.raw_value.as_deref().unwrap_or_default(),
            };
            let is_mask = entry.kind == EntryKind::Mask && matches!(field, Field::Value | Field::RawValue);
            apply(if is_mask { &[] } else { steps }, text, input, out)?;
        }
        Ok(())
    }
}

fn raw_of(entry: &Entry<'_>) -> Vec<u8> {
    let mut raw = Vec::new();
    entry.raw(&mut raw);
    raw
}

/// One step writes straight into the result, several by way of a buffer.
fn apply(steps: &[Step], text: &[u8], input: &Input<'_>, out: &mut Vec<u8>) -> Result<(), SignError> {
    match steps {
        [] => out.extend_from_slice(text),
        [only] => only.apply(text, input, out)?,
        [first, rest @ ..] => {
            let mut result = Vec::new();
            first.apply(text, input, &mut result)?;
            for step in rest {
                let mut next = Vec::new();
                step.apply(&result, input, &mut next)?;
                result = next;
            }
            out.extend_from_slice(&result);
        }
    }
    Ok(())
}

fn gather<'i>(
    from: &'i Origin,
    input: &Input<'i>,
    reader: Reader,
    entries: &mut Vec<Entry<'i>>,
) -> Result<(), SignError> {
    let request = input.request;
    let body = || request.body.filter(|body| !body.is_empty());
    match from {
        Origin::Query => {
            encoded(request.query.unwrap_or_default().as_bytes(), entries);
            entries.extend(own(input, OwnPlace::Query).map(|own| own_encoded(own, reader)));
        }
        Origin::Form => {
            if let Some(body) = body().filter(|_| media::of(request.headers) == Some(Media::Form)) {
                encoded(body, entries);
            }
            entries.extend(own(input, OwnPlace::Form).map(|own| own_encoded(own, reader)));
        }
        Origin::Json => {
            if let Some(body) = body().filter(|_| media::of(request.headers) == Some(Media::Json)) {
                members(body, entries)?;
            }
            entries.extend(own(input, OwnPlace::Json).map(|own| own_member(own, reader)));
        }
        Origin::Headers(names) => headers(names, input, reader, entries),
    }
    Ok(())
}

/// `name=value&..` as in queries and forms; what is empty between two `&` is nothing.
fn encoded<'i>(text: &'i [u8], entries: &mut Vec<Entry<'i>>) {
    for pair in text.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()).take(ENTRIES + 1) {
        let (name, value) = match memchr::memchr(b'=', pair) {
            Some(at) => (&pair[..at], Some(&pair[at + 1..])),
            None => (pair, None),
        };
        entries.push(Entry {
            name: form_decode(name),
            value: form_decode(value.unwrap_or_default()),
            raw_name: Cow::Borrowed(name),
            raw_value: value.map(Cow::Borrowed),
            kind: EntryKind::Plain,
        });
    }
}

fn members<'i>(body: &'i [u8], entries: &mut Vec<Entry<'i>>) -> Result<(), SignError> {
    for member in json::members(body)?.into_iter().take(ENTRIES + 1) {
        let kind = if member.is_compound() { EntryKind::Compound } else { EntryKind::Plain };
        let name: Cow<'i, [u8]> = Cow::Owned(member.name.into_bytes());
        let raw_value = Some(Cow::Borrowed(member.raw));
        entries.push(Entry { raw_name: name.clone(), name, value: json::text(member.raw)?, raw_value, kind });
    }
    Ok(())
}

fn own<'i>(input: &Input<'i>, place: OwnPlace) -> impl Iterator<Item = &'i Own> {
    input.own.iter().filter(move |own| own.place == place)
}

/// A parameter of the query or field of a form that this credential sets, as it will leave.
fn own_encoded(own: &Own, reader: Reader) -> Entry<'_> {
    let mut entry = own_entry(own, reader);
    let encode = |text: &[u8]| {
        let mut out = Vec::with_capacity(text.len());
        encode::url(text, &mut out);
        Cow::Owned(out)
    };
    entry.raw_name = encode(&entry.name);
    if entry.kind != EntryKind::Mask {
        entry.raw_value = Some(encode(&entry.value));
    }
    entry
}

/// A member of the JSON body that this credential sets, as it will leave.
fn own_member(own: &Own, reader: Reader) -> Entry<'_> {
    let mut entry = own_entry(own, reader);
    if entry.kind != EntryKind::Mask {
        let mut text = vec![b'"'];
        encode::json(&entry.value, &mut text);
        text.push(b'"');
        entry.raw_value = Some(Cow::Owned(text));
    }
    entry
}

fn own_entry(own: &Own, reader: Reader) -> Entry<'_> {
    match (&own.shown, reader) {
        (Some(shown), Reader::People) => Entry::plain(own.name.as_bytes(), shown, EntryKind::Mask),
        _ => Entry::plain(own.name.as_bytes(), &own.value, EntryKind::Plain),
    }
}

/// Headers in the order of the patterns, those of one pattern by name; each once, every line of it an entry.
fn headers<'i>(names: &'i [Name], input: &Input<'i>, reader: Reader, entries: &mut Vec<Entry<'i>>) {
    let request = input.request;
    let mut taken: Vec<&str> = Vec::new();
    for pattern in names {
        let mut found: Vec<&'i str> = Vec::new();
        match pattern {
            Name::Whole(name) => found.push(name),
            Name::Beginning(_) => {
                let sent = request.headers.keys().map(http::HeaderName::as_str).chain(["host"]);
                let own = own(input, OwnPlace::Header).map(|own| &*own.name);
                found.extend(sent.chain(own).filter(|name| pattern.is(name.as_bytes())));
                found.sort_unstable();
                found.dedup();
            }
        }
        for name in found {
            if !taken.contains(&name) {
                taken.push(name);
                lines(name, request, entries);
                let own = own(input, OwnPlace::Header).filter(|own| &*own.name == name);
                entries.extend(own.map(|own| own_entry(own, reader)));
            }
        }
    }
}

fn lines<'i>(name: &'i str, request: &Signable<'i>, entries: &mut Vec<Entry<'i>>) {
    let mut line = |value: &'i [u8]| {
        entries.push(Entry::plain(name.as_bytes(), value.trim_ascii(), EntryKind::Plain));
    };
    if name == "host" {
        line(request.host.as_bytes());
    } else {
        request.headers.get_all(name).iter().for_each(|value| line(value.as_bytes()));
    }
}

impl Pick {
    fn apply<'i>(&'i self, input: &Input<'i>, reader: Reader, entries: &mut Vec<Entry<'i>>) -> Result<(), SignError> {
        let any = |names: &[Name], entry: &Entry<'_>| names.iter().any(|name| name.is(&entry.name));
        match self {
            Self::Without(names) => entries.retain(|entry| !any(names, entry)),
            Self::Only(names) => entries.retain(|entry| any(names, entry)),
            Self::NonEmpty => entries.retain(|entry| !entry.value.is_empty()),
            Self::Scalars => entries.retain(|entry| entry.kind != EntryKind::Compound),
            Self::LowerNames => {
                entries.iter_mut().for_each(|entry| entry.name = entry.name.to_ascii_lowercase().into())
            }
            Self::Merged(joint) => merge(joint.as_bytes(), entries),
            Self::Sorted(order) => order.sort(entries),
            Self::With(name, added) => entries.push(added.entry(name, input, reader)?),
        }
        Ok(())
    }
}

impl Added {
    fn entry<'i>(&'i self, name: &'i str, input: &Input<'i>, reader: Reader) -> Result<Entry<'i>, SignError> {
        let masked = |text| Entry::plain(name.as_bytes(), text, EntryKind::Mask);
        let plain = |text| Entry::plain(name.as_bytes(), text, EntryKind::Plain);
        Ok(match self {
            Self::Text(text) => plain(text.as_bytes()),
            Self::Secret(index, secret) => match (input.keys.get(*index), reader) {
                (Some(_), Reader::People) => {
                    let shown: Cow<'i, [u8]> = Cow::Owned(format!("[{secret}]").into_bytes());
                    Entry { value: shown.clone(), raw_value: Some(shown), ..masked(b"") }
                }
                (Some(Material::Text(text)), Reader::Upstream) => plain(text.expose()),
                _ => return Err(SignError::Missing(format!("secret:{secret}"))),
            },
            Self::SecretValue(index) if reader == Reader::People => {
                masked(input.shown.get(*index).map_or(&[], Vec::as_slice))
            }
            Self::Value(index) | Self::SecretValue(index) => {
                plain(input.values.get(*index).ok_or_else(|| SignError::Missing("value".to_owned()))?)
            }
        })
    }
}

impl Order {
    fn sort(self, entries: &mut [Entry<'_>]) {
        match self {
            Self::Whole => entries.sort_by(|a, b| (&a.name, &a.value).cmp(&(&b.name, &b.value))),
            Self::Name => entries.sort_by(|a, b| a.name.cmp(&b.name)),
            Self::NoCase => entries.sort_by(|a, b| {
                let lower = |name: &Cow<'_, [u8]>| name.to_ascii_lowercase();
                lower(&a.name).cmp(&lower(&b.name)).then_with(|| a.value.cmp(&b.value))
            }),
            Self::Raw => entries.sort_by_cached_key(raw_of),
        }
    }
}

/// Joins the values of entries with one name, at the place of the first of them.
fn merge(joint: &[u8], entries: &mut Vec<Entry<'_>>) {
    let mut places: HashMap<Vec<u8>, usize> = HashMap::with_capacity(entries.len());
    let mut merged: Vec<Entry<'_>> = Vec::with_capacity(entries.len());
    for entry in entries.drain(..) {
        match places.get(&*entry.name) {
            None => {
                places.insert(entry.name.to_vec(), merged.len());
                merged.push(entry);
            }
            Some(place) => {
                let first = &mut merged[*place];
                append(&mut first.value, joint, &entry.value);
                let raw = first.raw_value.get_or_insert_default();
                append(raw, joint, entry.raw_value.as_deref().unwrap_or_default());
                if entry.kind == EntryKind::Mask {
                    first.kind = EntryKind::Mask;
                }
            }
        }
    }
    *entries = merged;
}

fn append(text: &mut Cow<'_, [u8]>, joint: &[u8], more: &[u8]) {
    let text = text.to_mut();
    text.extend_from_slice(joint);
    text.extend_from_slice(more);
}
