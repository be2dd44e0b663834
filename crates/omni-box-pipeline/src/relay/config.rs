//! The relay's settings, and what is refused.

use std::time::Duration;

use omni_box_core::{BatchSize, Result, RetryPolicy, WorkerId};

use super::settings::Settings;
use super::verdict::{Judge, RejectionPolicy};
use crate::settings::{check_durations, check_number, misconfigured, named, outage_retry};

const MOST_BATCH_BYTES: u64 = 1 << 40;
const LONGEST_OUTAGE_RETRY: Duration = Duration::from_secs(30);
const SHORTEST_LEASE: Duration = Duration::from_millis(100);

/// The settings of an [`OutboxRelay`](crate::OutboxRelay), as plain data.
///
/// Nothing is checked here: [`build`](crate::OutboxRelayBuilder::build) names each value that is out of range or contradicts another
/// one. No duration may be longer than a year.
///
/// ```
/// use std::time::Duration;
///
/// use omni_box_core::RawEventConverter;
/// use omni_box_pipeline::{OutboxRelay, RelayConfig};
/// use omni_box_testkit::{MemoryBroker, MemoryStore};
///
/// let config = RelayConfig {
///     worker_id: "orders-1".into(),
///     lease_ttl: Duration::from_secs(30),
///     ..RelayConfig::default()
/// };
/// let publisher = MemoryBroker::new().publisher(RawEventConverter);
/// let relay = OutboxRelay::builder(MemoryStore::new(), publisher).config(config).build()?;
/// # Ok::<(), omni_box_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayConfig {
    /// The label in logs and in the table of lanes, 1 to 255 characters; `relay` by default. Replicas may share it.
    pub worker_id: String,
    /// Events of one fetch, 1 to 10,000; 2,000 by default. Up to three batches are in flight.
    pub batch_size: u32,
    /// Payload bytes of one fetch in mode `lanes`; 8 MiB by default, 1 TiB at most. In mode `rows` events are claimed by number alone, and a
    /// batch may be as large as `batch_size` times the largest payload. Choose a small one where payloads are large.
    pub max_batch_bytes: u64,
    /// How long a lease lives without a heartbeat, which comes four times as often; at least 100 ms, 10 s by default. A lane of a
    /// relay that died is taken at the next heartbeat of another one after its lease has ended. That is this long and a quarter of it, at
    /// most. A call of the database that is never answered costs this long.
    pub lease_ttl: Duration,
    /// The shortest interval between fetches that find nothing; above zero, 5 ms by default.
    pub shortest_poll: Duration,
    /// The longest interval between fetches that find nothing, shorter than `lease_ttl`; 1 s by default. While the store promises that each
    /// commit wakes the relay it is five times as long, and at most half of `lease_ttl`. An event of a writer that wakes none (a plain insert, a
    /// store that does not notify) waits so long once. For ten minutes after that none waits longer than this.
    pub longest_poll: Duration,
    /// How long a shutdown waits for what is in flight; 20 s by default. What the broker has not acknowledged by then is given up, and its
    /// leases or claims are handed back, which may take five seconds more.
    pub drain_deadline: Duration,
    /// When an event that failed by its own fault is tried again; after 10 s to 1 h by default. An event's six attempts then span 155 to
    /// 310 s, see [`RetryPolicy`]. An event whose topic is unavailable is tried again after at most 30 s, and costs no attempt.
    pub retry: RetryPolicy,
    /// How often a broker or database that is down is tried again; after 100 ms to 30 s by default.
    pub outage_retry: RetryPolicy,
    /// What a permanent rejection does to its key; the key moves on by default.
    pub rejection_policy: RejectionPolicy,
}

impl Default for RelayConfig {
    fn default() -> Self {
        Self {
            worker_id: "relay".to_owned(),
            batch_size: 2_000,
            max_batch_bytes: 8 * 1024 * 1024,
            lease_ttl: Duration::from_secs(10),
            shortest_poll: Duration::from_millis(5),
            longest_poll: Duration::from_secs(1),
            drain_deadline: Duration::from_secs(20),
            retry: RetryPolicy::default(),
            outage_retry: outage_retry(LONGEST_OUTAGE_RETRY),
            rejection_policy: RejectionPolicy::default(),
        }
    }
}

impl RelayConfig {
    /// Refuses settings with which no relay can work.
    pub(super) fn check(&self) -> Result<Settings> {
        let Self { lease_ttl, shortest_poll, longest_poll, .. } = self;
        let settings = self.check_shared()?;
        check_durations([
            ("drain_deadline", self.drain_deadline),
            ("outage_retry", self.outage_retry.max()),
        ])?;
        check_number("max_batch_bytes", self.max_batch_bytes, 1..=MOST_BATCH_BYTES)?;
        if shortest_poll.is_zero() || shortest_poll > longest_poll {
            return Err(misconfigured(format!(
                "shortest_poll {shortest_poll:?} must be above zero and at most longest_poll {longest_poll:?}"
            )));
        }
        if longest_poll >= lease_ttl {
            return Err(misconfigured(format!(
                "longest_poll {longest_poll:?} must be shorter than lease_ttl {lease_ttl:?}"
            )));
        }
        Ok(settings)
    }

    /// Refuses settings with which neither a relay nor a publisher of batches can work.
    pub(super) fn check_shared(&self) -> Result<Settings> {
        let lease_ttl = self.lease_ttl;
        check_durations([("lease_ttl", lease_ttl), ("retry", self.retry.max())])?;
        if lease_ttl < SHORTEST_LEASE {
            return Err(misconfigured(format!("lease_ttl {lease_ttl:?} is shorter than {SHORTEST_LEASE:?}")));
        }
        check_number("batch_size", self.batch_size, 1..=BatchSize::MAX)?;
        Ok(Settings {
            worker_id: named("worker_id", &self.worker_id, WorkerId::new)?,
            batch_size: BatchSize::new(self.batch_size)?,
            max_batch_bytes: self.max_batch_bytes,
            lease_ttl,
            shortest_poll: self.shortest_poll,
            longest_poll: self.longest_poll,
            drain_deadline: self.drain_deadline,
            outage_retry: self.outage_retry,
            judge: Judge { retry: self.retry, rejection: self.rejection_policy },
        })
    }
}
