//! The example as a user runs it.

use omni_box_harness::example::prints;

const OUTPUT: &str = r#"outbox_events_published_total{event_type="order.placed",status="published"} 3
outbox_publish_delay_seconds_count{topic="orders"} 3
outbox_owned_lanes 16
outbox_oldest_due_age_seconds 0
outbox_failed_events 0
inbox_events_processed_total{event_type="order.placed",status="completed"} 3
inbox_delivery_delay_seconds_count{topic="orders"} 3
inbox_assigned_partitions 1
inbox_watermark_age_seconds{consumer_group="shipping",topic="orders"} 0
/live 204
/ready 204
"#;

#[test]
fn it_serves_its_metrics_and_scrapes_them() {
    prints(env!("CARGO_BIN_EXE_metrics"), &[], OUTPUT);
}
