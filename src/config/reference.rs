//! `docs/CONFIGURATION.md`, printed from the table of keys.

use std::fmt::Write;

use super::keys::ROOT;
use super::schema::{Fallback, Key, Kind, Section};

const HEAD: &str = "# `proxy.toml`\n\n\
<!-- Printed from src/config/keys.rs and keys_route.rs. To change it, change those and run\n\
     UPDATE_DOCS=1 cargo test --lib config -->\n\n\
The file is TOML 1.1 and is read strictly: an unknown key, a duplicate, a name that refers to nothing or two routes\n\
that could claim the same request are errors. `countersign check` prints all of them at once, each with its place\n\
and what to do.\n\n\
- **Durations** are a number and `ms`, `s`, `m`, `h` or `d`: `\"10s\"`, `\"5m\"`, `\"7d\"`.\n\
- **Sizes** are a number and `B`, `KiB`, `MiB` or `GiB`: `\"64KiB\"`, `\"16MiB\"`.\n\
- **Secrets** are never written into the file. A secret is named by its path below `[secrets] dir`, as a string or as\n\
  `{ secret = \"NAME\" }`.\n\
- **Paths** are relative to the folder of `proxy.toml`.\n\
- A sub-table (`[credential.x.hmac]`, `[route.tls]`) means the same as an inline table.\n\n";

/// The reference page, as Markdown.
pub fn reference() -> String {
    let mut out = HEAD.to_owned();
    out += "## Sections\n\n";
    keys(&ROOT, &mut out);
    section_list(&ROOT, 2, &mut out);
    out
}

/// The sections below a section, each once, in the order of the keys.
fn section_list(of: &Section, depth: usize, out: &mut String) {
    for key in of.keys {
        let below = match key.kind {
            Kind::Table(below)
            | Kind::Tables(below)
            | Kind::TableOrTables(below)
            | Kind::Named(below)
            | Kind::TextOrTable(_, below) => below,
            _ => continue,
        };
        let _ = writeln!(out, "{} {}\n", "#".repeat(depth), heading(below));
        if !below.help.is_empty() {
            let _ = writeln!(out, "{}\n", below.help);
        }
        keys(below, out);
        if !below.example.is_empty() {
            let _ = writeln!(out, "```toml\n{}```\n", below.example);
        }
        section_list(below, depth + 1, out);
    }
}

fn heading(section: &Section) -> String {
    section.title.replace('[', "\\[").replace(']', "\\]")
}

fn keys(of: &Section, out: &mut String) {
    *out += "| key | type | default | |\n|---|---|---|---|\n";
    for key in of.keys {
        let kind = key.kind.documented().replace('|', "\\|");
        let _ = writeln!(out, "| `{}` | {kind} | {} | {} |", key.name, default(key), key.help.replace('|', "\\|"));
    }
    if !of.later.is_empty() {
        let later: Vec<String> = of.later.iter().map(|name| format!("`{name}`")).collect();
        let _ = writeln!(out, "\nNot supported by this version, and refused: {}.", later.join(", "));
    }
    *out += "\n";
}

fn default(key: &Key) -> String {
    match (key.default, key.kind) {
        (Fallback::Required, _) => "required".to_owned(),
        (Fallback::Absent, _) => String::new(),
        (Fallback::Is(text), Kind::Flag) => format!("`{text}`"),
        (Fallback::Is(text), Kind::Fraction { .. }) => format!("`{text}`"),
        (Fallback::Is(text), Kind::Count { .. }) if text.parse::<u64>().is_ok() => format!("`{text}`"),
        (Fallback::Is(text), Kind::Texts(_)) => format!("`[\"{text}\"]`"),
        (Fallback::Is(text), _) => format!("`\"{text}\"`"),
    }
}
