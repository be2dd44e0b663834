//! What runners and workers tell.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use omni_box_core::InboxMetrics;
use omni_box_core::message::TopicPartition;
use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Histogram, Meter, UpDownCounter};
use tokio::time::Instant;

use super::{OtelMetrics, names};
use crate::attribute;

/// Group and topic, as attributes, by group and partition.
type Watermarks = HashMap<(String, TopicPartition), ([KeyValue; 2], Option<Instant>)>;

pub(super) struct Inbox {
    consumed: Counter<u64>,
    process: Histogram<f64>,
    duplicates: Counter<u64>,
    processed: Counter<u64>,
    quarantined: Counter<u64>,
    committed: Counter<u64>,
    commit_failures: Counter<u64>,
    delay: Histogram<f64>,
    group_size: Histogram<u64>,
    partitions: UpDownCounter<i64>,
    in_flight: UpDownCounter<i64>,
    watermarks: Arc<Mutex<Watermarks>>,
}

impl Inbox {
    pub(super) fn new(meter: &Meter) -> Self {
        let counter = |name, help: &'static str| {
            meter.u64_counter(name).with_unit("{message}").with_description(help).build()
        };
        let level = |name, unit, help: &'static str| {
            meter.i64_up_down_counter(name).with_unit(unit).with_description(help).build()
        };
        let seconds = |name, help: &'static str, bounds: &[f64]| {
            let histogram = meter.f64_histogram(name).with_unit("s").with_description(help);
            histogram.with_boundaries(bounds.to_vec()).build()
        };
        let group_size = meter.u64_histogram(names::GROUP_SIZE).with_unit("{message}");
        let group_size = group_size.with_description("Messages of one transaction.");
        let watermarks: Arc<Mutex<Watermarks>> = Arc::default();
        observe(meter, Arc::clone(&watermarks));
        Self {
            consumed: counter(names::CONSUMED, "Messages received."),
            process: seconds(names::PROCESS, "The handler of a message, however it ended.", &names::CALLS),
            duplicates: counter(names::DUPLICATES, "Messages that were handled before."),
            processed: counter(names::PROCESSED, "Outcomes of messages, by event type and status."),
            quarantined: counter(names::QUARANTINED, "Messages kept as raw bytes, by reason."),
            committed: counter(names::COMMITTED, "Messages whose offsets the broker has taken note of."),
            commit_failures: meter
                .u64_counter(names::COMMIT_FAILURES)
                .with_unit("{commit}")
                .with_description("Commits of offsets that failed.")
                .build(),
            delay: seconds(
                names::DELIVERY_DELAY,
                "From a message's timestamp to the commit of its effect.",
                &names::DELAYS,
            ),
            group_size: group_size.with_boundaries(names::GROUPS.to_vec()).build(),
            partitions: level(
                names::PARTITIONS,
                "{partition}",
                "Partitions that are assigned to runners of this process.",
            ),
            in_flight: level(names::INBOX_IN_FLIGHT, "{message}", "Messages in memory."),
            watermarks,
        }
    }
}

/// Shows, at each collection, how long the offset of each group and topic has stood still.
fn observe(meter: &Meter, watermarks: Arc<Mutex<Watermarks>>) {
    let gauge = meter.f64_observable_gauge(names::WATERMARK).with_unit("s").with_description(
        "Longest time for which a partition's offset has stood still although a message is behind it.",
    );
    gauge
        .with_callback(move |observer| {
            let watermarks = watermarks.lock().unwrap_or_else(PoisonError::into_inner);
            let mut oldest: Vec<(&[KeyValue; 2], Duration)> = Vec::new();
            for (attributes, since) in watermarks.values() {
                let age = since.map_or(Duration::ZERO, |since| since.elapsed());
                match oldest.iter_mut().find(|(known, _)| *known == attributes) {
                    Some((_, longest)) => *longest = age.max(*longest),
                    None => oldest.push((attributes, age)),
                }
            }
            oldest.into_iter().for_each(|(attributes, age)| observer.observe(age.as_secs_f64(), attributes));
        })
        .build();
}

impl InboxMetrics for OtelMetrics {
    fn message_received(&self, consumer_group: &str, topic: &str) {
        let attributes = [
            self.labels.system(),
            KeyValue::new(attribute::OPERATION_NAME, "poll"),
            self.labels.topic(topic),
            self.labels.group(consumer_group),
        ];
        self.inbox.consumed.add(1, &attributes);
    }

    fn message_duplicate(&self) {
        self.inbox.duplicates.add(1, &[]);
    }

    fn event_processed(&self, event_type: &str, status: &'static str) {
        let status = KeyValue::new(attribute::STATUS, status);
        self.inbox.processed.add(1, &[self.labels.event_type(event_type), status]);
    }

    fn message_quarantined(&self, reason: &'static str) {
        self.inbox.quarantined.add(1, &[KeyValue::new(attribute::REASON, reason)]);
    }

    fn messages_committed(&self, messages: usize) {
        self.inbox.committed.add(messages as u64, &[]);
    }

    fn commit_failed(&self) {
        self.inbox.commit_failures.add(1, &[]);
    }

    fn message_handled(
        &self,
        consumer_group: &str,
        topic: &str,
        event_type: &str,
        is_success: bool,
        elapsed: Duration,
    ) {
        let mut attributes = vec![
            self.labels.system(),
            KeyValue::new(attribute::OPERATION_NAME, "process"),
            self.labels.topic(topic),
            self.labels.group(consumer_group),
            self.labels.event_type(event_type),
        ];
        if !is_success {
            attributes.push(KeyValue::new(attribute::ERROR_TYPE, "handler"));
        }
        self.inbox.process.record(elapsed.as_secs_f64(), &attributes);
    }

    fn delivery_delay(&self, topic: &str, elapsed: Duration) {
        self.inbox.delay.record(elapsed.as_secs_f64(), &[self.labels.topic(topic)]);
    }

    fn group_committed(&self, messages: usize) {
        self.inbox.group_size.record(messages as u64, &[]);
    }

    fn assigned_partitions(&self, by: i64) {
        self.inbox.partitions.add(by, &[]);
    }

    fn messages_in_flight(&self, by: i64) {
        self.inbox.in_flight.add(by, &[]);
    }

    fn watermark(&self, consumer_group: &str, partition: &TopicPartition, since: Option<Instant>) {
        let attributes = [self.labels.group(consumer_group), self.labels.topic(&partition.topic)];
        let mut watermarks = self.inbox.watermarks.lock().unwrap_or_else(PoisonError::into_inner);
        watermarks.insert((consumer_group.to_owned(), partition.clone()), (attributes, since));
    }
}
