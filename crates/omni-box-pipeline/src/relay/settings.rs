//! What relay and publisher work with, once the settings are checked.

use std::time::Duration;

use omni_box_core::{BatchSize, RetryPolicy, WorkerId};

use super::verdict::Judge;

/// Lower bound for a batch's deadline. If it were as short as a short lease, a slow statement on a busy database would be cancelled and
/// repeated again and again.
const SHORTEST_BATCH_DEADLINE: Duration = Duration::from_secs(30);

/// Settings that agree with each other.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) worker_id: WorkerId,
    pub(super) batch_size: BatchSize,
    pub(super) max_batch_bytes: u64,
    pub(super) lease_ttl: Duration,
    pub(super) shortest_poll: Duration,
    pub(super) longest_poll: Duration,
    pub(super) drain_deadline: Duration,
    pub(super) outage_retry: RetryPolicy,
    pub(super) judge: Judge,
}

impl Settings {
    /// How often leases are renewed.
    pub(super) fn heartbeat(&self) -> Duration {
        self.lease_ttl / 4
    }

    /// How long reading or writing a batch may take.
    pub(super) fn batch_deadline(&self) -> Duration {
        self.lease_ttl.max(SHORTEST_BATCH_DEADLINE)
    }
}
