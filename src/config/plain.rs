//! The usual way to write routes and credentials, read without the TOML parser: one line a header or a key, bare keys,
//! strings without escapes, flags, lists and inline tables of them.
//!
//! What comes out is the tree that the parser makes of the same text, at a fraction of the cost; thousands of tables
//! are read that way at start. What is written in any other way, correct or not, is `None`: the parser reads it.
//! Caller: `parts`.

use std::borrow::Cow;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeArray, DeString, DeTable, DeValue};

/// Levels of lists and inline tables within one another.
const DEPTH: usize = 4;

/// The tree of a text that has nothing but `[[route]]` tables, or nothing but tables below `credential`.
pub(super) fn tree(text: &str) -> Option<DeTable<'_>> {
    let mut tree = Tree::default();
    let mut open: Option<Header<'_>> = None;
    let mut table = DeTable::new();
    let mut begin = 0;
    for line in text.split_inclusive('\n') {
        let end = begin + line.trim_end_matches(['\r', '\n', ' ', '\t']).len();
        let mut cursor = Cursor { text: &text[..end], at: begin };
        match line.as_bytes().first() {
            Some(b'[') => {
                if let Some(done) = open.replace(cursor.header()?) {
                    tree.close(&done, std::mem::take(&mut table))?;
                }
            }
            Some(b'#') => cursor.comment()?,
            _ if end == begin => {}
            _ => {
                cursor.entry(&mut table, DEPTH)?;
                open.as_ref()?;
            }
        }
        // A carriage return counts before a line feed alone; the parser knows what it is elsewhere.
        let rest = &text[end..begin + line.len()];
        if rest.strip_suffix("\r\n").or(rest.strip_suffix('\n')).unwrap_or(rest).contains('\r') {
            return None;
        }
        begin += line.len();
    }
    tree.close(&open?, table)?;
    Some(tree.root)
}

/// The line that a table begins with.
struct Header<'i> {
    span: Range<usize>,
    /// `[[route]]`
    listed: bool,
    /// Two or three keys, of `[[route]]` one.
    keys: Vec<Spanned<DeString<'i>>>,
}

#[derive(Default)]
struct Tree<'i> {
    root: DeTable<'i>,
}

impl<'i> Tree<'i> {
    /// Puts a table that is read to its end where its header says.
    fn close(&mut self, header: &Header<'i>, table: DeTable<'i>) -> Option<()> {
        let table = Spanned::new(header.span.clone(), DeValue::Table(table));
        let (first, rest) = header.keys.split_first()?;
        if header.listed {
            let list = || Spanned::new(header.span.clone(), DeValue::Array(DeArray::new()));
            let DeValue::Array(list) = self.root.entry(first.clone()).or_insert_with(list).get_mut() else {
                return None;
            };
            list.push(table);
            return Some(());
        }
        let parent = match first.get_ref().as_ref() {
            "route" => match self.root.get_mut("route")?.get_mut() {
                DeValue::Array(list) => list.last_mut()?.get_mut(),
                _ => return None,
            },
            _ => self.root.entry(first.clone()).or_insert_with(|| implied(first)).get_mut(),
        };
        match (parent, rest) {
            (DeValue::Table(parent), [key]) => add(parent, key.clone(), table),
            (DeValue::Table(parent), [name, key]) if !header.is_route() => {
                match parent.entry(name.clone()).or_insert_with(|| implied(name)).get_mut() {
                    DeValue::Table(parent) => add(parent, key.clone(), table),
                    _ => None,
                }
            }
            _ => None,
        }
    }
}

impl Header<'_> {
    fn is_route(&self) -> bool {
        self.keys.first().is_some_and(|key| key.get_ref() == "route")
    }
}

/// A table that is there because one within it is.
fn implied<'i>(key: &Spanned<DeString<'i>>) -> Spanned<DeValue<'i>> {
    Spanned::new(key.span(), DeValue::Table(DeTable::new()))
}

/// `None` where there is such a key already: the parser says what is wrong with that, or that it is not.
fn add<'i>(table: &mut DeTable<'i>, key: Spanned<DeString<'i>>, value: Spanned<DeValue<'i>>) -> Option<()> {
    table.insert(key, value).is_none().then_some(())
}

/// A place in a line; `text` ends where the line does.
struct Cursor<'i> {
    text: &'i str,
    at: usize,
}

impl<'i> Cursor<'i> {
    fn next(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip(&mut self, byte: u8) -> Option<()> {
        (self.next()? == byte).then(|| self.at += 1)
    }

    fn blanks(&mut self) {
        while matches!(self.next(), Some(b' ' | b'\t')) {
            self.at += 1;
        }
    }

    fn ended(&self) -> Option<()> {
        (self.at == self.text.len()).then_some(())
    }

    /// A comment to the end of the line, in which control characters are not allowed.
    fn comment(&self) -> Option<()> {
        self.text.as_bytes()[self.at..].iter().all(|byte| is_plain(*byte)).then_some(())
    }

    /// `[[route]]`, `[route.x]`, `[a.b]` or `[a.b.c]`.
    fn header(&mut self) -> Option<Header<'i>> {
        let begin = self.at;
        self.skip(b'[')?;
        let listed = self.skip(b'[').is_some();
        let mut keys = vec![self.key()?];
        while self.skip(b'.').is_some() {
            keys.push(self.key()?);
        }
        self.skip(b']')?;
        if listed {
            self.skip(b']')?;
        }
        self.ended()?;
        let known = if listed { keys.len() == 1 && keys[0].get_ref() == "route" } else { matches!(keys.len(), 2 | 3) };
        known.then_some(Header { span: begin..self.at, listed, keys })
    }

    fn key(&mut self) -> Option<Spanned<DeString<'i>>> {
        let rest = &self.text.as_bytes()[self.at..];
        let bare = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let length = rest.iter().position(|byte| !bare(byte)).unwrap_or(rest.len());
        let span = self.at..self.at + length;
        self.at = span.end;
        (length > 0).then(|| Spanned::new(span.clone(), Cow::Borrowed(&self.text[span])))
    }

    /// `key = value` to the end of the line.
    fn entry(&mut self, table: &mut DeTable<'i>, depth: usize) -> Option<()> {
        self.pair(table, depth)?;
        self.ended()
    }

    fn pair(&mut self, table: &mut DeTable<'i>, depth: usize) -> Option<()> {
        let key = self.key()?;
        self.blanks();
        self.skip(b'=')?;
        self.blanks();
        let value = self.value(depth)?;
        add(table, key, value)
    }

    fn value(&mut self, depth: usize) -> Option<Spanned<DeValue<'i>>> {
        let begin = self.at;
        let value = match self.next()? {
            b'"' => DeValue::String(Cow::Borrowed(self.string()?)),
            b't' => self.word("true", true)?,
            b'f' => self.word("false", false)?,
            b'[' if depth > 0 => self.list(depth - 1)?,
            b'{' if depth > 0 => self.inline(depth - 1)?,
            _ => return None,
        };
        Some(Spanned::new(begin..self.at, value))
    }

    fn string(&mut self) -> Option<&'i str> {
        self.skip(b'"')?;
        let rest = &self.text[self.at..];
        let length = rest.bytes().position(|byte| byte == b'"' || byte == b'\\' || !is_plain(byte))?;
        self.at += length;
        self.skip(b'"')?;
        // Three quotes begin a string of several lines.
        (self.next() != Some(b'"')).then(|| &rest[..length])
    }

    fn word(&mut self, word: &str, value: bool) -> Option<DeValue<'i>> {
        self.text[self.at..].starts_with(word).then(|| self.at += word.len())?;
        // Longer words are mistakes, which what follows a value shows.
        Some(DeValue::Boolean(value))
    }

    fn list(&mut self, depth: usize) -> Option<DeValue<'i>> {
        let mut list = DeArray::new();
        self.each(b'[', b']', |cursor| cursor.value(depth).map(|value| list.push(value)))?;
        Some(DeValue::Array(list))
    }

    fn inline(&mut self, depth: usize) -> Option<DeValue<'i>> {
        let mut table = DeTable::new();
        self.each(b'{', b'}', |cursor| cursor.pair(&mut table, depth))?;
        Some(DeValue::Table(table))
    }

    /// What stands between two brackets, with commas between one another.
    fn each(&mut self, open: u8, close: u8, mut one: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.skip(open)?;
        self.blanks();
        if self.skip(close).is_some() {
            return Some(());
        }
        loop {
            one(self)?;
            self.blanks();
            if self.skip(close).is_some() {
                return Some(());
            }
            self.skip(b',')?;
            self.blanks();
        }
    }
}

/// Neither a control character nor DEL; a tab is fine.
fn is_plain(byte: u8) -> bool {
    byte == b'\t' || (byte >= 0x20 && byte != 0x7f)
}

#[cfg(test)]
#[path = "plain_tests.rs"]
mod tests;
