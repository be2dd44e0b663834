//! What is sampled from the database, as a collection shows it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use omni_box_core::store::{GroupSample, Sample, SampleSink};
use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Gauge, Meter};

use super::names;
use super::outbox::unix_time;
use crate::attribute;

/// A metric: its name, unit and description, and what it observes of a sample.
type Row = (&'static str, &'static str, &'static str, fn(&Sample) -> Vec<(f64, Option<KeyValue>)>);

const ROWS: &[Row] = &[
    (
        "omni_box.outbox.oldest_due.age",
        "s",
        "Age of the oldest event that a relay should send now; scheduled and held ones do not count.",
        |sample| single(seconds(sample.outbox.oldest_due_age)),
    ),
    ("omni_box.outbox.backlog", "{event}", "Due events; exact to 10000, then an estimate.", |sample| {
        single(sample.outbox.backlog.count as f64)
    }),
    (
        "omni_box.outbox.held_keys",
        "{key}",
        "Keys that wait, for a retry or parked for an operator; exact to 10000.",
        |sample| {
            let of =
                |kind: &'static str, count: u64| (count as f64, Some(KeyValue::new("omni_box.kind", kind)));
            vec![
                of("retry", sample.outbox.retrying_keys.count),
                of("parked", sample.outbox.parked_keys.count),
            ]
        },
    ),
    (
        "omni_box.outbox.oldest_held.age",
        "s",
        "Time since the creation of the oldest event that holds back its key.",
        |sample| single(seconds(sample.outbox.oldest_held_age)),
    ),
    ("omni_box.outbox.failed", "{event}", "Events given up and not resolved; exact to 10000.", |sample| {
        single(sample.outbox.failed.count as f64)
    }),
    (
        "omni_box.outbox.unowned_lanes",
        "{lane}",
        "Lanes without a valid lease; absent in another delivery mode than lanes.",
        |sample| sample.outbox.unowned_lanes.map_or_else(Vec::new, |lanes| single(lanes as f64)),
    ),
    (
        "omni_box.oldest_transaction.age",
        "s",
        "Age of the oldest open transaction in the database, as far as the role may see.",
        |sample| single(seconds(sample.oldest_transaction_age)),
    ),
    ("omni_box.inbox.failed", "{message}", "Messages given up and not resolved; exact to 10000.", |sample| {
        by_group(sample, |group| group.failed.count as f64)
    }),
    ("omni_box.inbox.in_quarantine", "{message}", "Messages in quarantine; exact to 10000.", |sample| {
        by_group(sample, |group| group.quarantined.count as f64)
    }),
    ("omni_box.inbox.pending", "{message}", "Messages that are stored and due; exact to 10000.", |sample| {
        by_group(sample, |group| group.pending.count as f64)
    }),
    (
        "omni_box.inbox.oldest_pending.age",
        "s",
        "How long the oldest stored message has been due.",
        |sample| by_group(sample, |group| seconds(group.oldest_pending_age)),
    ),
];

fn single(value: f64) -> Vec<(f64, Option<KeyValue>)> {
    vec![(value, None)]
}

fn by_group(sample: &Sample, value: fn(&GroupSample) -> f64) -> Vec<(f64, Option<KeyValue>)> {
    let series = |group: &GroupSample| {
        (value(group), Some(KeyValue::new(attribute::GROUP, group.consumer_group.clone())))
    };
    sample.groups.iter().map(series).collect()
}

/// Nothing has no age.
fn seconds(age: Option<Duration>) -> f64 {
    age.unwrap_or_default().as_secs_f64()
}

/// The last sample, and what is known of the sampling itself.
pub(super) struct Sampled {
    latest: Arc<Mutex<Option<Sample>>>,
    time: Gauge<f64>,
    duration: Gauge<f64>,
    failures: Counter<u64>,
}

impl Sampled {
    pub(super) fn new(meter: &Meter) -> Self {
        let latest: Arc<Mutex<Option<Sample>>> = Arc::default();
        for (name, unit, description, series) in ROWS {
            let latest = Arc::clone(&latest);
            let gauge = meter.f64_observable_gauge(*name).with_unit(*unit).with_description(*description);
            gauge
                .with_callback(move |observer| {
                    let latest = latest.lock().unwrap_or_else(PoisonError::into_inner);
                    for (value, attribute) in latest.as_ref().map(series).unwrap_or_default() {
                        observer.observe(value, attribute.as_slice());
                    }
                })
                .build();
        }
        let gauge =
            |name, help: &'static str| meter.f64_gauge(name).with_unit("s").with_description(help).build();
        Self {
            latest,
            time: gauge(names::SAMPLE_TIME, "Unix time of the last sample that succeeded."),
            duration: gauge(names::SAMPLE_DURATION, "How long the last sample of the database took."),
            failures: meter
                .u64_counter(names::SAMPLE_FAILURES)
                .with_unit("{sample}")
                .with_description("Samples of the database that failed.")
                .build(),
        }
    }

    fn put(&self, sample: Option<Sample>) {
        *self.latest.lock().unwrap_or_else(PoisonError::into_inner) = sample;
    }
}

impl SampleSink for Sampled {
    fn show(&self, sample: Sample, took: Duration) {
        self.time.record(unix_time(), &[]);
        self.duration.record(took.as_secs_f64(), &[]);
        self.put(Some(sample));
    }

    fn fail(&self, took: Duration) {
        self.failures.add(1, &[]);
        self.duration.record(took.as_secs_f64(), &[]);
        self.forget();
    }

    fn forget(&self) {
        self.put(None);
    }
}
