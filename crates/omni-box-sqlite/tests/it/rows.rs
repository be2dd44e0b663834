//! Claims of events in the mode `rows`: what they find, and what they cost.

use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::database::{Database, event};
use omni_box_core::{
    BatchSize, ClaimToken, DeliveryMode, Event, EventId, FetchFilters, OutboxEvent, OutboxExt, OwnerId,
    WorkerId,
};

const TTL: Duration = Duration::from_secs(60);

fn token() -> ClaimToken {
    ClaimToken::new(&WorkerId::new("publisher-1").unwrap(), OwnerId::generate())
}

async fn claim(db: &Database, token: &ClaimToken) -> Vec<OutboxEvent> {
    let locking = db.store.outbox().locking().unwrap();
    locking.claim(token, BatchSize::new(100).unwrap(), TTL, &FetchFilters::new()).await.unwrap()
}

async fn in_rows() -> Database {
    let db = Database::counted().await;
    db.store.set_delivery_mode(DeliveryMode::Rows).await.unwrap();
    db
}

/// Stores events of keys, due at once or scheduled for a time that has passed.
async fn store(db: &Database, key: &str, scheduled: Option<&str>, count: u32) {
    let times = scheduled.map_or_else(|| "7, 7".to_owned(), |at| format!("7, 1000000000 + ({at})"));
    db.execute(&format!(
        "with recursive n (i) as (select 1 union all select i + 1 from n where i < {count})
         insert into outbox_events (event_type, topic, partition_key, payload, created_at, scheduled_at)
         select 't', 'orders', {key}, json_object('n', i), {times} from n"
    ))
    .await;
}

const HELD: &str = "held = 1, head = 1, hold_until = 9000000000000000";
const CLAIMED: &str = "locked_at = 9000000000000000, locked_by = 'w'";

/// The oldest events of all belong to a few keys that wait, or that are at work; what is behind them is found all the same, of each kind.
#[tokio::test]
async fn backlogs_of_keys_that_wait_hide_no_other_key() {
    for (change, scheduled) in [(HELD, None), (CLAIMED, None), (HELD, Some("i")), (CLAIMED, Some("i"))] {
        let db = in_rows().await;
        store(&db, "'hot-' || (i % 3)", None, 3).await;
        db.execute(&format!("update outbox_events set {change}")).await;
        store(&db, "'hot-' || (i % 3)", scheduled, 10_000).await;
        store(&db, "'cold-' || i", scheduled, 1_200).await;
        store(&db, "null", scheduled, 30).await;
        // what Python has put off is in line
        store(&db, "'python-' || i", Some("i"), 20).await;
        db.execute("update outbox_events set last_error = 'refused' where partition_key like 'python%'")
            .await;
        let fetched = db
            .store
            .outbox()
            .fetch_pending(BatchSize::new(100).unwrap(), &FetchFilters::new())
            .await
            .unwrap();
        let distinct: HashSet<EventId> = fetched.iter().map(Event::id).collect();
        assert_eq!(
            (fetched.len(), distinct.len()),
            (100, 100),
            "{change}, {scheduled:?}: what can be claimed"
        );
        let mine = token();
        let mut claimed = HashSet::new();
        // 1,250 due events, 100 a call
        for _ in 0..20 {
            for event in claim(&db, &mine).await {
                assert!(
                    claimed.insert(event.id()),
                    "{change}, {scheduled:?}: each due event is claimed once"
                );
            }
        }
        assert_eq!(claimed.len(), 1_250, "{change}, {scheduled:?}");
        db.execute("update outbox_events set hold_until = 7 where head = 1; update outbox_events set locked_at = 7 where locked_by = 'w'")
            .await;
        assert_eq!(claim(&db, &mine).await.len(), 3, "{change}, {scheduled:?}: the first of their keys");
    }
}

/// Of what was scheduled for one key the first by its time comes first, however many are due and in whatever order they were stored.
#[tokio::test]
async fn scheduled_events_of_a_key_come_in_the_order_of_their_times() {
    let db = in_rows().await;
    store(&db, "'k'", Some("-i"), 1_000).await;
    db.enqueue(&[event("k")]).await;
    let mine = token();
    for n in (996..=1000).rev() {
        let claimed = claim(&db, &mine).await;
        let came: Vec<&str> = claimed.iter().map(|event| event.payload().as_str()).collect();
        assert_eq!(came, [format!("{{\"n\":{n}}}")]);
        assert!(db.store.outbox().mark_completed(claimed[0].id(), &mine).await.unwrap());
    }
}

/// What a claim costs, in steps of SQLite's machine, does not depend on how much is pending, nor on the keys that it belongs to.
#[tokio::test]
async fn a_claim_stays_short() {
    for key in ["'k'", "'k' || (i % 50)", "'k' || i", "null"] {
        for scheduled in [None, Some("i"), Some("-i"), Some("0")] {
            for change in [HELD, CLAIMED] {
                let db = in_rows().await;
                store(&db, key, None, 50).await;
                db.execute(&format!("update outbox_events set {change}")).await;
                store(&db, key, scheduled, 20_000).await;
                let counted = db.count_steps().await;
                claim(&db, &token()).await;
                let steps = counted.load(Ordering::Relaxed);
                println!("{key}, {scheduled:?}, {change}: {steps} steps");
                assert!((1..400_000).contains(&steps), "{key}, {scheduled:?}, {change}: {steps} steps");
            }
        }
    }
}

/// In the mode `lanes`, where it is a view for people, a fetch of what is pending reads each event once, and nothing that is completed.
#[tokio::test]
async fn a_fetch_in_the_mode_of_lanes_reads_each_event_once() {
    let db = Database::counted().await;
    store(&db, "'done-' || i", None, 50_000).await;
    db.execute("update outbox_events set status = 'completed', completed_at = 7").await;
    store(&db, "'k' || (i % 1000)", None, 4_000).await;
    store(&db, "'d' || (i % 1000)", Some("i"), 4_000).await;
    let steps = db.count_steps().await;
    let limit = BatchSize::new(5_000).unwrap();
    let fetched = db.store.outbox().fetch_pending(limit, &FetchFilters::new()).await.unwrap();
    assert_eq!(fetched.len(), 2_000);
    let steps = steps.load(Ordering::Relaxed);
    assert!((1..3_000_000).contains(&steps), "{steps} steps");
}
