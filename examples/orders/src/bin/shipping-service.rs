//! Ships orders: each order's shipment and its own event commit together, once, however often the message is delivered.

use std::time::Duration;

use clap::Parser;
use omni_box::kafka::{KafkaConsumerConfig, KafkaEventConsumer, KafkaEventPublisher, KafkaPublisherConfig};
use omni_box::postgres::{PgConfig, PgStore};
use omni_box::prelude::*;
use omni_box::router::ANY_SOURCE;
use orders::{OrderPlaced, OrderShipped};
use sqlx::PgPool;
use uuid::Uuid;

#[derive(Parser)]
struct Args {
    /// The shipping service's own database.
    #[arg(long, env = "SHIPPING_DATABASE_URL")]
    database_url: String,
    /// Kafka's bootstrap servers.
    #[arg(long, env = "KAFKA_BROKERS")]
    brokers: String,
    /// Topic of the orders.
    #[arg(long, env = "ORDERS_TOPIC", default_value = "orders")]
    orders_topic: String,
    /// Topic of this service's own events.
    #[arg(long, env = "SHIPMENTS_TOPIC", default_value = "shipments")]
    topic: String,
    /// Processes of one group share the orders.
    #[arg(long, default_value = "shipping")]
    group: String,
    /// The name of this process in logs and tables.
    #[arg(long, default_value = "shipping-service")]
    worker_id: String,
    /// How long after a crash of this process another takes over its outbox share.
    #[arg(long, default_value_t = 10)]
    lease_seconds: u64,
    /// How long after a crash of this process another takes over its partitions.
    #[arg(long, default_value_t = 45)]
    session_seconds: u64,
}

#[derive(Clone)]
struct Topic(String);

async fn ship(
    mut cx: InboxContext<'_, PgStore>,
    order: OrderPlaced,
    State(Topic(topic)): State<Topic>,
) -> anyhow::Result<()> {
    let shipment_id = Uuid::now_v7();
    sqlx::query("insert into shipments (id, order_id, customer, number) values ($1, $2, $3, $4)")
        .bind(shipment_id)
        .bind(order.order_id)
        .bind(&order.customer)
        .bind(order.number)
        .execute(cx.conn())
        .await?;

    let shipped = OrderShipped { order_id: order.order_id, shipment_id };
    cx.enqueue(NewOutboxEvent::new("order.shipped", topic, &shipped).partition_key(&order.customer)).await?;
    Ok(())
}

fn on_orders(topic: Topic) -> EventRouter<PgStore> {
    EventRouter::new().on(ANY_SOURCE, "order.placed", ship).with_state(topic)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    orders::init_logging();
    let args = Args::parse();
    let pool = PgPool::connect(&args.database_url).await?;
    sqlx::raw_sql(include_str!("../../migrations/shipping.sql")).execute(&pool).await?;
    let store = PgStore::new(pool, PgConfig::default());
    store.migrate().await?;

    // this service publishes its own outbox in its own process
    let publisher = KafkaEventPublisher::from_config(
        KafkaPublisherConfig::new(args.brokers.clone()),
        EnvelopeEventConverter,
    )?;
    let relay = OutboxRelay::builder(store.clone(), publisher)
        .worker_id(WorkerId::new(&args.worker_id)?)
        .lease_ttl(Duration::from_secs(args.lease_seconds))
        .build()?;

    let consumer = KafkaEventConsumer::from_config(
        KafkaConsumerConfig::new(args.brokers, args.group, [args.orders_topic])
            .property("session.timeout.ms", (args.session_seconds * 1000).to_string()),
    )?;
    let inbox = InboxConsumerRunner::builder(consumer, store)
        .worker_id(args.worker_id)
        .handler(on_orders(Topic(args.topic)))
        .build()?;
    println!("shipping");
    // the first that fails ends the process, after the other has drained
    Workers::new().relay(relay).inbox(inbox).run_until(shutdown_signal()).await?;
    Ok(())
}
