//! Ships orders: each order's shipment and its own event commit together, once, however often the message is delivered.

use clap::Parser;
use omni_box::kafka::{KafkaConsumerConfig, KafkaEventConsumer, KafkaEventPublisher, KafkaPublisherConfig};
use omni_box::postgres::{PgConfig, PgStore};
use omni_box::prelude::*;
use orders::{ORDERS, OrderPlaced, OrderShipped, SHIPMENTS};
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
}

async fn ship(cx: InboxContext<'_, PgStore>, order: OrderPlaced) -> Result<(), HandlerError> {
    let shipment_id = Uuid::now_v7();
    sqlx::query("insert into shipments (id, order_id, customer, number) values ($1, $2, $3, $4)")
        .bind(shipment_id)
        .bind(order.order_id)
        .bind(&order.customer)
        .bind(order.number)
        .execute(&mut *cx.conn)
        .await?;

    let shipped = OrderShipped { order_id: order.order_id, shipment_id };
    let event = OmniBoxDomainService::default().create_outbox_event(
        NewOutboxEvent::new("order.shipped", SHIPMENTS, &shipped)
            .partition_key(&order.customer)
            .causation_id(cx.event.message_id()),
    )?;
    cx.store.create(cx.conn, &event).await?;
    Ok(())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    orders::init_logging();
    let args = Args::parse();
    let pool = PgPool::connect(&args.database_url).await?;
    sqlx::raw_sql(include_str!("../../migrations/shipping.sql")).execute(&pool).await?;
    let store = PgStore::new(pool, PgConfig::default());
    store.migrate().await?;
    let shutdown = orders::shutdown_on_signal()?;

    // this service publishes its own outbox in its own process
    let publisher = KafkaEventPublisher::from_config(
        KafkaPublisherConfig::new(args.brokers.clone()),
        EnvelopeEventConverter,
    )?;
    let relay =
        OutboxRelay::builder(store.clone(), publisher).worker_id(WorkerId::new("shipping")?).build()?;
    let relay = tokio::spawn(relay.run(shutdown.clone()));

    let group = ConsumerGroup::new("shipping")?;
    let consumer =
        KafkaEventConsumer::from_config(KafkaConsumerConfig::new(args.brokers, group.clone(), [ORDERS]))?;
    let mut runner = InboxConsumerRunner::builder(consumer, store)
        .consumer_group(group)
        .worker_id(WorkerId::new("shipping")?)
        .handler(typed_handler_fn(ship))
        .build()?;
    println!("shipping");
    runner.run_forever(&shutdown).await?;
    relay.await??;
    Ok(())
}
