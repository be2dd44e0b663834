//! An application's handler, tested with a broker in memory and a real PostgreSQL database.

use std::time::Duration;

use omni_box::event::{EventContent, NewInboxEvent, Payload};
use omni_box::postgres::{PgConfig, PgStore};
use omni_box::prelude::*;
use omni_box_harness::{TestDatabase, eventually};
use omni_box_testkit::{
    ExpectedEvent, MemoryBroker, NewMessage, OutboxById, assert_enqueued, assert_one_effect,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::types::Uuid;
use tokio_util::sync::CancellationToken;

#[derive(Serialize, Deserialize)]
struct Order {
    order: i32,
}

/// What is tested: notes a shipment and tells the world.
async fn ship(mut cx: InboxContext<'_, PgStore>, order: Order) -> Result<(), HandlerError> {
    sqlx::query("insert into shipments (id) values ($1)").bind(order.order).execute(cx.conn()).await?;
    let shipped =
        NewOutboxEvent::new("order.shipped", "shipments", &order).partition_key(order.order.to_string());
    cx.enqueue(shipped).await?;
    Ok(())
}

async fn store(database: &TestDatabase) -> PgStore {
    let store = PgStore::new(database.pool().clone(), PgConfig::default());
    store.migrate().await.unwrap();
    sqlx::query("create table shipments (id int not null)").execute(store.pool()).await.unwrap();
    store
}

async fn outbox_ids(store: &PgStore) -> Vec<Uuid> {
    let ids = sqlx::query_scalar("select id from outbox_events order by seq");
    ids.fetch_all(store.pool()).await.unwrap()
}

fn shipped(order: i32) -> ExpectedEvent {
    ExpectedEvent::new("order.shipped")
        .topic("shipments")
        .key(order.to_string())
        .payload(&json!({ "order": order }))
}

#[tokio::test]
async fn a_message_of_a_broker_in_memory_has_one_effect_in_a_real_database() {
    let Some(url) = omni_box_harness::postgres() else { return };
    let database = TestDatabase::create_on(&url).await.unwrap();
    let store = store(&database).await;
    let outbox = OutboxById::new(&store, async || outbox_ids(&store).await);

    let (broker, stop) = (MemoryBroker::new(), CancellationToken::new());
    broker.create_topic("orders", 1);
    let group = ConsumerGroup::new("shipping").unwrap();
    let mut runner = InboxConsumerRunner::builder(broker.consumer(&group, ["orders"]), store.clone())
        .consumer_group(group.clone())
        .handler(on("order.placed", ship))
        .build()
        .unwrap();
    // the second is a repeat
    for _ in 0..2 {
        let message = NewMessage::to("orders").value(r#"{"order": 7}"#).header("event_type", "order.placed");
        broker.send(message.header("event_id", "order-7"));
    }
    let handle = async {
        let done = eventually(Duration::from_secs(60), async || broker.lag(&group, "orders") == 0);
        let stop_when_done = async {
            done.await;
            stop.cancel();
        };
        tokio::join!(runner.run_forever(&stop), stop_when_done).0
    };
    assert_enqueued(&outbox, handle, &[shipped(7)]).await.unwrap();

    drop(runner);
    database.close().await.unwrap();
}

#[tokio::test]
async fn the_assertions_of_the_test_kit_read_a_real_database() {
    let Some(url) = omni_box_harness::postgres() else { return };
    let database = TestDatabase::create_on(&url).await.unwrap();
    let store = store(&database).await;
    let outbox = OutboxById::new(&store, async || outbox_ids(&store).await);

    let content = EventContent::new("order.placed", Payload::new(&Order { order: 8 }).unwrap());
    let message = NewInboxEvent::new("order-8", ConsumerGroup::new("shipping").unwrap(), "shop", content);
    let message = OmniBoxDomainService::default().create_inbox_event(message).unwrap();
    let shipments = async || {
        let rows = sqlx::query_scalar::<_, i32>("select id from shipments order by id");
        rows.fetch_all(store.pool()).await.unwrap()
    };
    assert_enqueued(&outbox, assert_one_effect(&store, &ship, &message, shipments), &[shipped(8)]).await;

    let placed = NewOutboxEvent::new("order.placed", "orders", &json!({ "order": 9 }));
    // what is rolled back was not enqueued, and what has been there before is not counted again
    let rolled_back = async {
        let mut tx = store.begin().await.unwrap();
        store.enqueue(&mut tx, placed).await.unwrap();
        store.rollback(tx).await.unwrap();
    };
    assert_enqueued(&outbox, rolled_back, &[]).await;
    database.close().await.unwrap();
}
