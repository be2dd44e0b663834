//! Which plans of statements a connection may keep.
//!
//! A connection keeps the plan of a statement until its table is analysed. One that was made while the table was small reads all of it, and
//! goes on to when the table has grown. So statements on a small table are planned anew each time, and large tables stay large.

use std::sync::atomic::{AtomicBool, Ordering};

/// What statements have said of the size of a table.
#[derive(Debug, Default)]
pub(crate) struct Plans(AtomicBool);

impl Plans {
    /// Whether a plan may be kept: the table was large when it was last looked at.
    pub(crate) fn are_kept(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Notes whether the table is large.
    pub(crate) fn note(&self, is_large: bool) {
        self.0.store(is_large, Ordering::Relaxed);
    }
}
