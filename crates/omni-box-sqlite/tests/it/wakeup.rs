//! What wakes a relay: what concerns it, and not each commit to the file.

use std::pin::pin;
use std::time::{Duration, Instant};

use omni_box_core::{
    Activity, Event, EventRepository, LaneRead, LaneSettlement, LeaseRequest, OrderedLanes, OutboxEvent,
    OutboxRepository, OwnerId, WorkerId,
};
use tokio::time::timeout;

use crate::database::{Database, event};

const SOON: Duration = Duration::from_secs(10);

fn request(owner: OwnerId) -> LeaseRequest {
    LeaseRequest { owner, worker: WorkerId::new("relay").unwrap(), ttl: Duration::from_secs(60) }
}

#[tokio::test]
async fn a_relay_s_own_heartbeat_does_not_wake_it() {
    let db = Database::create().await;
    let owner = OwnerId::generate();
    let leases = db.store.lease(&request(owner)).await.unwrap().leases;
    let mut wakeup = db.store.wakeup().unwrap();
    // the first look finds what was committed before
    timeout(SOON, wakeup.wait()).await.unwrap();
    let mut waiting = pin!(wakeup.wait());
    for activity in [Activity::Idle, Activity::Busy].repeat(3) {
        db.store.lease(&request(owner)).await.unwrap();
        db.store.announce(owner, &leases, activity).await.unwrap();
        db.execute("update omni_box_control set clock_offset_ms = 0").await;
        // longer than from one look at the file to the next
        let woken = timeout(Duration::from_millis(120), &mut waiting).await;
        assert!(woken.is_err(), "woken by what concerns no relay");
    }
}

#[tokio::test]
async fn events_and_free_lanes_of_another_process_wake() {
    let db = Database::create().await;
    let other = db.open().await;
    let owner = OwnerId::generate();
    let mut wakeup = other.wakeup().unwrap();
    timeout(SOON, wakeup.wait()).await.unwrap();
    db.enqueue(&[event("a")]).await;
    timeout(SOON, wakeup.wait()).await.expect("a new event");
    db.store.lease(&request(owner)).await.unwrap();
    timeout(SOON, wakeup.wait()).await.expect("lanes were taken");
    db.store.leave(owner).await.unwrap();
    timeout(SOON, wakeup.wait()).await.expect("lanes are free");
    let second = event("b");
    db.enqueue(std::slice::from_ref(&second)).await;
    timeout(SOON, wakeup.wait()).await.expect("another event");
    db.execute("update outbox_events set status = 'failed'").await;
    let letters = EventRepository::<OutboxEvent>::dead_letters(&db.store).unwrap();
    letters.requeue(&[second.id()]).await.unwrap();
    timeout(SOON, wakeup.wait()).await.expect("an event that was requeued");
}

/// What is committed right behind another commit wakes too, though the file may bear the same time.
#[tokio::test]
async fn no_commit_of_many_is_missed() {
    let db = Database::create().await;
    let other = db.open().await;
    let mut wakeup = other.wakeup().unwrap();
    timeout(SOON, wakeup.wait()).await.unwrap();
    let mut waited = Vec::new();
    for round in 0..20 {
        for _ in 0..round % 3 {
            db.execute("update omni_box_control set clock_offset_ms = 0").await;
        }
        let committed = Instant::now();
        db.enqueue(&[event("a")]).await;
        timeout(SOON, wakeup.wait()).await.expect("a new event");
        waited.push(committed.elapsed());
    }
    waited.sort();
    println!("from a commit to the wake-up: {:?} at the median, {:?} at most", waited[10], waited[19]);
}

/// What a lane's owner finds is the same as before, whether anything is in flight or not.
#[tokio::test]
async fn a_look_at_an_idle_outbox_finds_what_becomes_due() {
    let db = Database::create().await;
    let owner = OwnerId::generate();
    let leases = db.store.lease(&request(owner)).await.unwrap().leases;
    let reads: Vec<LaneRead> = leases.iter().map(|lease| LaneRead::all(lease.lane, 10)).collect();
    let found = async || db.store.fetch(&reads, &[], &[], 1 << 20).await.unwrap().events.len();
    assert_eq!(found().await, 0);
    for (change, due) in [
        ("status = 'pending'", 1),
        ("held = 1, head = 1, hold_until = 9000000000000000", 0),
        ("held = 1, head = 1, hold_until = 1", 1),
        ("held = 1, head = 0", 0),
        ("held = 0, head = 0, scheduled_at = 9000000000000000", 0),
        ("scheduled_at = created_at + 2000000", 0),
        ("created_at = 1, scheduled_at = 2000002", 1),
    ] {
        db.execute("delete from outbox_events").await;
        db.enqueue(&[event("a")]).await;
        db.execute(&format!("update outbox_events set {change}")).await;
        assert_eq!(found().await, due, "{change}");
    }
    let events = db.store.fetch(&reads, &[], &[], 1 << 20).await.unwrap().events;
    let settlement = LaneSettlement { completed: vec![events[0].event.id()], ..LaneSettlement::default() };
    OrderedLanes::settle(&db.store, owner, &leases, &settlement).await.unwrap();
    assert_eq!(found().await, 0);
}
