//! The tables of `docs/TEMPLATES.md`.

use std::path::Path;
use std::sync::Arc;

use countersign::config::{Severity, parse};
use countersign::sign::Signer;

const GUIDE: &str = include_str!("../../docs/TEMPLATES.md");

/// The `toml` blocks of the guide.
fn blocks() -> Vec<&'static str> {
    let mut blocks = Vec::new();
    let mut rest = GUIDE;
    while let Some((_, after)) = rest.split_once("```toml\n") {
        let (block, after) = after.split_once("\n```").unwrap();
        blocks.push(block);
        rest = after;
    }
    blocks
}

/// The block that has this credential.
pub(super) fn block(credential: &str) -> &'static str {
    let head = format!("[credential.{credential}.");
    let found = blocks().into_iter().find(|block| block.contains(&head));
    found.unwrap_or_else(|| panic!("the guide has no credential {credential}"))
}

fn names(block: &str) -> Vec<&str> {
    let tables = block.lines().filter_map(|line| line.strip_prefix("[credential.")?.strip_suffix(']'));
    tables.filter(|table| table.matches('.').count() == 1).map(|table| table.split('.').next().unwrap()).collect()
}

/// The signers of a block, with a route for each.
pub(super) fn signers(block: &str) -> Vec<(String, Arc<Signer>)> {
    let route = |name: &&str| {
        format!(
            "\n[[route]]\nname = \"{name}\"\nhost = \"{name}.example\"\ncredential = \"{name}\"\ntenant = {{ header = \"Countersign-Tenant\" }}\n"
        )
    };
    let routes: String = names(block).iter().map(route).collect();
    let loaded = parse("TEMPLATES.md", &format!("{block}\n{routes}"), Path::new("/etc/countersign"));
    for told in &loaded.diagnostics {
        assert!(told.severity == Severity::Warning, "{}", told.render(&loaded.source));
    }
    let config = loaded.config.unwrap();
    config.credentials.iter().map(|credential| (credential.name.clone(), credential.signer.clone())).collect()
}

#[test]
fn every_table_of_the_guide_loads() {
    let blocks = blocks();
    assert!(blocks.len() >= 20, "{}", blocks.len());
    for block in blocks {
        assert!(!signers(block).is_empty(), "{block}");
    }
}
