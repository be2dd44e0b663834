//! What the facade's root exports has an example.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::{Findings, files, shown};

const FACADE: &str = "crates/omni-box/src/lib.rs";
/// Where the items of the root are defined.
const CRATES: [&str; 2] = ["omni-box-core", "omni-box-pipeline"];

/// Looks for the structs, traits and enums that the root names, in the crates that define them.
pub(super) fn check(root: &Path, findings: &mut Findings) -> Result<()> {
    let facade = std::fs::read_to_string(root.join(FACADE))?;
    for name in CRATES {
        let exported = exported(&facade, &name.replace('-', "_"));
        let source: PathBuf = root.join("crates").join(name).join("src");
        for path in files(&source, &["rs"])? {
            let text = std::fs::read_to_string(&path)?;
            for (line, item) in without_example(&text).into_iter().filter(|(_, item)| exported.contains(item))
            {
                let path = shown(&path, root);
                findings
                    .errors
                    .push(format!("{path}:{line}: {item} is in the facade's root and has no example"));
            }
        }
    }
    Ok(())
}

/// What `pub use` at the root names of a crate.
fn exported<'a>(facade: &'a str, name: &str) -> BTreeSet<&'a str> {
    let uses = facade.split("\npub use ").skip(1).filter_map(|rest| rest.split(';').next());
    let names = uses.filter_map(|of| of.strip_prefix(name)?.strip_prefix("::"));
    names.flat_map(|names| names.split(|c: char| !c.is_alphanumeric() && c != '_')).collect()
}

/// Types and traits whose documentation has no code, with their lines.
fn without_example(text: &str) -> Vec<(usize, &str)> {
    let (mut found, mut has_example) = (Vec::new(), false);
    for (at, line) in text.lines().enumerate() {
        let item = ["pub struct ", "pub trait ", "pub enum "].iter().find_map(|kind| line.strip_prefix(kind));
        if let Some(item) = item {
            let name = item.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or(item);
            if !std::mem::take(&mut has_example) {
                found.push((at + 1, name));
            }
        } else if line.starts_with("/// ```") {
            has_example = true;
        } else if line.starts_with('}') || line.is_empty() {
            has_example = false;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const FACADE: &str = "pub mod kafka {\n    pub use core_of::Inner;\n}\n\npub use core_of::{\n    Order, Event,\n};\npub use other_of::State;\n";

    #[test]
    fn the_root_alone_counts() {
        assert_eq!(exported(FACADE, "core_of"), BTreeSet::from(["", "Event", "Order"]));
        assert_eq!(exported(FACADE, "other_of"), BTreeSet::from(["State"]));
    }

    #[test]
    fn a_type_without_code_in_its_documentation_is_found() {
        let text = "/// An order.\n///\n/// ```\n/// code\n/// ```\n#[derive(Debug)]\npub struct Order {\n    a: u8,\n}\n\n/// A state.\npub enum State<T> {}\n\npub(crate) struct Hidden;\n";
        assert_eq!(without_example(text), [(12, "State")]);
    }
}
