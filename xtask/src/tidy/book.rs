//! Each page of the book is in its summary, and its code is compiled; each link of a page in the repository leads to a file, or to a heading of one.

use std::path::Path;

use anyhow::{Context, Result};

use super::{Findings, files, shown};
use crate::links::{Link, anchors, links};

const BOOK: &str = "docs";
const SUMMARY: &str = "docs/SUMMARY.md";
/// Names the pages whose code is compiled.
const COMPILED: &str = "crates/omni-box/src/book.rs";

/// Follows the links of every page.
pub(super) fn check(root: &Path, findings: &mut Findings) -> Result<()> {
    let summary = std::fs::read_to_string(root.join(SUMMARY)).with_context(|| SUMMARY)?;
    for path in files(root, &["md"])? {
        let page = std::fs::read_to_string(&path)?;
        for link in links(&page).iter().filter(|link| !leads_somewhere(&path, &page, link)) {
            let anchor = link.anchor.map(|anchor| format!("#{anchor}")).unwrap_or_default();
            let page = shown(&path, root);
            findings.errors.push(format!("{page}: the link to {}{anchor} leads nowhere", link.file));
        }
    }
    let listed = links(&summary);
    let compiled = std::fs::read_to_string(root.join(COMPILED)).unwrap_or_default();
    let words: Vec<&str> = compiled.split(|sign: char| !sign.is_alphanumeric() && sign != '_').collect();
    for path in files(&root.join(BOOK), &["md"])? {
        let name = shown(&path, &root.join(BOOK));
        if name != "SUMMARY.md" && !listed.iter().any(|link| link.file == name) {
            findings.errors.push(format!("{SUMMARY}: {name} is not in it"));
        }
        let has_code = std::fs::read_to_string(&path)?.contains("```rust");
        if has_code && !words.contains(&name.trim_end_matches(".md")) {
            findings.errors.push(format!("docs/{name}: nothing compiles its code, name it in {COMPILED}"));
        }
    }
    Ok(())
}

fn leads_somewhere(path: &Path, page: &str, link: &Link<'_>) -> bool {
    let file = if link.file.is_empty() { path.to_owned() } else { path.with_file_name("").join(link.file) };
    let Some(anchor) = link.anchor else { return file.exists() };
    if file == path {
        return anchors(page).iter().any(|name| name == anchor);
    }
    // parts of code and of folders are not looked up
    if file.extension().is_none_or(|ending| ending != "md") {
        return file.exists();
    }
    std::fs::read_to_string(file).is_ok_and(|page| anchors(&page).iter().any(|name| name == anchor))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(root: &Path) -> Result<Vec<String>> {
        let mut findings = Findings::default();
        check(root, &mut findings)?;
        Ok(findings.errors)
    }

    #[test]
    fn pages_that_are_not_listed_and_links_that_lead_nowhere_are_found() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let docs = dir.path().join(BOOK);
        std::fs::create_dir(&docs)?;
        std::fs::write(docs.join("SUMMARY.md"), "- [A](a.md)\n- [Gone](gone.md)\n")?;
        let page = "[b](b.md#part), [b](b.md#gone), [up](../x.md), [web](https://a.b/c.md), [here](#part), [here](#a-part)\n\
            ## A part\n```\n[code](no.md)\n```\n";
        std::fs::write(docs.join("a.md"), page)?;
        std::fs::write(docs.join("b.md"), "# Part\n```rust\n```\n")?;
        std::fs::write(dir.path().join("README.md"), "[docs](docs), [b](docs/b.md#no)\n")?;
        assert_eq!(
            found(dir.path())?,
            [
                "README.md: the link to docs/b.md#no leads nowhere",
                "docs/SUMMARY.md: the link to gone.md leads nowhere",
                "docs/a.md: the link to b.md#gone leads nowhere",
                "docs/a.md: the link to ../x.md leads nowhere",
                "docs/a.md: the link to #part leads nowhere",
                "docs/SUMMARY.md: b.md is not in it",
                "docs/b.md: nothing compiles its code, name it in crates/omni-box/src/book.rs",
            ]
        );
        Ok(())
    }

    /// So that tests alone show it, where neither `tidy` nor mdBook runs.
    #[test]
    fn this_repository_has_no_dead_links() -> Result<()> {
        assert_eq!(found(&crate::cargo::root())?, Vec::<String>::new());
        Ok(())
    }
}
