//! What became of an event, on either side.

/// What became of an event that was published, or of a message that was consumed.
///
/// ```
/// use omni_box_pipeline::Outcome;
///
/// assert_eq!(Outcome::Duplicate.as_str(), "duplicate");
/// assert!(Outcome::Failed.is_final() && !Outcome::Retried.is_final());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// Outbox: the broker has acknowledged the event.
    Published,
    /// The handler's writes are committed.
    Completed,
    /// The handler had nothing to do, or a step has completed the event: it was neither handled nor sent.
    Skipped,
    /// The handler found the message overtaken by a newer one.
    Stale,
    /// Inbox: the message was completed or given up before.
    Duplicate,
    /// The attempt failed, and there will be another one.
    Retried,
    /// The event was given up. Its row is the dead letter, with the reason.
    Failed,
    /// Inbox: the message could not be decoded or stored, and is kept as raw bytes.
    Quarantined,
    /// Inbox: the message is stored, and another worker handles it, since this runner has no handler.
    Persisted,
}

impl Outcome {
    /// The name in metrics (the label `status`) and logs: lower case, one word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Published => "published",
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

    /// Whether this worker is done with the event: every outcome but [`Retried`](Self::Retried).
    pub fn is_final(self) -> bool {
        self != Self::Retried
    }
}
