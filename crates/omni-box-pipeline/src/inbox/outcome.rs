//! What `process_one` returns.

use crate::outcome::Outcome;

/// The result of [`process_one`](super::InboxConsumerRunner::process_one).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct InboxConsumeResult {
    /// The message's id; for one that could not be decoded, `topic:partition:offset`.
    pub message_id: String,
    /// What became of it.
    pub outcome: Outcome,
    /// Whether the broker has taken note of everything that was acknowledged so far. `false` after an outcome that is not acknowledged,
    /// and when the commit failed (it is tried again).
    pub committed: bool,
}
