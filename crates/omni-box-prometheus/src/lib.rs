//! Metrics of omni-box for Prometheus, on a registry of yours.
//!
//! [`PrometheusMetrics`] takes what relays and inboxes tell. Clones share one set of metrics, and workers that share it add up:
//!
//! ```
//! use omni_box_core::OutboxMetrics;
//! use omni_box_prometheus::PrometheusMetrics;
//! use omni_box_prometheus::prometheus::{Registry, TextEncoder};
//!
//! let registry = Registry::new();
//! let metrics = PrometheusMetrics::new(&registry)?;
//! // OutboxRelay::builder(store, publisher).metrics(metrics.clone())
//! // InboxConsumerRunner::builder(consumer, store).metrics(metrics.clone())
//! # metrics.event_published("order.placed", "published");
//!
//! // what GET /metrics answers
//! let page = TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
//! # assert!(page.contains(r#"outbox_events_published_total{event_type="order.placed",status="published"} 1"#));
//! assert!(page.contains("outbox_in_flight_events 0"));
//! # Ok::<(), omni_box_core::Error>(())
//! ```
//!
//! # What is counted in the process
//! Each process counts for itself: add them up by `sum` and `rate`.
//!
//! | name | type, labels | meaning |
//! |---|---|---|
//! | `outbox_locked_batch_size` | gauge | events of the last fetch |
//! | `outbox_events_published_total` | counter event_type, status=published\|retried\|failed | answers of the broker; an event that was given back without one is not counted, a repeat after a crash counts again |
//! | `outbox_handler_duration_seconds` | histogram event_type | from the hand-over to the broker to its acknowledgement |
//! | `outbox_publish_delay_seconds` | histogram topic | from the row's creation (or due time) to the broker's acknowledgement; includes what was left of the business transaction |
//! | `outbox_in_flight_events` | gauge | events between their fetch and the record of their outcome |
//! | `outbox_owned_lanes` | gauge | lanes that relays of this process own |
//! | `outbox_gate_closed` | gauge gate=broker\|database | relays of this process that wait out an outage |
//! | `outbox_lease_losses_total` | counter | lanes lost to another owner; hand-overs are not |
//! | `outbox_keys_held_total` | counter reason=retry\|topic\|rejected\|paused | each time a key begins to wait |
//! | `outbox_last_progress_timestamp_seconds` | gauge | last acknowledgement, or last fetch that found nothing due; absent before the first |
//! | `inbox_messages_consumed_total` | counter | messages received |
//! | `inbox_messages_duplicate_total` | counter | messages that were handled before |
//! | `inbox_messages_processed_total` | counter | messages that took effect: completed, skipped or stale |
//! | `inbox_messages_failed_total` | counter | messages given up |
//! | `inbox_messages_committed_total` | counter | messages whose offsets the broker has taken note of |
//! | `inbox_commit_failures_total` | counter | commits of offsets that failed |
//! | `inbox_events_processed_total` | counter event_type, status=completed\|skipped\|stale\|retried\|failed | outcomes of handlers |
//! | `inbox_handler_duration_seconds` | histogram event_type | the handler alone, however it ended |
//! | `inbox_delivery_delay_seconds` | histogram topic | from the record's timestamp to the commit of its effect |
//! | `inbox_group_size` | histogram | messages of one transaction |
//! | `inbox_quarantined_total` | counter reason=decode\|conflict\|invalid | messages kept as raw bytes |
//! | `inbox_assigned_partitions` | gauge | partitions assigned to runners of this process |
//! | `inbox_in_flight_messages` | gauge | messages in memory |
//! | `inbox_watermark_age_seconds` | gauge consumer_group, topic | longest time for which a partition's offset has stood still although a message is behind it; 0 when idle |
//! | `omni_box_build_info` | gauge version, mode | 1; `mode` is the delivery mode, `none` where no relay runs |
//!
//! # What is sampled from the database
//! A [`Sampler`] looks at the tables each 15 s. All processes see the same: use `max by`, never `sum`. When a look fails, these series
//! are absent until the next one that succeeds. Its time and the counter of failures stay, so that an alarm is possible both where nothing
//! looks and where looking fails.
//!
//! | name | type, labels | meaning |
//! |---|---|---|
//! | `outbox_oldest_due_age_seconds` | gauge | age of the oldest event that a relay should send now; scheduled and held ones do not count; 0 if none |
//! | `outbox_backlog_events` | gauge | due events; exact to 10,000, then an estimate |
//! | `outbox_held_keys` | gauge kind=retry\|parked | keys that wait; parked: for an operator; exact to 10,000 |
//! | `outbox_oldest_held_age_seconds` | gauge | time since the creation of the oldest event that holds back its key |
//! | `outbox_failed_events` | gauge | events given up and not resolved; exact to 10,000 |
//! | `outbox_unowned_lanes` | gauge | lanes without a valid lease; absent in mode `rows` |
//! | `outbox_oldest_transaction_age_seconds` | gauge | of the database, as far as the role may see; it holds vacuum back |
//! | `inbox_failed_events` | gauge consumer_group | messages given up and not resolved; exact to 10,000 |
//! | `inbox_quarantined_messages` | gauge consumer_group | messages kept as raw bytes; exact to 10,000 |
//! | `inbox_pending_events` | gauge consumer_group | messages that are stored and due; exact to 10,000 |
//! | `inbox_oldest_pending_age_seconds` | gauge consumer_group | how long the oldest of them has been due |
//! | `outbox_sample_timestamp_seconds` | gauge | time of the last sample that succeeded |
//! | `outbox_sample_duration_seconds` | gauge | how long the last sample took |
//! | `outbox_sample_failures_total` | counter | samples that failed |
//!
//! # Labels
//! Labels are bounded: 200 event types and 100 topics have series of their own, in the order in which they come. The others share the value
//! `other`. No key, id or error text is a label. The handles of a label's value are kept, so that telling costs a look-up without a lock
//! and an atomic addition.

mod bounded;
mod families;
mod inbox;
mod outbox;
mod sampled;
mod sampler;
mod watermarks;

use std::fmt;
use std::sync::Arc;

use omni_box_core::Result;
pub use prometheus;
use prometheus::Registry;

use crate::families::Families;
use crate::inbox::Inbox;
use crate::outbox::Outbox;
use crate::sampled::Sampled;
pub use crate::sampler::Sampler;

/// The metrics of relays and inboxes on a Prometheus registry. A clone shares them.
///
/// It is the [`OutboxMetrics`](omni_box_core::OutboxMetrics) of relays and publishers, and the
/// [`InboxMetrics`](omni_box_core::InboxMetrics) of runners.
#[derive(Clone)]
pub struct PrometheusMetrics {
    outbox: Arc<Outbox>,
    inbox: Arc<Inbox>,
    sampled: Arc<Sampled>,
}

impl PrometheusMetrics {
    /// Registers all metrics.
    ///
    /// # Errors
    /// [`Misconfigured`](omni_box_core::ErrorKind::Misconfigured), naming the metric, when the registry has one of that name: clone the
    /// first `PrometheusMetrics` instead of making another. What was registered before that one stays registered.
    pub fn new(registry: &Registry) -> Result<Self> {
        Self::register(Families::new(registry, ""))
    }

    /// The same, with `prefix` and an underscore before each name: `shop` makes `shop_outbox_in_flight_events`.
    ///
    /// # Errors
    /// As [`new`](Self::new), and for a prefix that no name may begin with. The first character is a letter, `_` or `:`, the others may be
    /// digits too.
    pub fn with_prefix(registry: &Registry, prefix: &str) -> Result<Self> {
        Self::register(Families::new(registry, prefix))
    }

    fn register(families: Families<'_>) -> Result<Self> {
        let outbox = Arc::new(Outbox::register(&families)?);
        let inbox = Arc::new(Inbox::register(&families)?);
        let sampled = Arc::new(Sampled::register(&families)?);
        Ok(Self { outbox, inbox, sampled })
    }
}

impl fmt::Debug for PrometheusMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PrometheusMetrics").finish_non_exhaustive()
    }
}
