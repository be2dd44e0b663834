//! The table that is printed, and that the page shows.

use comfy_table::{Table, presets};

use super::Report;

pub(super) const HEADER: [&str; 19] = [
    "workload", "events", "seconds", "per s", "floor", "ratio", "p50 ms", "p99 ms", "cpu us", "wal B",
    "stmt", "dead", "hot", "MiB", "MiB in", "dup", "disorder", "missing", "remark",
];

pub(crate) fn table(reports: &[Report]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED);
    table.set_header(HEADER);
    for report in reports {
        table.add_row(row(report));
    }
    table
}

pub(super) fn row(report: &Report) -> [String; 19] {
    let number = |value: Option<f64>, digits: usize| {
        value.map_or_else(String::new, |value| format!("{value:.digits$}"))
    };
    let count = |value: Option<usize>| value.map_or_else(String::new, |value| value.to_string());
    let mut remarks = vec![report.remark.clone()];
    if !report.ways().is_empty() {
        remarks.push(format!("ms p50 / p99: {}", report.ways().join(", ")));
    }
    remarks.retain(|remark| !remark.is_empty());
    [
        report.name.to_owned(),
        report.events.to_string(),
        format!("{:.2}", report.seconds),
        format!("{:.*}", if report.rate_per_s < 10.0 { 2 } else { 0 }, report.rate_per_s),
        number(report.floor_per_s, 0),
        number(report.ratio, 2),
        number(report.p50_ms, 2),
        number(report.p99_ms, 2),
        report.cpu(),
        number(report.wal_bytes_per_event, 0),
        number(report.statements_per_batch, 1),
        number(report.dead_tuples_per_100, 0),
        number(report.hot_ratio, 2),
        number(report.rss_mib, 0),
        number(report.rss_mib_consumer, 0),
        count(report.duplicates),
        count(report.out_of_order),
        count(report.missing),
        remarks.join("; "),
    ]
}
