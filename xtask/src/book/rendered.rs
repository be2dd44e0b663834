//! Links of the pages that mdBook has written.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::Result;

use crate::tidy::{files, shown};

/// What a browser would not find: a page and the link in it.
pub(super) fn dead_links(html: &Path) -> Result<Vec<String>> {
    let mut pages = BTreeMap::new();
    for path in files(html, &["html"])? {
        let page = std::fs::read_to_string(&path)?;
        pages.insert(path, page);
    }
    let parts: BTreeMap<_, BTreeSet<&str>> = pages
        .iter()
        .map(|(path, page)| (path.canonicalize().ok(), values(page, " id=\"").collect()))
        .collect();
    let mut dead = Vec::new();
    for (path, page) in &pages {
        let name = shown(path, html);
        // its links are absolute, for a server that answers with it from anywhere
        if name == "404.html" {
            continue;
        }
        for link in values(page, " href=\"").filter(|link| !link.contains(':')) {
            let (file, part) = link.split_once('#').map_or((link, None), |(file, part)| (file, Some(part)));
            let file = if file.is_empty() { path.clone() } else { path.with_file_name("").join(file) };
            let file = file.canonicalize().ok();
            let is_there = match part {
                _ if file.is_none() => false,
                Some(part) => parts.get(&file).is_some_and(|parts| parts.contains(part)),
                None => true,
            };
            if !is_there {
                dead.push(format!("{name}: {link} leads nowhere"));
            }
        }
    }
    Ok(dead)
}

/// The values of an attribute.
fn values<'a>(page: &'a str, attribute: &'a str) -> impl Iterator<Item = &'a str> {
    page.split(attribute).skip(1).filter_map(|rest| rest.split('"').next())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_and_parts_that_are_not_there_are_found() -> Result<()> {
        let dir = tempfile::tempdir()?;
        std::fs::create_dir(dir.path().join("x"))?;
        let page = r##"<h1 id="top"></h1><a href="#top"></a><a href="#gone"></a><a href="x/b.html#b"></a><a href="c.html"></a>"##;
        std::fs::write(dir.path().join("a.html"), page)?;
        let page = r##"<h1 id="b"></h1><a href="../a.html#top"></a><a href="https://a.b/c"></a><a href="../a.html#b"></a>"##;
        std::fs::write(dir.path().join("x/b.html"), page)?;
        let expected = [
            "a.html: #gone leads nowhere",
            "a.html: c.html leads nowhere",
            "x/b.html: ../a.html#b leads nowhere",
        ];
        assert_eq!(dead_links(dir.path())?, expected);
        Ok(())
    }
}
