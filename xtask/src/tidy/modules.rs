//! A module with others inside is a `mod.rs` beside them.

use std::path::Path;

use anyhow::Result;

use super::{Findings, files, shown};

/// Looks for modules that stand beside their folder.
pub(super) fn check(root: &Path, findings: &mut Findings) -> Result<()> {
    for file in files(root, &["rs"])? {
        let folder = file.with_extension("");
        if folder.is_dir() && !files(&folder, &["rs"])?.is_empty() {
            let (file, folder) = (shown(&file, root), shown(&folder, root));
            findings.errors.push(format!("{file} stands beside its folder: move it to {folder}/mod.rs"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_beside_its_folder_is_found() -> Result<()> {
        let root = tempfile::tempdir()?;
        let root = root.path();
        for folder in ["beside", "inside", "data"] {
            std::fs::create_dir(root.join(folder))?;
        }
        let empty =
            ["beside.rs", "beside/part.rs", "inside/mod.rs", "inside/part.rs", "data.rs", "data/table.sql"];
        for file in empty {
            std::fs::write(root.join(file), "")?;
        }
        let mut findings = Findings::default();
        check(root, &mut findings)?;
        assert_eq!(findings.errors, ["beside.rs stands beside its folder: move it to beside/mod.rs"]);
        Ok(())
    }
}
