//! `cargo xtask readme`: the README of each crate in `crates` is its crate documentation, as a page outside of rustdoc shows it.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use cargo_metadata::{Metadata, MetadataCommand};

use crate::cargo::root;

/// Writes the READMEs that differ, and names them.
pub(crate) fn write_all() -> Result<ExitCode> {
    let metadata = MetadataCommand::new().current_dir(root()).no_deps().exec()?;
    for (path, text) in stale(&metadata)? {
        std::fs::write(&path, text).with_context(|| path.display().to_string())?;
        println!("wrote {}", path.display());
    }
    Ok(ExitCode::SUCCESS)
}

/// The READMEs that say something else than their crate's documentation, with what they should say.
pub(crate) fn stale(metadata: &Metadata) -> Result<Vec<(PathBuf, String)>> {
    let mut stale = Vec::new();
    for package in metadata.workspace_packages() {
        let Some(folder) = package.manifest_path.parent() else { continue };
        if folder.parent().and_then(|crates| crates.file_name()) != Some("crates") {
            continue;
        }
        let source = ["src/lib.rs", "src/main.rs"].map(|file| folder.join(file));
        let source = source.iter().find(|file| file.exists()).with_context(|| folder.to_string())?;
        let library = std::fs::read_to_string(source)?;
        let (path, wanted) = (folder.join("README.md").into_std_path_buf(), page(&package.name, &library));
        if text_of(&path) != wanted {
            stale.push((path, wanted));
        }
    }
    Ok(stale)
}

fn text_of(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// The crate documentation at the head of a `lib.rs`: without hidden lines of code and links that only rustdoc knows.
fn page(name: &str, library: &str) -> String {
    let mut page = format!("# {name}\n\n");
    let mut in_code = false;
    let mut is_rust = false;
    for line in library.lines().map_while(|line| line.strip_prefix("//!")) {
        let line = line.strip_prefix(' ').unwrap_or(line);
        if let Some(kind) = line.strip_prefix("```") {
            is_rust = !in_code && matches!(kind, "" | "no_run" | "ignore" | "should_panic");
            in_code = !in_code;
            page += if is_rust { "```rust" } else { line };
        } else if !in_code {
            if line.starts_with('#') {
                page.push('#');
            }
            page += &unlinked(line);
        } else if is_rust && (line == "#" || line.starts_with("# ")) {
            continue;
        } else {
            page += line;
        }
        page.push('\n');
    }
    page + "\nA part of [omni-box](../../README.md), under its licenses: MIT or Apache-2.0.\n"
}

/// A line without links to items: their text stays. A link to an address stays as it is.
fn unlinked(line: &str) -> String {
    let mut rest = line;
    let mut text = String::new();
    while let Some(open) = rest.find('[') {
        let Some(length) = rest[open..].find(']') else { break };
        let (label, after) = (&rest[open + 1..open + length], &rest[open + length + 1..]);
        let target = after.strip_prefix('(').and_then(|target| Some(&target[..target.find(')')?]));
        let (is_link, past) = match target {
            Some(target) => (!target.contains('/'), target.len() + 2),
            None => (label.starts_with('`') && label.ends_with('`'), 0),
        };
        text += &rest[..open];
        text += if is_link { label } else { &rest[open..=open + length] };
        rest = if is_link { &after[past..] } else { after };
    }
    text + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_shows_what_rustdoc_shows() {
        let library = "\
//! A store: [`Store`](crate::Store) and [`Tx`], see [its page](https://example.org/a).
//!
//! # Use
//! ```no_run
//! # async fn hidden() {
//! let list = [1];
//! #[derive(Debug)]
//! struct Shown;
//! # }
//! ```
//! ```text
//! # shown
//! ```

mod a;
//! not this
";
        let wanted = "\
# name

A store: `Store` and `Tx`, see [its page](https://example.org/a).

## Use
```rust
let list = [1];
#[derive(Debug)]
struct Shown;
```
```text
# shown
```

A part of [omni-box](../../README.md), under its licenses: MIT or Apache-2.0.
";
        assert_eq!(page("name", library), wanted);
    }
}
