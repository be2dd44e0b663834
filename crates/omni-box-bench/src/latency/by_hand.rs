//! What a team writes before it takes a library.

use std::time::Duration;

use anyhow::Result;
use rdkafka::config::ClientConfig;
use rdkafka::producer::{FutureProducer, FutureRecord};
use sqlx::Row;
use sqlx::postgres::PgPoolOptions;
use tokio_util::sync::CancellationToken;

/// Looks every 10 ms, sends, awaits, marks.
pub(super) async fn publish(
    database_url: String,
    brokers: String,
    shutdown: CancellationToken,
) -> Result<()> {
    let pool = PgPoolOptions::new().max_connections(8).connect(&database_url).await?;
    let producer: FutureProducer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("enable.idempotence", "true")
        .set("linger.ms", "0")
        .create()?;
    while !shutdown.is_cancelled() {
        let rows = sqlx::query(
            "select id, topic, partition_key, payload::text from outbox_events where status = 'pending' order by seq limit 1000",
        )
        .fetch_all(&pool)
        .await?;
        if rows.is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        }
        let sends = rows.iter().map(|row| {
            let (topic, key, payload): (&str, &str, &str) = (row.get(1), row.get(2), row.get(3));
            producer.send(FutureRecord::to(topic).key(key).payload(payload), Duration::from_secs(30))
        });
        for sent in futures_util::future::join_all(sends).await {
            sent.map_err(|(error, _)| error)?;
        }
        let ids: Vec<uuid::Uuid> = rows.iter().map(|row| row.get(0)).collect();
        sqlx::query("update outbox_events set status = 'completed', completed_at = now() where id = any($1)")
            .bind(&ids)
            .execute(&pool)
            .await?;
    }
    Ok(())
}
