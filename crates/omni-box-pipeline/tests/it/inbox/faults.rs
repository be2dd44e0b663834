//! A PostgreSQL store that fails where a test wants it to.

use omni_box_core::ErrorKind;
use omni_box_postgres::PgStore;
use omni_box_testkit::{FaultPlan, Faulty, Operation};

pub(crate) type FaultyStore = Faulty<PgStore>;

/// What happens to the next commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CommitFault {
    /// The process stops before the commit arrives.
    StopBefore,
    /// The process stops when the commit has arrived.
    StopAfter,
    /// The commit does not arrive, and fails.
    FailBefore(ErrorKind),
    /// The commit arrives, its answer does not.
    FailAfter(ErrorKind),
}

impl CommitFault {
    pub(crate) fn plan(self, plan: &FaultPlan) {
        let commit = plan.on(Operation::Commit);
        match self {
            Self::StopBefore => commit.freeze_before(),
            Self::StopAfter => commit.freeze_after(),
            Self::FailBefore(kind) => commit.fail_before(kind),
            Self::FailAfter(kind) => commit.fail_after(kind),
        }
    }
}

/// How many sealed transactions were begun.
pub(crate) fn sealed_transactions(store: &FaultyStore) -> u64 {
    store.plan().calls(Operation::BeginSealed)
}

/// How often messages were brought to the store.
pub(crate) fn received(store: &FaultyStore) -> u64 {
    store.plan().calls(Operation::Receive)
}
