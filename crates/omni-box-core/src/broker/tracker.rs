//! The position below which every delivered message is done.

use std::collections::VecDeque;

/// The position below which every delivered message is done, for consumers that acknowledge messages in any order.
///
/// - One tracker belongs to one assignment of one partition.
/// - Offsets are compared and never counted: aborted and compacted records and transaction markers leave gaps.
/// - It remembers which position the broker has, so that nothing is committed twice.
///
/// ```
/// use omni_box_core::OffsetTracker;
///
/// let mut tracker = OffsetTracker::new();
/// for offset in [3, 4, 7] {
///     tracker.delivered(offset);
/// }
/// tracker.done(&[4]);
/// assert_eq!(tracker.uncommitted(), None, "3 is not done");
/// tracker.done(&[3]);
/// assert_eq!(tracker.uncommitted(), Some(5), "the position after 4");
/// tracker.committed(5);
/// assert_eq!(tracker.uncommitted(), None, "the broker has it");
/// ```
#[derive(Debug, Clone, Default)]
pub struct OffsetTracker {
    /// Delivered offsets from the first that is not done, each with its mark.
    open: VecDeque<(i64, bool)>,
    /// The position after the last message before which all are done.
    position: Option<i64>,
    /// Every message below it was delivered.
    reached: Option<i64>,
    committed: Option<i64>,
}

impl OffsetTracker {
    /// A tracker to which nothing was delivered.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a message. Its offset is above those before it, unless a [`rewind`](Self::rewind) came between.
    pub fn delivered(&mut self, offset: i64) {
        self.open.push_back((offset, false));
    }

    /// Marks messages as done. An offset that is not open is passed over.
    pub fn done(&mut self, offsets: &[i64]) {
        for offset in offsets {
            if let Ok(at) = self.open.binary_search_by_key(offset, |(offset, _)| *offset) {
                self.open[at].1 = true;
            }
        }
        self.advance();
    }

    /// Notes that every message below an offset was delivered. What lies between the last of them and this offset holds no message, such as
    /// a transaction's marker or what was aborted. The position moves there once all messages below are done.
    ///
    /// ```
    /// use omni_box_core::OffsetTracker;
    ///
    /// let mut tracker = OffsetTracker::new();
    /// tracker.delivered(3);
    /// tracker.reached(8);
    /// assert_eq!(tracker.uncommitted(), None, "3 is not done");
    /// tracker.done(&[3]);
    /// assert_eq!(tracker.uncommitted(), Some(8));
    /// ```
    pub fn reached(&mut self, offset: i64) {
        self.reached = self.reached.max(Some(offset));
        self.advance();
    }

    fn advance(&mut self) {
        while let Some((offset, true)) = self.open.front() {
            self.position = Some(offset + 1);
            self.open.pop_front();
        }
        let first = self.first_open();
        if let Some(reached) = self.reached
            && first.is_none_or(|first| first >= reached)
        {
            self.position = self.position.max(Some(reached));
        }
    }

    /// The position to commit; `None` if the broker has it already.
    pub fn uncommitted(&self) -> Option<i64> {
        self.position.filter(|position| !self.is_committed(*position))
    }

    /// Notes that the broker has a position. A lower one than before changes nothing.
    pub fn committed(&mut self, position: i64) {
        self.committed = self.committed.max(Some(position));
    }

    /// Whether the broker has this position or a later one.
    pub fn is_committed(&self, position: i64) -> bool {
        self.committed.is_some_and(|committed| committed >= position)
    }

    /// Forgets the open messages, with their marks, and returns the offset of the first: delivery starts there again. `None`: nothing is open.
    pub fn rewind(&mut self) -> Option<i64> {
        let first = self.first_open()?;
        self.open.clear();
        Some(first)
    }

    /// The offset of the first message that is open: the one that holds the position back.
    pub fn first_open(&self) -> Option<i64> {
        self.open.front().map(|(offset, _)| *offset)
    }

    /// How many messages are open: delivered, and not before the position.
    pub fn open(&self) -> usize {
        self.open.len()
    }
}
