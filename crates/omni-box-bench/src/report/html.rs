//! One page that needs nothing else: the table, and plots over time.

use anyhow::Result;

use super::{Report, Series, plot, table};

const STYLE: &str = "body { font: 14px sans-serif; margin: 2em } table { border-collapse: collapse }
th, td { border: 1px solid #ccc; padding: 3px 7px; text-align: right } th { background: #eee }
td:first-child, td:last-child, th:first-child, th:last-child { text-align: left }
figure { display: inline-block; margin: 1em 1em 0 0 }";

/// The page of a run.
pub(crate) fn page(reports: &[Report], command: &str) -> Result<String> {
    let head: String = table::HEADER.iter().map(|name| format!("<th>{}</th>", escaped(name))).collect();
    let mut rows = String::new();
    let mut plots = String::new();
    for report in reports {
        let cells: String =
            table::row(report).iter().map(|cell| format!("<td>{}</td>", escaped(cell))).collect();
        rows += &format!("<tr>{cells}</tr>\n");
        for svg in drawn(report)? {
            plots += &format!("<figure>{svg}</figure>\n");
        }
    }
    let command = escaped(command);
    Ok(format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>omni-box: benchmark</title>\n\
         <style>{STYLE}</style>\n<h1>omni-box: benchmark</h1>\n<p><code>{command}</code></p>\n\
         <table>\n<tr>{head}</tr>\n{rows}</table>\n{plots}</html>\n"
    ))
}

fn drawn(report: &Report) -> Result<Vec<String>> {
    let mut drawn = Vec::new();
    if report.rates.len() > 1 {
        let line = [Series { label: "omni-box", points: report.rates.clone() }];
        drawn.push(plot::svg(&format!("{}: rate", report.name), "events / s", &line, report.floor_per_s)?);
    }
    if report.series.iter().any(|series| series.points.len() > 1) {
        drawn.push(plot::svg(&format!("{}: latency", report.name), "ms", &report.series, None)?);
    }
    Ok(drawn)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_page_has_a_row_and_plots_for_each_workload_and_needs_no_other_file() {
        let mut report =
            Report::new("drain_many_keys", 100, Duration::from_secs(2)).floor(80.0, "sql < kafka");
        report.rates = vec![(1.0, 40.0), (2.0, 60.0)];
        report.series = vec![Series { label: "p99", points: vec![(0.0, 3.0), (1.0, 4.0)] }];
        let page = page(&[report, Report::new("idle", 1, Duration::from_secs(1))], "bench --quick").unwrap();
        assert_eq!(page.matches("<tr>").count(), 3, "a header, and a row for each");
        assert_eq!(page.matches("<svg").count(), 2, "idle has nothing to draw");
        assert!(page.contains("sql &lt; kafka"), "remarks are text");
        assert!(!page.contains("src=") && !page.contains("href="), "it loads nothing");
    }
}
