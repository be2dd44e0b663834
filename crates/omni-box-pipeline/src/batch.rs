//! What became of a batch.

use std::collections::HashSet;

use omni_box_core::{Attempt, EventId, Failure, Retry};

use crate::outcome::Outcome;

/// A failure of an event of a batch, as its row has it.
///
/// ```
/// use omni_box_core::Retry;
/// use omni_box_pipeline::EventFailure;
///
/// /// What an operator is to look at.
/// fn line(failure: &EventFailure) -> Option<String> {
///     match failure.retry {
///         Retry::After(_) => None,
///         Retry::OnRequest | Retry::Never => Some(format!("{}: {}", failure.event_id, failure.error)),
///     }
/// }
/// # let _ = line;
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct EventFailure {
    /// The event.
    pub event_id: EventId,
    /// Why.
    pub error: String,
    /// Whether it cost an attempt. What is the fault of a topic, or put off by a step or the handler, costs none.
    pub is_counted: bool,
    /// When it is tried again.
    pub retry: Retry,
}

impl EventFailure {
    pub(crate) fn new(event_id: EventId, failure: &Failure) -> Self {
        let is_counted = failure.attempt == Attempt::Counted;
        Self { event_id, error: failure.error().to_owned(), is_counted, retry: failure.retry }
    }
}

/// What became of a batch.
///
/// ```
/// use omni_box_core::{BatchSize, Result};
/// use omni_box_pipeline::{BatchProcessingResult, InboxWorker};
///
/// # async fn once(worker: InboxWorker<omni_box_testkit::MemoryStore>) -> Result<()> {
/// let result: BatchProcessingResult = worker.process_batch(BatchSize::new(50)?).await?;
/// println!("{} done, {} to be tried again", result.processed_event_ids.len(), result.retried_event_ids.len());
/// for failure in result.failures_counted() {
///     println!("{}: {}", failure.event_id, failure.error);
/// }
/// # Ok(())
/// # }
/// ```
///
/// | of the Python library omni-box | here |
/// |---|---|
/// | processed | [`processed_event_ids`](Self::processed_event_ids) |
/// | failed, and counted | [`failures_counted`](Self::failures_counted) |
/// | failed, and not counted | [`failures_not_counted`](Self::failures_not_counted) |
/// | remaining | [`remaining`](Self::remaining) |
/// | commit failed | [`commit_failed_event_ids`](Self::commit_failed_event_ids) |
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BatchProcessingResult {
    /// Outbox: published, or completed by a step. Inbox: handled, or found to be handled before.
    pub processed_event_ids: Vec<EventId>,
    /// Failed, to be tried again.
    pub retried_event_ids: Vec<EventId>,
    /// Failed for good.
    pub failed_event_ids: Vec<EventId>,
    /// Wait behind an earlier event of their key.
    pub skipped_event_ids: Vec<EventId>,
    /// Taken and given back: the broker or the database could not be used, time was up, or the lease was lost.
    pub released_event_ids: Vec<EventId>,
    /// Outbox: published, while the lease or the claim went to another worker before it could be written. They are published again.
    pub commit_failed_event_ids: Vec<EventId>,
    /// The failures behind [`retried_event_ids`](Self::retried_event_ids) and [`failed_event_ids`](Self::failed_event_ids), in the
    /// order in which they came.
    pub failures: Vec<EventFailure>,
}

impl BatchProcessingResult {
    /// Whether nothing was taken.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The failures that cost an attempt.
    pub fn failures_counted(&self) -> impl Iterator<Item = &EventFailure> {
        self.failures.iter().filter(|failure| failure.is_counted)
    }

    /// The failures that cost none, each with its error and its next retry.
    pub fn failures_not_counted(&self) -> impl Iterator<Item = &EventFailure> {
        self.failures.iter().filter(|failure| !failure.is_counted)
    }

    /// What was taken and has no outcome: it waits behind an earlier event, or was given back.
    pub fn remaining(&self) -> impl Iterator<Item = EventId> {
        self.skipped_event_ids.iter().chain(&self.released_event_ids).copied()
    }

    /// Takes the outcomes of events back that could not be written; what was published stays so.
    pub(crate) fn take_back(&mut self, lost: &HashSet<EventId>) {
        let is_lost = |id: &mut EventId| lost.contains(id);
        self.commit_failed_event_ids.extend(self.processed_event_ids.extract_if(.., is_lost));
        for list in [&mut self.retried_event_ids, &mut self.failed_event_ids, &mut self.skipped_event_ids] {
            list.retain(|id| !lost.contains(id));
        }
        self.failures.retain(|failure| !lost.contains(&failure.event_id));
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
        [
            &self.processed_event_ids,
            &self.retried_event_ids,
            &self.failed_event_ids,
            &self.skipped_event_ids,
            &self.commit_failed_event_ids,
        ]
        .iter()
        .any(|list| list.contains(id))
    }
}
