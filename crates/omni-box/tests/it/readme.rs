//! The README's code, as it is quoted there, and compiled here.

use omni_box::kafka::{KafkaConsumerConfig, KafkaEventConsumer, KafkaEventPublisher, KafkaPublisherConfig};
use omni_box::postgres::{PgConfig, PgStore};
use omni_box::prelude::*;
use omni_box::{CancellationToken, EventSchema};
use serde::{Deserialize, Serialize};

const README: &str = include_str!("../../../../README.md");
const SOURCE: &str = include_str!("readme.rs");

/// Code without its layout, which is rustfmt's here and the page's there.
fn compact(code: &str) -> String {
    let text: String = code.split_whitespace().collect();
    text.replace(",)", ")").replace(",}", "}")
}

#[test]
fn every_quotation_is_compiled() {
    let source = compact(SOURCE);
    let quotations: Vec<&str> = README.split("```rust\n").skip(1).collect();
    assert!(quotations.len() >= 4, "there are quotations");
    for quotation in quotations {
        let quotation = quotation.split("```").next().unwrap_or_default();
        // items and statements of one quotation are in different places here
        for part in quotation.split("\n\n") {
            assert!(source.contains(&compact(part)), "quoted in README.md, and not compiled:\n{part}");
        }
    }
}

#[derive(Serialize, Deserialize, EventSchema)]
#[event(type = "order.placed", topic = "orders", key = customer)]
struct OrderPlaced {
    order_id: i64,
    customer: String,
}

#[derive(Serialize, EventSchema)]
#[event(type = "order.shipped", topic = "shipments", key = order_id)]
struct OrderShipped {
    order_id: i64,
    shipment: i64,
}

#[derive(Clone)]
struct Carrier;

impl Carrier {
    async fn book(&self, order: &OrderPlaced) -> anyhow::Result<i64> {
        anyhow::ensure!(!order.customer.is_empty(), "an order without a customer");
        Ok(order.order_id)
    }
}

#[expect(dead_code, reason = "compiled, as the README shows it, and never run")]
async fn enqueue(pool: sqlx::PgPool, id: i64, customer: String) -> anyhow::Result<()> {
    let outbox = PgStore::new(pool.clone(), PgConfig::default());
    outbox.migrate().await?;

    let mut tx = pool.begin().await?;
    sqlx::query("insert into orders (id, customer) values ($1, $2)")
        .bind(id)
        .bind(&customer)
        .execute(&mut *tx)
        .await?;
    outbox.enqueue(&mut tx, &OrderPlaced { order_id: id, customer }).await?;
    tx.commit().await?;
    Ok(())
}

#[expect(dead_code, reason = "compiled, as the README shows it, and never run")]
async fn publish(outbox: PgStore, brokers: &str, shutdown: CancellationToken) -> anyhow::Result<()> {
    let publisher =
        KafkaEventPublisher::from_config(KafkaPublisherConfig::new(brokers), EnvelopeEventConverter)?;
    OutboxRelay::builder(outbox, publisher).build()?.run(shutdown).await?;
    Ok(())
}

async fn ship(
    mut cx: InboxContext<'_, PgStore>,
    order: OrderPlaced,
    State(carrier): State<Carrier>,
) -> anyhow::Result<()> {
    let shipment = carrier.book(&order).await?; // any error type; what it costs is found in it
    sqlx::query("insert into shipments (order_id) values ($1)")
        .bind(order.order_id)
        .execute(cx.conn())
        .await?;
    cx.enqueue(&OrderShipped { order_id: order.order_id, shipment }).await?; // names the message as its cause
    Ok(())
}

async fn cancel(_cx: InboxContext<'_, PgStore>, _order: OrderPlaced) {}

#[expect(dead_code, reason = "compiled, as the README shows it, and never run")]
async fn consume(
    brokers: &str,
    app: Carrier,
    store: PgStore,
    relay: OutboxRelay<PgStore>,
) -> anyhow::Result<()> {
    let router = EventRouter::new()
        .on("orders", "order.placed", ship)
        .on("orders", "order.cancelled", cancel)
        .with_state(app);
    let consumer =
        KafkaEventConsumer::from_config(KafkaConsumerConfig::new(brokers, "shipping", ["orders"]))?;
    let shipping = InboxConsumerRunner::builder(consumer, store).handler(router).build()?;

    let serve = async |stop: CancellationToken| {
        stop.cancelled().await;
        anyhow::Ok(())
    };
    Workers::new().relay(relay).inbox(shipping).task("http", serve).run_until(shutdown_signal()).await?;
    Ok(())
}
