//! Describes a runner and checks that its settings agree.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use omni_box_core::{
    ConsumerGroup, DefaultMessageDecoder, EventConsumer, InboxHandler, InboxMetrics, InboxRepository,
    MessageDecoder, NoMetrics, Result, RetryPolicy, WorkerId,
};
use tokio::sync::Semaphore;

use super::runner::InboxConsumerRunner;
use super::shared::Shared;
use crate::gate::Gate;
use crate::settings::{check_durations, check_number, misconfigured, outage_retry};
use crate::transact::{AckStrategy, CommitOffsetPolicy, Context, GROUP_TIME, OnFailed};

/// Most savepoints in one transaction that PostgreSQL keeps in its subtransaction cache (of 64, with some to spare for handlers).
const MAX_GROUP: usize = 60;
const PROCESS_TIMEOUT: Duration = Duration::from_secs(30);
const DRAIN_DEADLINE: Duration = Duration::from_secs(45);
const CONCURRENCY: usize = 8;
const WINDOW: usize = 1000;
const MAX_WINDOW: usize = 1_000_000;
const LONGEST_OUTAGE_RETRY: Duration = Duration::from_secs(5);

/// Describes an [`InboxConsumerRunner`]. Only the consumer group has no default.
pub struct InboxConsumerRunnerBuilder<S: InboxRepository> {
    consumer: Box<dyn EventConsumer>,
    store: S,
    group: Option<ConsumerGroup>,
    worker: Option<WorkerId>,
    handler: Option<Arc<dyn InboxHandler<S>>>,
    decoder: Arc<dyn MessageDecoder>,
    strategy: AckStrategy,
    policy: CommitOffsetPolicy,
    on_failed: OnFailed,
    process_timeout: Duration,
    drain_deadline: Duration,
    concurrency: usize,
    group_size: usize,
    window: usize,
    retry: RetryPolicy,
    metrics: Arc<dyn InboxMetrics>,
}

impl<S: InboxRepository> fmt::Debug for InboxConsumerRunnerBuilder<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InboxConsumerRunnerBuilder")
            .field("consumer_group", &self.group)
            .field("ack_strategy", &self.strategy)
            .field("commit_offset_policy", &self.policy)
            .finish_non_exhaustive()
    }
}

impl<S: InboxRepository> InboxConsumerRunnerBuilder<S> {
    pub(super) fn new(consumer: Box<dyn EventConsumer>, store: S) -> Self {
        Self {
            consumer,
            store,
            group: None,
            worker: None,
            handler: None,
            decoder: Arc::new(DefaultMessageDecoder::new()),
            strategy: AckStrategy::default(),
            policy: CommitOffsetPolicy::default(),
            on_failed: OnFailed::default(),
            process_timeout: PROCESS_TIMEOUT,
            drain_deadline: DRAIN_DEADLINE,
            concurrency: CONCURRENCY,
            group_size: MAX_GROUP,
            window: WINDOW,
            retry: RetryPolicy::default(),
            metrics: Arc::new(NoMetrics),
        }
    }

    /// The group in whose name messages are received: the scope of deduplication. Must be the consumer's own.
    #[must_use]
    pub fn consumer_group(mut self, group: ConsumerGroup) -> Self {
        self.group = Some(group);
        self
    }

    /// A label for logs and the partitions' table; `inbox` by default.
    #[must_use]
    pub fn worker_id(mut self, worker: WorkerId) -> Self {
        self.worker = Some(worker);
        self
    }

    /// Handles messages. Without a handler they are stored as pending rows and acknowledged.
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

    /// What is promised about a message's effect; exactly once by default.
    #[must_use]
    pub fn ack_strategy(mut self, strategy: AckStrategy) -> Self {
        self.strategy = strategy;
        self
    }

    /// When a message's offset is committed; when it took effect, by default.
    #[must_use]
    pub fn commit_offset_policy(mut self, policy: CommitOffsetPolicy) -> Self {
        self.policy = policy;
        self
    }

    /// What happens to the offset of a message that has failed for good; it is committed by default.
    #[must_use]
    pub fn on_failed(mut self, on_failed: OnFailed) -> Self {
        self.on_failed = on_failed;
        self
    }

    /// How long a handler may take for one message; 30 s by default.
    #[must_use]
    pub fn process_timeout(mut self, timeout: Duration) -> Self {
        self.process_timeout = timeout;
        self
    }

    /// How many partitions work in the database at once, each on one connection; 8 by default. Keep it below the size of the store's pool.
    #[must_use]
    pub fn concurrency_limit(mut self, partitions: usize) -> Self {
        self.concurrency = partitions;
        self
    }

    /// Most messages in one transaction, 1 to 60; 60 by default. A store without savepoints always takes one. Of slow handlers fewer share
    /// one: none begins in a transaction whose first began a second ago, so that it lasts a second longer than `process_timeout` at most.
    #[must_use]
    pub fn group_size(mut self, messages: usize) -> Self {
        self.group_size = messages;
        self
    }

    /// How many messages of a partition may be in memory, those that wait for a retry included; 1000 by default, at most a million.
    #[must_use]
    pub fn window(mut self, messages: usize) -> Self {
        self.window = messages;
        self
    }

    /// How long running groups may take to end when the runner is stopped; 45 s by default, and more than a second longer than
    /// `process_timeout`, since that is how long a [group](Self::group_size) may last. The consumer's own drain deadline, for partitions that
    /// are revoked, should be as long.
    #[must_use]
    pub fn drain_deadline(mut self, deadline: Duration) -> Self {
        self.drain_deadline = deadline;
        self
    }

    /// When a message is tried again that failed, at the cost of an attempt or, as its handler said, of none, or that could not be stored;
    /// after 10 s to 1 h by default. The six attempts a message has then span 155 to 310 s, see [`RetryPolicy`].
    ///
    /// Not for what is no message's fault: a database or broker that is down, a deadlock, a serialization failure, a lock that was not got in
    /// time. That is tried again after 100 ms to 5 s and costs no attempt, unless it meets one message alone again and again.
    #[must_use]
    pub fn retry(mut self, retry: RetryPolicy) -> Self {
        self.retry = retry;
        self
    }

    /// Counts and measures; nothing by default.
    #[must_use]
    pub fn metrics(mut self, metrics: Arc<dyn InboxMetrics>) -> Self {
        self.metrics = metrics;
        self
    }

    /// Builds the runner.
    ///
    /// # Errors
    /// [`Misconfigured`](omni_box_core::ErrorKind::Misconfigured), naming the values that disagree, or the one that is out of range (no duration
    /// may be longer than a year).
    pub fn build(self) -> Result<InboxConsumerRunner<S>> {
        let group = self.group.clone().ok_or_else(|| misconfigured("consumer_group is not set"))?;
        self.check()?;
        if let Some(handler) = &self.handler {
            handler.validate()?;
        }
        let outage_retry = outage_retry(LONGEST_OUTAGE_RETRY)?;
        let context = Context {
            store: self.store,
            handler: self.handler,
            group,
            worker: self.worker.map_or_else(|| WorkerId::new("inbox"), Ok)?,
            strategy: self.strategy,
            policy: self.policy,
            on_failed: self.on_failed,
            process_timeout: self.process_timeout,
            group_size: self.group_size,
            retry: self.retry,
            outage_retry,
            metrics: self.metrics,
            database: Mutex::new(Gate::new("database", outage_retry)),
        };
        let shared = Shared {
            context,
            decoder: self.decoder,
            drain_deadline: self.drain_deadline,
            window: self.window,
            permits: Semaphore::new(self.concurrency),
        };
        Ok(InboxConsumerRunner::new(shared, self.consumer))
    }

    fn check(&self) -> Result<()> {
        check_durations([
            ("process_timeout", self.process_timeout),
            ("drain_deadline", self.drain_deadline),
            ("retry", self.retry.max()),
        ])?;
        if self.process_timeout.is_zero() {
            return Err(misconfigured("process_timeout is zero"));
        }
        if self.process_timeout.saturating_add(GROUP_TIME) >= self.drain_deadline {
            return Err(misconfigured(format!(
                "process_timeout {:?} must be more than {GROUP_TIME:?} shorter than drain_deadline {:?}",
                self.process_timeout, self.drain_deadline
            )));
        }
        check_number("group_size", self.group_size, 1..=MAX_GROUP)?;
        check_number("window", self.window, 1..=MAX_WINDOW)?;
        if self.window < self.group_size {
            return Err(misconfigured(format!(
                "window {} must be at least group_size {}",
                self.window, self.group_size
            )));
        }
        check_number("concurrency_limit", self.concurrency, 1..=Semaphore::MAX_PERMITS)
    }
}
