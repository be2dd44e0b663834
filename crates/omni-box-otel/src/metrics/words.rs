//! Values of an attribute, of which there are only so many.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use opentelemetry::StringValue;

/// The value that all share who come too late.
const OTHER: &str = "other";

/// Shared texts, until there are `most`; those that come later are `other`.
pub(super) struct Words {
    most: usize,
    known: RwLock<HashMap<Box<str>, Arc<str>>>,
    other: Arc<str>,
}

impl Words {
    pub(super) fn new(most: usize) -> Self {
        Self { most, known: RwLock::default(), other: OTHER.into() }
    }

    /// The word itself, or `other`.
    pub(super) fn bounded(&self, word: &str) -> StringValue {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(word) = known.get(word) {
            return Arc::clone(word).into();
        }
        let is_full = known.len() >= self.most;
        drop(known);
        if is_full {
            return Arc::clone(&self.other).into();
        }
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        // other threads may have been faster
        if known.len() >= self.most && !known.contains_key(word) {
            return Arc::clone(&self.other).into();
        }
        Arc::clone(known.entry(word.into()).or_insert_with(|| word.into())).into()
    }
}
