//! A runner between the test kit's store and broker, which need no server and fail where a test wants them to.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use omni_box_core::broker::Leaver;
use omni_box_core::{
    AckHandle, AssignedPartition, ConsumerGroup, Event, EventConsumer, EventStatus, HandlerError,
    HandlerOutcome, InboundMessage, InboxContext, InboxHandler, Jitter, Result, RetryPolicy,
};
use omni_box_harness::eventually;
use omni_box_pipeline::{InboxConsumerRunner, InboxConsumerRunnerBuilder};
use omni_box_testkit::{FaultPlan, Faulty, MemoryStore};
use tokio::sync::mpsc;

use super::broker::Broker;
use super::service::{GROUP, LONG};

type Act = dyn Fn(String, u32) -> BoxFuture<'static, Result<HandlerOutcome, HandlerError>> + Send + Sync;

/// Acts on a message's id and on how often the handler was called with it.
#[derive(Clone)]
pub(crate) struct Handler {
    act: Arc<Act>,
    calls: Arc<Mutex<HashMap<String, u32>>>,
}

impl Handler {
    pub(crate) fn new<F>(act: impl Fn(String, u32) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<HandlerOutcome, HandlerError>> + Send + 'static,
    {
        Self { act: Arc::new(move |id, call| act(id, call).boxed()), calls: Arc::default() }
    }

    pub(crate) fn calls(&self, id: &str) -> u32 {
        self.calls.lock().unwrap().get(id).copied().unwrap_or(0)
    }
}

#[async_trait]
impl InboxHandler<Faulty<MemoryStore>> for Handler {
    async fn handle(
        &self,
        cx: InboxContext<'_, Faulty<MemoryStore>>,
    ) -> Result<HandlerOutcome, HandlerError> {
        let id = cx.event.message_id().to_owned();
        let call = {
            let mut calls = self.calls.lock().unwrap();
            let calls = calls.entry(id.clone()).or_default();
            *calls += 1;
            *calls
        };
        (self.act)(id, call).await
    }
}

/// A store and a broker.
pub(crate) struct Memory {
    pub(crate) store: Faulty<MemoryStore>,
    pub(crate) broker: Broker,
    /// What fails on the way to the store.
    pub(crate) plan: FaultPlan,
    looks: Arc<AtomicUsize>,
}

impl Memory {
    /// With one partition.
    pub(crate) fn new() -> Self {
        Self::with_partitions(1)
    }

    pub(crate) fn with_partitions(partitions: i32) -> Self {
        let plan = FaultPlan::new();
        let store = Faulty::new(MemoryStore::new(), &plan);
        Self { store, broker: Broker::new(partitions), plan, looks: Arc::default() }
    }

    /// A runner with short delays.
    pub(crate) fn builder(&self, handler: &Handler) -> InboxConsumerRunnerBuilder<Faulty<MemoryStore>> {
        self.storing().handler(handler.clone())
    }

    /// The same without a handler: it stores messages.
    pub(crate) fn storing(&self) -> InboxConsumerRunnerBuilder<Faulty<MemoryStore>> {
        let consumer = Watched { inner: self.broker.consumer(), looks: self.looks.clone() };
        let retry = RetryPolicy::new(Duration::from_millis(5), Duration::from_millis(50), Jitter::Equal);
        InboxConsumerRunner::builder(consumer, self.store.clone())
            .consumer_group(ConsumerGroup::new(GROUP).unwrap())
            .retry(retry.unwrap())
    }

    /// A message's status and counted attempts.
    pub(crate) fn row(&self, id: &str) -> Option<(EventStatus, u32)> {
        let rows = self.store.inner().inbox_events();
        let row = rows.iter().find(|row| row.message_id() == id)?;
        Some((row.lifecycle().status(), row.lifecycle().attempts_made()))
    }

    /// How many messages have taken effect.
    pub(crate) fn completed(&self) -> usize {
        let rows = self.store.inner().inbox_events();
        rows.iter().filter(|row| row.lifecycle().status() == EventStatus::Completed).count()
    }

    /// How often workers have looked whether their partition is still theirs, as they do whenever they look for work.
    pub(crate) fn looks(&self) -> usize {
        self.looks.load(Ordering::SeqCst)
    }

    pub(crate) async fn drained(&self) {
        eventually(LONG, async || self.broker.is_drained()).await;
    }
}

/// A consumer whose partitions count how often they are looked at.
struct Watched<C> {
    inner: C,
    looks: Arc<AtomicUsize>,
}

#[async_trait]
impl<C: EventConsumer + Sync> EventConsumer for Watched<C> {
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
        self.inner.start().await
    }

    async fn next_partition(&mut self) -> Result<Option<AssignedPartition>> {
        let assigned = self.inner.next_partition().await?;
        Ok(assigned.map(|AssignedPartition { partition, messages, ack }| {
            let ack = Box::new(WatchedAck { inner: ack, looks: self.looks.clone() });
            AssignedPartition { partition, messages, ack }
        }))
    }

    async fn close(&mut self) -> Result<()> {
        self.inner.close().await
    }
}

#[derive(Debug)]
struct WatchedAck {
    inner: Box<dyn AckHandle>,
    looks: Arc<AtomicUsize>,
}

#[async_trait]
impl AckHandle for WatchedAck {
    async fn commit(&self, offsets: &[i64]) -> Result<()> {
        self.inner.commit(offsets).await
    }

    async fn rewind(&self) -> Result<mpsc::Receiver<InboundMessage>> {
        self.inner.rewind().await
    }

    fn is_revoked(&self) -> bool {
        self.looks.fetch_add(1, Ordering::SeqCst);
        self.inner.is_revoked()
    }

    async fn lost(&self) {
        self.inner.lost().await;
    }
}
