//! The relay's settings and their defaults.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use omni_box_core::{BatchSize, NoMetrics, OutboxMetrics, Result, RetryPolicy, WorkerId};

use super::verdict::{Judge, RejectionPolicy};
use crate::settings::{check_durations, check_number, misconfigured, outage_retry};

/// A lease may be shorter than a statement takes on a busy database, and one that was given up would be made again for ever.
const SHORTEST_BATCH_DEADLINE: Duration = Duration::from_secs(30);
const MOST_BATCH_BYTES: u64 = 1 << 40;
const LONGEST_OUTAGE_RETRY: Duration = Duration::from_secs(30);

/// Settings shared by the relay and the publisher.
#[derive(Clone)]
pub(super) struct Settings {
    pub(super) worker_id: WorkerId,
    pub(super) batch_size: BatchSize,
    pub(super) max_batch_bytes: u64,
    pub(super) lease_ttl: Duration,
    pub(super) poll_shortest: Duration,
    pub(super) poll_longest: Duration,
    pub(super) drain_deadline: Duration,
    pub(super) outage_retry: RetryPolicy,
    pub(super) judge: Judge,
    pub(super) metrics: Arc<dyn OutboxMetrics>,
}

impl Settings {
    /// The defaults.
    pub(super) fn new() -> Result<Self> {
        Ok(Self {
            worker_id: WorkerId::new("relay")?,
            batch_size: BatchSize::new(2_000)?,
            max_batch_bytes: 8 * 1024 * 1024,
            lease_ttl: Duration::from_secs(10),
            poll_shortest: Duration::from_millis(5),
            poll_longest: Duration::from_secs(1),
            drain_deadline: Duration::from_secs(20),
            outage_retry: outage_retry(LONGEST_OUTAGE_RETRY)?,
            judge: Judge { retry: RetryPolicy::default(), rejection: RejectionPolicy::default() },
            metrics: Arc::new(NoMetrics),
        })
    }

    /// How often leases are renewed.
    pub(super) fn heartbeat(&self) -> Duration {
        self.lease_ttl / 4
    }

    /// How long reading or writing a batch may take.
    pub(super) fn batch_deadline(&self) -> Duration {
        self.lease_ttl.max(SHORTEST_BATCH_DEADLINE)
    }

    /// What the relay needs.
    pub(super) fn check(&self) -> Result<()> {
        let Self { lease_ttl, poll_shortest, poll_longest, .. } = self;
        self.check_shared()?;
        check_durations([
            ("drain_deadline", self.drain_deadline),
            ("outage_retry", self.outage_retry.max()),
        ])?;
        check_number("max_batch_bytes", self.max_batch_bytes, 1..=MOST_BATCH_BYTES)?;
        if poll_shortest.is_zero() || poll_shortest > poll_longest {
            return Err(misconfigured(format!(
                "the shortest poll interval {poll_shortest:?} must be above zero and at most the longest {poll_longest:?}"
            )));
        }
        if poll_longest >= lease_ttl {
            return Err(misconfigured(format!(
                "the longest poll interval {poll_longest:?} must be shorter than lease_ttl {lease_ttl:?}"
            )));
        }
        Ok(())
    }

    /// What the publisher needs as well.
    pub(super) fn check_shared(&self) -> Result<()> {
        let lease_ttl = self.lease_ttl;
        check_durations([("lease_ttl", lease_ttl), ("retry", self.judge.retry.max())])?;
        if lease_ttl < Duration::from_millis(100) {
            return Err(misconfigured(format!("lease_ttl {lease_ttl:?} is shorter than 100 ms")));
        }
        Ok(())
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("worker_id", &self.worker_id)
            .field("batch_size", &self.batch_size)
            .field("lease_ttl", &self.lease_ttl)
            .finish_non_exhaustive()
    }
}
