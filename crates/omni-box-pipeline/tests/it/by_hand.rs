//! The statements of OPERATING.md, as an operator runs them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use omni_box_core::{
    ErrorKind, Event, EventId, EventRepository, HandlerOutcome, LeaseRequest, NewOutboxEvent,
    OmniBoxDomainService, OrderedLanes, OwnerId, RawEventConverter, Store, WorkerId,
};
use omni_box_harness::{TestDatabase, eventually, postgres};
use omni_box_pipeline::{OutboxRelay, RejectionPolicy};
use omni_box_postgres::{PgConfig, PgStore};
use omni_box_testkit::{FaultPlan, FaultyPublisher, MemoryBroker, Operation};
use serde_json::json;
use sqlx::{AssertSqlSafe, PgPool};
use tokio_util::sync::CancellationToken;

use crate::inbox::service::{Effects, GROUP, Running, Service, broken};

const SOON: Duration = Duration::from_secs(30);
const TOPIC: &str = "orders";

/// The first statements under a heading, with the variables that psql would fill in.
fn statements(heading: &str, variables: &[(&str, &str)]) -> String {
    let text = include_str!("../../../../OPERATING.md");
    let (_, section) = text.split_once(&format!("\n### {heading}\n")).expect("there is such a heading");
    let (_, code) = section.split_once("```sql\n").expect("there is a statement below it");
    let (code, _) = code.split_once("```").expect("it has an end");
    variables.iter().fold(code.to_owned(), |code, (name, value)| {
        code.replace(&format!(":'{name}'"), &format!("'{value}'"))
    })
}

async fn run(pool: &PgPool, heading: &str, variables: &[(&str, &str)]) -> usize {
    let sql = statements(heading, variables);
    sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(pool).await.expect("the statement runs").len()
}

/// The ids in the order in which they were published.
fn published(broker: &MemoryBroker) -> Vec<EventId> {
    let id = |header: &str| EventId::from(uuid::Uuid::parse_str(header).expect("an id"));
    broker.records(TOPIC).iter().map(|record| id(record.header("event_id").expect("an id"))).collect()
}

#[tokio::test]
async fn a_held_key_is_seen_tried_again_given_up_and_published_at_last() {
    if postgres().is_none() {
        return;
    }
    let database = TestDatabase::create().await.unwrap();
    let pool = database.pool();
    let store = PgStore::new(pool.clone(), PgConfig::default());
    store.migrate().await.unwrap();
    let (broker, plan) = (MemoryBroker::new(), FaultPlan::new());
    broker.create_topic(TOPIC, 1);
    let domain = OmniBoxDomainService::default();
    let events: Vec<_> = (0..3)
        .map(|number| {
            let event = NewOutboxEvent::new("order.placed", TOPIC, &json!({"number": number}));
            domain.create_outbox_event(event.partition_key("key")).unwrap()
        })
        .collect();
    let mut tx = store.begin().await.unwrap();
    store.create_many(&mut tx, &events).await.unwrap();
    store.commit(tx).await.unwrap();

    plan.on(Operation::Deliver).times(2).fail_before(ErrorKind::Rejected);
    let publisher = FaultyPublisher::new(broker.publisher(RawEventConverter), &plan);
    let relay =
        OutboxRelay::builder(store, publisher).rejection_policy(RejectionPolicy::HoldKey).build().unwrap();
    let shutdown = CancellationToken::new();
    let task = tokio::spawn(relay.run(shutdown.clone()));
    let count = async |condition: &str| -> i64 {
        let sql = format!("select count(*) from outbox_events where {condition}");
        sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(pool).await.unwrap()
    };

    eventually(SOON, async || count("held").await == 3).await;
    assert_eq!(run(pool, "Is anything behind?", &[]).await, 1);
    assert_eq!(run(pool, "Who publishes?", &[]).await, 16);
    assert_eq!(run(pool, "What waits, and why", &[]).await, 1);
    let [first, second, third] = [0, 1, 2].map(|number: usize| events[number].id());
    let id = [("id", &*first.to_string())];
    run(pool, "Try a held event again now", &id).await;
    eventually(SOON, async || count("head and attempts_made = 2").await == 1).await;
    assert_eq!(published(&broker), []);

    run(pool, "Give a held event up; its key goes on", &id).await;
    eventually(SOON, async || count("status = 'completed'").await == 2).await;
    assert_eq!(count("status = 'failed' and not held and not head").await, 1);
    run(pool, "Publish an event that failed", &id).await;
    eventually(SOON, async || count("status = 'completed'").await == 3).await;
    assert_eq!(published(&broker), [second, third, first]);
    assert_eq!(
        count(&format!("id <> '{first}' and seq > any(select seq from outbox_events where id = '{first}')"))
            .await,
        0
    );
    shutdown.cancel();
    task.await.unwrap().unwrap();
    database.close().await.unwrap();
}

#[tokio::test]
async fn lanes_whose_leases_lie_in_the_future_are_freed() {
    if postgres().is_none() {
        return;
    }
    let database = TestDatabase::create().await.unwrap();
    let pool = database.pool();
    let store = PgStore::new(pool.clone(), PgConfig::default());
    store.migrate().await.unwrap();
    let worker = WorkerId::new("relay").unwrap();
    let lease = async |ttl| {
        let request = LeaseRequest { owner: OwnerId::generate(), worker: worker.clone(), ttl };
        store.lease(&request).await.unwrap().leases.len()
    };
    // a relay that is dead; the clock was set back by an hour since
    assert_eq!(lease(Duration::from_secs(10)).await, 16);
    for change in [
        "update outbox_lanes set leased_until = leased_until + interval '1 hour'",
        "delete from outbox_relays",
    ] {
        sqlx::query(change).execute(pool).await.unwrap();
    }
    assert_eq!(lease(Duration::from_secs(10)).await, 0);
    run(pool, "Free lanes whose leases lie in the future", &[]).await;
    assert!(lease(Duration::from_secs(10)).await > 0);
    database.close().await.unwrap();
}

#[tokio::test]
async fn a_failed_message_is_seen_and_handled_again_with_nothing_twice() {
    let Some(service) = Service::new(1).await else { return };
    for id in ["before", "m", "after"] {
        service.broker.send(0, id, "key", json!({}));
    }
    service.broker.send_raw(0, None, Some(b"no json".to_vec()), &[]);
    let is_mended = Arc::new(AtomicBool::new(false));
    let mended = is_mended.clone();
    let handler = Effects::new(move |id, _, _| {
        let fails = id == "m" && !mended.load(Ordering::SeqCst);
        Box::pin(async move { if fails { Err(broken()) } else { Ok(HandlerOutcome::Completed) } })
    });
    let running = service.run(&handler);
    service.drained().await;
    running.stop().await;
    assert_eq!(run(service.pool(), "What has failed, and why", &[]).await, 1);
    assert_eq!(run(service.pool(), "What could not be read", &[]).await, 1);

    is_mended.store(true, Ordering::SeqCst);
    run(service.pool(), "Handle a message that failed again", &[("group", GROUP), ("id", "m")]).await;
    service.broker.rewind();
    let running = Running::new(service.builder().handler(handler));
    eventually(SOON, async || service.status("m").await.as_deref() == Some("completed")).await;
    service.drained().await;
    running.stop().await;
    for id in ["before", "m", "after"] {
        assert_eq!(service.effects(id).await, 1, "{id}");
    }
    service.database.close().await.unwrap();
}
