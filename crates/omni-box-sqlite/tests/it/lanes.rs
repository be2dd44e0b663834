//! Lanes beside handlers that hold the write lock.

use std::sync::Arc;
use std::time::Duration;

use omni_box_core::{
    DeliveryMode, ErrorKind, Event, EventRepository, InboxRepository, LaneRead, LaneSettlement, Lease,
    LeaseRequest, OrderedLanes, OutboxRepository, OwnerId, Store, WorkerId,
};
use omni_box_sqlite::{SqliteConfig, SqliteStore};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::database::{Database, event, message};

fn request(owner: OwnerId, ttl: Duration) -> LeaseRequest {
    LeaseRequest { owner, worker: WorkerId::new("relay").unwrap(), ttl }
}

fn lanes(store: &SqliteStore) -> &dyn OrderedLanes {
    store.lanes().unwrap()
}

/// The relay's heartbeat comes while a handler has the write lock, and a rival waits for its lanes: the heartbeat waits, and keeps them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_keeps_its_lanes_while_a_handler_holds_the_lock() {
    const BUSY_TIMEOUT: Duration = Duration::from_secs(2);
    const HANDLER: Duration = Duration::from_millis(1200);
    const TTL: Duration = Duration::from_secs(4);
    const HEARTBEAT: Duration = Duration::from_millis(400);
    let db = Database::with(SqliteConfig::builder().busy_timeout(BUSY_TIMEOUT).build().unwrap()).await;
    let (owner, rival) = (OwnerId::generate(), OwnerId::generate());
    let first = lanes(&db.store).lease(&request(owner, TTL)).await.unwrap().leases;
    assert_eq!(first.len(), 16);

    let handler_store = db.store.clone();
    let handler = tokio::spawn(async move {
        for n in 0..3 {
            let mut tx = handler_store.begin_handling(HANDLER).await.unwrap();
            handler_store.receive(&mut tx, &[message(&n.to_string())]).await.unwrap();
            handler_store.create(&mut tx, &event("a")).await.unwrap();
            // a slow handler
            sleep(HANDLER).await;
            handler_store.commit(tx).await.unwrap();
        }
    });
    // another process that would like to have them
    let other = db.open().await;
    let rival = tokio::spawn(async move {
        let mut taken = 0;
        while !handler.is_finished() {
            match lanes(&other).lease(&request(rival, TTL)).await {
                Ok(share) => taken = taken.max(share.leases.len()),
                Err(error) => assert_eq!(error.kind(), ErrorKind::Contention),
            }
            sleep(HEARTBEAT).await;
        }
        handler.await.unwrap();
        taken
    });
    let mut renewals = 0;
    while !rival.is_finished() {
        let share = lanes(&db.store).lease(&request(owner, TTL)).await.unwrap();
        assert_eq!(share.leases, first, "the same lanes under the same epoch");
        renewals += 1;
        sleep(HEARTBEAT).await;
    }
    assert_eq!(rival.await.unwrap(), 0, "no lane was taken");
    assert!(renewals >= 3, "{renewals} renewals");
}

/// Who queues for the lock gets it in turn: a heartbeat among many writers waits for those before it, not for all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_heartbeat_is_not_starved_by_writers() {
    let db = Database::create().await;
    let owner = OwnerId::generate();
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let mut writers = JoinSet::new();
    for n in 0..6 {
        let (store, stop) = (db.store.clone(), Arc::clone(&stop));
        writers.spawn(async move {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let mut tx = store.begin().await.unwrap();
                store.create(&mut tx, &event(&format!("key-{n}"))).await.unwrap();
                store.commit(tx).await.unwrap();
            }
        });
    }
    for _ in 0..20 {
        let asked = Instant::now();
        lanes(&db.store).lease(&request(owner, Duration::from_secs(10))).await.unwrap();
        assert!(asked.elapsed() < Duration::from_secs(2), "a heartbeat took {:?}", asked.elapsed());
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    while let Some(ended) = writers.join_next().await {
        ended.unwrap();
    }
}

/// The order of `seq` is the order of commits, whatever program writes; a relay that drains meanwhile sees no key jump back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_processes_write_and_one_drains_in_order() {
    const EACH: usize = 60;
    let db = Database::create().await;
    let mut writers = JoinSet::new();
    for writer in 0..4 {
        let store = db.open().await;
        writers.spawn(async move {
            for n in 0..EACH {
                let events = [event(&format!("own-{writer}")), event("shared")];
                loop {
                    let Ok(mut tx) = store.begin().await else { continue };
                    store.create_many(&mut tx, &events).await.unwrap();
                    if n % 7 == 3 {
                        store.rollback(tx).await.unwrap();
                        break;
                    }
                    store.commit(tx).await.unwrap();
                    break;
                }
            }
        });
    }
    let relay = db.open().await;
    let owner = OwnerId::generate();
    let leases = lanes(&relay).lease(&request(owner, Duration::from_secs(60))).await.unwrap().leases;
    let reads: Vec<LaneRead> = leases.iter().map(|lease: &Lease| LaneRead::all(lease.lane, 10)).collect();
    let mut published = Vec::new();
    loop {
        let is_last = writers.is_empty();
        let events = lanes(&relay).fetch(&reads, &[], &[], 1 << 20).await.unwrap().events;
        if events.is_empty() && is_last {
            break;
        }
        let completed = events.iter().map(|event| event.event.id()).collect();
        published.extend(
            events.into_iter().map(|event| (event.seq, event.event.partition_key().map(str::to_owned))),
        );
        let settlement = LaneSettlement { completed, ..LaneSettlement::default() };
        while lanes(&relay).settle(owner, &leases, &settlement).await.is_err() {}
        while writers.try_join_next().is_some_and(|ended| ended.is_ok()) {}
    }
    let committed = 4 * (EACH - (0..EACH).filter(|n| n % 7 == 3).count()) * 2;
    assert_eq!(published.len(), committed);
    for key in ["shared", "own-0", "own-1", "own-2", "own-3"] {
        let seqs: Vec<i64> =
            published.iter().filter(|(_, of)| of.as_deref() == Some(key)).map(|(seq, _)| *seq).collect();
        assert!(seqs.is_sorted_by(|a, b| a < b), "{key}: {seqs:?}");
    }
}

#[tokio::test]
async fn the_mode_does_not_change_under_a_relay() {
    let db = Database::create().await;
    let owner = OwnerId::generate();
    lanes(&db.store).lease(&request(owner, Duration::from_secs(10))).await.unwrap();
    let error = db.store.set_delivery_mode(DeliveryMode::Rows).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Misconfigured);
    assert!(error.to_string().contains("16 lanes are leased"), "{error}");
    lanes(&db.store).leave(owner).await.unwrap();
    db.store.set_delivery_mode(DeliveryMode::Rows).await.unwrap();
    assert_eq!(db.count("sqlite_schema where name = 'outbox_events_order'").await, 1);
    db.store.set_delivery_mode(DeliveryMode::Lanes).await.unwrap();
    assert_eq!(db.count("sqlite_schema where name = 'outbox_events_order'").await, 0);
    let error = db.store.set_delivery_mode(DeliveryMode::Fenced).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}
