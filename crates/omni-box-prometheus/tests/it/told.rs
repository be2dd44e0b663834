//! Each call changes its own series, and no other.

use std::collections::BTreeMap;

use omni_box_core::message::TopicPartition;
use omni_box_core::store::DeliveryMode;
use omni_box_core::{InboxMetrics, OutboxMetrics};
use omni_box_prometheus::PrometheusMetrics;
use tokio::time::{Duration, Instant, advance};

use super::page::{Page, registered};

const SECOND: Duration = Duration::from_secs(1);

/// Calls, and the series that are not zero afterwards.
type Case = (fn(&PrometheusMetrics), &'static [(&'static str, f64)]);

const CASES: &[Case] = &[
    (|m| m.batch_locked(7), &[("outbox_locked_batch_size", 7.0)]),
    (
        |m| m.event_published("a", "retried"),
        &[(r#"outbox_events_published_total{event_type="a",status="retried"}"#, 1.0)],
    ),
    (
        |m| m.publish_duration("a", SECOND),
        &[
            (r#"outbox_handler_duration_seconds_count{event_type="a"}"#, 1.0),
            (r#"outbox_handler_duration_seconds_sum{event_type="a"}"#, 1.0),
        ],
    ),
    (
        |m| m.publish_delay("t", SECOND),
        &[
            (r#"outbox_publish_delay_seconds_count{topic="t"}"#, 1.0),
            (r#"outbox_publish_delay_seconds_sum{topic="t"}"#, 1.0),
        ],
    ),
    (
        |m| {
            m.events_in_flight(5);
            m.events_in_flight(-2);
        },
        &[("outbox_in_flight_events", 3.0)],
    ),
    (|m| m.owned_lanes(16), &[("outbox_owned_lanes", 16.0)]),
    (|m| m.gate("broker", true), &[(r#"outbox_gate_closed{gate="broker"}"#, 1.0)]),
    (
        |m| {
            m.gate("database", true);
            m.gate("database", false);
        },
        &[],
    ),
    (|m| m.lease_lost(), &[("outbox_lease_losses_total", 1.0)]),
    (|m| m.key_held("topic"), &[(r#"outbox_keys_held_total{reason="topic"}"#, 1.0)]),
    (|m| m.message_consumed(), &[("inbox_messages_consumed_total", 1.0)]),
    (|m| m.message_duplicate(), &[("inbox_messages_duplicate_total", 1.0)]),
    (
        |m| m.event_processed("a", "stale"),
        &[
            (r#"inbox_events_processed_total{event_type="a",status="stale"}"#, 1.0),
            ("inbox_messages_processed_total", 1.0),
        ],
    ),
    (
        |m| m.event_processed("a", "retried"),
        &[(r#"inbox_events_processed_total{event_type="a",status="retried"}"#, 1.0)],
    ),
    (
        |m| m.event_processed("a", "failed"),
        &[
            (r#"inbox_events_processed_total{event_type="a",status="failed"}"#, 1.0),
            ("inbox_messages_failed_total", 1.0),
        ],
    ),
    (|m| m.message_quarantined("conflict"), &[(r#"inbox_quarantined_total{reason="conflict"}"#, 1.0)]),
    (|m| m.messages_committed(9), &[("inbox_messages_committed_total", 9.0)]),
    (|m| m.commit_failed(), &[("inbox_commit_failures_total", 1.0)]),
    (
        |m| m.handler_duration("a", SECOND),
        &[
            (r#"inbox_handler_duration_seconds_count{event_type="a"}"#, 1.0),
            (r#"inbox_handler_duration_seconds_sum{event_type="a"}"#, 1.0),
        ],
    ),
    (
        |m| m.delivery_delay("t", SECOND),
        &[
            (r#"inbox_delivery_delay_seconds_count{topic="t"}"#, 1.0),
            (r#"inbox_delivery_delay_seconds_sum{topic="t"}"#, 1.0),
        ],
    ),
    (|m| m.group_committed(60), &[("inbox_group_size_count", 1.0), ("inbox_group_size_sum", 60.0)]),
    (|m| m.assigned_partitions(4), &[("inbox_assigned_partitions", 4.0)]),
    (|m| m.messages_in_flight(8), &[("inbox_in_flight_messages", 8.0)]),
];

fn build_info(mode: &str) -> String {
    format!("omni_box_build_info{{mode=\"{mode}\",version=\"{}\"}}", env!("CARGO_PKG_VERSION"))
}

#[test]
fn each_call_changes_its_own_series() {
    for (number, (tell, expected)) in CASES.iter().enumerate() {
        let (registry, metrics) = registered();
        tell(&metrics);
        let page = Page::scrape(&registry);
        let info = build_info("none");
        let expected: BTreeMap<&str, f64> = expected.iter().copied().chain([(info.as_str(), 1.0)]).collect();
        assert_eq!(page.told(), expected, "case {number}");
    }
}

#[test]
fn the_build_has_one_mode() {
    let (registry, metrics) = registered();
    metrics.delivery_mode(DeliveryMode::Lanes);
    metrics.delivery_mode(DeliveryMode::Rows);
    let page = Page::scrape(&registry);
    let series = &page.0["omni_box_build_info"].series;
    assert_eq!(series, &BTreeMap::from([(build_info("rows"), 1.0)]));
}

#[test]
fn progress_is_absent_before_the_first() {
    let (registry, metrics) = registered();
    let name = "outbox_last_progress_timestamp_seconds";
    assert_eq!(Page::scrape(&registry).get(name), None, "an age of fifty years would alarm");
    let before = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
    metrics.progressed();
    let progress = Page::scrape(&registry).get(name).unwrap();
    assert!((before..before + 60.0).contains(&progress), "{progress}");
}

#[test]
fn clones_share_one_set() {
    let (registry, metrics) = registered();
    metrics.clone().message_consumed();
    metrics.message_consumed();
    assert_eq!(Page::scrape(&registry).get("inbox_messages_consumed_total"), Some(2.0));
}

/// It grows from scrape to scrape, also while nothing is told: a handler that stands still tells nothing.
#[tokio::test(start_paused = true)]
async fn a_watermark_ages_by_itself() {
    let (registry, metrics) = registered();
    let partition = |number| TopicPartition { topic: "orders".to_owned(), partition: number };
    let age = |group: &str| {
        let series = format!("inbox_watermark_age_seconds{{consumer_group=\"{group}\",topic=\"orders\"}}");
        Page::scrape(&registry).get(&series)
    };
    assert_eq!(age("shipping"), None);
    metrics.watermark("shipping", &partition(0), Some(Instant::now()));
    metrics.watermark("billing", &partition(0), None);
    advance(30 * SECOND).await;
    metrics.watermark("shipping", &partition(1), Some(Instant::now()));
    assert_eq!((age("shipping"), age("billing")), (Some(30.0), Some(0.0)), "the longest of its partitions");
    advance(10 * SECOND).await;
    assert_eq!(age("shipping"), Some(40.0));
    metrics.watermark("shipping", &partition(0), None);
    assert_eq!(age("shipping"), Some(10.0), "the other one stands still yet");
    metrics.watermark("shipping", &partition(1), None);
    assert_eq!(age("shipping"), Some(0.0), "idle");
}
