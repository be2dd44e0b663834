//! `cargo xtask settings`: the page of all settings is what the table in the code says.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;

use crate::cargo::root;

/// Writes the page if it differs, and names it.
pub(crate) fn write_page() -> Result<ExitCode> {
    if let Some(path) = stale() {
        std::fs::create_dir_all(path.with_file_name(""))?;
        std::fs::write(&path, omni_box_settings::reference())?;
        println!("wrote {}", path.display());
    }
    Ok(ExitCode::SUCCESS)
}

/// The page, if it says something else than the table.
pub(crate) fn stale() -> Option<PathBuf> {
    let path = root().join("docs/settings.md");
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    (text != omni_box_settings::reference()).then_some(path)
}
