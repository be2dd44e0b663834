//! What runners tell.

use std::time::Duration;

use omni_box_core::message::TopicPartition;
use omni_box_core::{InboxMetrics, Result};
use prometheus::{Histogram, IntCounter, IntCounterVec, IntGauge};
use tokio::time::Instant;

use crate::PrometheusMetrics;
use crate::bounded::Bounded;
use crate::families::Families;
use crate::outbox::{CALLS, DELAYS, EVENT_TYPES, TOPICS};
use crate::watermarks::Watermarks;

const STATUSES: [&str; 5] = ["completed", "skipped", "stale", "retried", "failed"];
/// Bounds of the number of messages of a transaction, of which there are 60 at most.
const GROUPS: &[f64] = &[1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 45.0, 60.0];

pub(crate) struct Inbox {
    consumed: IntCounter,
    duplicate: IntCounter,
    processed: IntCounter,
    failed: IntCounter,
    committed: IntCounter,
    commit_failures: IntCounter,
    types: Bounded<EventType>,
    delays: Bounded<Histogram>,
    groups: Histogram,
    quarantined: IntCounterVec,
    partitions: IntGauge,
    in_flight: IntGauge,
    watermarks: Watermarks,
}

/// Series of one event type.
struct EventType {
    statuses: [IntCounter; STATUSES.len()],
    duration: Histogram,
}

impl Inbox {
    pub(crate) fn register(families: &Families<'_>) -> Result<Self> {
        let processed = families.counters(
            "inbox_events_processed_total",
            "Outcomes of handlers by event type and status.",
            &["event_type", "status"],
        )?;
        let duration = families.histograms(
            "inbox_handler_duration_seconds",
            "Duration of the handler alone, however it ended.",
            CALLS,
            "event_type",
        )?;
        let delay = families.histograms(
            "inbox_delivery_delay_seconds",
            "From the timestamp of a record to the commit of its effect.",
            DELAYS,
            "topic",
        )?;
        let metrics = Self {
            consumed: families.counter("inbox_messages_consumed_total", "Messages received.")?,
            duplicate: families
                .counter("inbox_messages_duplicate_total", "Messages that were handled before.")?,
            processed: families.counter(
                "inbox_messages_processed_total",
                "Messages that took effect: completed, skipped or stale.",
            )?,
            failed: families.counter("inbox_messages_failed_total", "Messages given up.")?,
            committed: families.counter(
                "inbox_messages_committed_total",
                "Messages whose offsets the broker has taken note of.",
            )?,
            commit_failures: families
                .counter("inbox_commit_failures_total", "Commits of offsets that failed.")?,
            types: Bounded::new(EVENT_TYPES, move |event_type| EventType {
                statuses: STATUSES.map(|status| processed.with_label_values(&[event_type, status])),
                duration: duration.with_label_values(&[event_type]),
            }),
            delays: Bounded::new(TOPICS, move |topic| delay.with_label_values(&[topic])),
            groups: families.histogram("inbox_group_size", "Messages of one transaction.", GROUPS)?,
            quarantined: families.counters(
                "inbox_quarantined_total",
                "Messages kept as raw bytes, by reason: decode, conflict or invalid.",
                &["reason"],
            )?,
            partitions: families
                .gauge("inbox_assigned_partitions", "Partitions assigned to runners of this process.")?,
            in_flight: families.gauge("inbox_in_flight_messages", "Messages in memory.")?,
            watermarks: Watermarks::register(families)?,
        };
        for reason in ["decode", "conflict", "invalid"] {
            metrics.quarantined.with_label_values(&[reason]);
        }
        Ok(metrics)
    }
}

impl InboxMetrics for PrometheusMetrics {
    fn message_consumed(&self) {
        self.inbox.consumed.inc();
    }

    fn message_duplicate(&self) {
        self.inbox.duplicate.inc();
    }

    fn event_processed(&self, event_type: &str, status: &'static str) {
        if let Some(at) = STATUSES.iter().position(|known| *known == status) {
            self.inbox.types.get(event_type).statuses[at].inc();
        }
        match status {
            "completed" | "skipped" | "stale" => self.inbox.processed.inc(),
            "failed" => self.inbox.failed.inc(),
            _ => {}
        }
    }

    fn message_quarantined(&self, reason: &'static str) {
        self.inbox.quarantined.with_label_values(&[reason]).inc();
    }

    fn messages_committed(&self, messages: usize) {
        self.inbox.committed.inc_by(messages as u64);
    }

    fn commit_failed(&self) {
        self.inbox.commit_failures.inc();
    }

    fn handler_duration(&self, event_type: &str, elapsed: Duration) {
        self.inbox.types.get(event_type).duration.observe(elapsed.as_secs_f64());
    }

    fn delivery_delay(&self, topic: &str, elapsed: Duration) {
        self.inbox.delays.get(topic).observe(elapsed.as_secs_f64());
    }

    fn group_committed(&self, messages: usize) {
        self.inbox.groups.observe(messages as f64);
    }

    fn assigned_partitions(&self, by: i64) {
        self.inbox.partitions.add(by);
    }

    fn messages_in_flight(&self, by: i64) {
        self.inbox.in_flight.add(by);
    }

    fn watermark(&self, consumer_group: &str, partition: &TopicPartition, since: Option<Instant>) {
        self.inbox.watermarks.tell(consumer_group, partition, since);
    }
}
