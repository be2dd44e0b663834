//! What became of a batch.

use omni_box_core::EventId;

use crate::outcome::Outcome;

/// What became of a batch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BatchProcessingResult {
    /// Outbox: published and completed. Inbox: handled, or found to be handled before.
    pub processed_event_ids: Vec<EventId>,
    /// Failed, to be tried again.
    pub retried_event_ids: Vec<EventId>,
    /// Failed for good.
    pub failed_event_ids: Vec<EventId>,
    /// Wait behind an earlier event of their key.
    pub skipped_event_ids: Vec<EventId>,
    /// Taken and given back: the broker or the database could not be used, time was up, or the lease was lost.
    pub released_event_ids: Vec<EventId>,
}

impl BatchProcessingResult {
    /// Whether nothing was taken.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// How many outcomes were recorded.
    pub(crate) fn recorded(&self) -> usize {
        self.processed_event_ids.len() + self.retried_event_ids.len() + self.failed_event_ids.len()
    }

    /// Whether an outcome was recorded, or nothing was due.
    pub(crate) fn has_progress(&self) -> bool {
        self.is_empty() || self.recorded() > 0
    }

    pub(crate) fn list(&mut self, outcome: Outcome) -> &mut Vec<EventId> {
        match outcome {
            Outcome::Retried => &mut self.retried_event_ids,
            Outcome::Failed | Outcome::Quarantined => &mut self.failed_event_ids,
            _ => &mut self.processed_event_ids,
        }
    }

    pub(crate) fn contains(&self, id: &EventId) -> bool {
        [&self.processed_event_ids, &self.retried_event_ids, &self.failed_event_ids, &self.skipped_event_ids]
            .iter()
            .any(|list| list.contains(id))
    }
}
