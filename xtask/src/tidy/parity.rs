//! What `docs/parity.md` names as shown exists.

use std::path::Path;

use anyhow::Result;

use super::Findings;

const PAGE: &str = "docs/parity.md";

/// Looks up every test, folder and file that the page names.
pub(super) fn check(root: &Path, findings: &mut Findings) -> Result<()> {
    let page = std::fs::read_to_string(root.join(PAGE))?;
    for name in names(&page) {
        if let Some(missing) = missing(root, name)? {
            findings.errors.push(format!("{PAGE}: {missing}"));
        }
    }
    Ok(())
}

/// What stands between backquotes in the last column of a table.
fn names(page: &str) -> impl Iterator<Item = &str> {
    let rows = page.lines().filter(|line| line.starts_with('|') && line.ends_with('|'));
    let shown = rows.filter_map(|row| row.trim_end_matches('|').rsplit('|').next());
    shown.flat_map(|shown| shown.split('`').skip(1).step_by(2)).filter(|name| !name.starts_with("cargo "))
}

/// What is not there of a name: a path from the root, or `crate/file.rs::test`.
fn missing(root: &Path, name: &str) -> Result<Option<String>> {
    let Some((file, test)) = name.split_once("::") else {
        return Ok((!root.join(name).exists()).then(|| format!("{name} does not exist")));
    };
    let (crate_name, file) = file.split_once('/').unwrap_or((file, ""));
    let crate_name =
        if crate_name == "omni-box" { crate_name.to_owned() } else { format!("omni-box-{crate_name}") };
    let path = root.join("crates").join(crate_name).join("tests/it").join(file);
    let Ok(source) = std::fs::read_to_string(&path) else {
        return Ok(Some(format!("{name}: there is no {}", path.display())));
    };
    let is_there = [format!("fn {test}("), format!("fn {test}<")].iter().any(|text| source.contains(text));
    Ok((!is_there).then(|| format!("{name}: the file has no such test")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_last_column() {
        let page = "| `not this` | `a/b.rs::c`, `examples/x`; `cargo xtask test` |\n`nor this`\n|---|---|\n";
        assert_eq!(names(page).collect::<Vec<_>>(), ["a/b.rs::c", "examples/x"]);
    }

    #[test]
    fn what_is_not_there_is_named() {
        let root = crate::cargo::root();
        assert_eq!(missing(&root, "xtask/src").unwrap(), None);
        assert!(missing(&root, "examples/none").unwrap().is_some());
        assert_eq!(missing(&root, "pipeline/workers.rs::a_stop_drains_all").unwrap(), None);
        assert!(missing(&root, "pipeline/workers.rs::a_test_that_is_not_there").unwrap().is_some());
        assert!(missing(&root, "pipeline/none.rs::a_stop_drains_all").unwrap().is_some());
    }
}
