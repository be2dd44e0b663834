//! An inbox runner's settings, and what of them means nothing.

use std::time::Duration;

use omni_box_core::{ConsumerGroup, EventConsumer, Result, RetryPolicy, WorkerId};
use tokio::sync::Semaphore;

use crate::settings::{check_durations, check_number, misconfigured, named};
use crate::transact::{
    AckStrategy, CommitOffsetPolicy, GROUP_TIME, MAX_GROUP, MAX_SAVEPOINTS, OnFailed, SavepointPolicy,
};

const MAX_WINDOW: usize = 1_000_000;
const DRAIN_DEADLINE: Duration = Duration::from_secs(45);

/// The settings of an [`InboxConsumerRunner`](crate::InboxConsumerRunner), as plain data.
///
/// Nothing is checked here: [`build`](crate::InboxConsumerRunnerBuilder::build) names each value that is out of range or contradicts
/// another one. No duration may be longer than a year.
///
/// ```
/// use std::time::Duration;
///
/// use omni_box_pipeline::{InboxConfig, InboxConsumerRunner};
/// use omni_box_testkit::{MemoryBroker, MemoryStore};
///
/// let config = InboxConfig {
///     worker_id: "shipping-1".into(),
///     process_timeout: Duration::from_secs(10),
///     ..InboxConfig::default()
/// };
/// let group = omni_box_core::ConsumerGroup::new("shipping")?;
/// let consumer = MemoryBroker::new().consumer(&group, ["orders"]);
/// let runner = InboxConsumerRunner::builder(consumer, MemoryStore::new()).config(config).build()?;
/// # Ok::<(), omni_box_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InboxConfig {
    /// The group in whose name messages are received: the scope of deduplication. `None`, the default, takes the consumer's own.
    pub consumer_group: Option<String>,
    /// The label in logs and in the table of partitions, 1 to 255 characters; `inbox` by default.
    pub worker_id: String,
    /// What is promised about a message's effect; exactly once by default.
    pub ack_strategy: AckStrategy,
    /// When a message's offset is committed; by default when the message took effect.
    pub commit_offset_policy: CommitOffsetPolicy,
    /// What happens to the offset of a message that has failed for good; it is committed by default.
    pub on_failed: OnFailed,
    /// How long a handler may take for one message; above zero, 30 s by default.
    pub process_timeout: Duration,
    /// How long a handler may block its thread, or all threads of the runtime be blocked, before the consumer leaves its group. Its partitions
    /// go to other members, and the runner ends with an error as soon as it can. The default is 5 min. It is never less than
    /// `process_timeout` and two seconds, after which a line of level ERROR names the message. Consumers without
    /// [`leaver`](omni_box_core::EventConsumer::leaver) stay.
    pub stuck_after: Duration,
    /// How long running groups may take to end when the runner is stopped, more than a second longer than `process_timeout`. A group
    /// may last that long. `None`, the default, takes the consumer's own, or 45 s if it has none.
    pub drain_deadline: Option<Duration>,
    /// How many partitions work in the database at once, each on one connection; at least 1, 8 by default. Keep it below the size of
    /// the store's pool.
    pub concurrency_limit: usize,
    /// Most messages in one transaction, 1 to 1000; 60 by default. Where each has a savepoint, 60 at most; a store without savepoints takes
    /// one then. Slow handlers share a transaction for one second: no further handler starts in it after that.
    ///
    /// Set it to 1 if handlers change what lasts until the end of the transaction, such as `set local` or `create temp table .. on commit
    /// drop`. See [`InboxContext`](omni_box_core::InboxContext).
    pub group_size: usize,
    /// Whether each message of a group has a savepoint; after a failure by default.
    ///
    /// With the default, a handler may run again because another one of its group failed. What it does outside the transaction must be
    /// harmless when it is done twice, or each message needs a savepoint. See [`InboxContext`](omni_box_core::InboxContext).
    pub savepoints: SavepointPolicy,
    /// How many messages of a partition may be in memory, including those that wait for a retry; `group_size` to 1,000,000, 1000 by default.
    pub window: usize,
    /// Delay before a message is retried after its handler failed or it could not be stored; [`RetryPolicy::default`] by default.
    ///
    /// Outages, deadlocks, serialization failures and lock timeouts do not use this policy. They are retried after 100 ms to 5 s, and
    /// cost no attempt unless they follow one message again and again.
    pub retry: RetryPolicy,
}

impl Default for InboxConfig {
    fn default() -> Self {
        Self {
            consumer_group: None,
            worker_id: "inbox".to_owned(),
            ack_strategy: AckStrategy::default(),
            commit_offset_policy: CommitOffsetPolicy::default(),
            on_failed: OnFailed::default(),
            process_timeout: Duration::from_secs(30),
            stuck_after: Duration::from_secs(300),
            drain_deadline: None,
            concurrency_limit: 8,
            group_size: MAX_SAVEPOINTS,
            savepoints: SavepointPolicy::default(),
            window: 1000,
            retry: RetryPolicy::default(),
        }
    }
}

/// What was found out about the settings: names that are valid, and values that the consumer supplied.
pub(super) struct Checked {
    pub(super) group: ConsumerGroup,
    pub(super) worker: WorkerId,
    pub(super) drain_deadline: Duration,
}

impl InboxConfig {
    /// Refuses settings with which no runner can work.
    pub(super) fn check(&self, consumer: &dyn EventConsumer, has_handler: bool) -> Result<Checked> {
        let drain_deadline = agreed("drain_deadline", self.drain_deadline, consumer.drain_deadline())?;
        let checked = Checked {
            group: self.group(consumer)?,
            worker: named("worker_id", &self.worker_id, WorkerId::new)?,
            drain_deadline: drain_deadline.unwrap_or(DRAIN_DEADLINE),
        };
        self.check_times(checked.drain_deadline)?;
        self.check_numbers()?;
        self.check_on_failed(has_handler)?;
        Ok(checked)
    }

    fn group(&self, consumer: &dyn EventConsumer) -> Result<ConsumerGroup> {
        let set = self.consumer_group.as_deref();
        let set = set.map(|group| named("consumer_group", group, ConsumerGroup::new)).transpose()?;
        agreed("consumer_group", set, consumer.consumer_group().cloned())?
            .ok_or_else(|| misconfigured("consumer_group is not set, and the consumer has none of its own"))
    }

    fn check_times(&self, drain_deadline: Duration) -> Result<()> {
        check_durations([
            ("process_timeout", self.process_timeout),
            ("stuck_after", self.stuck_after),
            ("drain_deadline", drain_deadline),
            ("retry", self.retry.max()),
        ])?;
        if self.process_timeout.is_zero() {
            return Err(misconfigured("process_timeout is zero, needs more"));
        }
        if self.process_timeout.saturating_add(GROUP_TIME) >= drain_deadline {
            return Err(misconfigured(format!(
                "process_timeout {:?} must be more than {GROUP_TIME:?} shorter than drain_deadline {drain_deadline:?}",
                self.process_timeout
            )));
        }
        Ok(())
    }

    fn check_numbers(&self) -> Result<()> {
        check_number("group_size", self.group_size, 1..=MAX_GROUP)?;
        check_number("window", self.window, 1..=MAX_WINDOW)?;
        if self.window < self.group_size {
            return Err(misconfigured(format!(
                "window {} must be at least group_size {}",
                self.window, self.group_size
            )));
        }
        check_number("concurrency_limit", self.concurrency_limit, 1..=Semaphore::MAX_PERMITS)
    }

    /// Only an offset that is committed with the message's effect can be held back.
    fn check_on_failed(&self, has_handler: bool) -> Result<()> {
        let (strategy, policy) = (self.ack_strategy, self.commit_offset_policy);
        if self.on_failed != OnFailed::Hold {
            return Ok(());
        }
        if strategy != AckStrategy::ExactlyOnceInbox || policy != CommitOffsetPolicy::OnSuccess {
            return Err(misconfigured(format!(
                "on_failed Hold needs ack_strategy ExactlyOnceInbox and commit_offset_policy OnSuccess, not {strategy:?} and {policy:?}"
            )));
        }
        if !has_handler {
            return Err(misconfigured("on_failed Hold needs a handler: without one, no message fails"));
        }
        Ok(())
    }
}

/// The value that runner and consumer agree on, if one of them has any.
fn agreed<T: PartialEq + std::fmt::Debug>(
    name: &str,
    set: Option<T>,
    consumers: Option<T>,
) -> Result<Option<T>> {
    match (set, consumers) {
        (Some(set), Some(consumers)) if set != consumers => {
            Err(misconfigured(format!("{name} {set:?} differs from the consumer's own, {consumers:?}")))
        }
        (set, consumers) => Ok(set.or(consumers)),
    }
}
