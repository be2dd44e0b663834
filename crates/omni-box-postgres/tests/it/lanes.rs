//! Lanes, beyond their contract: locks, plans that depend on how a row is stored, and what operators do to the table.

use std::sync::Arc;
use std::time::Duration;

use omni_box_core::{
    Attempt, Event, EventId, EventRepository, Failure, LaneEvent, LaneHold, LaneId, LaneRead, LaneSettlement,
    Lease, NewOutboxEvent, OrderedLanes, OutboxEvent, OutboxExt, OwnerId, Retry,
};

use crate::database::{Database, build, event, eventually, request, run};

const LONG: Duration = Duration::from_secs(60);
const MANY: u64 = 64 << 20;

/// A relay that holds what it was given.
struct Relay {
    db: Arc<Database>,
    owner: OwnerId,
    leases: Vec<Lease>,
}

impl Relay {
    async fn start(db: &Arc<Database>, ttl: Duration) -> Self {
        let owner = OwnerId::generate();
        let leases = db.store.lease(&request(owner, ttl)).await.unwrap().leases;
        Self { db: Arc::clone(db), owner, leases }
    }

    async fn fetch(&self) -> Vec<LaneEvent> {
        let reads: Vec<_> = self.leases.iter().map(|lease| LaneRead::all(lease.lane, 1000)).collect();
        self.db.store.fetch(&reads, &[], &[], MANY).await.unwrap().events
    }

    async fn settle(&self, settlement: LaneSettlement) -> Vec<LaneId> {
        self.db.store.settle(self.owner, &self.leases, &settlement).await.unwrap().lost
    }

    async fn complete(&self, ids: Vec<EventId>) -> Vec<LaneId> {
        self.settle(LaneSettlement { completed: ids, ..LaneSettlement::default() }).await
    }
}

fn ids(events: &[LaneEvent]) -> Vec<EventId> {
    events.iter().map(|event| event.event.id()).collect()
}

fn ids_of(events: &[OutboxEvent]) -> Vec<EventId> {
    events.iter().map(Event::id).collect()
}

fn hold(id: EventId, attempt: Attempt, retry: Retry) -> LaneHold {
    LaneHold { id, attempts_made: 0, failure: Failure::new("broker said no", attempt, retry) }
}

async fn pending(db: &Database) -> i64 {
    db.scalar("select count(*) from outbox_events where status = 'pending'").await
}

#[tokio::test]
async fn a_settlement_and_a_take_over_do_not_pass_each_other() {
    run(async |db: Arc<Database>| {
        let events = [event("a"), event("b")];
        db.enqueue(&events).await;
        let old = Relay::start(&db, LONG).await;
        // another relay's take-over is under way, not yet committed
        let mut takeover = db.pool.begin().await.unwrap();
        sqlx::query("select from outbox_lanes for update").execute(&mut *takeover).await.unwrap();
        sqlx::query("update outbox_lanes set epoch = epoch + 1, owner = gen_random_uuid()")
            .execute(&mut *takeover)
            .await
            .unwrap();
        let settling = tokio::spawn(async move { old.complete(ids_of(&events)).await });
        eventually("the settlement waits for the take-over", async || {
            db.scalar::<bool>(
                "select exists (select from pg_locks where not granted and locktype in ('tuple', 'transactionid'))",
            )
            .await
            .then_some(())
        })
        .await;
        takeover.commit().await.unwrap();
        assert_eq!(settling.await.unwrap().len(), 16);
        assert_eq!(pending(&db).await, 2);

        // and the other way round: a take-over skips expired lanes whose owner is settling
        db.execute("delete from outbox_relays; update outbox_lanes set leased_until = now() - interval '1 s'").await;
        let mut settling = db.pool.begin().await.unwrap();
        sqlx::query("select from outbox_lanes where lane < 8 for share").execute(&mut *settling).await.unwrap();
        let new = tokio::time::timeout(Duration::from_secs(10), Relay::start(&db, LONG)).await.unwrap();
        assert_eq!(new.leases.len(), 8);
        settling.rollback().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn bytes_are_those_of_the_text_however_it_is_stored() {
    run(async |db: Arc<Database>| {
        // 100,000 bytes that are stored in about 1,200
        let json = format!(r#"{{"a":"{}"}}"#, "x".repeat(100_000));
        let events: Vec<_> = (0..9)
            .map(|_| build(NewOutboxEvent::from_json("t", "orders", json.clone()).partition_key("a")))
            .collect();
        db.enqueue(&events).await;
        let relay = Relay::start(&db, LONG).await;
        let reads: Vec<_> = relay.leases.iter().map(|lease| LaneRead::all(lease.lane, 1000)).collect();
        for (max_bytes, count) in [(1, 1), (150_000, 2), (250_000, 3), (MANY, 9)] {
            let fetched = db.store.fetch(&reads, &[], &[], max_bytes).await.unwrap().events;
            assert_eq!(ids(&fetched), ids_of(&events[..count]));
        }
    })
    .await;
}

#[tokio::test]
async fn followers_of_a_deleted_head_are_released_at_a_take_over() {
    run(async |db: Arc<Database>| {
        let events: Vec<_> = (0..6).map(|n| event(["a", "b"][n % 2])).collect();
        db.enqueue(&events).await;
        let relay = Relay::start(&db, LONG).await;
        relay
            .settle(LaneSettlement {
                holds: events[..2].iter().map(|e| hold(e.id(), Attempt::Free, Retry::OnRequest)).collect(),
                followers: ids_of(&events[2..]),
                ..LaneSettlement::default()
            })
            .await;
        db.execute("delete from outbox_events where head and partition_key = 'a'").await;
        db.store.leave(relay.owner).await.unwrap();
        let next = Relay::start(&db, LONG).await;
        assert_eq!(ids(&next.fetch().await), [events[2].id(), events[4].id()]);
    })
    .await;
}

#[tokio::test]
async fn a_bad_row_does_not_block_a_fetch() {
    run(async |db: Arc<Database>| {
        db.execute(
            "insert into outbox_events (event_type, topic, payload, headers, attempts_made, max_attempts, updated_at, locked_at)
             values ('t', 'x', '[1]', null, -5, -1, 'infinity', '-infinity'), ('t', 'x', '{\"a\":1}', '[1]', 9, 3, now(), null),
                ('t', 'x', '{\"a\":\"\\ud800\"}', '{\"n\": 1}', 0, 6, now(), null)",
        )
        .await;
        let relay = Relay::start(&db, LONG).await;
        assert_eq!(relay.fetch().await.len(), 3);
        let mut conn = db.pool.acquire().await.unwrap();
        let known: Option<OutboxEvent> =
            db.store.outbox().get_by_id(&mut conn, EventId::generate()).await.unwrap();
        assert_eq!(known, None);
    })
    .await;
}

/// A relay that takes a lane releases the followers without a head in it. If that fails nothing was taken, so that the next call does it; if it
/// takes too long, the lanes are taken all the same.
#[tokio::test]
async fn a_take_over_that_fails_is_made_again_as_a_whole_and_one_that_is_slow_goes_on() {
    async fn check(errcode: &str, leased: bool) {
        run(async |db: Arc<Database>| {
            let orphan = event("a");
            db.enqueue(std::slice::from_ref(&orphan)).await;
            db.execute(&format!(
                "update outbox_events set held = true;
                 create function refuse() returns trigger language plpgsql as
                     $$ begin raise exception 'not now' using errcode = '{errcode}'; end $$;
                 create trigger refuse before update on outbox_events for each row execute function refuse()"
            ))
            .await;
            let (first, next) = (OwnerId::generate(), OwnerId::generate());
            let taken = db.store.lease(&request(first, LONG)).await;
            assert_eq!(taken.is_ok_and(|share| share.leases.len() == 16), leased);
            db.execute("drop trigger refuse on outbox_events").await;
            db.store.leave(first).await.unwrap();
            let leases = db.store.lease(&request(next, LONG)).await.unwrap().leases;
            let relay = Relay { db: Arc::clone(&db), owner: next, leases };
            let fetched = relay.fetch().await;
            assert_eq!(ids(&fetched), [orphan.id()]);
            assert!(!fetched[0].is_behind_head);
        })
        .await;
    }
    check("object_in_use", false).await;
    // as a statement that takes too long ends
    check("query_canceled", true).await;
}

/// An operator has a lane open in psql: no other lane is renewed later, settled later, or lost.
#[tokio::test]
async fn a_lane_that_an_operator_has_locked_stops_no_other() {
    run(async |db: Arc<Database>| {
        let events: Vec<_> = (0..64).map(|n| event(&format!("key {n}"))).collect();
        db.enqueue(&events).await;
        let mut relay = Relay::start(&db, LONG).await;
        let (locked, others): (Vec<LaneEvent>, Vec<LaneEvent>) =
            relay.fetch().await.into_iter().partition(|event| event.lane == LaneId::new(3));
        assert!(!locked.is_empty() && !others.is_empty());
        let mut operator = db.pool.begin().await.unwrap();
        sqlx::query("select from outbox_lanes where lane = 3 for update")
            .execute(&mut *operator)
            .await
            .unwrap();

        let (first, second) = others.split_at(others.len() / 2);
        assert_eq!(relay.complete([ids(&locked), ids(first)].concat()).await, [LaneId::new(3)]);
        let holds = second.iter().map(|e| hold(e.event.id(), Attempt::Free, Retry::OnRequest)).collect();
        let settlement = LaneSettlement { completed: ids(&locked), holds, ..LaneSettlement::default() };
        assert_eq!(relay.settle(settlement).await, [LaneId::new(3)]);
        let settled = "select count(*) from outbox_events where status = 'completed' or head";
        assert_eq!(db.scalar::<i64>(settled).await, others.len() as i64);

        let share = db.store.lease(&request(relay.owner, LONG)).await.unwrap();
        assert_eq!(share.leases.len(), 15);
        assert!(share.leases.iter().all(|lease| lease.lane != LaneId::new(3)));
        operator.rollback().await.unwrap();
        relay.leases = db.store.lease(&request(relay.owner, LONG)).await.unwrap().leases;
        assert_eq!(relay.leases.len(), 16);
        assert_eq!(relay.complete(ids(&locked)).await, []);
    })
    .await;
}

/// A settlement takes its time; the leases are renewed meanwhile.
#[tokio::test]
async fn a_settlement_of_its_own_does_not_hold_up_a_renewal() {
    run(async |db: Arc<Database>| {
        let event = event("a");
        db.enqueue(std::slice::from_ref(&event)).await;
        let relay = Relay::start(&db, LONG).await;
        let mut slow = db.pool.begin().await.unwrap();
        sqlx::query("select from outbox_events for update").execute(&mut *slow).await.unwrap();
        let (store, owner, leases) = (db.store.clone(), relay.owner, relay.leases.clone());
        let id = event.id();
        let settling = tokio::spawn(async move {
            let settlement = LaneSettlement { completed: vec![id], ..LaneSettlement::default() };
            store.settle(owner, &leases, &settlement).await
        });
        eventually("the settlement waits", async || {
            let waits = "select exists (select from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database())";
            db.scalar::<bool>(waits).await.then_some(())
        })
        .await;
        let share = db.store.lease(&request(relay.owner, LONG)).await.unwrap();
        assert_eq!(share.leases.len(), 16);
        slow.rollback().await.unwrap();
        assert_eq!(settling.await.unwrap().unwrap().lost, []);
    })
    .await;
}

/// Events whose topic is gone are due again and again. However many there are, others are read beside them.
#[tokio::test]
async fn heads_never_fill_a_fetch_while_others_are_due() {
    run(async |db: Arc<Database>| {
        db.execute(
            "insert into outbox_events (event_type, topic, partition_key, payload, held, head, hold_until)
             select 't', 'gone', 'g' || i, '{}', true, true, now() - interval '1 s' from generate_series(1, 3200) i;
             insert into outbox_events (event_type, topic, partition_key, payload)
             select 't', 'orders', 'k' || i, '{}' from generate_series(1, 1000) i",
        )
        .await;
        let relay = Relay::start(&db, LONG).await;
        let reads: Vec<_> = relay.leases.iter().map(|lease| LaneRead::all(lease.lane, 60)).collect();
        // payloads that fit, and payloads that may not
        for max_bytes in [MANY, 3_000] {
            let found = db.store.fetch(&reads, &[], &[], max_bytes).await.unwrap().events;
            let heads = found.iter().filter(|event| event.is_held_head).count();
            let others = found.len() - heads;
            assert!(heads > 0 && others > 2 * heads, "{heads} heads and {others} others of {max_bytes} bytes");
            assert!(reads.iter().all(|read| found.iter().filter(|event| event.lane == read.lane).count() <= 60));
        }
        // heads alone have all the room
        db.execute("delete from outbox_events where topic = 'orders'").await;
        assert_eq!(db.store.fetch(&reads, &[], &[], MANY).await.unwrap().events.len(), 16 * 60);
    })
    .await;
}

/// Reads until every lane of the relay has this bound, or a higher one.
async fn bound(relay: &Relay, seq: i64) {
    let reads: Vec<_> = relay.leases.iter().map(|lease| LaneRead::all(lease.lane, 1000)).collect();
    eventually("the bounds rise", async || {
        let bounds = relay.db.store.fetch(&reads, &[], &[], MANY).await.unwrap().bounds;
        (bounds.len() == 16 && bounds.values().all(|bound| *bound >= seq)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_bound_rises_over_who_does_not_write_events_and_waits_for_who_does() {
    run(async |db: Arc<Database>| {
        let relay = Relay::start(&db, LONG).await;
        // of an empty outbox that once had events, too: nothing that is read tells their number
        db.execute(
            "insert into outbox_events (event_type, topic, payload, status, completed_at)
             select 't', 'orders', '{}', 'completed', now() from generate_series(1, 10)",
        )
        .await;
        let mut elsewhere = db.pool.begin().await.unwrap();
        sqlx::query("create table elsewhere (id int)").execute(&mut *elsewhere).await.unwrap();
        bound(&relay, 10).await;

        let mut slow = db.pool.begin().await.unwrap();
        db.store.create(&mut slow, &event("a")).await.unwrap();
        db.enqueue(&[event("a"), event("b")]).await;
        let reads: Vec<_> = relay.leases.iter().map(|lease| LaneRead::all(lease.lane, 1000)).collect();
        for _ in 0..100 {
            let found = db.store.fetch(&reads, &[], &[], MANY).await.unwrap();
            assert_eq!(found.events.len(), 2);
            assert!(found.bounds.values().all(|bound| *bound < 11), "{:?}", found.bounds);
        }
        slow.commit().await.unwrap();
        bound(&relay, 13).await;
        elsewhere.rollback().await.unwrap();
    })
    .await;
}

/// Small payloads are read by a plain statement. What is larger than was expected is not taken in.
#[tokio::test]
async fn large_payloads_among_small_ones_are_bounded_too() {
    run(async |db: Arc<Database>| {
        let small: Vec<_> = (0..50).map(|n| event(&format!("k{n}"))).collect();
        db.enqueue(&small).await;
        let relay = Relay::start(&db, LONG).await;
        assert_eq!(relay.fetch().await.len(), 50);
        let json = format!(r#"{{"a":"{}"}}"#, "x".repeat(100_000));
        let large: Vec<_> = (0..300)
            .map(|n| {
                build(NewOutboxEvent::from_json("t", "orders", json.clone()).partition_key(format!("l{n}")))
            })
            .collect();
        db.enqueue(&large).await;
        let reads: Vec<_> = relay.leases.iter().map(|lease| LaneRead::all(lease.lane, 60)).collect();
        for _ in 0..2 {
            let found = db.store.fetch(&reads, &[], &[], 1_000_000).await.unwrap().events;
            let bytes: usize = found.iter().map(|event| event.event.payload().as_str().len()).sum();
            assert!((500_000..1_300_000).contains(&bytes), "{bytes} bytes in {} events", found.len());
        }
        assert_eq!(db.store.fetch(&reads, &[], &[], MANY).await.unwrap().events.len(), 350);
    })
    .await;
}
