//! What a group's transaction is for.

use std::time::Duration;

use omni_box_core::Error;

use super::cause::{Cause, Stage};
use super::judgement::{Charge, Fate};
use super::left::Left;

/// No handler begins any more in a transaction whose first one began this long ago. What a group saves is the time to commit, of which
/// little is left then. What it costs grows: locks are held, and everything is done again if it fails.
///
/// [`Store::begin_handling`](omni_box_core::Store::begin_handling) tells stores.
pub(crate) const GROUP_TIME: Duration = Duration::from_secs(1);

/// What is done with messages that are pending and due.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Task<'a> {
    /// Their rows are stored.
    Persist,
    /// An attempt is counted before the handler starts.
    Start,
    /// The handler runs.
    Handle,
    /// The failure of the group's last message is written down. Those before it are stored. A row that is pending says that all before it
    /// with its key have rows. So its partition's next worker, which begins with such rows, finds them in order.
    Record(&'a Recorded),
}

/// Where a group's handlers have savepoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Marks {
    /// One for each message.
    Each,
    /// None, in a sealed transaction.
    Sealed,
}

impl Marks {
    /// What a call means that was refused once handlers had run.
    pub(super) fn refused(self, error: Error, stage: Stage) -> Cause {
        match self {
            Self::Each => Cause::refused(error, stage),
            Self::Sealed => Cause::of_sealed(error, stage),
        }
    }
}

/// The failure of a group's last message, which ended the transaction before.
#[derive(Debug)]
pub(crate) struct Recorded {
    pub(crate) charge: Charge,
    /// What that transaction may have left behind, by places in this group.
    pub(crate) left: Left,
}

/// What became of a group whose transaction is committed.
pub(crate) struct Attempted {
    /// Of each message, in order.
    pub(crate) fates: Vec<Fate>,
    /// The step that stopped it before its end, and for how long if it said so.
    pub(crate) stopped: Option<(&'static str, Option<Duration>)>,
}
