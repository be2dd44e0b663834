//! Who has claimed an event.

use std::fmt;

use crate::id::{OwnerId, WorkerId};

/// Tells one claim from another in `locked_by`: the worker's label and a UUID, so that two workers of one name never mark
/// each other's events.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ClaimToken(String);

impl ClaimToken {
    /// The token of an owner.
    pub fn new(worker: &WorkerId, owner: OwnerId) -> Self {
        // 255 characters in `locked_by`, less the UUID's 36 and the separator
        let label: String = worker.as_str().chars().take(218).collect();
        Self(format!("{label}/{owner}"))
    }

    /// The text in `locked_by`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ClaimToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
