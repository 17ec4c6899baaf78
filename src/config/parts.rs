//! A large file read in parts: thousands of `[[route]]` and `[credential.NAME]` tables, some at a time, so that the tree
//! of the whole file, about ten times its text, is never in memory.
//!
//! A text may be cut before any line that begins with `[`: if what is before it is TOML by itself, the parser would be
//! between two tables there. What could differ from reading the whole is not read in parts at all, and neither is a
//! file that has a mistake: [`read`] is `None`, and the whole says what is wrong.

use std::collections::HashSet;
use std::ops::Range;
use std::path::Path;

use memchr::memmem;
use toml::de::DeTable;

use super::fields::{Fields, Mistakes};
use super::model::Config;
use super::route::Around;
use super::sections::Taken;
use super::{credential, keys, plain, route, source};

/// Bytes from which on a file is read in parts.
pub(super) const FROM: usize = 64 * 1024;

/// Bytes after which a part ends at the next table.
const PART: usize = 16 * 1024;

/// The tables of a file that there may be thousands of, cut into texts that are read one after the other.
pub(super) struct Parts<'i> {
    text: &'i str,
    credentials: Vec<Range<usize>>,
    routes: Vec<Range<usize>>,
}

/// What a table is, by the line that it begins with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Route,
    Credential,
    Other,
}

/// The configuration of a file without a mistake; `None` for one that must be read as a whole.
pub(super) fn read(text: &str, folder: &Path) -> Option<Config> {
    read_by(text, folder, PART)
}

fn read_by(text: &str, folder: &Path, size: usize) -> Option<Config> {
    let (parts, rest) = Parts::cut(text, size)?;
    let (table, problems) = DeTable::parse_recoverable(&rest);
    let table = table.get_ref();
    if !problems.is_empty() || table.contains_key("route") || table.contains_key("credential") {
        return None;
    }
    let mistakes = Mistakes::default();
    source::mask_literals(table, &mistakes);
    let config = super::read(table, text, folder, &mistakes, Some(&parts))?;
    mistakes.is_empty().then_some(config)
}

impl<'i> Parts<'i> {
    /// The parts of a text, and what is in none of them, each byte where it was.
    fn cut(text: &'i str, size: usize) -> Option<(Self, String)> {
        let mut parts = Self { text, credentials: Vec::new(), routes: Vec::new() };
        let mut rest = String::new();
        let (mut kind, mut begin, mut credential) = (Kind::Other, 0, "");
        let tables = memmem::find_iter(text.as_bytes(), "\n[").map(|at| at + 1);
        for at in std::iter::once(0).filter(|_| text.starts_with('[')).chain(tables) {
            let line = &text[at..];
            let next = Kind::of(line);
            let whole = match next {
                Kind::Route => line.starts_with(ROUTE),
                // The tables of one credential stay together.
                Kind::Credential => {
                    let keys = first_keys(line);
                    std::mem::replace(&mut credential, keys) != keys
                }
                Kind::Other => false,
            };
            if next == kind && (!whole || at - begin < size) {
                continue;
            }
            // A table of a route whose beginning is elsewhere.
            if next == Kind::Route && !whole {
                return None;
            }
            parts.take(kind, begin..at, &mut rest);
            (kind, begin) = (next, at);
        }
        parts.take(kind, begin..text.len(), &mut rest);
        Some((parts, rest))
    }

    fn take(&mut self, kind: Kind, range: Range<usize>, rest: &mut String) {
        match kind {
            Kind::Route => self.routes.push(range),
            Kind::Credential => self.credentials.push(range),
            Kind::Other => {
                // What was taken out is white space, in which there is nothing to read and every place is as it was.
                rest.extend(std::iter::repeat_n(' ', (range.start - rest.len()).saturating_sub(1)));
                if rest.len() < range.start {
                    rest.push('\n');
                }
                rest.push_str(&self.text[range]);
            }
        }
    }

    /// All credentials, in the order of the file; `None` where the file has a mistake.
    pub(super) fn credentials(&self, mistakes: &Mistakes) -> Option<Vec<credential::Declared>> {
        let mut all = Vec::new();
        for part in &self.credentials {
            self.part(part, "credential", mistakes, |root, text| {
                let first = all.len();
                all.append(&mut credential::credentials(root, text));
                all[first..].iter_mut().for_each(|one: &mut credential::Declared| one.shift(part.start));
            })?;
        }
        let mut names = HashSet::with_capacity(all.len());
        all.iter().all(|one| names.insert(&*one.name.value)).then_some(())?;
        Some(all)
    }

    /// All routes, in the order of the file; `None` where the file has a mistake. Half of them are read by a thread of
    /// their own: a start waits for this more than for anything else.
    pub(super) fn routes(&self, around: &Around<'_>, taken: &mut Taken) -> Option<Vec<route::Declared>> {
        let (first, second) = self.routes.split_at(self.routes.len() / 2);
        let mut all = Vec::with_capacity(memmem::find_iter(self.text.as_bytes(), ROUTE).count());
        let rest = std::thread::scope(|scope| {
            let other = std::thread::Builder::new()
                .name("configuration".to_owned())
                .spawn_scoped(scope, || {
                    let (mut routes, mut taken) = (Vec::new(), Taken::new());
                    self.routes_of(second, around, &mut routes, &mut taken)?;
                    Some((routes, taken))
                })
                .ok()?;
            self.routes_of(first, around, &mut all, taken)?;
            other.join().ok()?
        });
        let (mut routes, mut more) = rest?;
        all.append(&mut routes);
        taken.append(&mut more);
        Some(all)
    }

    fn routes_of(
        &self,
        parts: &[Range<usize>],
        around: &Around<'_>,
        all: &mut Vec<route::Declared>,
        taken: &mut Taken,
    ) -> Option<()> {
        let mistakes = Mistakes::default();
        let mut shared = route::Shared::new(around, route::Places::First(0));
        parts.iter().try_for_each(|part| {
            shared.moved(route::Places::First(part.start));
            self.part(part, "route", &mistakes, |root, _| {
                let first = all.len();
                all.append(&mut route::routes(root, around, taken, &mut shared));
                all[first..].iter_mut().for_each(|one| one.shift(part.start));
            })
        })
    }

    /// Reads a part, in which there are tables of one key alone.
    fn part(
        &self,
        part: &Range<usize>,
        key: &str,
        mistakes: &Mistakes,
        read: impl FnOnce(&Fields<'_, '_>, &str),
    ) -> Option<()> {
        let text = &self.text[part.clone()];
        let table = match plain::tree(text) {
            Some(table) => table,
            None => {
                let (table, problems) = DeTable::parse_recoverable(text);
                problems.is_empty().then(|| table.into_inner())?
            }
        };
        if table.len() != 1 || !table.contains_key(key) {
            return None;
        }
        source::mask_literals(&table, mistakes);
        read(&Fields::open(&table, 0..0, &keys::ROOT, mistakes), text);
        mistakes.is_empty().then_some(())
    }
}

/// How a route begins.
const ROUTE: &str = "[[route]]";
/// How a table of a credential begins.
const CREDENTIAL: &str = "[credential.";

impl Kind {
    fn of(line: &str) -> Self {
        if line.starts_with(ROUTE) || line.starts_with("[route.") || line.starts_with("[[route.") {
            Self::Route
        } else if line.starts_with(CREDENTIAL) {
            Self::Credential
        } else {
            Self::Other
        }
    }
}

/// The first two keys of a credential's line: `[credential.a` of `[credential.a.hmac]`.
fn first_keys(line: &str) -> &str {
    let from = CREDENTIAL.len().min(line.len());
    let end = line[from..].find(['.', ']', '\n']).map_or(line.len(), |at| from + at);
    &line[..end]
}

#[cfg(test)]
#[path = "parts_tests.rs"]
mod tests;
