//! Orders placed, published, consumed and shipped in one program, which ends when every order is shipped.
//!
//! It takes what it needs from the crates themselves: the domain and its traits from `omni-box-core`, the engine from `omni-box-pipeline`,
//! and the two adapters. A program like this builds no adapter that it does not use, and no facade.

use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use omni_box_core::{EnvelopeEventConverter, HandlerError, InboxContext, NewOutboxEvent, OutboxExt};
use omni_box_kafka::{KafkaConsumerConfig, KafkaEventConsumer, KafkaEventPublisher, KafkaPublisherConfig};
use omni_box_pipeline::{InboxConsumerRunner, OutboxRelay, on};
use omni_box_postgres::{PgConfig, PgStore};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const TABLES: &str = "
    create table if not exists orders (id uuid primary key, customer text not null);
    create table if not exists shipments (id uuid primary key, order_id uuid not null)";

/// How long to wait before looking again whether everything is shipped.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

#[derive(Parser)]
struct Args {
    /// The database of orders and shipments.
    #[arg(long, env = "DATABASE_URL")]
    database_url: String,
    /// Kafka's bootstrap servers.
    #[arg(long, env = "KAFKA_BROKERS")]
    brokers: String,
    /// Topic of the orders.
    #[arg(long, default_value = "orders")]
    topic: String,
    /// Group of the shipping.
    #[arg(long, default_value = "shipping")]
    group: String,
    /// How many orders to place.
    #[arg(long, default_value_t = 10)]
    orders: u32,
}

#[derive(Serialize, Deserialize)]
struct OrderPlaced {
    order_id: Uuid,
    customer: String,
}

/// The order's row and its event commit together.
async fn place(pool: &PgPool, outbox: &PgStore, topic: &str, customer: String) -> anyhow::Result<()> {
    let placed = OrderPlaced { order_id: Uuid::now_v7(), customer };
    let mut tx = pool.begin().await?;
    sqlx::query("insert into orders (id, customer) values ($1, $2)")
        .bind(placed.order_id)
        .bind(&placed.customer)
        .execute(&mut *tx)
        .await?;
    let event = NewOutboxEvent::new("order.placed", topic, &placed).partition_key(&placed.customer);
    outbox.enqueue(&mut tx, event).await?;
    tx.commit().await?;
    Ok(())
}

/// The shipment commits with the message's row: once, however often the message comes.
async fn ship(mut cx: InboxContext<'_, PgStore>, order: OrderPlaced) -> Result<(), HandlerError> {
    sqlx::query("insert into shipments (id, order_id) values ($1, $2)")
        .bind(Uuid::now_v7())
        .bind(order.order_id)
        .execute(cx.conn())
        .await?;
    Ok(())
}

async fn all_shipped(pool: &PgPool) -> anyhow::Result<()> {
    let waiting = "select count(*) from orders where id not in (select order_id from shipments)";
    while sqlx::query_scalar::<_, i64>(waiting).fetch_one(pool).await? > 0 {
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    Ok(())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let pool = PgPool::connect(&args.database_url).await.context("the database cannot be reached")?;
    sqlx::raw_sql(TABLES).execute(&pool).await?;
    let store = PgStore::new(pool.clone(), PgConfig::default());
    store.migrate().await?;

    let publisher = KafkaEventPublisher::from_config(
        KafkaPublisherConfig::new(args.brokers.clone()),
        EnvelopeEventConverter,
    )?;
    let relay = OutboxRelay::builder(store.clone(), publisher).build()?;

    let consumer = KafkaEventConsumer::from_config(KafkaConsumerConfig::new(
        args.brokers,
        args.group,
        [args.topic.clone()],
    ))?;
    let mut runner =
        InboxConsumerRunner::builder(consumer, store.clone()).handler(on("order.placed", ship)).build()?;

    let shutdown = CancellationToken::new();
    let shop = async {
        for number in 0..args.orders {
            place(&pool, &store, &args.topic, format!("customer-{}", number % 3)).await?;
        }
        all_shipped(&pool).await?;
        shutdown.cancel();
        anyhow::Ok(())
    };
    let relaying = async { anyhow::Ok(relay.run(shutdown.clone()).await?) };
    let receiving = async { anyhow::Ok(runner.run_forever(&shutdown).await?) };
    tokio::try_join!(shop, relaying, receiving)?;
    println!("{} orders placed and shipped", args.orders);
    Ok(())
}
