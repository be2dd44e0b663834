//! What a workload measured, and what it found when it checked itself.

use std::time::Duration;

use comfy_table::{Table, presets};
use serde::Serialize;

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
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) duplicates: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) out_of_order: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) missing: Option<usize>,
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

    pub(crate) fn is_correct(&self) -> bool {
        self.missing.unwrap_or(0) == 0 && self.out_of_order.unwrap_or(0) == 0
    }
}

/// The value below which this part of the values lies.
pub(crate) fn percentile(values: &[f64], part: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().checked_sub(1)?;
    sorted.get((last as f64 * part).round() as usize).copied()
}

pub(crate) fn table(reports: &[Report]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED);
    table.set_header([
        "workload", "events", "seconds", "per s", "floor", "ratio", "p50 ms", "p99 ms", "cpu us", "wal B",
        "hot", "MiB", "dup", "disorder", "missing", "remark",
    ]);
    let number = |value: Option<f64>, digits: usize| {
        value.map_or_else(String::new, |value| format!("{value:.digits$}"))
    };
    let count = |value: Option<usize>| value.map_or_else(String::new, |value| value.to_string());
    for report in reports {
        table.add_row([
            report.name.to_owned(),
            report.events.to_string(),
            format!("{:.2}", report.seconds),
            format!("{:.0}", report.rate_per_s),
            number(report.floor_per_s, 0),
            number(report.ratio, 2),
            number(report.p50_ms, 2),
            number(report.p99_ms, 2),
            report.cpu(),
            number(report.wal_bytes_per_event, 0),
            number(report.hot_ratio, 2),
            number(report.rss_mib, 0),
            count(report.duplicates),
            count(report.out_of_order),
            count(report.missing),
            report.remark.clone(),
        ]);
    }
    table
}
