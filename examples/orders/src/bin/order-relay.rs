//! Publishes the order service's outbox. Run as many as you like; they share the work.

use std::time::Duration;

use clap::Parser;
use omni_box::kafka::{KafkaEventPublisher, KafkaPublisherConfig};
use omni_box::postgres::{PgConfig, PgStore};
use omni_box::prelude::*;
use sqlx::PgPool;

#[derive(Parser)]
struct Args {
    /// The order service's own database.
    #[arg(long, env = "ORDERS_DATABASE_URL")]
    database_url: String,
    /// Kafka's bootstrap servers.
    #[arg(long, env = "KAFKA_BROKERS")]
    brokers: String,
    /// The name of this relay in logs.
    #[arg(long, default_value = "order-relay")]
    worker_id: String,
    /// How long after a crash of this relay another takes over its share.
    #[arg(long, default_value_t = 10)]
    lease_seconds: u64,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    orders::init_logging();
    let args = Args::parse();
    let outbox = PgStore::new(PgPool::connect(&args.database_url).await?, PgConfig::default());
    outbox.migrate().await?;
    let publisher =
        KafkaEventPublisher::from_config(KafkaPublisherConfig::new(args.brokers), EnvelopeEventConverter)?;

    let relay = OutboxRelay::builder(outbox, publisher)
        .worker_id(args.worker_id)
        .lease_ttl(Duration::from_secs(args.lease_seconds))
        .build()?;
    println!("relaying");
    relay.run(orders::shutdown_on_signal()?).await?;
    Ok(())
}
