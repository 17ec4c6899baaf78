//! Words for people and data for programs: standard output, standard error, colour, tables.

use std::io::{IsTerminal as _, Write as _};

use super::exit::Ended;
use crate::config::Diagnostic;
use crate::config::model::Source;

/// Writes data to standard output. A reader that has gone away is no error.
pub fn data(text: &str) {
    let mut out = std::io::stdout().lock();
    let end = if text.ends_with('\n') || text.is_empty() { "" } else { "\n" };
    let _ = write!(out, "{text}{end}").and_then(|()| out.flush()); // nobody is left to tell
}

/// Writes one JSON document to standard output.
pub fn json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    data(&serde_json::to_string_pretty(value)?);
    Ok(())
}

/// Writes a line for people to standard error.
pub fn note(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}"); // nobody is left to tell
}

/// `error: ..` and, where there is one, `  hint: ..`, on standard error.
pub fn error(error: &anyhow::Error) {
    let shown = error.chain().map(ToString::to_string).collect::<Vec<_>>().join(": ");
    let hint = error.downcast_ref::<Ended>().and_then(|ended| ended.hint.as_deref());
    let hint = hint.map(|hint| format!("\n  hint: {}", harmless(hint))).unwrap_or_default();
    note(&coloured(&format!("error: {}{hint}", harmless(&shown))));
}

/// Diagnostics of a configuration, a blank line after each.
pub fn diagnostics(list: &[Diagnostic], source: &Source) {
    for diagnostic in list {
        note(&coloured(&diagnostic.render(source)));
    }
}

/// Text of others without characters that would steer a terminal; line ends stay.
pub fn harmless(text: &str) -> String {
    let bad = |c: char| {
        (c.is_control() && c != '\n')
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().map(|c| if bad(c) { c.escape_unicode().to_string() } else { c.to_string() }).collect()
}

/// The first word in colour, where standard error is a terminal and nobody asked for none (<https://no-color.org>).
#[allow(clippy::disallowed_methods)] // the command line may read the environment
fn coloured(text: &str) -> String {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    if refused || !std::io::stderr().is_terminal() {
        return text.to_owned();
    }
    let paint = |word: &str, code: &str| text.strip_prefix(word).map(|rest| format!("\x1b[{code}m{word}\x1b[0m{rest}"));
    paint("error", "1;31").or_else(|| paint("warning", "1;33")).unwrap_or_else(|| text.to_owned())
}

/// Rows in columns as wide as their widest cell, two spaces between them, no space at the ends. A column
/// without any content is left out.
pub fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let shown = |row: &[String]| row.iter().map(|cell| harmless(cell).replace('\n', " ")).collect::<Vec<_>>();
    let head: Vec<String> = head.iter().map(|cell| (*cell).to_owned()).collect();
    let all: Vec<Vec<String>> = std::iter::once(shown(&head)).chain(rows.iter().map(|row| shown(row))).collect();
    let width = |column: usize| {
        all.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let is_empty = |column: usize| all.iter().skip(1).all(|row| row.get(column).is_none_or(String::is_empty));
    let widths: Vec<Option<usize>> =
        (0..head.len()).map(|column| if is_empty(column) { None } else { Some(width(column)) }).collect();
    let mut out = String::new();
    for row in &all {
        let cells = row.iter().zip(&widths).filter_map(|(cell, width)| width.map(|width| format!("{cell:<width$}")));
        out.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_empty_ones_are_left_out() {
        let row = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
        let rows = vec![row(["partner", "", "ok"]), row(["é\u{1b}[1m", "", ""])];
        assert_eq!(table(&["NAME", "E", "S"], &rows), "NAME        S\npartner     ok\né\\u{1b}[1m\n");
    }
}
