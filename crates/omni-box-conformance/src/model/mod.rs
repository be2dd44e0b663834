//! Stores against a model: random sequences of operations, faults and crashes, compared with code that is plain enough to be right.
//!
//! ```text
//! omni_box_conformance::model_conformance!(MyFixture);
//! ```
//!
//! The [suites](crate) show that each line of a contract holds; this shows that the lines hold together. Each test
//! plays the same sequences on every store, in the same order each time. After each step the store must answer what the model answers,
//! and where the contract leaves a choice, one of its choices. A sequence that fails is made as short as it still fails, and printed step by step.
//!
//! - `OMNI_BOX_MODEL_CASES`: how many sequences each test plays.
//! - `OMNI_BOX_MODEL_SEED`: a number; other sequences.
//! - `OMNI_BOX_MODEL_TRACE`: set, every sequence is printed as it went, not only one that fails.

mod call;
mod clock;
mod failure;
mod inbox;
mod lanes;
mod rows;
mod runner;

use omni_box_core::{InboxRepository, OutboxRepository};

use crate::{InboxFixture, StoreFixture};

/// Leases, fetches and settlements of lanes, while transactions commit early, late or perhaps.
pub async fn lanes<F>()
where
    F: StoreFixture<Store: OutboxRepository>,
{
    runner::run::<lanes::Lanes<F>>("lanes").await;
}

/// Claims of rows, marks and upkeep.
pub async fn rows<F>()
where
    F: StoreFixture<Store: OutboxRepository>,
{
    runner::run::<rows::Rows<F>>("rows").await;
}

/// Messages that are received once, again or as another one's, settled, undone to a savepoint, quarantined.
pub async fn inbox<F>()
where
    F: InboxFixture<Store: InboxRepository>,
{
    runner::run::<inbox::Inbox<F>>("inbox").await;
}

/// A store as tests against a model: `model_conformance!(MyFixture)`, or `model_conformance!(MyFixture, of: [lanes])` for a
/// store that is not of every kind.
///
/// Expands into a module `model`. `MyFixture` is an [`InboxFixture`](crate::InboxFixture) for `inbox`, else a
/// [`StoreFixture`](crate::StoreFixture).
#[macro_export]
macro_rules! model_conformance {
    ($fixture:ty $(,)?) => {
        $crate::model_conformance! { $fixture, of: [lanes, rows, inbox] }
    };
    ($fixture:ty, of: [$($kind:ident),+ $(,)?] $(,)?) => {
        mod model {
            #[allow(unused_imports)]
            use super::*;

            $(
                #[::tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $kind() {
                    $crate::model::$kind::<$fixture>().await;
                }
            )+
        }
    };
}
