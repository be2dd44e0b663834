//! Where searches by key have come to.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

/// What the searches of a process by key go on behind, each in its part of a table: a consumer group, say.
///
/// A search looks at some keys a call. It begins where the last one of its part has ended, so that no backlog hides a key for good.
///
/// ```
/// use omni_box_sql::Places;
///
/// let places = Places::default();
/// assert_eq!(places.get("shipping"), None);
/// places.set("shipping", Some(7));
/// assert_eq!(places.get("shipping"), Some(7));
/// places.set("shipping", None); // at its end: the next search begins anew
/// assert_eq!(places.get("shipping"), None);
/// ```
pub struct Places<K>(Mutex<HashMap<String, K>>);

impl<K> fmt::Debug for Places<K> {
    /// Without the keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Places").finish_non_exhaustive()
    }
}

impl<K> Default for Places<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Clone> Places<K> {
    /// The key behind which the next search of `part` begins; none: at the beginning.
    pub fn get(&self, part: &str) -> Option<K> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(part).cloned()
    }

    /// Notes where a search of `part` has ended.
    pub fn set(&self, part: &str, key: Option<K>) {
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match key {
            Some(key) => drop(places.insert(part.to_owned(), key)),
            None => drop(places.remove(part)),
        }
    }
}
