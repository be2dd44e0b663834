//! What relays and publishers tell.

use std::time::{Duration, SystemTime};

use omni_box_core::store::DeliveryMode;
use omni_box_core::{OutboxMetrics, Result};
use prometheus::{Histogram, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use crate::PrometheusMetrics;
use crate::bounded::Bounded;
use crate::families::{Families, LateGauge};

/// Event types that have series of their own.
pub(crate) const EVENT_TYPES: usize = 200;
/// Topics that have series of their own.
pub(crate) const TOPICS: usize = 100;
/// Bounds of durations of calls, in seconds.
pub(crate) const CALLS: &[f64] = &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// Bounds of delays, which an outage makes long, in seconds.
pub(crate) const DELAYS: &[f64] =
    &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0];

const STATUSES: [&str; 3] = ["published", "retried", "failed"];

pub(crate) struct Outbox {
    batch_size: IntGauge,
    types: Bounded<EventType>,
    delays: Bounded<Histogram>,
    in_flight: IntGauge,
    lanes: IntGauge,
    gates: IntGaugeVec,
    lease_losses: IntCounter,
    held: IntCounterVec,
    progress: LateGauge,
    build_info: IntGaugeVec,
}

/// Series of one event type.
struct EventType {
    statuses: [IntCounter; STATUSES.len()],
    duration: Histogram,
}

impl Outbox {
    pub(crate) fn register(families: &Families<'_>) -> Result<Self> {
        let published = families.counters(
            "outbox_events_published_total",
            "Answers of the broker by event type and status; an event given back without an answer is not counted.",
            &["event_type", "status"],
        )?;
        let duration = families.histograms(
            "outbox_handler_duration_seconds",
            "From the hand-over of an event to the broker to its acknowledgement; published events only.",
            CALLS,
            "event_type",
        )?;
        let delay = families.histograms(
            "outbox_publish_delay_seconds",
            "From the creation or due time of an event's row to the broker's acknowledgement.",
            DELAYS,
            "topic",
        )?;
        let metrics = Self {
            batch_size: families.gauge("outbox_locked_batch_size", "Events of the last fetch.")?,
            types: Bounded::new(EVENT_TYPES, move |event_type| EventType {
                statuses: STATUSES.map(|status| published.with_label_values(&[event_type, status])),
                duration: duration.with_label_values(&[event_type]),
            }),
            delays: Bounded::new(TOPICS, move |topic| delay.with_label_values(&[topic])),
            in_flight: families.gauge(
                "outbox_in_flight_events",
                "Events between their fetch and the record of their outcome.",
            )?,
            lanes: families.gauge("outbox_owned_lanes", "Lanes that relays of this process own.")?,
            gates: families.gauges(
                "outbox_gate_closed",
                "1 while a relay of this process waits out an outage of the broker or the database.",
                &["gate"],
            )?,
            lease_losses: families.counter(
                "outbox_lease_losses_total",
                "Lanes lost to another owner; hand-overs are not counted.",
            )?,
            held: families.counters(
                "outbox_keys_held_total",
                "Times that a key began to wait, by reason: retry, topic, rejected or paused.",
                &["reason"],
            )?,
            progress: families.late_gauge(
                "outbox_last_progress_timestamp_seconds",
                "Time of the last acknowledgement, or of the last fetch that found nothing due.",
            )?,
            build_info: families.gauges(
                "omni_box_build_info",
                "1, with the version of omni-box and the delivery mode of the relay.",
                &["version", "mode"],
            )?,
        };
        for gate in ["broker", "database"] {
            metrics.gates.with_label_values(&[gate]);
        }
        for reason in ["retry", "topic", "rejected", "paused"] {
            metrics.held.with_label_values(&[reason]);
        }
        metrics.tell_mode("none");
        Ok(metrics)
    }

    fn tell_mode(&self, mode: &str) {
        self.build_info.reset();
        self.build_info.with_label_values(&[env!("CARGO_PKG_VERSION"), mode]).set(1);
    }
}

impl OutboxMetrics for PrometheusMetrics {
    fn delivery_mode(&self, mode: DeliveryMode) {
        self.outbox.tell_mode(mode.as_str());
    }

    fn batch_locked(&self, events: usize) {
        self.outbox.batch_size.set(i64::try_from(events).unwrap_or(i64::MAX));
    }

    fn event_published(&self, event_type: &str, status: &'static str) {
        if let Some(at) = STATUSES.iter().position(|known| *known == status) {
            self.outbox.types.get(event_type).statuses[at].inc();
        }
    }

    fn publish_duration(&self, event_type: &str, elapsed: Duration) {
        self.outbox.types.get(event_type).duration.observe(elapsed.as_secs_f64());
    }

    fn publish_delay(&self, topic: &str, elapsed: Duration) {
        self.outbox.delays.get(topic).observe(elapsed.as_secs_f64());
    }

    fn events_in_flight(&self, by: i64) {
        self.outbox.in_flight.add(by);
    }

    fn owned_lanes(&self, by: i64) {
        self.outbox.lanes.add(by);
    }

    fn gate(&self, gate: &'static str, is_closed: bool) {
        self.outbox.gates.with_label_values(&[gate]).add(if is_closed { 1 } else { -1 });
    }

    fn progressed(&self) {
        self.outbox.progress.get().set(unix_time());
    }

    fn lease_lost(&self) {
        self.outbox.lease_losses.inc();
    }

    fn key_held(&self, reason: &'static str) {
        self.outbox.held.with_label_values(&[reason]).inc();
    }
}

/// Seconds since 1970.
pub(crate) fn unix_time() -> f64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}
