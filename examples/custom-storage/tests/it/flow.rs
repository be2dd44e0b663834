//! An application on the store: orders placed, published, consumed, shipped once.

use std::path::Path;
use std::time::Duration;

use custom_storage::RedbStore;
use omni_box::message::InboundMessage;
use omni_box::prelude::*;
use omni_box::{ErrorKind, OmniBoxMaintenanceService, RetryPolicy};
use omni_box_testkit::{MemoryBroker, NewMessage};
use redb::{ReadableTable, ReadableTableMetadata, TableDefinition};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

const ORDERS: TableDefinition<u32, &str> = TableDefinition::new("orders");
const SHIPMENTS: TableDefinition<u32, u32> = TableDefinition::new("shipments");

const SHORT: Duration = Duration::from_millis(500);

#[derive(Serialize, Deserialize)]
struct Order {
    number: u32,
    customer: String,
}

/// The order's row and its event, in the caller's transaction.
async fn place(store: &RedbStore, number: u32) -> anyhow::Result<custom_storage::RedbTx> {
    let order = Order { number, customer: format!("customer-{}", number % 3) };
    let mut tx = store.begin().await?;
    tx.open_table(ORDERS)?.insert(number, order.customer.as_str())?;
    let event = OmniBoxDomainService::default().create_outbox_event(
        NewOutboxEvent::new("order.placed", "orders", &order).partition_key(&order.customer),
    )?;
    store.create(&mut tx, &event).await?;
    Ok(tx)
}

/// Counts how often an order was shipped; every fifth fails at first, after its write.
async fn ship(mut cx: InboxContext<'_, RedbStore>, order: Order) -> Result<(), HandlerError> {
    let attempts = cx.event.lifecycle().attempts_made();
    let mut shipments = cx.conn().open_table(SHIPMENTS)?;
    let before = shipments.get(order.number)?.map_or(0, |count| count.value());
    shipments.insert(order.number, before + 1)?;
    if order.number.is_multiple_of(5) && attempts == 0 {
        return Err(HandlerError::new("out of stock"));
    }
    Ok(())
}

/// Order and how often it was shipped.
async fn shipments(store: &RedbStore) -> anyhow::Result<Vec<(u32, u32)>> {
    let tx = store.begin().await?;
    let table = tx.open_table(SHIPMENTS)?;
    let mut shipments = Vec::new();
    for row in table.iter()? {
        let (order, count) = row?;
        shipments.push((order.value(), count.value()));
    }
    Ok(shipments)
}

/// A message as it is, once more.
fn again(message: &InboundMessage) -> NewMessage {
    let repeat = NewMessage::to(&message.topic)
        .partition(message.partition)
        .key(message.key.as_deref().unwrap_or_default())
        .value(message.value.as_deref().unwrap_or_default());
    let headers = message.headers.iter();
    headers.fold(repeat, |to, (name, value)| to.header(name, value.as_deref().unwrap_or_default()))
}

async fn eventually(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_so().await {
        assert!(Instant::now() < deadline, "{what}: not within a minute");
        sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_is_shipped_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("shop.redb");
    run(&path).await.unwrap();
    // closed and opened again, everything is still there
    let store = RedbStore::open(&path).await.unwrap();
    assert_eq!(shipments(&store).await.unwrap().len(), 20);
}

async fn run(path: &Path) -> anyhow::Result<()> {
    let store = RedbStore::open(path).await?;
    let broker = MemoryBroker::new();
    broker.create_topic("orders", 2);
    let shutdown = CancellationToken::new();

    let relay = OutboxRelay::builder(store.clone(), broker.publisher(EnvelopeEventConverter)).build()?;
    let relay = tokio::spawn(relay.run(shutdown.clone()));
    let group = ConsumerGroup::new("shipping")?;
    let mut runner = InboxConsumerRunner::builder(broker.consumer(&group, ["orders"]), store.clone())
        .consumer_group(group.clone())
        .handler(on("order.placed", ship))
        .retry(RetryPolicy::default().at_most(SHORT, SHORT))
        .build()?;
    let stopped = shutdown.clone();
    let inbox = tokio::spawn(async move { runner.run_forever(&stopped).await });

    for number in 0..20 {
        store.commit(place(&store, number).await?).await?;
        // dropped: neither order nor event
        drop(place(&store, 100 + number).await?);
    }
    eventually("20 shipments", async || shipments(&store).await.unwrap().len() == 20).await;

    // each message once more, as at-least-once delivers it
    let published = broker.records("orders");
    assert_eq!(published.len(), 20, "what was rolled back was not published");
    for message in published.iter().map(again) {
        broker.send(message);
    }
    eventually("the repeats are acknowledged", async || broker.lag(&group, "orders") == 0).await;

    shutdown.cancel();
    relay.await??;
    inbox.await??;
    let shipments = shipments(&store).await?;
    assert_eq!(shipments, (0..20).map(|number| (number, 1)).collect::<Vec<_>>(), "each once");
    assert_eq!(store.begin().await?.open_table(ORDERS)?.len()?, 20, "orders that were committed");
    Ok(())
}

#[tokio::test]
async fn what_the_store_does_not_offer_is_refused_by_name() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let store = RedbStore::open(&folder.path().join("shop.redb")).await?;
    let upkeep = OmniBoxMaintenanceService::new().outbox(store);
    let error = upkeep.run(CancellationToken::new()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert_eq!(error.to_string(), "the store of the outbox offers no retention, which upkeep needs");
    Ok(())
}
