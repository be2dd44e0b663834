//! Up to where everything that was delivered is done.

use std::collections::VecDeque;

/// Delivered messages of a partition from the first that is not done, in the order of delivery.
#[derive(Debug)]
pub(super) struct Tracker {
    open: VecDeque<(i64, bool)>,
    /// The offset from which the next message is delivered.
    pub(super) next: i64,
    /// The position behind the messages that are done without a gap.
    watermark: i64,
}

impl Tracker {
    pub(super) fn from(position: i64) -> Self {
        Self { open: VecDeque::new(), next: position, watermark: position }
    }

    pub(super) fn delivered(&mut self, offset: i64) {
        self.open.push_back((offset, false));
        self.next = offset + 1;
    }

    /// Marks messages as done, and returns the position up to which all are.
    pub(super) fn done(&mut self, offsets: &[i64]) -> i64 {
        for offset in offsets {
            if let Ok(at) = self.open.binary_search_by_key(offset, |(offset, _)| *offset) {
                self.open[at].1 = true;
            }
        }
        while let Some((offset, true)) = self.open.front() {
            self.watermark = offset + 1;
            self.open.pop_front();
        }
        self.watermark
    }

    /// Delivers again from the first message that is not done; marks behind it are forgotten.
    pub(super) fn rewind(&mut self) {
        if let Some((first, _)) = self.open.front() {
            self.next = *first;
            self.open.clear();
        }
    }
}
