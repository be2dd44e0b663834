//! The sources of the book: pages of `docs`, and others of the repository that they link to.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result};

use crate::links::{Link, links, relinked};

const DOCS: &str = "docs";

/// Writes all pages to a folder that is emptied before. A page of `docs` stands at its top, another one where it is in the repository.
pub(super) fn write(root: &Path, folder: &Path) -> Result<()> {
    if folder.exists() {
        std::fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    for (path, page) in pages(root)? {
        let file = folder.join(path);
        std::fs::create_dir_all(file.parent().unwrap_or(folder))?;
        std::fs::write(&file, page).with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(())
}

/// Pages by their paths in the book.
fn pages(root: &Path) -> Result<BTreeMap<PathBuf, String>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(root.join(DOCS))? {
        let path = Path::new(DOCS).join(entry?.file_name());
        if path.extension().is_some_and(|ending| ending == "md") {
            found.insert(path.clone(), std::fs::read_to_string(root.join(path))?);
        }
    }
    let linked =
        found.iter().flat_map(|(path, page)| links(page).into_iter().map(|link| target(path, &link)));
    for path in linked.filter(|path| !path.starts_with(DOCS)).collect::<Vec<_>>() {
        let page = std::fs::read_to_string(root.join(&path));
        found.insert(path.clone(), page.with_context(|| format!("{} as a chapter", path.display()))?);
    }
    let summary = Path::new(DOCS).join("SUMMARY.md");
    let mut chapters = found.get(&summary).cloned().unwrap_or_default();
    chapters += &unlisted(&summary, &chapters, &found);
    found.insert(summary, chapters);
    let in_book = found.iter().map(|(path, page)| (in_book(path).to_owned(), moved(path, page, &found)));
    Ok(in_book.collect())
}

/// Lines of the summary for pages that are not in it.
fn unlisted(summary: &Path, chapters: &str, pages: &BTreeMap<PathBuf, String>) -> String {
    let listed: Vec<PathBuf> = links(chapters).iter().map(|link| target(summary, link)).collect();
    let mut lines = "\n# Crates and examples\n\n".to_owned();
    for path in pages.keys().filter(|path| *path != summary && !listed.contains(path)) {
        let folder = path.parent().unwrap_or(path).display();
        lines += &format!("- [{folder}](../{})\n", path.display());
    }
    lines
}

/// A page with its links as the book needs them; of one that leads out of the book its text stays.
fn moved(path: &Path, page: &str, pages: &BTreeMap<PathBuf, String>) -> String {
    let up = "../".repeat(in_book(path).components().count() - 1);
    relinked(page, |link| {
        let file = target(path, link);
        if !pages.contains_key(&file) {
            return link.text.to_owned();
        }
        let file = format!("{up}{}", in_book(&file).display());
        let anchor = link.anchor.map(|anchor| format!("#{anchor}")).unwrap_or_default();
        format!("[{}]({file}{anchor})", link.text)
    })
}

fn in_book(path: &Path) -> &Path {
    path.strip_prefix(DOCS).unwrap_or(path)
}

/// Where a link of a page leads, from the repository's root.
fn target(page: &Path, link: &Link<'_>) -> PathBuf {
    if link.file.is_empty() {
        return page.to_owned();
    }
    let mut path = page.to_owned();
    path.pop();
    for component in Path::new(link.file).components() {
        match component {
            Component::ParentDir => drop(path.pop()),
            Component::CurDir => {}
            other => path.push(other),
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_outside_are_chapters_and_what_leads_further_is_text() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let write = |path: &str, page: &str| {
            let file = dir.path().join(path);
            std::fs::create_dir_all(file.parent().unwrap_or(dir.path()))?;
            std::fs::write(file, page)
        };
        write("docs/SUMMARY.md", "- [A](a.md)\n- [Operating](../OPERATING.md)\n")?;
        write("docs/a.md", "[kit](../crates/kit/README.md#use), [below](#part)\n")?;
        write("OPERATING.md", "# By hand\n[a](docs/a.md), [code](xtask/src)\n")?;
        write("crates/kit/README.md", "# kit\n[a](../../docs/a.md#part), [all](../../README.md)\n")?;
        let found = pages(dir.path())?;
        let page = |path: &str| found[Path::new(path)].as_str();
        assert_eq!(found.len(), 4);
        assert_eq!(
            page("SUMMARY.md"),
            "- [A](a.md)\n- [Operating](OPERATING.md)\n\n# Crates and examples\n\n- [crates/kit](crates/kit/README.md)\n"
        );
        assert_eq!(page("a.md"), "[kit](crates/kit/README.md#use), [below](a.md#part)\n");
        assert_eq!(page("OPERATING.md"), "# By hand\n[a](a.md), code\n");
        assert_eq!(page("crates/kit/README.md"), "# kit\n[a](../../a.md#part), all\n");
        Ok(())
    }
}
