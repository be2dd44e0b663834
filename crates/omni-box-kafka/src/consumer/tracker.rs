//! Up to where everything that was delivered is done.

use std::collections::VecDeque;

/// Delivered messages of one partition that are not committed yet, in the order of delivery.
///
/// Offsets are compared and never counted: aborted and compacted records and transaction markers leave gaps.
#[derive(Debug, Default)]
pub(super) struct Tracker {
    /// Offsets that were delivered, from the first that is not done.
    open: VecDeque<(i64, bool)>,
    /// Position behind the last message of the done beginning.
    watermark: Option<i64>,
    committed: Option<i64>,
}

impl Tracker {
    pub(super) fn delivered(&mut self, offset: i64) {
        self.open.push_back((offset, false));
    }

    /// Marks messages as done; those that are not open any more are passed over.
    pub(super) fn done(&mut self, offsets: &[i64]) {
        for offset in offsets {
            if let Ok(at) = self.open.binary_search_by_key(offset, |(offset, _)| *offset) {
                self.open[at].1 = true;
            }
        }
        while let Some((offset, true)) = self.open.front() {
            self.watermark = Some(offset + 1);
            self.open.pop_front();
        }
    }

    /// The position to commit, if the broker does not have it yet.
    pub(super) fn uncommitted(&self) -> Option<i64> {
        self.watermark.filter(|watermark| self.committed.is_none_or(|committed| committed < *watermark))
    }

    pub(super) fn committed(&mut self, position: i64) {
        self.committed = self.committed.max(Some(position));
    }

    pub(super) fn is_committed(&self, position: i64) -> bool {
        self.committed.is_some_and(|committed| committed >= position)
    }

    /// Forgets what was delivered from the first message that is not done, and returns that message.
    pub(super) fn rewind(&mut self) -> Option<i64> {
        let (first, _) = *self.open.front()?;
        self.open.clear();
        Some(first)
    }

    pub(super) fn open(&self) -> usize {
        self.open.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivered(offsets: &[i64]) -> Tracker {
        let mut tracker = Tracker::default();
        offsets.iter().for_each(|offset| tracker.delivered(*offset));
        tracker
    }

    #[test]
    fn the_watermark_never_passes_a_message_that_is_not_done() {
        let mut tracker = delivered(&[3, 4, 7, 20]);
        tracker.done(&[4, 20]);
        assert_eq!(tracker.uncommitted(), None);
        tracker.done(&[3]);
        assert_eq!(tracker.uncommitted(), Some(5));
        tracker.committed(5);
        assert_eq!(tracker.uncommitted(), None);
        tracker.done(&[7]);
        assert_eq!(tracker.uncommitted(), Some(21));
        assert_eq!(tracker.open(), 0);
    }

    #[test]
    fn marks_that_failed_to_commit_stay() {
        let mut tracker = delivered(&[1]);
        tracker.done(&[1]);
        assert_eq!(tracker.uncommitted(), Some(2));
        tracker.done(&[]);
        assert_eq!(tracker.uncommitted(), Some(2));
    }

    #[test]
    fn a_rewind_begins_at_the_first_that_is_not_done() {
        let mut tracker = delivered(&[1, 2, 3]);
        tracker.done(&[1, 3]);
        assert_eq!(tracker.rewind(), Some(2));
        tracker.done(&[2]);
        assert_eq!(
            tracker.uncommitted(),
            Some(2),
            "what will be delivered again is not done by its old mark"
        );
        assert_eq!(tracker.rewind(), None);
    }
}
