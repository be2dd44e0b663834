//! The memory store, beyond what every store promises.

use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use omni_box_core::{
    BatchSize, ClaimToken, ConsumerGroup, Created, DeliveryMode, Error, ErrorKind, Event, EventContent,
    EventId, EventPublisher, EventRepository, EventStatus, FetchFilters, InboxEvent, InboxExt,
    InboxRepository, InboxSettlement, LaneRead, Lease, LeaseRequest, NewInboxEvent, NewOutboxEvent,
    OmniBoxDomainService, OrderedLanes, OutboxEvent, OutboxExt, OutboxRepository, OwnerId, Payload, Received,
    Reporter, Result, RetentionPolicies, Savepoints, SendOrder, Store, WorkerId,
};
use omni_box_pipeline::OutboxRelay;
use omni_box_testkit::{MemoryConn, MemoryStore, MemoryTx, TestClock};
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

fn outbox(key: &str) -> OutboxEvent {
    domain(NewOutboxEvent::new("order.placed", "orders", &json!({"key": key})).partition_key(key))
}

fn domain(event: NewOutboxEvent) -> OutboxEvent {
    OmniBoxDomainService::default().create_outbox_event(event).unwrap()
}

fn message(id: &str) -> InboxEvent {
    let content = EventContent::new("order.placed", Payload::new(&json!({"id": id})).unwrap());
    let message = NewInboxEvent::new(id, ConsumerGroup::new("shipping").unwrap(), "orders", content);
    OmniBoxDomainService::default().create_inbox_event(message).unwrap()
}

fn ids<E: Event>(events: &[E]) -> Vec<EventId> {
    events.iter().map(Event::id).collect()
}

fn kind<T>(result: Result<T>) -> ErrorKind {
    match result {
        Ok(_) => panic!("an error was expected"),
        Err(error) => error.kind(),
    }
}

async fn commit_row(store: &MemoryStore, key: &str, row: Value) {
    let mut tx = store.begin().await.unwrap();
    tx.put("stock", key, &row).await.unwrap();
    store.commit(tx).await.unwrap();
}

/// Runs a call until it waits for another transaction.
async fn start<T: Send + 'static>(
    call: impl Future<Output = T> + Send + 'static,
) -> tokio::task::JoinHandle<T> {
    let call = tokio::spawn(call);
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    assert!(!call.is_finished(), "it waits");
    call
}

#[tokio::test]
async fn a_transaction_sees_a_snapshot() {
    let store = MemoryStore::new();
    commit_row(&store, "a", json!(1)).await;
    let mut tx = store.begin().await.unwrap();
    commit_row(&store, "a", json!(2)).await;
    commit_row(&store, "b", json!(2)).await;
    let mut other = store.begin().await.unwrap();
    let event = outbox("a");
    store.create(&mut other, &event).await.unwrap();
    store.commit(other).await.unwrap();

    assert_eq!(tx.get("stock", "a").unwrap(), Some(json!(1)));
    assert_eq!(tx.scan::<Value>("stock").unwrap().len(), 1);
    let found = store.outbox().get_by_id(&mut tx, event.id()).await.unwrap();
    assert!(found.is_none(), "what committed later is not in the snapshot");
    tx.put("stock", "c", &3).await.unwrap();
    assert_eq!(tx.get("stock", "c").unwrap(), Some(3), "what it has written itself is");
    store.commit(tx).await.unwrap();
    let rows: Vec<(String, i32)> = store.scan("stock").unwrap();
    assert_eq!(rows, [("a".into(), 2), ("b".into(), 2), ("c".into(), 3)]);
}

#[tokio::test]
async fn a_row_that_was_changed_meanwhile_is_not_overwritten() {
    let store = MemoryStore::new();
    commit_row(&store, "a", json!(1)).await;
    let [mut put, mut deleted, mut inserted, mut elsewhere] = [
        store.begin().await.unwrap(),
        store.begin().await.unwrap(),
        store.begin().await.unwrap(),
        store.begin().await.unwrap(),
    ];
    commit_row(&store, "a", json!(2)).await;
    commit_row(&store, "new", json!(2)).await;
    assert_eq!(kind(put.put("stock", "a", &3).await), ErrorKind::Contention);
    assert_eq!(kind(deleted.delete("stock", "a").await), ErrorKind::Contention);
    let error = inserted.insert("stock", "new", &3).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Contention);
    assert!(error.is_retryable());
    elsewhere.put("stock", "b", &3).await.unwrap();
    store.commit(elsewhere).await.unwrap();
    assert_eq!(kind(store.commit(put).await), ErrorKind::Internal, "the failed statement spoiled it");

    let mut again = store.begin().await.unwrap();
    let seen: i32 = again.get("stock", "a").unwrap().unwrap();
    again.put("stock", "a", &(seen + 1)).await.unwrap();
    store.commit(again).await.unwrap();
    assert_eq!(store.scan::<i32>("stock").unwrap()[0].1, 3);
}

#[tokio::test(start_paused = true)]
async fn who_writes_the_same_row_waits() {
    let store = MemoryStore::new();
    for commits in [true, false] {
        let mut tx = store.begin().await.unwrap();
        tx.put("stock", "a", &1).await.unwrap();
        let mut second = store.begin().await.unwrap();
        let second = start(async move { second.put("stock", "a", &2).await.map(|()| second) }).await;
        if commits {
            store.commit(tx).await.unwrap();
            assert_eq!(kind(second.await.unwrap()), ErrorKind::Contention);
        } else {
            drop(tx);
            store.commit(second.await.unwrap().unwrap()).await.unwrap();
        }
    }
    assert_eq!(store.scan::<i32>("stock").unwrap(), [("a".into(), 2)]);
}

#[tokio::test(start_paused = true)]
async fn two_that_wait_for_each_other_end_with_contention() {
    let store = MemoryStore::new();
    let [mut a, mut b] = [store.begin().await.unwrap(), store.begin().await.unwrap()];
    a.put("stock", "a", &1).await.unwrap();
    b.put("stock", "b", &1).await.unwrap();
    let started = Instant::now();
    let (first, second) = tokio::join!(
        async {
            let result = a.put("stock", "b", &1).await;
            drop(a);
            result
        },
        async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let result = b.put("stock", "a", &1).await;
            (result, b)
        },
    );
    assert_eq!(kind(first), ErrorKind::Contention);
    assert_eq!(started.elapsed(), Duration::from_secs(5));
    second.0.unwrap();
    store.commit(second.1).await.unwrap();
    assert_eq!(store.scan::<i32>("stock").unwrap().len(), 2, "the other goes on");

    let mut holder = store.begin().await.unwrap();
    holder.put("stock", "a", &1).await.unwrap();
    let mut handling = store.begin_handling(Duration::from_secs(1)).await.unwrap();
    let started = Instant::now();
    assert_eq!(kind(handling.put("stock", "a", &1).await), ErrorKind::Contention);
    assert!(started.elapsed() < Duration::from_secs(1), "a handler's wait ends before its time is over");
}

#[tokio::test]
async fn keys_are_unique_and_a_failed_statement_spoils_its_transaction() {
    let store = MemoryStore::new();
    commit_row(&store, "a", json!(1)).await;
    let mut tx = store.begin().await.unwrap();
    tx.insert("stock", "b", &1).await.unwrap();
    store.start(&mut tx).await.unwrap();
    for key in ["a", "b"] {
        assert_eq!(kind(tx.insert("stock", key, &2).await), ErrorKind::Conflict);
        assert_eq!(kind(tx.get::<i32>("stock", "a")), ErrorKind::Internal);
        assert_eq!(kind(store.create(&mut tx, &outbox("a")).await), ErrorKind::Internal);
        Savepoints::rollback(&store, &mut tx).await.unwrap();
    }
    assert!(tx.delete("stock", "a").await.unwrap());
    assert!(!tx.delete("stock", "a").await.unwrap());
    tx.insert("stock", "a", &3).await.unwrap();
    assert_eq!(kind(tx.get::<String>("stock", "a")), ErrorKind::Decode);
    store.commit(tx).await.unwrap();
    assert_eq!(store.scan::<i32>("stock").unwrap(), [("a".into(), 3), ("b".into(), 1)]);
    assert_eq!(kind(store.scan::<String>("stock")), ErrorKind::Decode);
    assert!(store.scan::<i32>("other").unwrap().is_empty());
}

#[tokio::test]
async fn a_savepoint_covers_rows_events_and_locks() {
    let store = MemoryStore::new();
    let mut tx = store.begin().await.unwrap();
    tx.put("stock", "a", &1).await.unwrap();
    store.start(&mut tx).await.unwrap();
    tx.put("stock", "a", &2).await.unwrap();
    tx.put("stock", "b", &2).await.unwrap();
    store.create(&mut tx, &outbox("a")).await.unwrap();
    store.receive(&mut tx, &[message("m")]).await.unwrap();
    Savepoints::rollback(&store, &mut tx).await.unwrap();
    // what was locked since is free for others
    commit_row(&store, "b", json!(3)).await;
    let mut other = store.begin().await.unwrap();
    assert_eq!(store.receive(&mut other, &[message("m")]).await.unwrap(), [Received::New]);
    store.commit(tx).await.unwrap();
    assert_eq!(store.scan::<i32>("stock").unwrap(), [("a".into(), 1), ("b".into(), 3)]);
    assert!(store.outbox_events().is_empty() && store.inbox_events().is_empty());
}

/// Events of a transaction, and the numbers that they get.
async fn numbers(store: &MemoryStore) -> Vec<(EventId, i64)> {
    let lanes: Vec<LaneRead> =
        lease(store).await.iter().map(|lease| LaneRead::all(lease.lane, 100)).collect();
    let mut found: Vec<(EventId, i64)> = store
        .fetch(&lanes, &[], &[], u64::MAX)
        .await
        .unwrap()
        .events
        .into_iter()
        .map(|found| (found.event.id(), found.seq))
        .collect();
    found.sort_by_key(|(_, seq)| *seq);
    found
}

async fn lease(store: &MemoryStore) -> Vec<Lease> {
    let (owner, worker) = (OwnerId::generate(), WorkerId::new("relay").unwrap());
    let leases =
        store.lease(&LeaseRequest { owner, worker, ttl: Duration::from_secs(10) }).await.unwrap().leases;
    store.leave(owner).await.unwrap();
    leases
}

#[tokio::test]
async fn numbers_are_skipped_by_a_rollback_and_appear_late() {
    let store = MemoryStore::new();
    let [slow, lost, quick] = [outbox("a"), outbox("a"), outbox("a")];
    let mut late = store.begin().await.unwrap();
    store.create(&mut late, &slow).await.unwrap();
    let mut tx = store.begin().await.unwrap();
    store.create(&mut tx, &lost).await.unwrap();
    drop(tx);
    let mut tx = store.begin().await.unwrap();
    store.create(&mut tx, &quick).await.unwrap();
    store.commit(tx).await.unwrap();
    assert_eq!(numbers(&store).await, [(quick.id(), 3)]);
    store.commit(late).await.unwrap();
    assert_eq!(numbers(&store).await, [(slow.id(), 1), (quick.id(), 3)], "2 went with the rollback");
    assert_eq!(ids(&store.outbox_events()), [slow.id(), quick.id()]);
}

#[tokio::test(start_paused = true)]
async fn a_racing_create_waits_and_sees_what_was_committed() {
    let store = MemoryStore::new();
    let same =
        || domain(NewOutboxEvent::new("order.placed", "orders", &json!({"a": 1})).idempotency_key("same"));
    let [first, second, third] = [same(), same(), same()];
    let create = |store: &MemoryStore, mut tx: MemoryTx, event: &OutboxEvent| {
        let (store, event) = (store.clone(), event.clone());
        async move { (store.create(&mut tx, &event).await.unwrap(), tx) }
    };
    // both snapshots are older than the commit
    let [mut one, two, three] =
        [store.begin().await.unwrap(), store.begin().await.unwrap(), store.begin().await.unwrap()];
    store.create(&mut one, &first).await.unwrap();
    let two = start(create(&store, two, &second)).await;
    let three = start(create(&store, three, &third)).await;
    store.commit(one).await.unwrap();
    for racing in [two, three] {
        let (created, mut tx) = racing.await.unwrap();
        assert!(matches!(&created, Created::Existing(event) if event.id() == first.id()));
        let found = store.outbox().get_by_id(&mut tx, first.id()).await.unwrap();
        assert!(found.is_some(), "its transaction sees it too");
        // `tx` stays open over the next turn: an event that is there locks nothing
        let mut other = store.begin().await.unwrap();
        assert!(!store.create(&mut other, &same()).await.unwrap().is_new());
    }
    assert_eq!(ids(&store.outbox_events()), [first.id()]);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_call_has_written_nothing() {
    let store = MemoryStore::new();
    let mut holder = store.begin().await.unwrap();
    store.receive(&mut holder, &[message("b")]).await.unwrap();
    let mut tx = store.begin().await.unwrap();
    let events = [message("a"), message("b")];
    tokio::time::timeout(Duration::from_secs(1), store.receive(&mut tx, &events)).await.unwrap_err();
    tokio::time::timeout(Duration::from_secs(1), store.create_many(&mut tx, &events)).await.unwrap_err();
    store.commit(tx).await.unwrap();
    assert!(store.inbox_events().is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_a_transaction_works_on_is_left_to_it() {
    let store = MemoryStore::new();
    let event = message("a");
    let mut tx = store.begin().await.unwrap();
    store.receive(&mut tx, std::slice::from_ref(&event)).await.unwrap();
    store.commit(tx).await.unwrap();
    let retention: &dyn RetentionPolicies<InboxEvent> = store.retention().unwrap();
    let locking = store.inbox().locking().unwrap();
    let token = ClaimToken::new(&WorkerId::new("w").unwrap(), OwnerId::generate());
    let batch = BatchSize::new(10).unwrap();

    let mut tx = store.begin().await.unwrap();
    store.receive(&mut tx, std::slice::from_ref(&event)).await.unwrap();
    let ttl = Duration::from_secs(1);
    assert!(
        locking.claim(&token, batch, ttl, &FetchFilters::new()).await.unwrap().is_empty(),
        "a claim skips it"
    );
    let marking = {
        let (store, id, token) = (store.clone(), event.id(), token.clone());
        start(async move { store.inbox().mark_processing(id, &token).await })
    };
    let marking = marking.await;
    let done = InboxSettlement { completed: vec![event.id()], ..InboxSettlement::default() };
    InboxRepository::settle(&store, &mut tx, &done).await.unwrap();
    store.commit(tx).await.unwrap();
    assert!(!marking.await.unwrap().unwrap(), "a mark waits, and then finds it completed");

    store.clock().advance(Duration::from_secs(3600));
    let mut tx = store.begin().await.unwrap();
    let received = store.receive(&mut tx, &[message("a")]).await.unwrap();
    assert!(matches!(received[0], Received::Completed(_)));
    assert_eq!(retention.cleanup_old_events(ttl, batch, 1).await.unwrap(), 0, "a clean-up skips it");
    store.commit(tx).await.unwrap();
    assert_eq!(retention.cleanup_old_events(ttl, batch, 1).await.unwrap(), 1);
}

#[tokio::test]
async fn a_receive_sees_what_was_settled_after_its_snapshot() {
    let store = MemoryStore::new();
    let event = message("a");
    let mut old = store.begin().await.unwrap();
    let mut tx = store.begin().await.unwrap();
    store.receive(&mut tx, std::slice::from_ref(&event)).await.unwrap();
    let done = InboxSettlement { completed: vec![event.id()], ..InboxSettlement::default() };
    InboxRepository::settle(&store, &mut tx, &done).await.unwrap();
    store.commit(tx).await.unwrap();
    let received = store.receive(&mut old, &[message("a")]).await.unwrap();
    assert!(matches!(&received[0], Received::Completed(row) if row.id() == event.id()));
    assert_eq!(store.inbox_events()[0].status(), EventStatus::Completed);
}

#[tokio::test]
async fn an_id_that_is_given_twice_is_changed_once() {
    let store = MemoryStore::builder().rows().build();
    let event = outbox("a");
    let mut tx = store.begin().await.unwrap();
    store.create(&mut tx, &event).await.unwrap();
    store.commit(tx).await.unwrap();
    let token = ClaimToken::new(&WorkerId::new("w").unwrap(), OwnerId::generate());
    let batch = BatchSize::new(10).unwrap();
    let locking = store.outbox().locking().unwrap();
    locking.claim(&token, batch, Duration::from_secs(1), &FetchFilters::new()).await.unwrap();
    let twice = [event.id(), event.id()];
    assert_eq!(locking.refresh(&token, &twice).await.unwrap(), [event.id()]);
    let bulk = store.outbox().bulk().unwrap();
    assert_eq!(bulk.complete_many(&twice, &token).await.unwrap(), [event.id()]);
}

#[tokio::test]
async fn the_mode_changes_only_when_no_relay_is_at_work() {
    let store = MemoryStore::builder().rows().clock(TestClock::new()).build();
    assert_eq!(store.delivery_mode().await.unwrap(), DeliveryMode::Rows);
    assert_eq!(kind(store.set_delivery_mode(DeliveryMode::Fenced)), ErrorKind::Unsupported);
    store.set_delivery_mode(DeliveryMode::Lanes).unwrap();
    let (owner, worker) = (OwnerId::generate(), WorkerId::new("relay").unwrap());
    store.lease(&LeaseRequest { owner, worker, ttl: Duration::from_secs(10) }).await.unwrap();
    assert_eq!(kind(store.set_delivery_mode(DeliveryMode::Rows)), ErrorKind::Misconfigured);
    store.clock().advance(Duration::from_secs(11));
    store.set_delivery_mode(DeliveryMode::Rows).unwrap();
}

/// Publishes into a list. Refuses each event once where it is told to.
#[derive(Debug, Clone, Default)]
struct Published {
    events: Arc<Mutex<Vec<EventId>>>,
    refused: Arc<Mutex<Vec<EventId>>>,
    refuses_once: bool,
}

#[async_trait]
impl EventPublisher for Published {
    fn send_order(&self) -> SendOrder {
        SendOrder::Ordered
    }

    async fn submit(&self, events: Vec<Arc<OutboxEvent>>, reporter: &Reporter) {
        for event in events {
            let id = event.id();
            let mut refused = self.refused.lock().unwrap();
            let result = if self.refuses_once && !refused.contains(&id) {
                refused.push(id);
                Err(Error::new(ErrorKind::Timeout, "not now"))
            } else {
                self.events.lock().unwrap().push(id);
                Ok(())
            };
            reporter.report(id, result);
        }
    }

    async fn purge(&self) {}

    async fn check(&self) -> Result<()> {
        Ok(())
    }
}

async fn drain(store: MemoryStore, publisher: Published, expected: usize) {
    let shutdown = CancellationToken::new();
    let relay = OutboxRelay::builder(store, publisher.clone()).build().unwrap();
    let relay = tokio::spawn(relay.run(shutdown.clone()));
    let deadline = Instant::now() + Duration::from_secs(600);
    while publisher.events.lock().unwrap().len() < expected {
        assert!(Instant::now() < deadline, "the relay publishes everything");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    shutdown.cancel();
    relay.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn relays_publish_in_order_in_paused_time() {
    for store in [MemoryStore::new(), MemoryStore::builder().rows().build()] {
        for refuses_once in [false, true] {
            let publisher = Published { refuses_once, ..Published::default() };
            let events: Vec<OutboxEvent> = (0..60).map(|n| outbox(&format!("key-{}", n % 7))).collect();
            let mut tx = store.begin().await.unwrap();
            store.create_many(&mut tx, &events).await.unwrap();
            store.commit(tx).await.unwrap();
            tokio::join!(drain(store.clone(), publisher.clone(), 90), async {
                let mut tx = store.begin().await.unwrap();
                for key in 0..30 {
                    store.create(&mut tx, &outbox(&format!("key-{}", key % 7))).await.unwrap();
                }
                store.commit(tx).await.unwrap();
            });
            let published = publisher.events.lock().unwrap().clone();
            let stored = store.outbox_events();
            let stored = &stored[stored.len() - 90..];
            assert!(stored.iter().all(|event| event.status() == EventStatus::Completed));
            for key in 0..7 {
                let key = format!("key-{key}");
                let of_key: Vec<EventId> =
                    stored.iter().filter(|e| e.partition_key() == Some(&key)).map(Event::id).collect();
                let mut seen: Vec<EventId> = Vec::new();
                seen.extend(published.iter().filter(|id| of_key.contains(id)));
                assert_eq!(seen, of_key, "{key} in order, each once (refuses once: {refuses_once})");
            }
        }
    }
}

#[test]
fn what_is_public_can_be_shared() {
    fn assert_shared<T: Send + Sync + std::fmt::Debug>() {}
    assert_shared::<MemoryStore>();
    assert_shared::<MemoryTx>();
    assert_shared::<MemoryConn>();
}
