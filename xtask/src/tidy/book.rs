//! Each page of the book is in its summary, and each link between files leads to one.

use std::path::Path;

use anyhow::{Context, Result};

use super::{Findings, files, shown};

const BOOK: &str = "docs";
const SUMMARY: &str = "docs/SUMMARY.md";

/// Follows the links of every page below `docs`.
pub(super) fn check(root: &Path, findings: &mut Findings) -> Result<()> {
    let summary = std::fs::read_to_string(root.join(SUMMARY)).with_context(|| SUMMARY)?;
    for path in files(&root.join(BOOK), &["md"])? {
        let page = std::fs::read_to_string(&path)?;
        let folder = path.parent().unwrap_or(root);
        for link in links(&page).filter(|link| !folder.join(link).exists()) {
            findings.errors.push(format!("{}: the link to {link} leads nowhere", shown(&path, root)));
        }
        let name = shown(&path, &root.join(BOOK));
        if name != "SUMMARY.md" && !links(&summary).any(|link| link == name) {
            findings.errors.push(format!("{SUMMARY}: {name} is not in it"));
        }
    }
    Ok(())
}

/// Where links to other files lead, without the place in the file.
fn links(page: &str) -> impl Iterator<Item = &str> {
    let mut in_code = false;
    let text = page.lines().filter(move |line| {
        in_code ^= line.starts_with("```");
        !in_code
    });
    let targets = text.flat_map(|line| line.split("](").skip(1).filter_map(|rest| rest.split(')').next()));
    let files = targets.map(|target| target.split('#').next().unwrap_or_default());
    files.filter(|target| !target.is_empty() && !target.contains("://"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_that_are_not_listed_and_links_that_lead_nowhere_are_found() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let docs = dir.path().join(BOOK);
        std::fs::create_dir(&docs)?;
        std::fs::write(docs.join("SUMMARY.md"), "- [A](a.md)\n- [Gone](gone.md)\n")?;
        let page = "[b](b.md#part), [up](../x.md), [web](https://a.b/c.md), [here](#part)\n```\n[code](no.md)\n```\n";
        std::fs::write(docs.join("a.md"), page)?;
        std::fs::write(docs.join("b.md"), "")?;
        let mut findings = Findings::default();
        check(dir.path(), &mut findings)?;
        assert_eq!(
            findings.errors,
            [
                "docs/SUMMARY.md: the link to gone.md leads nowhere",
                "docs/a.md: the link to ../x.md leads nowhere",
                "docs/SUMMARY.md: b.md is not in it",
            ]
        );
        Ok(())
    }
}
