//! A message that holds its partition's offset back.

/// So many messages are done behind one before it is named.
const MANY: usize = 10_000;

/// Counts what is done behind the first message that is not.
#[derive(Debug, Default)]
pub(super) struct HeldBack {
    first: Option<i64>,
    behind: usize,
}

impl HeldBack {
    /// Notes offsets that are done, and the first one that is not. `true`, once for each message that holds back: many are done behind it.
    pub(super) fn done(&mut self, first: Option<i64>, offsets: &[i64]) -> bool {
        if self.first != first {
            *self = Self { first, behind: 0 };
        }
        let Some(first) = first else { return false };
        let before = self.behind;
        self.behind += offsets.iter().filter(|offset| **offset > first).count();
        before < MANY && self.behind >= MANY
    }
}
