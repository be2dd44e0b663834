//! Describes a worker of stored messages and checks that its settings agree.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use omni_box_core::store::GroupHandling;
use omni_box_core::{
    FetchFilters, InboxEvent, InboxHandler, InboxMetrics, InboxRepository, NoMetrics, OutboxRepository,
    Result, RetryPolicy,
};

use super::batches::Shared;
use super::config::InboxWorkerConfig;
use super::runner::InboxWorker;
use crate::claims::Stale;
use crate::copies::Copies;
use crate::gate::Gate;
use crate::membership::Membership;
use crate::settings::{check_lock_wait, misconfigured, outage_retry};
use crate::status::InboxStatus;
use crate::step::{ProcessingStep, Steps};
use crate::transact::{
    AckStrategy, CommitOffsetPolicy, Context, Database, GROUP_TIME, LONGEST_OUTAGE_RETRY, Letters, OnFailed,
    SavepointPolicy, Topic,
};

/// Describes an [`InboxWorker`]: store, handler, metrics and an [`InboxWorkerConfig`].
///
/// Setters take plain values. [`build`](Self::build) reports the first that is out of range or contradicts another one.
///
/// ```
/// use omni_box_core::InboxContext;
/// use omni_box_pipeline::{InboxWorker, on};
/// use omni_box_testkit::MemoryStore;
///
/// async fn ship(_cx: InboxContext<'_, MemoryStore>) {}
///
/// let worker = InboxWorker::builder(MemoryStore::new()).handler(on("order.placed", ship));
/// let refused = worker.build().unwrap_err().to_string();
/// assert!(refused.contains("group"), "{refused}");
/// ```
#[must_use = "call build"]
pub struct InboxWorkerBuilder<S: InboxRepository> {
    store: S,
    handler: Option<Arc<dyn InboxHandler<S>>>,
    metrics: Arc<dyn InboxMetrics>,
    steps: Vec<Arc<dyn ProcessingStep<InboxEvent>>>,
    letters: Option<Result<Arc<dyn Letters<S>>>>,
    config: InboxWorkerConfig,
    sources: Vec<String>,
    is_optimistic: bool,
}

impl<S: InboxRepository> fmt::Debug for InboxWorkerBuilder<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InboxWorkerBuilder").field("config", &self.config).finish_non_exhaustive()
    }
}

impl<S: InboxRepository> InboxWorker<S> {
    /// Begins to describe a worker on the inbox of `store`.
    pub fn builder(store: S) -> InboxWorkerBuilder<S> {
        InboxWorkerBuilder {
            store,
            handler: None,
            metrics: Arc::new(NoMetrics),
            steps: Vec::new(),
            letters: None,
            config: InboxWorkerConfig::default(),
            sources: Vec::new(),
            is_optimistic: false,
        }
    }
}

impl<S: InboxRepository> InboxWorkerBuilder<S> {
    /// Takes all settings at once, in place of those that were set before.
    pub fn config(mut self, config: InboxWorkerConfig) -> Self {
        self.config = config;
        self
    }

    /// The handler of messages. It has to be set.
    pub fn handler(mut self, handler: impl InboxHandler<S>) -> Self {
        self.handler = Some(Arc::new(handler));
        self
    }

    /// Adds a step, behind those that were added before.
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
    pub fn dead_letter_topic(mut self, topic: impl Into<String>) -> Self
    where
        S: OutboxRepository,
    {
        self.letters = Some(Topic::new(topic.into()).map(|topic| Arc::new(topic) as Arc<dyn Letters<S>>));
        self
    }

    /// Counts and measures; nothing by default. Takes an `Arc` too, to be read elsewhere.
    pub fn metrics(mut self, metrics: impl InboxMetrics) -> Self {
        self.metrics = Arc::new(metrics);
        self
    }

    /// Adds steps, behind those that were added before.
    pub(super) fn steps(mut self, steps: impl Iterator<Item = Arc<dyn ProcessingStep<InboxEvent>>>) -> Self {
        self.steps.extend(steps);
        self
    }

    /// Claims row by row, also where the store could claim a batch.
    pub(crate) fn optimistic(mut self) -> Self {
        self.is_optimistic = true;
        self
    }

    /// Only messages of this source (or one of several, when called again); of all sources by default.
    pub fn source(mut self, source: impl Into<String>) -> Self {
        self.sources.push(source.into());
        self
    }

    /// Sets [`InboxWorkerConfig::consumer_group`].
    pub fn consumer_group(mut self, group: impl fmt::Display) -> Self {
        self.config.consumer_group = group.to_string();
        self
    }

    /// Sets [`InboxWorkerConfig::worker_id`].
    pub fn worker_id(mut self, worker: impl fmt::Display) -> Self {
        self.config.worker_id = worker.to_string();
        self
    }

    /// Sets [`InboxWorkerConfig::batch_size`].
    pub fn batch_size(mut self, messages: u32) -> Self {
        self.config.batch_size = messages;
        self
    }

    /// Sets [`InboxWorkerConfig::lease_ttl`].
    pub fn lease_ttl(mut self, ttl: Duration) -> Self {
        self.config.lease_ttl = ttl;
        self
    }

    /// Sets [`InboxWorkerConfig::process_timeout`].
    pub fn process_timeout(mut self, timeout: Duration) -> Self {
        self.config.process_timeout = timeout;
        self
    }

    /// Sets [`InboxWorkerConfig::drain_deadline`].
    pub fn drain_deadline(mut self, deadline: Duration) -> Self {
        self.config.drain_deadline = deadline;
        self
    }

    /// Sets [`InboxWorkerConfig::concurrency_limit`].
    pub fn concurrency_limit(mut self, batches: usize) -> Self {
        self.config.concurrency_limit = batches;
        self
    }

    /// Sets [`InboxWorkerConfig::group_size`].
    pub fn group_size(mut self, messages: usize) -> Self {
        self.config.group_size = messages;
        self
    }

    /// Sets [`InboxWorkerConfig::savepoints`].
    pub fn savepoints(mut self, policy: SavepointPolicy) -> Self {
        self.config.savepoints = policy;
        self
    }

    /// Sets [`InboxWorkerConfig::shortest_poll`] and [`longest_poll`](InboxWorkerConfig::longest_poll).
    pub fn poll(mut self, shortest: Duration, longest: Duration) -> Self {
        (self.config.shortest_poll, self.config.longest_poll) = (shortest, longest);
        self
    }

    /// Sets [`InboxWorkerConfig::retry`].
    pub fn retry(mut self, retry: RetryPolicy) -> Self {
        self.config.retry = retry;
        self
    }

    /// Builds the worker.
    ///
    /// # Errors
    /// [`Misconfigured`](omni_box_core::ErrorKind::Misconfigured), naming the setting, its value and what is allowed. It is so without a
    /// group or handler, for a value out of range, or a `process_timeout` that does not fit lease or drain deadline. On SQLite it has to
    /// fit into the lease together with the busy timeout.
    /// [`Unsupported`](omni_box_core::ErrorKind::Unsupported) for a [`DlqStep`](crate::DlqStep) where the store lists no failed events.
    pub fn build(self) -> Result<InboxWorker<S>> {
        let config = self.config;
        let checked = config.check()?;
        let longest_group = config.process_timeout.saturating_add(GROUP_TIME);
        check_lock_wait(config.lease_ttl, longest_group, self.store.lock_wait())?;
        let handler =
            self.handler.ok_or_else(|| misconfigured("a worker needs a handler: call `handler`"))?;
        handler.validate()?;
        let filters = FetchFilters::new().consumer_group(checked.group.clone());
        let filters = self.sources.into_iter().fold(filters, FetchFilters::source);
        let copies = Copies::new(&self.steps, &self.store, filters.clone(), &checked.worker)?.map(Arc::new);
        let membership = Membership::new(self.store.clone(), checked.group.clone(), GroupHandling::Stored);
        let outage_retry = outage_retry(LONGEST_OUTAGE_RETRY);
        let steps = Steps::new(self.steps);
        let mut gates = vec!["database"];
        gates.extend((!steps.is_empty()).then_some("step"));
        let status = InboxStatus::new(gates);
        let gate = Gate::new("database", outage_retry).shown_by(status.lamp("database"));
        let context = Context {
            database: Database::new(self.store, config.process_timeout, gate),
            handler: Some(handler),
            group: checked.group,
            worker: checked.worker,
            strategy: AckStrategy::ExactlyOnceInbox,
            policy: CommitOffsetPolicy::OnPersist,
            on_failed: OnFailed::Commit,
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
            has_claims: true,
        };
        let shared = Shared {
            context: Arc::new(context),
            filters,
            copies,
            membership,
            lease_ttl: config.lease_ttl,
            shortest_poll: config.shortest_poll,
            longest_poll: config.longest_poll,
            stale: Stale::default(),
            is_optimistic: self.is_optimistic,
            attached: tokio::sync::Mutex::default(),
        };
        Ok(InboxWorker::new(shared, checked.batch_size, config.concurrency_limit, config.drain_deadline))
    }
}
