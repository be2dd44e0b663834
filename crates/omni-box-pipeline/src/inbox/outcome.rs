//! What became of a message.

/// What became of a message that was consumed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum InboxOutcome {
    /// It took effect.
    Completed,
    /// The handler had nothing to do.
    Skipped,
    /// The handler found it overtaken by a newer one.
    Stale,
    /// It had been completed or given up before.
    Duplicate,
    /// It did not take effect and is tried again.
    Retried,
    /// It was given up; the row says why.
    Failed,
    /// It could not be understood or stored, and is kept as raw bytes.
    Quarantined,
    /// It is stored for somebody else to handle: this runner has no handler.
    Persisted,
}

impl InboxOutcome {
    /// The value of the label `status`.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Skipped => "skipped",
            Self::Stale => "stale",
            Self::Duplicate => "duplicate",
            Self::Retried => "retried",
            Self::Failed => "failed",
            Self::Quarantined => "quarantined",
            Self::Persisted => "persisted",
        }
    }
}

/// The result of [`process_one`](super::InboxConsumerRunner::process_one).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct InboxConsumeResult {
    /// The message's id; for one that could not be decoded, `topic:partition:offset`.
    pub message_id: String,
    /// What became of it.
    pub outcome: InboxOutcome,
    /// Whether the broker has taken note of everything that was acknowledged so far. `false` after an outcome that is not acknowledged,
    /// and when the commit failed (it is tried again).
    pub committed: bool,
}
