//! The migrations that the repository shows are inside the package that ships them.

use std::path::Path;

use anyhow::Result;

use super::{Findings, files, shown};

/// Compares the visible folder with the output of `cargo package --list`.
pub(super) fn check(migrations: &Path, packaged: &str, findings: &mut Findings) -> Result<()> {
    let visible = if migrations.is_dir() { files(migrations, &["sql"])? } else { Vec::new() };
    if visible.is_empty() {
        findings.errors.push(format!("{} shows no migration", migrations.display()));
    }
    for file in visible {
        let inside = format!("migrations/{}", shown(&file, migrations));
        if !packaged.lines().any(|line| line == inside) {
            findings.errors.push(format!("the package lacks {inside}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(visible: &[&str], packaged: &str) -> Result<Vec<String>> {
        let dir = tempfile::tempdir()?;
        for name in visible {
            std::fs::write(dir.path().join(name), "create table x ();")?;
        }
        let mut findings = Findings::default();
        check(dir.path(), packaged, &mut findings)?;
        Ok(findings.errors)
    }

    #[test]
    fn what_is_visible_must_be_packaged() -> Result<()> {
        assert!(errors(&["0001_a.sql"], "Cargo.toml\nmigrations/0001_a.sql\n")?.is_empty());
        assert_eq!(
            errors(&["0001_a.sql", "0002_b.sql"], "Cargo.toml\nmigrations/0001_a.sql\n")?,
            ["the package lacks migrations/0002_b.sql"]
        );
        assert!(errors(&[], "migrations/0001_a.sql")?[0].contains("shows no migration"));
        Ok(())
    }
}
