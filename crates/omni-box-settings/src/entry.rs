//! A key that was written somewhere, with its value.

use crate::KEYS;
use crate::key::Key;
use crate::origin::Origin;
use crate::value::Raw;

/// A key and what was written for it.
pub(crate) struct Entry {
    pub(crate) key: &'static Key,
    /// Whether it is `<name>_file`, which names the file with the value.
    pub(crate) is_file: bool,
    pub(crate) raw: Raw,
    pub(crate) origin: Origin,
}

/// The key of a name, and whether the name is that of its file.
pub(crate) fn find(section: &str, name: &str) -> Option<(&'static Key, bool)> {
    of_section(section).find_map(|key| {
        let is_file = key.file_name().is_some_and(|file| file == name);
        (is_file || key.name == name).then_some((key, is_file))
    })
}

/// The keys of a section.
pub(crate) fn of_section(section: &str) -> impl Iterator<Item = &'static Key> {
    KEYS.iter().filter(move |key| key.section == section)
}
