//! Names, types, labels and help are those that the documentation promises, and follow the conventions.

use std::collections::{BTreeMap, BTreeSet};

use omni_box_core::message::TopicPartition;
use omni_box_core::store::DeliveryMode;
use omni_box_core::{ErrorKind, InboxMetrics, OutboxMetrics, Result};
use omni_box_prometheus::PrometheusMetrics;
use omni_box_prometheus::prometheus::{Registry, TextEncoder};
use tokio::task::JoinHandle;
use tokio::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

use super::page::{Page, registered};
use super::sampled::filled;

/// Tells everything once, so that each family has a series.
async fn tell_all(metrics: &PrometheusMetrics) -> JoinHandle<Result<()>> {
    metrics.event_published("order.placed", "published");
    metrics.publish_duration("order.placed", Duration::from_secs(1));
    metrics.publish_delay("orders", Duration::from_secs(1));
    metrics.progressed();
    metrics.event_processed("order.placed", "completed");
    metrics.handler_duration("order.placed", Duration::from_secs(1));
    metrics.delivery_delay("orders", Duration::from_secs(1));
    let partition = TopicPartition { topic: "orders".to_owned(), partition: 0 };
    metrics.watermark("shipping", &partition, Some(Instant::now()));
    let store = filled().await;
    store.set_delivery_mode(DeliveryMode::Lanes).unwrap();
    let sampling = tokio::spawn(metrics.sampler(store).unwrap().run(CancellationToken::new()));
    // in paused time this lasts until the sampler has looked
    tokio::time::sleep(Duration::from_millis(1)).await;
    sampling
}

/// The type and the names of labels, as they are in a scrape.
fn scraped(registry: &Registry) -> BTreeMap<String, (String, BTreeSet<String>)> {
    let page = Page::scrape(registry);
    let labels = |series: &String| -> Vec<String> {
        let Some((_, labels)) = series.split_once('{') else { return Vec::new() };
        let labels = labels.trim_end_matches('}').split("\",");
        labels
            .filter_map(|label| Some(label.split_once('=')?.0.to_owned()))
            .filter(|name| name != "le")
            .collect()
    };
    let families = page.0.into_iter();
    families
        .map(|(name, family)| {
            let labels = family.series.keys().flat_map(labels).collect();
            (name, (family.kind, labels))
        })
        .collect()
}

/// The same, as the tables of the crate's page say it.
fn documented() -> BTreeMap<String, (String, BTreeSet<String>)> {
    let rows = include_str!("../../src/lib.rs").lines().filter_map(|line| line.strip_prefix("//! | `"));
    rows.map(|row| {
        let row = row.replace("\\|", "/");
        let (name, rest) = row.split_once("` | ").unwrap();
        let mut words = rest.split(" | ").next().unwrap().splitn(2, ' ');
        let kind = words.next().unwrap().to_owned();
        let labels = words.next().unwrap_or_default().split(", ").filter(|label| !label.is_empty());
        let labels = labels.map(|label| label.split('=').next().unwrap().to_owned()).collect();
        (name.to_owned(), (kind, labels))
    })
    .collect()
}

#[tokio::test(start_paused = true)]
async fn are_those_of_the_documentation() {
    let (registry, metrics) = registered();
    let _sampling = tell_all(&metrics).await;
    assert_eq!(scraped(&registry), documented());
}

/// What promlint asks for.
#[tokio::test(start_paused = true)]
async fn follow_the_conventions() {
    let (registry, metrics) = registered();
    let _sampling = tell_all(&metrics).await;
    for (name, family) in Page::scrape(&registry).0 {
        let says = |text: &str| format!("{name}: {text}");
        assert!(family.help.ends_with('.') && family.help.len() > 10, "{}", says("has a help text"));
        let is_counter = family.kind == "counter";
        assert_eq!(
            name.ends_with("_total"),
            is_counter,
            "{}",
            says("_total is for counters, and all of them")
        );
        for ending in ["_count", "_sum", "_bucket"] {
            assert!(!name.ends_with(ending), "{}", says("endings of histograms are not names"));
        }
        let is_snake = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        assert!(name.chars().all(is_snake) && !name.contains("__"), "{}", says("snake_case"));
        let unusual = ["ms", "millis", "milliseconds", "micros", "minutes", "hours", "kb", "mb", "percent"];
        let kinds = ["gauge", "counter", "histogram", "summary"];
        for part in name.split('_') {
            assert!(!unusual.contains(&part), "{}", says("base units"));
            assert!(!kinds.contains(&part), "{}", says("a name does not say the type"));
        }
        for series in family.series.keys() {
            let labels = series.split_once('{').map_or("", |(_, labels)| labels);
            for label in labels.split("\",").filter_map(|label| label.split_once('=')) {
                assert!(label.0.chars().all(is_snake), "{series}: labels in snake_case");
                assert!(label.0 != "le" || family.kind == "histogram", "{series}: le is for histograms");
            }
        }
    }
}

/// Prometheus' own judge, where it is installed, and on CI in any case; the test before it has its rules.
#[tokio::test(start_paused = true)]
async fn promtool_finds_nothing() {
    use std::io::{Read, Write};
    use std::process::{Command, Stdio};
    let (registry, metrics) = registered();
    let _sampling = tell_all(&metrics).await;
    let page = TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
    let mut promtool = Command::new("promtool");
    promtool.args(["check", "metrics"]).stdin(Stdio::piped()).stderr(Stdio::piped());
    let Ok(mut judge) = promtool.spawn() else {
        assert!(
            !std::env::var("CI").is_ok_and(|ci| ci == "true"),
            "no promtool: install Debian's package prometheus"
        );
        println!("skipped: promtool is not on this machine");
        return;
    };
    // what is dropped at the end of the statement is the end of its input
    judge.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    let mut found = String::new();
    judge.stderr.take().unwrap().read_to_string(&mut found).unwrap();
    assert!(judge.wait().unwrap().success() && found.is_empty(), "{found}");
}

#[tokio::test(start_paused = true)]
async fn a_prefix_stands_before_each_name() {
    let registry = Registry::new();
    let metrics = PrometheusMetrics::with_prefix(&registry, "shop").unwrap();
    let _sampling = tell_all(&metrics).await;
    let plain = documented();
    let expected: BTreeSet<String> = plain.keys().map(|name| format!("shop_{name}")).collect();
    let names: BTreeSet<String> = Page::scrape(&registry).0.into_keys().collect();
    assert_eq!(names, expected);
}

#[test]
fn a_name_that_is_taken_or_impossible_is_refused() {
    let (registry, _metrics) = registered();
    for refused in
        [PrometheusMetrics::new(&registry), PrometheusMetrics::with_prefix(&Registry::new(), "no space")]
    {
        let refused = refused.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Misconfigured);
        assert!(refused.to_string().contains("outbox_events_published_total"), "{refused}");
    }
    // beside the first ones under a prefix
    PrometheusMetrics::with_prefix(&registry, "second").unwrap();
}

/// The alerts that operators are advised to set.
fn alerts() -> &'static str {
    let text = include_str!("../../../../OPERATING.md");
    text.split("## Alerts").nth(1).unwrap().split("\n## ").next().unwrap()
}

/// Every process samples the same tables: their sum would grow with the number of processes.
#[tokio::test(start_paused = true)]
async fn alerts_take_the_largest_of_what_is_sampled() {
    let (registry, metrics) = registered();
    let _sampling = tell_all(&metrics).await;
    let mut sampled = 0;
    for (name, family) in Page::scrape(&registry).0 {
        let is_shared = family.help.ends_with("Shared truth: max by.");
        let rows: Vec<&str> =
            alerts().lines().filter(|line| line.contains(&name) && line.starts_with('|')).collect();
        sampled += usize::from(is_shared && !rows.is_empty());
        for row in rows.iter().filter(|_| is_shared) {
            assert!(
                row.contains(&format!("max({name}")),
                "OPERATING.md adds {name} up, or leaves it to chance: {row}"
            );
        }
    }
    assert!(sampled >= 8, "{sampled} of what is sampled has an alert");
}

/// Alerts name what there is.
#[test]
fn alerts_name_what_there_is() {
    let (names, alerts) = (documented(), alerts());
    let is_name = |c: char| c.is_ascii_lowercase() || c == '_';
    let words = alerts.split(|c: char| !is_name(c));
    let named: Vec<&str> =
        words.filter(|word| word.starts_with("outbox_") || word.starts_with("inbox_")).collect();
    assert!(named.len() > 10, "{named:?}");
    for name in named {
        assert!(names.contains_key(name), "OPERATING.md alarms on {name}, which does not exist");
    }
}
