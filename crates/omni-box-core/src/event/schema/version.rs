//! How the version of a message finds the version that reads it.

/// The longest known version that covers `version`: equal to it, or its beginning up to a dot. `2` covers `2` and `2.1.0`,
/// and does not cover `20`.
pub(super) fn longest_prefix<'a>(known: impl Iterator<Item = &'a str>, version: &str) -> Option<&'a str> {
    known.filter(|known| covers(known, version)).max_by_key(|known| known.len())
}

fn covers(known: &str, version: &str) -> bool {
    version.strip_prefix(known).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// Whether two texts are equal, where constants are evaluated.
pub(super) const fn equal(left: &str, right: &str) -> bool {
    let (left, right) = (left.as_bytes(), right.as_bytes());
    if left.len() != right.len() {
        return false;
    }
    let mut at = 0;
    while at < left.len() {
        if left[at] != right[at] {
            return false;
        }
        at += 1;
    }
    true
}
