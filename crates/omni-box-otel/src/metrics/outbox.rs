//! What relays and publishers tell.

use std::time::{Duration, SystemTime};

use omni_box_core::OutboxMetrics;
use omni_box_core::store::DeliveryMode;
use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Gauge, Histogram, Meter, UpDownCounter};

use super::{OtelMetrics, names};
use crate::attribute;

const PUBLISHED: &str = "published";
/// A step completed it: the broker has not seen it.
const SKIPPED: &str = "skipped";

pub(super) struct Outbox {
    sent: Counter<u64>,
    operation: Histogram<f64>,
    batch: Gauge<u64>,
    published: Counter<u64>,
    delay: Histogram<f64>,
    in_flight: UpDownCounter<i64>,
    lanes: UpDownCounter<i64>,
    gates: UpDownCounter<i64>,
    leases: Counter<u64>,
    held: Counter<u64>,
    progress: Gauge<f64>,
    build: Gauge<u64>,
}

impl Outbox {
    pub(super) fn new(meter: &Meter) -> Self {
        let counter = |name, unit, help: &'static str| {
            meter.u64_counter(name).with_unit(unit).with_description(help).build()
        };
        let level = |name, unit, help: &'static str| {
            meter.i64_up_down_counter(name).with_unit(unit).with_description(help).build()
        };
        let seconds = |name, help: &'static str, bounds: &[f64]| {
            let histogram = meter.f64_histogram(name).with_unit("s").with_description(help);
            histogram.with_boundaries(bounds.to_vec()).build()
        };
        Self {
            sent: counter(names::SENT, "{message}", "Messages that the broker was given, by its answer."),
            operation: seconds(
                names::OPERATION,
                "From the hand-over of a message to the broker to its answer.",
                &names::CALLS,
            ),
            batch: meter
                .u64_gauge(names::BATCH)
                .with_unit("{event}")
                .with_description("Events of the last fetch.")
                .build(),
            published: counter(names::PUBLISHED, "{event}", "Outcomes of events, by event type and status."),
            delay: seconds(
                names::DELAY,
                "From the creation or due time of an event's row to the broker's acknowledgement.",
                &names::DELAYS,
            ),
            in_flight: level(
                names::OUTBOX_IN_FLIGHT,
                "{event}",
                "Events between their fetch and the record of their outcome.",
            ),
            lanes: level(names::LANES, "{lane}", "Lanes that relays of this process own."),
            gates: level(names::GATES, "{relay}", "Relays of this process that wait out an outage, by gate."),
            leases: counter(names::LEASES, "{lease}", "Leases lost to another owner; hand-overs are not."),
            held: counter(names::HELD, "{key}", "Times that a key began to wait, by reason."),
            progress: meter
                .f64_gauge(names::PROGRESS)
                .with_unit("s")
                .with_description(
                    "Unix time of the last acknowledgement, or of the last fetch that found nothing due.",
                )
                .build(),
            build: meter
                .u64_gauge(names::BUILD)
                .with_description("1, with the version of omni-box and the delivery mode of the relay.")
                .build(),
        }
    }
}

impl OutboxMetrics for OtelMetrics {
    fn delivery_mode(&self, mode: DeliveryMode) {
        let version = KeyValue::new("omni_box.version", env!("CARGO_PKG_VERSION"));
        self.outbox.build.record(1, &[version, KeyValue::new("omni_box.mode", mode.as_str())]);
    }

    fn batch_locked(&self, events: usize) {
        self.outbox.batch.record(u64::try_from(events).unwrap_or(u64::MAX), &[]);
    }

    fn event_published(&self, event_type: &str, status: &'static str) {
        let status = KeyValue::new(attribute::STATUS, status);
        self.outbox.published.add(1, &[self.labels.event_type(event_type), status]);
    }

    fn event_answered(&self, topic: &str, _event_type: &str, status: &'static str, elapsed: Duration) {
        if status == SKIPPED {
            return;
        }
        let mut attributes = vec![
            self.labels.system(),
            KeyValue::new(attribute::OPERATION_NAME, "send"),
            self.labels.topic(topic),
        ];
        if status != PUBLISHED {
            attributes.push(KeyValue::new(attribute::ERROR_TYPE, status));
        }
        self.outbox.sent.add(1, &attributes);
        attributes.push(KeyValue::new(attribute::OPERATION_TYPE, "send"));
        self.outbox.operation.record(elapsed.as_secs_f64(), &attributes);
    }

    fn publish_delay(&self, topic: &str, elapsed: Duration) {
        self.outbox.delay.record(elapsed.as_secs_f64(), &[self.labels.topic(topic)]);
    }

    fn events_in_flight(&self, by: i64) {
        self.outbox.in_flight.add(by, &[]);
    }

    fn owned_lanes(&self, by: i64) {
        self.outbox.lanes.add(by, &[]);
    }

    fn gate(&self, gate: &'static str, is_closed: bool) {
        let by = if is_closed { 1 } else { -1 };
        self.outbox.gates.add(by, &[KeyValue::new("omni_box.gate", gate)]);
    }

    fn progressed(&self) {
        self.outbox.progress.record(unix_time(), &[]);
    }

    fn lease_lost(&self) {
        self.outbox.leases.add(1, &[]);
    }

    fn key_held(&self, reason: &'static str) {
        self.outbox.held.add(1, &[KeyValue::new(attribute::REASON, reason)]);
    }
}

/// Seconds since 1970.
pub(super) fn unix_time() -> f64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}
