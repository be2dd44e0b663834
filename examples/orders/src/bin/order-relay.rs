//! Publishes the order service's outbox. Run as many as you like; they share the work.
//!
//! Its settings come from a file, from the environment over it, and from flags over both:
//! `OMNI_OUTBOX_PROCESSOR__LEASE_TTL=30s order-relay --config relay.toml --set outbox_processor.worker_id=relay-7`. All of them are in
//! `docs/settings.md`.

use std::path::PathBuf;

use clap::Parser;
use omni_box::kafka::KafkaEventPublisher;
use omni_box::postgres::PgStore;
use omni_box::prelude::*;
use omni_box::settings::{Flags, RelayFromSettings, Settings};

#[derive(Parser)]
struct Args {
    /// The order service's own database.
    #[arg(long, env = "ORDERS_DATABASE_URL")]
    database_url: String,
    /// The file of settings, in place of the one that OMNI_BOX_CONFIG names.
    #[arg(long)]
    config: Option<PathBuf>,
    /// One setting, over file and environment; several times for several.
    #[arg(long, value_name = "SECTION.KEY=VALUE")]
    set: Vec<String>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    orders::init_logging();
    let args = Args::parse();
    let settings = Settings::load_with(&Flags::new().config(args.config).set_all(args.set))?;
    let pool = settings.postgres_pool().connect(&args.database_url).await?;
    let outbox = PgStore::new(pool, settings.postgres()?);
    outbox.migrate().await?;
    let publisher = KafkaEventPublisher::from_config(settings.kafka_publisher()?, EnvelopeEventConverter)?;

    let worker = settings.relay()?.worker_id;
    let relay = OutboxRelay::from_settings(&settings, outbox, publisher)?.build()?;
    let shutdown = orders::shutdown_on_signal()?;
    println!("relaying as {worker}");
    relay.run(shutdown).await?;
    Ok(())
}
