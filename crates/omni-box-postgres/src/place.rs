//! Where the search by key, in the mode `rows`, has come to.

use std::sync::{Mutex, PoisonError};

/// The key that a search by key has come to.
#[derive(Default)]
pub(crate) struct Place(Mutex<Option<Key>>);

/// A topic and a partition key.
pub(crate) type Key = (String, String);

impl Place {
    pub(crate) fn get(&self) -> Option<Key> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set(&self, key: Option<Key>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = key;
    }
}
