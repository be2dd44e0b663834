//! The mode `rows`: claims, marks, and the change of modes.

use std::sync::Arc;
use std::time::Duration;

use omni_box_core::{
    Attempt, BatchSize, ClaimToken, DeliveryMode, ErrorKind, Event, EventId, EventRepository, Failure,
    FetchFilters, NewOutboxEvent, OrderedLanes, OutboxEvent, OutboxRepository, OwnerId, Retry, WorkerId,
};

use crate::database::{Database, build, event, eventually, request, run};

const TTL: Duration = Duration::from_secs(60);

fn token() -> ClaimToken {
    ClaimToken::new(&WorkerId::new("publisher-1").unwrap(), OwnerId::generate())
}

async fn claim(db: &Database, token: &ClaimToken, ttl: Duration, filters: &FetchFilters) -> Vec<EventId> {
    let locking = EventRepository::<OutboxEvent>::locking(&db.store).unwrap();
    let claimed = locking.claim(token, BatchSize::new(100).unwrap(), ttl, filters).await.unwrap();
    claimed.iter().map(Event::id).collect()
}

async fn fetch(db: &Database) -> Vec<EventId> {
    let events: Vec<OutboxEvent> = EventRepository::<OutboxEvent>::fetch_pending(
        &db.store,
        BatchSize::new(100).unwrap(),
        &FetchFilters::new(),
    )
    .await
    .unwrap();
    events.iter().map(Event::id).collect()
}

#[tokio::test]
async fn heads_of_keys_are_claimed_once() {
    run(async |db: Arc<Database>| {
        let events = [event("a"), event("a"), event("b")];
        db.enqueue(&events).await;
        let [first, second, other] = [0, 1, 2].map(|n| events[n].id());
        assert_eq!(fetch(&db).await, [first, other]);
        let (mine, theirs) = (token(), token());
        assert_eq!(claim(&db, &mine, TTL, &FetchFilters::new()).await, [first, other]);
        assert_eq!(claim(&db, &theirs, TTL, &FetchFilters::new()).await, []);
        assert_eq!(fetch(&db).await, []);

        let store = &db.store;
        let bulk = EventRepository::<OutboxEvent>::bulk(store).unwrap();
        assert_eq!(bulk.complete_many(&[first], &theirs).await.unwrap(), []);
        assert_eq!(bulk.complete_many(&[first, second], &mine).await.unwrap(), [first]);
        assert_eq!(claim(&db, &theirs, TTL, &FetchFilters::new()).await, [second]);

        let locking = EventRepository::<OutboxEvent>::locking(store).unwrap();
        assert_eq!(locking.refresh(&mine, &[other, second]).await.unwrap(), [other]);
        locking.release(&mine, &[other, second]).await.unwrap();
        assert_eq!(fetch(&db).await, [other]);
        // old claims are taken over, and their owner's marks come to nothing
        db.execute("update outbox_events set locked_at = locked_at - interval '1 h'").await;
        assert_eq!(claim(&db, &mine, TTL, &FetchFilters::new()).await, [second, other]);
        assert!(!EventRepository::<OutboxEvent>::mark_completed(store, second, &theirs).await.unwrap());
        assert!(EventRepository::<OutboxEvent>::mark_completed(store, second, &mine).await.unwrap());
        assert!(!EventRepository::<OutboxEvent>::mark_processing(store, second, &mine).await.unwrap());
    })
    .await;
}

#[tokio::test]
async fn two_claimers_at_once_share_without_waiting() {
    run(async |db: Arc<Database>| {
        let events: Vec<_> = (0..200).map(|n| event(&n.to_string())).collect();
        db.enqueue(&events).await;
        let mut locked = db.pool.begin().await.unwrap();
        sqlx::query("select from outbox_events where partition_key::int < 50 for update")
            .execute(&mut *locked)
            .await
            .unwrap();
        let claimed =
            tokio::time::timeout(Duration::from_secs(10), claim(&db, &token(), TTL, &FetchFilters::new()))
                .await
                .unwrap();
        assert_eq!(claimed, events[50..150].iter().map(Event::id).collect::<Vec<_>>());
    })
    .await;
}

#[tokio::test]
async fn a_failed_head_keeps_its_key_until_its_retry() {
    run(async |db: Arc<Database>| {
        let events = [event("a"), event("a")];
        db.enqueue(&events).await;
        let mine = token();
        claim(&db, &mine, TTL, &FetchFilters::new()).await;
        let later = Failure::new("no", Attempt::Counted, Retry::After(Duration::from_millis(300)));
        let mark = async |failure: &Failure| {
            EventRepository::<OutboxEvent>::mark_failed(&db.store, events[0].id(), &mine, failure)
                .await
                .unwrap()
        };
        assert!(mark(&later).await);
        assert!(!mark(&later).await, "the claim was given back");
        assert_eq!(fetch(&db).await, []);
        let due =
            eventually("the retry is due", async || claim(&db, &mine, TTL, &FetchFilters::new()).await.pop());
        assert_eq!(due.await, events[0].id());
        assert!(mark(&Failure::new("never", Attempt::Counted, Retry::Never)).await);
        assert_eq!(fetch(&db).await, [events[1].id()]);
    })
    .await;
}

#[tokio::test]
async fn filters_narrow_a_claim() {
    run(async |db: Arc<Database>| {
        let aggregate = uuid::Uuid::now_v7();
        let make = |topic: &str, kind: &str| {
            build(NewOutboxEvent::from_json("t", topic, r#"{"a":1}"#).aggregate(kind, aggregate))
        };
        let events = [make("x", "order"), make("y", "order"), make("y", "user")];
        db.enqueue(&events).await;
        let both = FetchFilters::new().topic("y").aggregate_type("order").aggregate_id(aggregate);
        assert_eq!(claim(&db, &token(), TTL, &both).await, [events[1].id()]);
        let either = FetchFilters::new().topic("x").topic("y");
        assert_eq!(claim(&db, &token(), TTL, &either).await, [events[0].id(), events[2].id()]);
        let locking = EventRepository::<OutboxEvent>::locking(&db.store).unwrap();
        let sources = FetchFilters::new().source("s");
        let error = locking.claim(&token(), BatchSize::new(1).unwrap(), TTL, &sources).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
    })
    .await;
}

#[tokio::test]
async fn the_mode_changes_only_when_nobody_works() {
    run(async |db: Arc<Database>| {
        let owner = OwnerId::generate();
        db.store.lease(&request(owner, TTL)).await.unwrap();
        let error = db.store.set_delivery_mode(DeliveryMode::Rows).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Misconfigured);
        assert!(error.to_string().contains("stop all relays"), "{error}");
        db.store.leave(owner).await.unwrap();
        db.store.set_delivery_mode(DeliveryMode::Rows).await.unwrap();
        assert_eq!(db.store.delivery_mode().await.unwrap(), DeliveryMode::Rows);
        db.enqueue(&[event("a")]).await;
        let mine = token();
        let claimed = claim(&db, &mine, TTL, &FetchFilters::new()).await;
        assert!(db.store.set_delivery_mode(DeliveryMode::Lanes).await.is_err());
        EventRepository::<OutboxEvent>::mark_completed(&db.store, claimed[0], &mine).await.unwrap();
        db.store.set_delivery_mode(DeliveryMode::Lanes).await.unwrap();
        assert_eq!(db.store.verify().await.unwrap(), []);
        let fenced = db.store.set_delivery_mode(DeliveryMode::Fenced).await.unwrap_err();
        assert_eq!(fenced.kind(), ErrorKind::Unsupported);
    })
    .await;
}

#[tokio::test]
async fn upkeep_deletes_only_old_completed_events() {
    run(async |db: Arc<Database>| {
        let events: Vec<_> = (0..25).map(|n| event(&n.to_string())).collect();
        db.enqueue(&events).await;
        db.execute(
            "update outbox_events set status = 'completed', completed_at = now() - interval '2 h' where seq <= 20;
             update outbox_events set status = 'failed', created_at = now() - interval '9 h' where seq = 21;
             update outbox_events set locked_at = now() - interval '9 h', locked_by = 'x' where seq >= 22",
        )
        .await;
        let upkeep = EventRepository::<OutboxEvent>::retention(&db.store).unwrap();
        let (hour, ten) = (Duration::from_secs(3600), BatchSize::new(10).unwrap());
        assert_eq!(upkeep.cleanup_old_events(3 * hour, ten, 9).await.unwrap(), 0);
        assert_eq!(upkeep.cleanup_old_events(hour, ten, 1).await.unwrap(), 10);
        assert_eq!(upkeep.cleanup_old_events(hour, ten, 9).await.unwrap(), 10);
        assert_eq!(db.scalar::<i64>("select count(*) from outbox_events").await, 5);
        assert_eq!(upkeep.release_stale_locks(10 * hour).await.unwrap(), 0);
        assert_eq!(upkeep.release_stale_locks(hour).await.unwrap(), 4);
    })
    .await;
}
