//! Describes a runner and checks that its settings agree.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use omni_box_core::store::GroupHandling;
use omni_box_core::{
    DefaultMessageDecoder, EventConsumer, FetchFilters, InboxEvent, InboxHandler, InboxMetrics,
    InboxRepository, MessageDecoder, NoMetrics, OutboxRepository, Result, RetryPolicy,
};
use tokio::sync::Semaphore;

use super::acker::OFFSET_COMMIT;
use super::config::InboxConfig;
use super::runner::InboxConsumerRunner;
use super::shared::Shared;
use crate::copies::Copies;
use crate::gate::Gate;
use crate::membership::Membership;
use crate::settings::outage_retry;
use crate::status::InboxStatus;
use crate::step::{ProcessingStep, Steps};
use crate::transact::{
    AckStrategy, CommitOffsetPolicy, Context, Database, LONGEST_OUTAGE_RETRY, Letters, OnFailed,
    SavepointPolicy, Topic,
};

/// Describes an [`InboxConsumerRunner`]: consumer, store, handler, decoder, metrics and an [`InboxConfig`].
///
/// Setters take plain values. [`build`](Self::build) reports the first that is out of range or contradicts another one.
///
/// ```
/// use omni_box_core::ConsumerGroup;
/// use omni_box_pipeline::InboxConsumerRunner;
/// use omni_box_testkit::{MemoryBroker, MemoryStore};
///
/// let broker = MemoryBroker::new();
/// let consumer = || broker.consumer(&ConsumerGroup::new("shipping").unwrap(), ["orders"]);
/// let builder = InboxConsumerRunner::builder(consumer(), MemoryStore::new());
/// assert!(builder.worker_id("shipping-1").window(500).build().is_ok());
///
/// let builder = InboxConsumerRunner::builder(consumer(), MemoryStore::new());
/// let refused = builder.consumer_group("billing").build().unwrap_err().to_string();
/// assert!(refused.contains("billing") && refused.contains("shipping"), "{refused}");
/// ```
pub struct InboxConsumerRunnerBuilder<S: InboxRepository> {
    consumer: Box<dyn EventConsumer>,
    store: S,
    handler: Option<Arc<dyn InboxHandler<S>>>,
    decoder: Arc<dyn MessageDecoder>,
    metrics: Arc<dyn InboxMetrics>,
    steps: Vec<Arc<dyn ProcessingStep<InboxEvent>>>,
    letters: Option<Result<Arc<dyn Letters<S>>>>,
    config: InboxConfig,
}

impl<S: InboxRepository> fmt::Debug for InboxConsumerRunnerBuilder<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InboxConsumerRunnerBuilder").field("config", &self.config).finish_non_exhaustive()
    }
}

impl<S: InboxRepository> InboxConsumerRunnerBuilder<S> {
    pub(super) fn new(consumer: Box<dyn EventConsumer>, store: S) -> Self {
        Self {
            consumer,
            store,
            handler: None,
            decoder: Arc::new(DefaultMessageDecoder::new()),
            metrics: Arc::new(NoMetrics),
            steps: Vec::new(),
            letters: None,
            config: InboxConfig::default(),
        }
    }

    /// Takes all settings at once, in place of those that were set before.
    #[must_use]
    pub fn config(mut self, config: InboxConfig) -> Self {
        self.config = config;
        self
    }

    /// The handler of messages. Without a handler they are stored as pending rows and acknowledged, for an
    /// [`InboxWorker`](crate::InboxWorker) to handle.
    #[must_use]
    pub fn handler(mut self, handler: impl InboxHandler<S>) -> Self {
        self.handler = Some(Arc::new(handler));
        self
    }

    /// Decodes messages; [`DefaultMessageDecoder`] by default.
    #[must_use]
    pub fn decoder(mut self, decoder: impl MessageDecoder) -> Self {
        self.decoder = Arc::new(decoder);
        self
    }

    /// Adds a step, behind those that were added before.
    #[must_use]
    pub fn step(mut self, step: impl ProcessingStep<InboxEvent>) -> Self {
        self.steps.push(Arc::new(step));
        self
    }

    /// Messages that are given up go to this topic as well, by way of the outbox; nowhere by default.
    ///
    /// - The outbox event is stored in the transaction that marks the message as failed: both are there, or neither. A relay publishes it.
    /// - It has the message's type, payload, headers and key, and names the message as its cause. The headers `dead_letter_error`,
    ///   `dead_letter_attempts`, `_message_id`, `_group`, `_source` and `_position` (topic, partition and offset) say the rest.
    /// - A message that the topic's broker refuses, as one that is too large, is a failed event of the outbox in turn.
    /// - A message that is requeued and given up once more is sent once more.
    #[must_use]
    pub fn dead_letter_topic(mut self, topic: impl Into<String>) -> Self
    where
        S: OutboxRepository,
    {
        self.letters = Some(Topic::new(topic.into()).map(|topic| Arc::new(topic) as Arc<dyn Letters<S>>));
        self
    }

    /// Counts and measures; nothing by default. Takes an `Arc` too, to be read elsewhere.
    #[must_use]
    pub fn metrics(mut self, metrics: impl InboxMetrics) -> Self {
        self.metrics = Arc::new(metrics);
        self
    }

    /// Sets [`InboxConfig::consumer_group`].
    #[must_use]
    pub fn consumer_group(mut self, group: impl fmt::Display) -> Self {
        self.config.consumer_group = Some(group.to_string());
        self
    }

    /// Sets [`InboxConfig::worker_id`].
    #[must_use]
    pub fn worker_id(mut self, worker: impl fmt::Display) -> Self {
        self.config.worker_id = worker.to_string();
        self
    }

    /// Sets [`InboxConfig::ack_strategy`].
    #[must_use]
    pub fn ack_strategy(mut self, strategy: AckStrategy) -> Self {
        self.config.ack_strategy = strategy;
        self
    }

    /// Sets [`InboxConfig::commit_offset_policy`].
    #[must_use]
    pub fn commit_offset_policy(mut self, policy: CommitOffsetPolicy) -> Self {
        self.config.commit_offset_policy = policy;
        self
    }

    /// Sets [`InboxConfig::on_failed`].
    #[must_use]
    pub fn on_failed(mut self, on_failed: OnFailed) -> Self {
        self.config.on_failed = on_failed;
        self
    }

    /// Sets [`InboxConfig::process_timeout`].
    #[must_use]
    pub fn process_timeout(mut self, timeout: Duration) -> Self {
        self.config.process_timeout = timeout;
        self
    }

    /// Sets [`InboxConfig::stuck_after`].
    #[must_use]
    pub fn stuck_after(mut self, time: Duration) -> Self {
        self.config.stuck_after = time;
        self
    }

    /// Sets [`InboxConfig::drain_deadline`].
    #[must_use]
    pub fn drain_deadline(mut self, deadline: Duration) -> Self {
        self.config.drain_deadline = Some(deadline);
        self
    }

    /// Sets [`InboxConfig::concurrency_limit`].
    #[must_use]
    pub fn concurrency_limit(mut self, partitions: usize) -> Self {
        self.config.concurrency_limit = partitions;
        self
    }

    /// Sets [`InboxConfig::group_size`].
    #[must_use]
    pub fn group_size(mut self, messages: usize) -> Self {
        self.config.group_size = messages;
        self
    }

    /// Sets [`InboxConfig::savepoints`].
    #[must_use]
    pub fn savepoints(mut self, policy: SavepointPolicy) -> Self {
        self.config.savepoints = policy;
        self
    }

    /// Sets [`InboxConfig::window`].
    #[must_use]
    pub fn window(mut self, messages: usize) -> Self {
        self.config.window = messages;
        self
    }

    /// Sets [`InboxConfig::retry`].
    #[must_use]
    pub fn retry(mut self, retry: RetryPolicy) -> Self {
        self.config.retry = retry;
        self
    }

    /// Builds the runner.
    ///
    /// # Errors
    /// [`Misconfigured`](omni_box_core::ErrorKind::Misconfigured), naming the setting, its value and what is allowed:
    ///
    /// - a value out of range, a name that is empty, too long or has a control character;
    /// - a `process_timeout` that does not fit into the drain deadline, a `window` smaller than `group_size`;
    /// - a consumer group or drain deadline that differs from the consumer's own, or no group at all;
    /// - [`OnFailed::Hold`] where no failed message holds an offset back: without a handler, or outside
    ///   [`ExactlyOnceInbox`](AckStrategy::ExactlyOnceInbox) and [`OnSuccess`](CommitOffsetPolicy::OnSuccess).
    ///
    /// A store whose [connections](omni_box_core::Store::connections) do not exceed `concurrency_limit` costs a warning: handlers that take a
    /// second connection would wait for one another.
    pub fn build(self) -> Result<InboxConsumerRunner<S>> {
        let config = self.config;
        let checked = config.check(self.consumer.as_ref(), self.handler.is_some())?;
        if let Some(handler) = &self.handler {
            handler.validate()?;
        }
        if let (Some(connections), true) = (self.store.connections(), self.handler.is_some())
            && connections <= config.concurrency_limit
        {
            tracing::warn!(
                worker_id = %checked.worker, connections, concurrency_limit = config.concurrency_limit,
                "the store has no connection to spare: a handler that takes a second one may wait for it until its time is over, and \
                 its message fails; give the pool more connections than concurrency_limit"
            );
        }
        let filters = FetchFilters::new().consumer_group(checked.group.clone());
        let copies = Copies::new(&self.steps, &self.store, filters, &checked.worker)?.map(Arc::new);
        let membership = self
            .handler
            .as_ref()
            .map(|_| Membership::new(self.store.clone(), checked.group.clone(), GroupHandling::Direct));
        let outage_retry = outage_retry(LONGEST_OUTAGE_RETRY);
        let steps = Steps::new(self.steps);
        let mut gates = vec!["database", OFFSET_COMMIT];
        gates.extend((!steps.is_empty()).then_some("step"));
        let status = InboxStatus::new(gates);
        let gate = Gate::new("database", outage_retry).shown_by(status.lamp("database"));
        let context = Context {
            database: Database::new(self.store, config.process_timeout, gate),
            handler: self.handler,
            group: checked.group,
            worker: checked.worker,
            strategy: config.ack_strategy,
            policy: config.commit_offset_policy,
            on_failed: config.on_failed,
            process_timeout: config.process_timeout,
            running: Arc::default(),
            group_size: config.group_size,
            savepoints: config.savepoints,
            retry: config.retry,
            outage_retry,
            metrics: self.metrics,
            status,
            letters: self.letters.transpose()?,
            steps,
            has_claims: false,
        };
        let shared = Shared {
            context: Arc::new(context),
            copies,
            membership,
            decoder: self.decoder,
            drain_deadline: checked.drain_deadline,
            stuck_after: config.stuck_after,
            window: config.window,
            permits: Semaphore::new(config.concurrency_limit),
            careful: Semaphore::new(1),
        };
        Ok(InboxConsumerRunner::new(shared, self.consumer))
    }
}
