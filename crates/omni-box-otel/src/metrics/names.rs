//! Names of metrics: those of OpenTelemetry's semantic conventions 1.44, where all of messaging is still in development, and our own.

pub(super) const SENT: &str = "messaging.client.sent.messages";
pub(super) const OPERATION: &str = "messaging.client.operation.duration";
pub(super) const CONSUMED: &str = "messaging.client.consumed.messages";
pub(super) const PROCESS: &str = "messaging.process.duration";

/// Bounds of the conventions for durations of calls, in seconds.
pub(super) const CALLS: [f64; 14] =
    [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];
/// Bounds of delays, which an outage makes long, in seconds.
pub(super) const DELAYS: [f64; 16] =
    [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0];
/// Bounds of the number of messages of a transaction, of which there are 60 at most.
pub(super) const GROUPS: [f64; 8] = [1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 45.0, 60.0];

pub(super) const BUILD: &str = "omni_box.build.info";

pub(super) const BATCH: &str = "omni_box.outbox.batch.size";
pub(super) const PUBLISHED: &str = "omni_box.outbox.published";
pub(super) const DELAY: &str = "omni_box.outbox.publish.delay";
pub(super) const OUTBOX_IN_FLIGHT: &str = "omni_box.outbox.in_flight";
pub(super) const LANES: &str = "omni_box.outbox.owned_lanes";
pub(super) const GATES: &str = "omni_box.outbox.gates.closed";
pub(super) const LEASES: &str = "omni_box.outbox.leases.lost";
pub(super) const HELD: &str = "omni_box.outbox.keys.held";
pub(super) const PROGRESS: &str = "omni_box.outbox.last_progress";

pub(super) const DUPLICATES: &str = "omni_box.inbox.duplicates";
pub(super) const PROCESSED: &str = "omni_box.inbox.processed";
pub(super) const QUARANTINED: &str = "omni_box.inbox.quarantined";
pub(super) const COMMITTED: &str = "omni_box.inbox.committed";
pub(super) const COMMIT_FAILURES: &str = "omni_box.inbox.commit.failures";
pub(super) const DELIVERY_DELAY: &str = "omni_box.inbox.delivery.delay";
pub(super) const GROUP_SIZE: &str = "omni_box.inbox.group.size";
pub(super) const PARTITIONS: &str = "omni_box.inbox.assigned_partitions";
pub(super) const INBOX_IN_FLIGHT: &str = "omni_box.inbox.in_flight";
pub(super) const WATERMARK: &str = "omni_box.inbox.watermark.age";

pub(super) const SAMPLE_TIME: &str = "omni_box.sample.time";
pub(super) const SAMPLE_DURATION: &str = "omni_box.sample.duration";
pub(super) const SAMPLE_FAILURES: &str = "omni_box.sample.failures";
