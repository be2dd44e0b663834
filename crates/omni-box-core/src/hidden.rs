//! How `Debug` shows what it must not show.

use std::fmt;

/// Stands for a payload or a key, which may name a person, by its length.
pub(crate) struct Hidden(usize);

impl Hidden {
    pub(crate) fn new(value: impl AsRef<[u8]>) -> Self {
        Self(value.as_ref().len())
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({} bytes)", self.0)
    }
}
