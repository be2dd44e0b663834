//! Where a value was found.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use omni_box_core::{Error, ErrorKind};

/// A place in a file, a variable, or a flag.
#[derive(Debug, Clone)]
pub(crate) enum Origin {
    File {
        path: Arc<Path>,
        line: usize,
    },
    Environment(String),
    /// Section and key of a flag.
    Flag(String),
}

impl Origin {
    /// A setting as its reader finds it again: the file, the line and the key, or the variable.
    pub(crate) fn of(&self, section: &str, name: &str) -> String {
        match self {
            Self::File { .. } => format!("{self}: {section}.{name}"),
            Self::Environment(variable) => variable.clone(),
            Self::Flag(_) => self.to_string(),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line } => write!(f, "{} line {line}", path.display()),
            Self::Environment(variable) => f.write_str(variable),
            Self::Flag(path) => write!(f, "--set {path}"),
        }
    }
}

/// What is wrong with the settings, all of it: a program that is corrected line by line is started ten times.
#[derive(Default)]
pub(crate) struct Problems(Vec<String>);

impl Problems {
    pub(crate) fn add(&mut self, problem: impl Into<String>) {
        self.0.push(problem.into());
    }

    pub(crate) fn finish(self) -> Result<(), Error> {
        if self.0.is_empty() { Ok(()) } else { Err(misconfigured(self.0.join("; "))) }
    }
}

pub(crate) fn misconfigured(text: impl Into<String>) -> Error {
    Error::new(ErrorKind::Misconfigured, text.into())
}

/// A path as it is shown.
pub(crate) fn shared(path: &Path) -> Arc<Path> {
    Arc::from(PathBuf::from(path))
}
