//! The rules of the house, held by reading its sources.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Where the layers of the modules are written: a lower one never uses a higher one, and modules of one layer use one
/// another only where [`BESIDE`] says so.
const MAP: &str = "docs/ARCHITECTURE.md";

/// Uses within a layer, from whom to whom.
const BESIDE: &[(&str, &str)] = &[
    ("sign", "template"),
    // The language is evaluated over what signers see of a request: one thing in two rooms.
    ("template", "sign"),
    // A grant says where its tokens go, and calls are encoded as templates are.
    ("token", "sign"),
    ("token", "template"),
    // A grant says on which endpoints a second token is used.
    ("token", "route"),
    // Calls to platforms take the way that requests take.
    ("control", "upstream"),
    // Requests look tokens up and wait for them.
    ("proxy", "refresh"),
    ("reload", "proxy"),
    ("reload", "admin"),
    ("cli", "server"),
];

/// No I/O, no time of day, no logging.
const PURE: &[&str] = &[
    "secret/name.rs",
    "secret/value.rs",
    "secret/set.rs",
    "secret/wanted.rs",
    "template",
    "route",
    "tls",
    "token",
    "sign",
    "snapshot",
];
const IMPURE_WORDS: &[&str] = &[
    "tokio",
    "hyper",
    "std::fs",
    "std::net::Tcp",
    "std::net::Udp",
    "SystemTime",
    "Instant::now",
    "tracing",
    "std::env",
    "std::thread",
    "println!",
    "eprintln!",
];

/// Lines of a file at most; tests apart.
const LINES: usize = 500;

struct Source {
    /// Below `src`.
    path: PathBuf,
    text: String,
}

impl Source {
    fn name(&self) -> String {
        self.path.display().to_string()
    }

    fn is_test(&self) -> bool {
        let stem = self.path.file_stem().unwrap().to_str().unwrap();
        stem == "tests" || stem.ends_with("_tests") || stem == "vectors"
    }

    /// The code without comments and without its `mod tests`.
    fn code(&self) -> String {
        let text = self.text.split("#[cfg(test)]\n#[allow").next().unwrap();
        let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        let lines = text.lines().map(|line| line.split("//").next().unwrap());
        lines.collect::<Vec<_>>().join("\n")
    }

    /// The module of the map that it belongs to; none for `lib.rs`, `main.rs` and files that only join others.
    fn module<'m>(&self, map: &'m Map) -> Option<&'m str> {
        let path = self.path.with_extension("");
        let parts: Vec<&str> = path.iter().map(|part| part.to_str().unwrap()).filter(|part| *part != "mod").collect();
        map.module_of(&parts)
    }
}

/// The table of rooms.
struct Map(Vec<(String, u8)>);

impl Map {
    /// Rows such as ``| 0 | `clock` | ..`` and ``| 4 | `secret::{dir, watch}` | ..``.
    fn read() -> Self {
        let text = read(MAP);
        let mut rooms = Vec::new();
        for line in text.lines() {
            let mut cells = line.split('|').map(str::trim).skip(1);
            let (Some(layer), Some(room)) = (cells.next(), cells.next()) else { continue };
            let (Ok(layer), Some(room)) =
                (layer.parse(), room.strip_prefix('`').and_then(|room| room.strip_suffix('`')))
            else {
                continue;
            };
            match room.split_once("::{") {
                None => rooms.push((room.to_owned(), layer)),
                Some((module, inner)) => {
                    let inner = inner.trim_end_matches('}').split(',');
                    rooms.extend(inner.map(|inner| (format!("{module}::{}", inner.trim()), layer)));
                }
            }
        }
        assert!(rooms.len() > 15, "{MAP} has the table of rooms");
        Self(rooms)
    }

    fn module_of(&self, parts: &[&str]) -> Option<&str> {
        let find = |name: &str| self.0.iter().map(|(module, _)| &**module).find(|module| *module == name);
        let two = parts.get(..2).and_then(|two| find(&two.join("::")));
        two.or_else(|| find(parts.first()?))
    }

    fn layer(&self, module: &str) -> u8 {
        self.0.iter().find(|(name, _)| name == module).unwrap().1
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut folders = vec![root.clone()];
    let mut sources = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                sources.push(Source { path: path.strip_prefix(&root).unwrap().to_owned(), text });
            }
        }
    }
    assert!(sources.len() > 50);
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    sources
}

/// Every path that begins with `crate::`, as its first two segments; groups in braces are taken apart.
fn uses(code: &str) -> BTreeSet<Vec<&str>> {
    let word = |text: &str| text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    let mut found = BTreeSet::new();
    for (at, start) in code.match_indices("crate::") {
        // `othercrate::` is something else, `pub(in crate::..)` uses nothing.
        if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_') || code[..at].ends_with("(in ") {
            continue;
        }
        let rest = &code[at + start.len()..];
        let first = &rest[..word(rest)];
        match rest[first.len()..].strip_prefix("::") {
            None => drop(found.insert(vec![first])),
            Some(next) if next.starts_with('{') => {
                let group = &next[1..next.find("};").unwrap_or(next.len())];
                found.extend(group.split(',').map(|one| vec![first, &one.trim()[..word(one.trim())]]));
            }
            Some(next) => drop(found.insert(vec![first, &next[..word(next)]])),
        }
    }
    found
}

#[test]
fn the_paths_of_a_file_are_read_as_they_are_written() {
    let code = "use crate::a::b::C;\nuse crate::d::{e, f::G};\nlet x = crate::h(1);\nothercrate::no::no();\npub(in crate::no) mod x;";
    let expected: BTreeSet<Vec<&str>> =
        [vec!["a", "b"], vec!["d", "e"], vec!["d", "f"], vec!["h"]].into_iter().collect();
    assert_eq!(uses(code), expected);
}

#[test]
fn arrows_point_one_way() {
    let map = Map::read();
    let (mut wrong, mut beside) = (Vec::new(), BTreeSet::new());
    for source in sources().iter().filter(|source| !source.is_test()) {
        let Some(own) = source.module(&map) else { continue };
        let code = source.code();
        assert!(!code.contains("use crate::{"), "{}: one `use` a module, so that arrows can be read", source.name());
        for path in uses(&code) {
            let Some(other) = map.module_of(&path) else {
                wrong.push(format!("{} uses crate::{}, which has no layer", source.name(), path.join("::")));
                continue;
            };
            let (from, to) = (map.layer(own), map.layer(other));
            let siblings = own.split("::").next() == other.split("::").next() && from == to;
            if BESIDE.contains(&(own, other)) {
                beside.insert((own.to_owned(), other.to_owned()));
            } else if !siblings && to >= from {
                wrong.push(format!("{} ({own}, layer {from}) uses {other} (layer {to})", source.name()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(beside.len(), BESIDE.len(), "only these are needed within a layer: {beside:?}");
}

#[test]
fn every_module_of_the_crate_is_on_the_map() {
    let map = Map::read();
    for line in read("src/lib.rs").lines().filter_map(|line| line.strip_prefix("pub mod ")) {
        let name = line.trim_end_matches(';');
        let known = map.0.iter().any(|(module, _)| module.split("::").next() == Some(name));
        assert!(known, "{name} is not in {MAP}");
    }
    for (module, _) in &map.0 {
        let path = module.replace("::", "/");
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let there = root.join(format!("{path}.rs")).exists() || root.join(&path).join("mod.rs").exists();
        assert!(there, "{MAP} has {module}, which is no module");
    }
}

#[test]
fn admin_sees_views_and_no_domain_type() {
    for source in sources().iter().filter(|source| source.path.starts_with("admin") && !source.is_test()) {
        for path in uses(&source.code()) {
            let module = path[0];
            assert!(
                !["config", "snapshot", "sign", "upstream", "proxy", "route", "template"].contains(&module),
                "{} uses {module}",
                source.name()
            );
        }
    }
}

#[test]
fn pure_modules_do_no_io() {
    let mut wrong = Vec::new();
    for source in sources().iter().filter(|source| PURE.iter().any(|pure| source.path.starts_with(pure))) {
        if source.is_test() {
            continue;
        }
        let code = source.code();
        let words = IMPURE_WORDS.iter().filter(|word| code.contains(**word));
        wrong.extend(words.map(|word| format!("{} mentions {word}", source.name())));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn files_stay_short_and_begin_with_what_lives_in_them() {
    for source in sources() {
        let lines = source.text.lines().count();
        assert!(lines <= LINES || source.is_test(), "{} has {lines} lines", source.name());
        let head = source.text.trim_start();
        let told = head.starts_with("//!") || source.is_test() || source.path == Path::new("main.rs");
        assert!(told, "{} begins without saying what lives in it", source.name());
    }
}

#[test]
fn every_dependency_says_why_it_is_there() {
    let manifest = read("Cargo.toml");
    let mut section = "";
    let mut count = 0;
    for line in manifest.lines() {
        if line.starts_with('[') {
            section = line;
        } else if section.contains("dependencies") && !line.trim().is_empty() && !line.starts_with('#') {
            let reason = line.rsplit_once('#').map(|(_, reason)| reason.trim());
            assert!(reason.is_some_and(|reason| reason.len() >= 5), "no reason: {line}");
            count += 1;
        }
    }
    assert!(count > 20);
}
