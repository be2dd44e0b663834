//! Files that have grown too long to be read in one go.

use std::path::Path;

use anyhow::Result;

use super::{Findings, files, shown};

const LONGEST: usize = 500;

/// Warns of long files; tests may be long.
pub(super) fn check(root: &Path, findings: &mut Findings) -> Result<()> {
    for path in files(root, &["md", "rs", "sql", "toml"])? {
        let lines = std::fs::read_to_string(&path)?.lines().count();
        let is_test = path.components().any(|part| part.as_os_str() == "tests");
        if lines > LONGEST && !is_test {
            let path = shown(&path, root);
            findings.warnings.push(format!("{path} has {lines} lines, more than {LONGEST}: split it"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_files_are_named_and_tests_are_not() -> Result<()> {
        let dir = tempfile::tempdir()?;
        std::fs::create_dir_all(dir.path().join("tests"))?;
        std::fs::create_dir_all(dir.path().join("target"))?;
        std::fs::write(dir.path().join("long.rs"), "x\n".repeat(501))?;
        std::fs::write(dir.path().join("fits.rs"), "x\n".repeat(500))?;
        std::fs::write(dir.path().join("tests/long.rs"), "x\n".repeat(501))?;
        std::fs::write(dir.path().join("target/long.rs"), "x\n".repeat(501))?;
        let mut findings = Findings::default();
        check(dir.path(), &mut findings)?;
        assert_eq!(findings.warnings, ["long.rs has 501 lines, more than 500: split it"]);
        assert!(findings.errors.is_empty());
        Ok(())
    }
}
