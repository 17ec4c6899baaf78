//! `connections import`: tokens that exist already, all or none of them.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::Path;

use anyhow::Context as _;
use zeroize::Zeroizing;

use super::args::ImportArgs;
use super::lines::{self, Line, LineError, Mistake};
use super::opened::{Opened, ended};
use crate::cli::args::{Format, Global};
use crate::cli::exit::{Ended, Exit};
use crate::cli::terminal;
use crate::clock::Timestamp;
use crate::refresh::approve::{captures_of, check_key};
use crate::server::connections::of_store;
use crate::store::{Existing, StoreError};
use crate::token::{Event, OAuth, Record, machine};

/// Bytes of a file at most: 100 000 connections with tokens of a kilobyte fit.
const FILE_LIMIT: u64 = 512 * 1024 * 1024;

pub(super) async fn import(global: &Global, own: &ImportArgs, opened: &Opened) -> anyhow::Result<Exit> {
    let name = own.file.as_deref().filter(|file| *file != Path::new("-"));
    let bytes = content(name)?;
    let store = opened.steering.tokens().store();
    let now = store.now().await.map_err(|error| ended(of_store(&error)))?;
    let lines = lines::read(&bytes, now).map_err(|error| refused(name, &error))?;
    let existing = if own.replace { Existing::Replace } else { Existing::Refuse };
    let (mut records, mut events) = (Vec::with_capacity(lines.len()), Vec::new());
    for line in &lines {
        let (record, told) = made(opened, line, existing, now).await.map_err(|error| match error {
            NotMade::Line(mistake) => refused(name, &LineError { number: line.number, mistake }),
            NotMade::Store(error) => ended(of_store(&error)),
        })?;
        records.push(record);
        events.extend(told);
    }
    let count = records.len();
    store.put(records, existing, events).await.map_err(|error| not_written(name, &lines, &error))?;
    match global.format {
        Format::Json => terminal::json(&serde_json::json!({ "imported": count }))?,
        Format::Text => terminal::data(&format!("{count} imported\n")),
    }
    unused(opened, &lines);
    Ok(Exit::Fine)
}

fn content(name: Option<&Path>) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::new());
    match name {
        None => std::io::stdin().lock().take(FILE_LIMIT + 1).read_to_end(&mut bytes).context("standard input")?,
        Some(name) => std::fs::File::open(name)
            .and_then(|file| file.take(FILE_LIMIT + 1).read_to_end(&mut bytes))
            .with_context(|| format!("cannot read {}", name.display()))?,
    };
    if bytes.len() as u64 > FILE_LIMIT {
        return Err(Ended::new(Exit::Bad, "the file is over 512 MiB").with_hint("import it in parts").into());
    }
    Ok(bytes)
}

enum NotMade {
    Line(Mistake),
    Store(StoreError),
}

/// The record of a line, as an approval would make it.
async fn made(
    opened: &Opened,
    line: &Line,
    existing: Existing,
    now: Timestamp,
) -> Result<(Record, Vec<Event>), NotMade> {
    let say = |error: &dyn std::fmt::Display| NotMade::Line(Mistake::Connection(error.to_string()));
    check_key(&opened.snapshot, &line.key).map_err(|error| say(&error))?;
    let oauth = oauth_of(opened, &line.key.credential).ok_or_else(|| say(&"no such credential"))?;
    let captures = captures_of(&opened.snapshot, &line.key);
    let list: Vec<(&str, &str)> = captures.iter().map(|(name, value)| (&**name, &**value)).collect();
    let fresh = Record { tokens: line.tokens.clone(), ..machine::template(line.key.clone(), oauth, &list, now) };
    let before = match existing {
        Existing::Replace => opened.steering.tokens().store().load(&line.key).await.map_err(NotMade::Store)?,
        Existing::Refuse => None,
    };
    let (mut record, events) = machine::connected(before.as_ref(), fresh, oauth, now, spread(line.number));
    // Without an access token there is nothing to send: it is asked for at once.
    if record.tokens.access.is_none() {
        record.next_refresh_at = Some(now);
    }
    record.last_refresh = None;
    Ok((record, events))
}

fn oauth_of<'o>(opened: &'o Opened, credential: &str) -> Option<&'o OAuth> {
    let index = opened.snapshot.plan.credential_index(credential)?;
    opened.snapshot.plan.config.credentials[index].oauth.as_deref()
}

/// Spreads the refreshes of what was imported together: the fractional part of multiples of the golden ratio.
fn spread(number: usize) -> f64 {
    (number as f64 * 0.618_033_988_749_895).fract()
}

fn refused(name: Option<&Path>, error: &LineError) -> Ended {
    let name = name.map_or_else(|| "standard input".to_owned(), |name| name.display().to_string());
    Ended::new(Exit::Bad, format!("{name}, {error}")).with_hint("nothing was imported")
}

fn not_written(name: Option<&Path>, lines: &[Line], error: &StoreError) -> Ended {
    let StoreError::Exists { key } = error else { return ended(of_store(error)) };
    let number = lines.iter().find(|line| line.key == *key).map_or(0, |line| line.number);
    let mistake = Mistake::Connection(format!("{key} exists already"));
    refused(name, &LineError { number, mistake }).with_hint("nothing was imported; --replace replaces what exists")
}

/// A credential that no route uses is no mistake, but worth a word.
fn unused(opened: &Opened, lines: &[Line]) {
    let names: BTreeSet<&str> = lines.iter().map(|line| &*line.key.credential).collect();
    for name in names {
        if crate::server::connections::routes_of(&opened.snapshot, name).is_empty() {
            terminal::note(&format!("warning: no route uses credential {name}"));
        }
    }
}
