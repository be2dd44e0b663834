//! One bounded look at the tables.

use std::time::Duration;

use async_trait::async_trait;

use crate::error::Result;

/// Looks at everything that metrics, health checks and reports show of the tables.
///
/// A store offers it by [`Store::inspection`](super::Store::inspection). It is called a few times a minute by each process, and costs the
/// same however large the tables are.
#[async_trait]
pub trait Inspection: Send + Sync {
    /// Takes one sample.
    ///
    /// - At most three statements, and none that counts without a limit or reads a table of events row by row.
    /// - Ages are by the store's clock.
    /// - It waits for no lock of another transaction, and changes nothing.
    ///
    /// # Errors
    /// When the database fails. A part that cannot be had is an error too: half a sample would show health that is not there.
    async fn sample(&self) -> Result<Sample>;
}

/// The state of a store's tables at one moment. The same for every process that looks at them.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Sample {
    /// The outbox.
    pub outbox: OutboxSample,
    /// Consumer groups of which the inbox knows something, by name; at most [`GROUPS`](Self::GROUPS).
    pub groups: Vec<GroupSample>,
    /// The age of the oldest open transaction in the database, as far as the store's role may see. `None` if there is none, or the
    /// store cannot tell. It holds vacuum back.
    pub oldest_transaction_age: Option<Duration>,
}

impl Sample {
    /// The most consumer groups in one sample.
    pub const GROUPS: usize = 100;
}

/// The state of the outbox.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct OutboxSample {
    /// How long the event that is due longest has been due. Only events that a relay should send now have an age: not those scheduled for
    /// later, and not those of a key that waits. `None`: nothing is due.
    pub oldest_due_age: Option<Duration>,
    /// Events that are due.
    pub backlog: Count,
    /// Keys that wait for the retry of a failed event. An event without a key that waits counts as one. Where more than
    /// [`Count::LIMIT`] keys wait for either, neither number is exact.
    pub retrying_keys: Count,
    /// Keys that wait for an operator.
    pub parked_keys: Count,
    /// How long ago the oldest event was created that holds back its key.
    pub oldest_held_age: Option<Duration>,
    /// Events that were given up and are not resolved.
    pub failed: Count,
    /// Lanes without a valid lease; `None` in another mode than `lanes`.
    pub unowned_lanes: Option<u64>,
}

/// The state of one consumer group's inbox.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct GroupSample {
    /// The group.
    pub consumer_group: String,
    /// Messages that are stored and due.
    pub pending: Count,
    /// How long the message that is due longest has been due; `None`: nothing is due.
    pub oldest_pending_age: Option<Duration>,
    /// Messages that were given up and are not resolved.
    pub failed: Count,
    /// Messages in quarantine.
    pub quarantined: Count,
}

impl GroupSample {
    /// A group of which nothing is stored.
    pub fn new(consumer_group: impl Into<String>) -> Self {
        Self {
            consumer_group: consumer_group.into(),
            pending: Count::default(),
            oldest_pending_age: None,
            failed: Count::default(),
            quarantined: Count::default(),
        }
    }
}

/// A number that was counted to a limit.
///
/// ```
/// use omni_box_core::store::Count;
///
/// assert_eq!(Count::of(3), Count { count: 3, is_exact: true });
/// // a store counts to one more than the limit
/// assert_eq!(Count::of(Count::LIMIT + 1), Count { count: Count::LIMIT, is_exact: false });
/// assert_eq!(Count::of(Count::LIMIT + 1).about(2_000_000).count, 2_000_000);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    /// How many there are; at least so many, or an estimate, if it is not exact.
    pub count: u64,
    /// Whether all were counted.
    pub is_exact: bool,
}

impl Count {
    /// What is counted one by one.
    pub const LIMIT: u64 = 10_000;

    /// So many were found by a look that ends after one more than the [`LIMIT`](Self::LIMIT).
    pub const fn of(found: u64) -> Self {
        if found > Self::LIMIT {
            Self { count: Self::LIMIT, is_exact: false }
        } else {
            Self { count: found, is_exact: true }
        }
    }

    /// The same with an estimate, which counts only where not all were counted.
    #[must_use]
    pub const fn about(self, estimate: u64) -> Self {
        if self.is_exact || estimate < self.count {
            return self;
        }
        Self { count: estimate, is_exact: false }
    }
}

impl Default for Count {
    fn default() -> Self {
        Self::of(0)
    }
}
