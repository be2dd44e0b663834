//! A consumer that fails where a test wants it to.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use omni_box_core::broker::Leaver;
use omni_box_core::{AckHandle, AssignedPartition, ConsumerGroup, EventConsumer, InboundMessage, Result};
use tokio::sync::mpsc;

use super::{FaultPlan, Operation};

/// A consumer that does what its [`FaultPlan`] says, and otherwise what the consumer inside does.
///
/// While the plan is cut, no partition is handed over and nothing is acknowledged; streams that are open go on.
#[derive(Debug)]
pub struct FaultyConsumer<C> {
    inner: C,
    plan: FaultPlan,
}

impl<C> FaultyConsumer<C> {
    /// Wraps a consumer.
    pub fn new(consumer: C, plan: &FaultPlan) -> Self {
        Self { inner: consumer, plan: plan.clone() }
    }
}

#[async_trait]
impl<C: EventConsumer + Sync> EventConsumer for FaultyConsumer<C> {
    fn consumer_group(&self) -> Option<&ConsumerGroup> {
        self.inner.consumer_group()
    }

    fn drain_deadline(&self) -> Option<Duration> {
        self.inner.drain_deadline()
    }

    fn leaver(&self) -> Option<Leaver> {
        self.inner.leaver()
    }

    async fn start(&mut self) -> Result<()> {
        self.plan.until_restored().await;
        self.plan.run(Operation::Start, self.inner.start()).await
    }

    async fn next_partition(&mut self) -> Result<Option<AssignedPartition>> {
        self.plan.until_restored().await;
        self.plan.begin_only(Operation::NextPartition).await?;
        let assigned = self.inner.next_partition().await?;
        let plan = self.plan.clone();
        Ok(assigned.map(|AssignedPartition { partition, messages, ack }| AssignedPartition {
            partition,
            messages,
            ack: Box::new(FaultyAckHandle { inner: ack, marks: Mutex::default(), plan }),
        }))
    }

    async fn close(&mut self) -> Result<()> {
        self.plan.run(Operation::Close, self.inner.close()).await
    }
}

#[derive(Debug)]
struct FaultyAckHandle {
    inner: Box<dyn AckHandle>,
    /// Of calls that failed before they arrived: the next one brings them along.
    marks: Mutex<Vec<i64>>,
    plan: FaultPlan,
}

impl FaultyAckHandle {
    fn marks(&self) -> MutexGuard<'_, Vec<i64>> {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl AckHandle for FaultyAckHandle {
    async fn commit(&self, offsets: &[i64]) -> Result<()> {
        self.marks().extend(offsets);
        let fault = self.plan.begin(Operation::Acknowledge).await?;
        let marks = std::mem::take(&mut *self.marks());
        let answer = self.inner.commit(&marks).await;
        self.plan.end(fault, answer).await
    }

    async fn rewind(&self) -> Result<mpsc::Receiver<InboundMessage>> {
        self.plan.run(Operation::Rewind, self.inner.rewind()).await
    }

    fn is_revoked(&self) -> bool {
        self.inner.is_revoked()
    }

    async fn lost(&self) {
        self.inner.lost().await;
    }
}
