//! Settings as a service sees them: from files and variables to what builders take.

mod every_key;
mod fingerprint;
mod flags;
mod refused;
mod secrets;
mod sources;

use std::ffi::OsString;
use std::path::PathBuf;

use omni_box_core::Result;
use omni_box_settings::Settings;
use tempfile::TempDir;

/// A file of settings in a directory of its own.
struct File {
    directory: TempDir,
}

impl File {
    fn new(text: &str) -> Self {
        let file = Self { directory: tempfile::tempdir().expect("a directory can be made") };
        file.add("omni-box.toml", text);
        file
    }

    /// Another file beside it, such as one with a secret.
    fn add(&self, name: &str, text: &str) -> PathBuf {
        let path = self.directory.path().join(name);
        std::fs::write(&path, text).expect("its directory is there");
        path
    }

    fn read(&self, variables: &[(&str, &str)]) -> Result<Settings> {
        Settings::load_from(self.directory.path(), owned(variables))
    }

    /// What is wrong, without the directory's name.
    fn refused(&self, variables: &[(&str, &str)]) -> String {
        let error = self.read(variables).expect_err("the settings are wrong");
        assert_eq!(error.kind(), omni_box_core::ErrorKind::Misconfigured);
        error.chain().replace(&format!("{}/", self.directory.path().display()), "")
    }
}

fn owned(variables: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    variables.iter().map(|(name, value)| (name.into(), value.into())).collect()
}

fn environment(variables: &[(&str, &str)]) -> Result<Settings> {
    Settings::read(None, owned(variables))
}
