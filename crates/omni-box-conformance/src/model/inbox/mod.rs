//! The inbox against a model.

mod case;
mod operation;
mod table;

use std::ops::Range;

use omni_box_core::{
    ClaimToken, ConsumerGroup, InboxRepository, OwnerId, PartitionEnd, TopicPartition, WorkerId,
};
use proptest::strategy::Strategy;

use self::case::Case;
use self::operation::Operation;
use super::call::{Checked, retried};
use super::runner::{Ground, Trace};
use crate::InboxFixture;

/// An inbox, on which cases are played.
pub(super) struct Inbox<F: InboxFixture> {
    fixture: F,
    store: F::Store,
    /// Another process.
    elsewhere: F::Store,
    /// Whether it notes how a partition's owner ended.
    remembers: bool,
    cases: u32,
}

impl<F: InboxFixture<Store: InboxRepository>> Ground for Inbox<F> {
    type Operation = Operation;

    const CASES: u32 = 20;

    const LENGTH: Range<usize> = 1..45;

    async fn prepare() -> Option<Self> {
        let fixture = F::create().await?;
        let (store, elsewhere) = (fixture.open().await, fixture.open().await);
        let probe = TopicPartition { topic: "probe".into(), partition: 0 };
        let mut end = PartitionEnd::Clean;
        for _ in 0..2 {
            end = attach(&store, &probe, &owner()).await.unwrap_or_else(|reason| panic!("{reason}"));
        }
        Some(Self { fixture, store, elsewhere, remembers: end == PartitionEnd::Unclean, cases: 0 })
    }

    fn operations() -> impl Strategy<Value = Operation> {
        operation::operations()
    }

    async fn play(&mut self, operations: &[Operation], trace: &Trace) -> Checked {
        self.cases += 1;
        let mut case = Case::new(self, trace);
        for operation in operations {
            // boxed: the futures of a step are large
            Box::pin(case.step(operation)).await?;
        }
        Box::pin(case.clean_up()).await
    }
}

fn group() -> ConsumerGroup {
    ConsumerGroup::new("shipping").expect("a valid name")
}

fn owner() -> ClaimToken {
    ClaimToken::new(&WorkerId::new("worker-1").expect("a valid name"), OwnerId::generate())
}

async fn attach<S: InboxRepository>(
    store: &S,
    partition: &TopicPartition,
    owner: &ClaimToken,
) -> Checked<PartitionEnd> {
    let group = group();
    retried("attach to a partition", async || store.attach(&group, partition, owner).await).await
}
