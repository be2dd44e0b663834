//! What a workload measured, and what it found when it checked itself.

mod html;
mod plot;
mod table;

use std::time::Duration;

use serde::Serialize;

pub(crate) use html::page;
pub(crate) use table::table;

/// A line of a plot.
#[derive(Debug, Clone)]
pub(crate) struct Series {
    pub(crate) label: &'static str,
    /// Seconds since the beginning, and milliseconds.
    pub(crate) points: Vec<(f64, f64)>,
}

/// A part of the way: percentiles in milliseconds.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Stage {
    pub(crate) name: &'static str,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
}

/// One workload's figures; absent values are left out.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    pub(crate) name: &'static str,
    pub(crate) events: usize,
    pub(crate) seconds: f64,
    pub(crate) rate_per_s: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) p50_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) p99_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) floor_per_s: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ratio: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rss_mib: Option<f64>,
    /// The same of the consumer, where it is a process of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rss_mib_consumer: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) statements_per_batch: Option<f64>,
    /// Versions of rows that were left behind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) dead_tuples_per_100: Option<f64>,
    /// Updates of events that wrote no index, of all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) hot_ratio: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) wal_bytes_per_event: Option<f64>,
    /// Microseconds of processor time an event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cpu_us_relay: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cpu_us_postgres: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cpu_us_kafka: Option<f64>,
    /// Processor time of an idle relay, of one core's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) core_share: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) duplicates: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) out_of_order: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) missing: Option<usize>,
    /// Where the time from commit to consumer went.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) stages: Option<Vec<Stage>>,
    /// Events a second over time: seconds and rate.
    #[serde(skip)]
    pub(crate) rates: Vec<(f64, f64)>,
    /// Latency over time.
    #[serde(skip)]
    pub(crate) series: Vec<Series>,
    /// What the floor was, or was compared besides; for the table.
    #[serde(skip)]
    pub(crate) remark: String,
}

impl Report {
    pub(crate) fn new(name: &'static str, events: usize, elapsed: Duration) -> Self {
        let seconds = elapsed.as_secs_f64();
        Self { name, events, seconds, rate_per_s: events as f64 / seconds, ..Self::default() }
    }

    /// Sets the floor, and the ratio to it.
    pub(crate) fn floor(mut self, per_s: f64, remark: impl Into<String>) -> Self {
        self.floor_per_s = Some(per_s);
        self.ratio = Some(self.rate_per_s / per_s);
        self.remark = remark.into();
        self
    }

    pub(crate) fn latencies(mut self, millis: &[f64]) -> Self {
        self.p50_ms = percentile(millis, 0.50);
        self.p99_ms = percentile(millis, 0.99);
        self
    }

    /// Processor time an event: relay + PostgreSQL + Kafka.
    fn cpu(&self) -> String {
        let of = |micros: Option<f64>| micros.map_or_else(|| "?".to_owned(), |micros| format!("{micros:.1}"));
        match (self.cpu_us_relay, self.cpu_us_postgres, self.cpu_us_kafka) {
            (None, None, None) => String::new(),
            (relay, postgres, kafka) => format!("{} + {} + {}", of(relay), of(postgres), of(kafka)),
        }
    }

    /// Adds to the remark how it compares with another workload of this run.
    pub(crate) fn beside(&mut self, other: &Self) {
        let part = self.rate_per_s / other.rate_per_s;
        self.remark = format!("{part:.2} of {}; {}", other.name, self.remark);
    }

    pub(crate) fn is_correct(&self) -> bool {
        self.missing.unwrap_or(0) == 0 && self.out_of_order.unwrap_or(0) == 0
    }

    /// A line of text for each part of the way.
    pub(crate) fn ways(&self) -> Vec<String> {
        let stages = self.stages.iter().flatten();
        stages.map(|Stage { name, p50_ms, p99_ms }| format!("{name} {p50_ms:.1} / {p99_ms:.1}")).collect()
    }
}

/// The value below which this part of the values lies.
pub(crate) fn percentile(values: &[f64], part: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().checked_sub(1)?;
    sorted.get((last as f64 * part).round() as usize).copied()
}
