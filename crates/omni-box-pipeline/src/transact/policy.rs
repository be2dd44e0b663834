//! When a message is acknowledged.

/// Most savepoints in one transaction that PostgreSQL keeps in its subtransaction cache (of 64, with some to spare for handlers).
pub(crate) const MAX_GROUP: usize = 60;

/// What is promised about a message's effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AckStrategy {
    /// Acknowledged before it is handled: a crash may cost the message. A failure is stored as failed at once and never tried again by
    /// itself. (A transaction that was rolled back as a whole, by a deadlock or an outage, is run again while the process lives: it
    /// had no effect.)
    AtMostOnce,
    /// Acknowledged after its effect. When it is delivered again, the handler runs again.
    AtLeastOnce,
    /// Acknowledged after its effect. When it is delivered again, the inbox row says so and the handler does not run.
    #[default]
    ExactlyOnceInbox,
}

/// When a message's offset is committed. [`AckStrategy::AtMostOnce`] commits before either.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CommitOffsetPolicy {
    /// When its inbox row is stored; it is handled afterwards, by a later process if need be.
    OnPersist,
    /// When it took effect or was given up.
    #[default]
    OnSuccess,
}

/// What happens to the offset of a message that has failed for good, under [`AckStrategy::ExactlyOnceInbox`] and
/// [`CommitOffsetPolicy::OnSuccess`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnFailed {
    /// It is committed: the row is the dead letter, its key moves on.
    #[default]
    Commit,
    /// It is not committed, and the message's key waits until an operator requeues or completes the row.
    Hold,
}
