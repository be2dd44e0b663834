//! Labels are bounded.

use omni_box_core::message::TopicPartition;
use omni_box_core::{InboxMetrics, OutboxMetrics};
use tokio::time::{Duration, Instant};

use super::page::{Page, registered};

fn count(page: &Page, family: &str) -> usize {
    page.0[family].series.len()
}

#[test]
fn five_hundred_event_types_are_two_hundred_and_other() {
    let (registry, metrics) = registered();
    for _ in 0..2 {
        for n in 0..500 {
            metrics.event_published(&format!("type-{n}"), "published");
            metrics.event_processed(&format!("type-{n}"), "completed");
            metrics.handler_duration(&format!("type-{n}"), Duration::ZERO);
        }
    }
    let page = Page::scrape(&registry);
    let published = "outbox_events_published_total";
    let of = |event_type: &str, status: &str| {
        page.get(&format!("{published}{{event_type=\"{event_type}\",status=\"{status}\"}}"))
    };
    assert_eq!(count(&page, published), 201 * 3, "three statuses each");
    assert_eq!(count(&page, "inbox_events_processed_total"), 201 * 5, "five statuses each");
    assert_eq!((of("type-199", "published"), of("type-200", "published")), (Some(2.0), None));
    assert_eq!(of("type-0", "failed"), Some(0.0), "a rate begins at zero");
    assert_eq!(of("other", "published"), Some(600.0), "none is lost");
    assert_eq!(page.get(r#"inbox_handler_duration_seconds_count{event_type="other"}"#), Some(600.0));
    assert_eq!(page.get("inbox_messages_processed_total"), Some(1000.0));
}

#[test]
fn two_hundred_topics_are_one_hundred_and_other() {
    let (registry, metrics) = registered();
    for n in 0..200 {
        let topic = format!("topic-{n}");
        metrics.publish_delay(&topic, Duration::from_secs(1));
        metrics.delivery_delay(&topic, Duration::from_secs(1));
        metrics.watermark("shipping", &TopicPartition { topic, partition: 0 }, Some(Instant::now()));
    }
    let page = Page::scrape(&registry);
    let of_other = |name: &str| page.get(&format!("{name}{{topic=\"other\"}}"));
    assert_eq!(of_other("outbox_publish_delay_seconds_count"), Some(100.0));
    assert_eq!(of_other("inbox_delivery_delay_seconds_sum"), Some(100.0));
    assert_eq!(count(&page, "inbox_watermark_age_seconds"), 101);
}

#[test]
fn what_a_label_holds_cannot_break_the_page() {
    let (registry, metrics) = registered();
    metrics.event_published("a\"b\\c\nd", "published");
    let page = Page::scrape(&registry);
    let series = r#"outbox_events_published_total{event_type="a\"b\\c\nd",status="published"}"#;
    assert_eq!(page.get(series), Some(1.0));
}
