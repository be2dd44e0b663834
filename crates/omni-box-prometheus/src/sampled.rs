//! What is sampled from the database, as a scrape shows it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use omni_box_core::store::{Sample, SampleSink};
use omni_box_core::{Error, ErrorKind, Result};
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{GaugeVec, IntCounter, Opts};

use crate::families::{Families, LateGauge};
use crate::outbox::unix_time;

const GROUP: &[&str] = &["consumer_group"];

/// A family: its name, its help, its labels, and its series in a sample.
type Row = (&'static str, &'static str, &'static [&'static str], fn(&Sample) -> Vec<(Vec<&str>, f64)>);

const FAMILIES: &[Row] = &[
    (
        "outbox_oldest_due_age_seconds",
        "Age of the oldest event that a relay should send now; scheduled and held ones do not count. Shared truth: max by.",
        &[],
        |sample| single(seconds(sample.outbox.oldest_due_age)),
    ),
    (
        "outbox_backlog_events",
        "Due events; exact to 10000, then an estimate. Shared truth: max by.",
        &[],
        |sample| single(sample.outbox.backlog.count as f64),
    ),
    (
        "outbox_held_keys",
        "Keys that wait, for a retry or parked for an operator; exact to 10000. Shared truth: max by.",
        &["kind"],
        |sample| {
            let (retry, parked) = (sample.outbox.retrying_keys, sample.outbox.parked_keys);
            vec![(vec!["retry"], retry.count as f64), (vec!["parked"], parked.count as f64)]
        },
    ),
    (
        "outbox_oldest_held_age_seconds",
        "Time since the creation of the oldest event that holds back its key. Shared truth: max by.",
        &[],
        |sample| single(seconds(sample.outbox.oldest_held_age)),
    ),
    (
        "outbox_failed_events",
        "Events given up and not resolved; exact to 10000. Shared truth: max by.",
        &[],
        |sample| single(sample.outbox.failed.count as f64),
    ),
    (
        "outbox_unowned_lanes",
        "Lanes without a valid lease; absent in another delivery mode than lanes. Shared truth: max by.",
        &[],
        |sample| sample.outbox.unowned_lanes.map_or_else(Vec::new, |lanes| single(lanes as f64)),
    ),
    (
        "outbox_oldest_transaction_age_seconds",
        "Age of the oldest open transaction in the database, as far as the role may see. Shared truth: max by.",
        &[],
        |sample| single(seconds(sample.oldest_transaction_age)),
    ),
    (
        "inbox_failed_events",
        "Messages given up and not resolved; exact to 10000. Shared truth: max by.",
        GROUP,
        |sample| by_group(sample, |group| group.failed.count as f64),
    ),
    (
        "inbox_quarantined_messages",
        "Messages in quarantine; exact to 10000. Shared truth: max by.",
        GROUP,
        |sample| by_group(sample, |group| group.quarantined.count as f64),
    ),
    (
        "inbox_pending_events",
        "Messages that are stored and due; exact to 10000. Shared truth: max by.",
        GROUP,
        |sample| by_group(sample, |group| group.pending.count as f64),
    ),
    (
        "inbox_oldest_pending_age_seconds",
        "How long the oldest stored message has been due. Shared truth: max by.",
        GROUP,
        |sample| by_group(sample, |group| seconds(group.oldest_pending_age)),
    ),
];

fn single(value: f64) -> Vec<(Vec<&'static str>, f64)> {
    vec![(Vec::new(), value)]
}

fn by_group(sample: &Sample, value: fn(&omni_box_core::store::GroupSample) -> f64) -> Vec<(Vec<&str>, f64)> {
    sample.groups.iter().map(|group| (vec![group.consumer_group.as_str()], value(group))).collect()
}

/// Nothing has no age.
fn seconds(age: Option<Duration>) -> f64 {
    age.unwrap_or_default().as_secs_f64()
}

/// The last sample, and what is known of the sampling itself.
pub(crate) struct Sampled {
    latest: Latest,
    timestamp: LateGauge,
    duration: LateGauge,
    failures: IntCounter,
}

impl Sampled {
    pub(crate) fn register(families: &Families<'_>) -> Result<Self> {
        let described = |&(name, help, labels, _): &Row| {
            let options = families.options(name, help);
            let family = GaugeVec::new(options.clone(), labels);
            family.map(|family| (options, family)).map_err(|error| {
                let text = format!("the metric {name} cannot be registered");
                Error::new(ErrorKind::Misconfigured, text).with_source(error)
            })
        };
        let described = FAMILIES.iter().map(described).collect::<Result<Vec<_>>>()?;
        let latest = Latest(Arc::new(Inner { described, sample: Mutex::default() }));
        Ok(Self {
            latest: families.add(FAMILIES[0].0, Ok(latest))?,
            timestamp: families.late_gauge(
                "outbox_sample_timestamp_seconds",
                "Time of the last sample of the database that succeeded.",
            )?,
            duration: families.late_gauge(
                "outbox_sample_duration_seconds",
                "How long the last sample of the database took.",
            )?,
            failures: families
                .counter("outbox_sample_failures_total", "Samples of the database that failed.")?,
        })
    }
}

impl SampleSink for Sampled {
    fn show(&self, sample: Sample, took: Duration) {
        self.timestamp.get().set(unix_time());
        self.duration.get().set(took.as_secs_f64());
        self.latest.put(Some(sample));
    }

    fn fail(&self, took: Duration) {
        self.failures.inc();
        self.duration.get().set(took.as_secs_f64());
        self.forget();
    }

    fn forget(&self) {
        self.latest.put(None);
    }
}

#[derive(Clone)]
struct Latest(Arc<Inner>);

struct Inner {
    /// What describes each of the families, which have no values themselves.
    described: Vec<(Opts, GaugeVec)>,
    sample: Mutex<Option<Sample>>,
}

impl Latest {
    fn put(&self, sample: Option<Sample>) {
        *self.0.sample.lock().unwrap_or_else(PoisonError::into_inner) = sample;
    }
}

impl Collector for Latest {
    fn desc(&self) -> Vec<&Desc> {
        self.0.described.iter().flat_map(|(_, family)| family.desc()).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let sample = self.0.sample.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(sample) = &*sample else { return Vec::new() };
        let mut collected = Vec::with_capacity(FAMILIES.len());
        for ((options, _), (_, _, labels, series)) in self.0.described.iter().zip(FAMILIES) {
            // what could be described before can be described again
            let Ok(family) = GaugeVec::new(options.clone(), labels) else { continue };
            for (values, value) in series(sample) {
                family.with_label_values(&values).set(value);
            }
            collected.extend(family.collect());
        }
        collected
    }
}
