//! Why a transaction of a group failed as a whole.

use omni_box_core::{Error, ErrorKind, FailureClass};

use super::database::is_given_up;
use super::judgement::Charge;
use super::left::Left;

/// What the database was doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Storing the messages themselves.
    Store,
    /// What follows from the messages: the handlers' writes and the outcomes.
    Effect,
    /// Making all of it last.
    Commit,
}

/// Why a group changed nothing (or, if a commit failed, may have changed nothing).
#[derive(Debug)]
pub(crate) enum Cause {
    /// No transaction could be opened.
    Unreachable(Error),
    /// The database did not answer in time. The transaction is abandoned, since it cannot be rolled back either.
    Unanswered(Error),
    /// The database refused.
    Refused { error: Error, stage: Stage },
    /// The message at this place of the group ended the transaction; the others had no part in it.
    Culprit { position: usize, charge: Charge, left: Left },
    /// A message failed, or a handler has ended the transaction, while no message had a savepoint. The group runs again with savepoints, which
    /// show whom that is charged to. Of a handler that did not end, the connection must not be used again.
    Unmarked { is_broken_off: bool },
    /// The partition is lost, or the time to drain is over.
    Stopped,
}

impl Cause {
    pub(crate) fn refused(error: Error, stage: Stage) -> Self {
        if is_given_up(&error) { Self::Unanswered(error) } else { Self::Refused { error, stage } }
    }

    /// What a failed call of a sealed transaction means, after its first handler.
    pub(crate) fn of_sealed(error: Error, stage: Stage) -> Self {
        // at the commit an outage is one, and what is in the way is not the group's
        let is_own = stage != Stage::Commit || error.class() != FailureClass::Infrastructure;
        if is_given_up(&error) || !(is_own || error.kind() == ErrorKind::NoTransaction) {
            return Self::refused(error, stage);
        }
        Self::Unmarked { is_broken_off: false }
    }

    pub(crate) fn culprit(position: usize, charge: Charge) -> Self {
        Self::Culprit { position, charge, left: Left::default() }
    }

    /// Adds what the transaction may have left behind.
    pub(crate) fn leaving(self, left: Left) -> Self {
        match self {
            Self::Culprit { position, charge, .. } => Self::Culprit { position, charge, left },
            other => other,
        }
    }
}

/// Whether others were in the way. A message's row that could not be locked in time is in the hands of another owner.
pub(crate) fn is_contention(error: &Error, stage: Stage) -> bool {
    error.kind() == ErrorKind::Contention || (error.kind() == ErrorKind::Timeout && stage == Stage::Store)
}

/// Whether the fault lies with the database or the deployment (a missing table): it would hit every message.
pub(crate) fn is_environment(error: &Error) -> bool {
    use ErrorKind::{Misconfigured, NoTransaction, Unsupported};
    error.class() == FailureClass::Infrastructure
        || matches!(error.kind(), Misconfigured | NoTransaction | Unsupported)
}
