//! What stands in signatures is re-exported: a program names it without a dependency of its own.

use omni_box::event::chrono::{TimeDelta, Utc};
use omni_box::event::uuid::Uuid;
use omni_box::kafka::rdkafka::ClientConfig;
use omni_box::kafka::{KafkaEventPublisher, KafkaPublisherConfig};
use omni_box::otel::opentelemetry::global::{meter, tracer};
use omni_box::otel::{OtelMetrics, TracedPublisher};
use omni_box::postgres::{PgConfig, PgStore, sqlx};
use omni_box::prelude::*;
use omni_box::prometheus::{PrometheusMetrics, prometheus};
use omni_box::sqlite::SqliteStore;

/// Compiled, and never run.
#[expect(dead_code, reason = "compiled, and never run")]
async fn all_of_them(store: SqliteStore) -> omni_box::Result<()> {
    let pool = sqlx::postgres::PgPoolOptions::new().connect_lazy("postgres://localhost/shop").unwrap();
    drop(PgStore::new(pool, PgConfig::default()));
    let file: &omni_box::sqlite::sqlx::SqlitePool = store.pool();
    assert!(!file.is_closed());
    let config: ClientConfig = KafkaPublisherConfig::new("localhost:9092").client_config()?;
    assert!(config.get("acks").is_some());
    let publisher = KafkaEventPublisher::from_config(
        KafkaPublisherConfig::new("localhost:9092"),
        EnvelopeEventConverter,
    )?;
    drop(TracedPublisher::new(publisher, tracer("shop")));
    drop(OtelMetrics::new(&meter("shop")));
    PrometheusMetrics::new(&prometheus::Registry::new())?;
    Ok(())
}

#[test]
fn an_event_needs_no_other_crate() {
    let event = NewOutboxEvent::new("order.placed", "orders", &serde_json::json!({ "id": 7 }));
    let event = event.aggregate("order", Uuid::now_v7()).scheduled_at(Utc::now() + TimeDelta::hours(1));
    assert!(OmniBoxDomainService::default().create_outbox_event(event).is_ok());
}
