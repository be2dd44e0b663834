//! The settings of a worker of stored messages, and what of them means nothing.

use std::time::Duration;

use omni_box_core::{BatchSize, ConsumerGroup, Result, RetryPolicy, WorkerId};
use tokio::sync::Semaphore;

use crate::settings::{check_durations, check_number, misconfigured, named};
use crate::transact::{GROUP_TIME, MAX_GROUP, MAX_SAVEPOINTS, SavepointPolicy};

/// The settings of an [`InboxWorker`](crate::InboxWorker), as plain data.
///
/// Nothing is checked here: [`build`](crate::InboxWorkerBuilder::build) names each value that is out of range or contradicts
/// another one. No duration may be longer than a year.
///
/// ```
/// use std::time::Duration;
///
/// use omni_box_core::InboxContext;
/// use omni_box_pipeline::{InboxWorker, InboxWorkerConfig, on};
/// use omni_box_testkit::MemoryStore;
///
/// async fn ship(_cx: InboxContext<'_, MemoryStore>) {}
///
/// let config = InboxWorkerConfig {
///     consumer_group: "shipping".into(),
///     concurrency_limit: 2,
///     lease_ttl: Duration::from_secs(120),
///     ..InboxWorkerConfig::default()
/// };
/// let worker = InboxWorker::builder(MemoryStore::new()).config(config).handler(on("order.placed", ship)).build();
/// assert!(worker.is_ok());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InboxWorkerConfig {
    /// The group whose messages are handled. It has to be set.
    pub consumer_group: String,
    /// The label in logs and in the claims, 1 to 255 characters; `inbox-worker` by default. The Python library omni-box calls it the
    /// job's name.
    pub worker_id: String,
    /// Most messages that are claimed at once; 1 to 10,000, 100 by default.
    pub batch_size: u32,
    /// How long a claim lives unless it is renewed; more than a second longer than `process_timeout`, 60 s by default. The messages of a
    /// worker that died wait this long.
    pub lease_ttl: Duration,
    /// How long a handler may take for one message; above zero, 30 s by default.
    pub process_timeout: Duration,
    /// How long running groups may take to end when the worker is stopped, more than a second longer than `process_timeout`; 45 s by
    /// default.
    pub drain_deadline: Duration,
    /// How many batches are handled at once, each on one connection; at least 1, 4 by default. Keep it below the size of the store's
    /// pool.
    pub concurrency_limit: usize,
    /// Most messages in one transaction, 1 to 1000; 60 by default. See [`InboxConfig::group_size`](crate::InboxConfig::group_size).
    pub group_size: usize,
    /// Whether each message of a group has a savepoint; after a failure by default. See
    /// [`InboxConfig::savepoints`](crate::InboxConfig::savepoints).
    pub savepoints: SavepointPolicy,
    /// How soon the table is looked at again after a batch; 50 ms by default.
    pub shortest_poll: Duration,
    /// How often the table is looked at while nothing is stored, by all batches together; at least `shortest_poll`, 1 s by default.
    pub longest_poll: Duration,
    /// Delay before a message is retried after its handler failed; [`RetryPolicy::default`] by default.
    pub retry: RetryPolicy,
}

impl Default for InboxWorkerConfig {
    fn default() -> Self {
        Self {
            consumer_group: String::new(),
            worker_id: "inbox-worker".to_owned(),
            batch_size: 100,
            lease_ttl: Duration::from_secs(60),
            process_timeout: Duration::from_secs(30),
            drain_deadline: Duration::from_secs(45),
            concurrency_limit: 4,
            group_size: MAX_SAVEPOINTS,
            savepoints: SavepointPolicy::default(),
            shortest_poll: Duration::from_millis(50),
            longest_poll: Duration::from_secs(1),
            retry: RetryPolicy::default(),
        }
    }
}

/// Names and numbers that are valid.
pub(super) struct Checked {
    pub(super) group: ConsumerGroup,
    pub(super) worker: WorkerId,
    pub(super) batch_size: BatchSize,
}

impl InboxWorkerConfig {
    /// Refuses settings with which no worker can work.
    pub(super) fn check(&self) -> Result<Checked> {
        if self.consumer_group.is_empty() {
            return Err(misconfigured(
                "consumer_group is not set: a worker handles the messages of one group",
            ));
        }
        let checked = Checked {
            group: named("consumer_group", &self.consumer_group, ConsumerGroup::new)?,
            worker: named("worker_id", &self.worker_id, WorkerId::new)?,
            batch_size: BatchSize::new(self.batch_size)
                .map_err(|error| misconfigured(format!("batch_size: {error}")))?,
        };
        check_durations([
            ("lease_ttl", self.lease_ttl),
            ("process_timeout", self.process_timeout),
            ("drain_deadline", self.drain_deadline),
            ("longest_poll", self.longest_poll),
            ("retry", self.retry.max()),
        ])?;
        if self.process_timeout.is_zero() || self.shortest_poll.is_zero() {
            return Err(misconfigured("process_timeout or shortest_poll is zero, needs more"));
        }
        if self.shortest_poll > self.longest_poll {
            return Err(misconfigured(format!(
                "shortest_poll {:?} must be at most longest_poll {:?}",
                self.shortest_poll, self.longest_poll
            )));
        }
        let longest_group = self.process_timeout.saturating_add(GROUP_TIME);
        for (name, limit) in [("lease_ttl", self.lease_ttl), ("drain_deadline", self.drain_deadline)] {
            if longest_group >= limit {
                return Err(misconfigured(format!(
                    "process_timeout {:?} must be more than {GROUP_TIME:?} shorter than {name} {limit:?}",
                    self.process_timeout
                )));
            }
        }
        check_number("group_size", self.group_size, 1..=MAX_GROUP)?;
        check_number("concurrency_limit", self.concurrency_limit, 1..=Semaphore::MAX_PERMITS)?;
        Ok(checked)
    }
}
