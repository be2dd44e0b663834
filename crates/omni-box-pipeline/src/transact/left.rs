//! What a transaction may leave behind that a handler ended by a statement of its own.

use crate::outcome::Outcome;

/// Places in the group of a transaction that ended before its outcomes were written.
///
/// If the handler rolled back, nothing is left, and all are handled again. If it committed, what the handlers before it wrote is kept while
/// their rows are still pending: those messages are completed instead.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Left {
    /// Messages whose handlers had succeeded, and what they said.
    pub(crate) done: Vec<(usize, Outcome)>,
    /// A message whose row this transaction was the first to store: the row is there exactly if the transaction was committed.
    pub(crate) witness: Option<usize>,
}

impl Left {
    /// Whether this message is needed to find out what is left.
    fn concerns(&self, position: usize) -> bool {
        self.witness == Some(position) || self.done.iter().any(|&(done, _)| done == position)
    }

    /// The group, as places in the window, in whose transaction the failure of the message at `culprit` is recorded. It has what may be
    /// left, what `also` takes along, and the culprit at the end. With it, what may be left by places in that group.
    pub(crate) fn for_record(
        &self,
        group: &[usize],
        culprit: usize,
        also: impl Fn(usize) -> bool,
    ) -> (Vec<usize>, Self) {
        let others = (0..group.len()).filter(|&at| at != culprit && (self.concerns(at) || also(at)));
        let places: Vec<usize> = others.chain([culprit]).collect();
        let moved = |at: usize| places.iter().position(|&place| place == at);
        let done = self.done.iter().filter_map(|&(at, outcome)| Some((moved(at)?, outcome))).collect();
        let left = Self { done, witness: self.witness.and_then(moved) };
        (places.iter().map(|&at| group[at]).collect(), left)
    }
}

#[cfg(test)]
mod tests {
    use super::{Left, Outcome};

    #[test]
    fn the_culprit_comes_last_and_places_move_along() {
        let left = Left { done: vec![(1, Outcome::Completed), (2, Outcome::Skipped)], witness: Some(4) };
        let (group, moved) = left.for_record(&[10, 11, 12, 13, 14, 15], 3, |at| at == 0);
        assert_eq!(group, [10, 11, 12, 14, 13]);
        let done = vec![(1, Outcome::Completed), (2, Outcome::Skipped)];
        assert_eq!(moved, Left { done, witness: Some(3) });
        let (group, moved) = Left { done: vec![], witness: Some(0) }.for_record(&[7], 0, |_| false);
        assert_eq!((group, moved.witness), (vec![7], Some(0)));
    }
}
