//! Lanes: leases, fetch and settlement.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use chrono::{TimeDelta, Utc};
use omni_box_core::{
    Attempt, Event, EventId, EventRepository, Failure, KeyRef, LaneEvent, LaneHold, LaneId, LaneRead,
    LaneSettlement, Lease, NewOutboxEvent, OrderedLanes, OutboxEvent, OwnerId, Retry,
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
        let mut relay = Self { db: Arc::clone(db), owner: OwnerId::generate(), leases: Vec::new() };
        relay.lease(ttl).await;
        relay
    }

    async fn lease(&mut self, ttl: Duration) -> usize {
        let share = self.db.store.lease(&request(self.owner, ttl)).await.unwrap();
        self.leases = share.leases;
        share.fair_share
    }

    async fn fetch(&self) -> Vec<LaneEvent> {
        self.fetch_without(&[]).await
    }

    async fn fetch_without(&self, in_flight: &[EventId]) -> Vec<LaneEvent> {
        let reads: Vec<_> =
            self.leases.iter().map(|lease| LaneRead { lane: lease.lane, limit: 1000 }).collect();
        self.db.store.fetch(&reads, in_flight, MANY).await.unwrap()
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
    hold_again(id, 0, attempt, retry)
}

fn hold_again(id: EventId, attempts_made: u32, attempt: Attempt, retry: Retry) -> LaneHold {
    LaneHold { id, attempts_made, failure: Failure::new("broker said no", attempt, retry) }
}

async fn pending(db: &Database) -> i64 {
    db.scalar("select count(*) from outbox_events where status = 'pending'").await
}

#[tokio::test]
async fn lanes_are_shared_fairly() {
    run(async |db: Arc<Database>| {
        for (count, share) in [(1usize, 16), (2, 8), (3, 6), (17, 1)] {
            db.execute(
                "delete from outbox_relays; update outbox_lanes set owner = null, leased_until = null",
            )
            .await;
            let mut relays = Vec::new();
            for _ in 0..count {
                relays.push(Relay::start(&db, LONG).await);
            }
            // each drains what is above its share and gives it back, until all have theirs
            for _ in 0..3 {
                for relay in &mut relays {
                    let fair = relay.lease(LONG).await;
                    if relay.leases.len() > fair {
                        db.store.release(relay.owner, &relay.leases[fair..]).await.unwrap();
                    }
                }
            }
            let mut owned = Vec::new();
            for relay in &mut relays {
                assert_eq!(relay.lease(LONG).await, share);
                assert!(relay.leases.len() <= share);
                owned.extend(relay.leases.iter().map(|lease| lease.lane));
            }
            assert_eq!(owned.len(), 16, "{count} relays");
            assert_eq!(owned.iter().collect::<HashSet<_>>().len(), 16);
        }
    })
    .await;
}

#[tokio::test]
async fn a_renewed_lease_keeps_its_epoch_and_an_expired_one_gets_a_higher() {
    run(async |db: Arc<Database>| {
        let mut old = Relay::start(&db, Duration::from_millis(300)).await;
        let before = old.leases.clone();
        assert_eq!(before.len(), 16);
        old.lease(Duration::from_millis(300)).await;
        assert_eq!(old.leases, before);
        let mut new = Relay { db: Arc::clone(&db), owner: OwnerId::generate(), leases: Vec::new() };
        eventually("the lanes of a silent relay are taken", async || {
            new.lease(LONG).await;
            (new.leases.len() == 16).then_some(())
        })
        .await;
        for (new, old) in new.leases.iter().zip(&before) {
            assert!(new.lane == old.lane && new.epoch > old.epoch);
        }
        // the old owner finds nothing of its own left
        old.lease(LONG).await;
        assert_eq!(old.leases, []);
    })
    .await;
}

#[tokio::test]
async fn leaving_gives_everything_back_at_once() {
    run(async |db: Arc<Database>| {
        let first = Relay::start(&db, LONG).await;
        db.store.leave(first.owner).await.unwrap();
        let second = Relay::start(&db, LONG).await;
        assert_eq!(second.leases.len(), 16);
        // what is not held under this epoch is left alone
        db.store.release(second.owner, &first.leases).await.unwrap();
        assert_eq!(db.scalar::<i64>("select count(*) from outbox_lanes where owner is null").await, 0);
    })
    .await;
}

#[tokio::test]
async fn an_owner_that_lost_its_leases_changes_nothing() {
    run(async |db: Arc<Database>| {
        let events: Vec<_> = (0..20).map(|n| event(&n.to_string())).collect();
        db.enqueue(&events).await;
        let old = Relay::start(&db, LONG).await;
        let fetched = old.fetch().await;
        assert_eq!(fetched.len(), 20);
        db.execute(
            "update outbox_lanes set leased_until = now() - interval '1 s'; delete from outbox_relays",
        )
        .await;
        let new = Relay::start(&db, LONG).await;
        assert_eq!(new.leases.len(), 16);

        let lost = old.complete(ids(&fetched)).await;
        assert_eq!(lost.len(), 16);
        let key = KeyRef { lane: fetched[0].lane, topic: "orders".into(), partition_key: "0".into() };
        let lost = old
            .settle(LaneSettlement {
                completed: ids(&fetched[..5]),
                holds: vec![hold(fetched[6].event.id(), Attempt::Counted, Retry::Never)],
                followers: ids(&fetched[7..]),
                release: vec![key],
            })
            .await;
        assert_eq!(lost.len(), 16);
        assert_eq!(pending(&db).await, 20);
        assert_eq!(db.scalar::<i64>("select count(*) from outbox_events where held").await, 0);
        assert_eq!(new.complete(ids(&fetched)).await, []);
        assert_eq!(pending(&db).await, 0);
    })
    .await;
}

#[tokio::test]
async fn a_lost_lane_does_not_stop_the_others() {
    run(async |db: Arc<Database>| {
        let events: Vec<_> = (0..64).map(|n| event(&n.to_string())).collect();
        db.enqueue(&events).await;
        let relay = Relay::start(&db, LONG).await;
        let fetched = relay.fetch().await;
        let lost = fetched[0].lane;
        db.execute(&format!("update outbox_lanes set epoch = epoch + 1 where lane = {lost}")).await;
        assert_eq!(relay.complete(ids(&fetched)).await, [lost]);
        let left = fetched.iter().filter(|event| event.lane == lost).count();
        assert_eq!(pending(&db).await, left as i64);
    })
    .await;
}

#[tokio::test]
async fn a_settlement_and_a_take_over_do_not_pass_each_other() {
    run(async |db: Arc<Database>| {
        let events = [event("a"), event("b")];
        db.enqueue(&events).await;
        let old = Relay::start(&db, LONG).await;
        // somebody else's take-over is under way, not yet committed
        let mut takeover = db.pool.begin().await.unwrap();
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
async fn each_lane_is_read_in_order_within_its_limit() {
    run(async |db: Arc<Database>| {
        let events: Vec<_> = (0..300).map(|n| event(&(n % 40).to_string())).collect();
        db.enqueue(&events).await;
        let relay = Relay::start(&db, LONG).await;
        let fetched = relay.fetch().await;
        assert_eq!(fetched.len(), 300);
        for pair in fetched.windows(2) {
            assert!((pair[0].lane, pair[0].seq) < (pair[1].lane, pair[1].seq));
        }
        let reads: Vec<_> =
            relay.leases.iter().map(|lease| LaneRead { lane: lease.lane, limit: 2 }).collect();
        let few = db.store.fetch(&reads, &[], MANY).await.unwrap();
        for lease in &relay.leases {
            let of_lane = |events: &[LaneEvent]| {
                events
                    .iter()
                    .filter(|event| event.lane == lease.lane)
                    .map(|event| event.seq)
                    .collect::<Vec<_>>()
            };
            let all = of_lane(&fetched);
            assert_eq!(of_lane(&few), all[..all.len().min(2)]);
        }
        // in flight is left out by id
        let rest = relay.fetch_without(&ids(&fetched[..100])).await;
        assert_eq!(ids(&rest), ids(&fetched[100..]));
        // bytes are bounded, but never down to nothing
        let bytes = events[0].payload().as_str().len() as u64;
        let bounded = db.store.fetch(&reads[..1], &[], bytes * 2).await.unwrap().len();
        assert!(bounded <= 2);
        assert_eq!(db.store.fetch(&reads, &[], 1).await.unwrap().len(), 1);
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
        let reads: Vec<_> =
            relay.leases.iter().map(|lease| LaneRead { lane: lease.lane, limit: 1000 }).collect();
        for (max_bytes, count) in [(1, 1), (150_000, 2), (250_000, 3), (MANY, 9)] {
            let fetched = db.store.fetch(&reads, &[], max_bytes).await.unwrap();
            assert_eq!(ids(&fetched), ids_of(&events[..count]));
        }
    })
    .await;
}

#[tokio::test]
async fn a_late_commit_comes_first_at_the_next_fetch() {
    run(async |db: Arc<Database>| {
        let [early, late] = [event("a"), event("a")];
        let mut tx = db.pool.begin().await.unwrap();
        db.store.create(&mut tx, &early).await.unwrap();
        db.enqueue(std::slice::from_ref(&late)).await;
        let relay = Relay::start(&db, LONG).await;
        assert_eq!(ids(&relay.fetch().await), [late.id()]);
        tx.commit().await.unwrap();
        assert_eq!(ids(&relay.fetch_without(&[late.id()]).await), [early.id()]);
        assert_eq!(ids(&relay.fetch().await), [early.id(), late.id()]);
    })
    .await;
}

#[tokio::test]
async fn a_held_head_holds_its_key_and_no_other() {
    run(async |db: Arc<Database>| {
        let events = [event("a"), event("a"), event("a"), event("b")];
        db.enqueue(&events).await;
        let relay = Relay::start(&db, LONG).await;
        let [head, second, third, other] = [0, 1, 2, 3].map(|n| events[n].id());
        relay
            .settle(LaneSettlement {
                completed: vec![other],
                holds: vec![hold(head, Attempt::Counted, Retry::OnRequest)],
                followers: vec![second],
                ..LaneSettlement::default()
            })
            .await;
        // the third was not settled as a follower yet: it is told as one, and so is a new event
        let fetched = relay.fetch().await;
        assert_eq!(ids(&fetched), [third]);
        assert!(fetched[0].is_behind_head && !fetched[0].is_held_head);
        relay.settle(LaneSettlement { followers: vec![third], ..LaneSettlement::default() }).await;
        assert_eq!(relay.fetch().await, []);

        // an operator, or the time of its retry, makes the head due
        db.execute("update outbox_events set hold_until = now() where head").await;
        let due = relay.fetch().await;
        assert_eq!(ids(&due), [head]);
        assert!(due[0].is_held_head && !due[0].is_behind_head);
        assert_eq!(due[0].event.lifecycle().attempts_made(), 1);
        assert_eq!(due[0].event.lifecycle().last_error(), Some("broker said no"));

        let key = KeyRef { lane: due[0].lane, topic: "orders".into(), partition_key: "a".into() };
        // while the head waits a release changes nothing
        relay.settle(LaneSettlement { release: vec![key.clone()], ..LaneSettlement::default() }).await;
        assert_eq!(ids(&relay.fetch().await), [head]);
        relay
            .settle(LaneSettlement { completed: vec![head], release: vec![key], ..LaneSettlement::default() })
            .await;
        let released = relay.fetch().await;
        assert_eq!(ids(&released), [second, third]);
        assert!(released.iter().all(|event| !event.is_behind_head && !event.is_held_head));
    })
    .await;
}

#[tokio::test]
async fn a_retry_waits_for_its_time_and_attempts_stay_within_bounds() {
    run(async |db: Arc<Database>| {
        let event = build(NewOutboxEvent::from_json("t", "orders", r#"{"a":1}"#).max_attempts(2));
        db.enqueue(std::slice::from_ref(&event)).await;
        let relay = Relay::start(&db, LONG).await;
        let attempts = async || db.scalar::<i32>("select attempts_made from outbox_events").await;
        for (attempt, read, expected) in
            // the third is a repeat whose answer was lost
            [
                (Attempt::Free, 0, 0),
                (Attempt::Counted, 0, 1),
                (Attempt::Counted, 0, 1),
                (Attempt::Counted, 1, 2),
                (Attempt::Counted, 2, 2),
            ]
        {
            let holds = vec![hold_again(event.id(), read, attempt, Retry::After(Duration::from_millis(200)))];
            relay.settle(LaneSettlement { holds, ..LaneSettlement::default() }).await;
            assert_eq!(attempts().await, expected);
        }
        assert_eq!(relay.fetch().await, []);
        let due = eventually("the retry is due", async || relay.fetch().await.pop()).await;
        assert!(due.is_held_head);
        let holds = vec![hold_again(event.id(), 2, Attempt::Refunded, Retry::Never)];
        relay.settle(LaneSettlement { holds, ..LaneSettlement::default() }).await;
        assert_eq!(attempts().await, 1);
        assert_eq!(
            db.scalar::<i64>(
                "select count(*) from outbox_events where status = 'failed' and not held and not head"
            )
            .await,
            1
        );
    })
    .await;
}

#[tokio::test]
async fn a_deferred_event_joins_when_due_and_behind_a_head_at_the_end() {
    run(async |db: Arc<Database>| {
        let at = Utc::now() + TimeDelta::seconds(3600);
        let scheduled = build(
            NewOutboxEvent::from_json("t", "orders", r#"{"a":1}"#).partition_key("a").scheduled_at(at),
        );
        let [head, next] = [event("a"), event("a")];
        db.enqueue(&[scheduled.clone(), head.clone(), next.clone()]).await;
        let relay = Relay::start(&db, LONG).await;
        assert_eq!(ids(&relay.fetch().await), [head.id(), next.id()]);
        db.execute(
            "update outbox_events set scheduled_at = now() - interval '1 s', created_at = now() - interval '1 h'
             where deferred",
        )
        .await;
        assert_eq!(ids(&relay.fetch().await), [scheduled.id(), head.id(), next.id()]);

        relay
            .settle(LaneSettlement {
                holds: vec![hold(head.id(), Attempt::Free, Retry::OnRequest)],
                followers: vec![scheduled.id(), next.id()],
                ..LaneSettlement::default()
            })
            .await;
        assert_eq!(relay.fetch().await, []);
        let lane = LaneId::new(db.scalar::<i16>("select lane from outbox_events limit 1").await.unsigned_abs());
        let key = KeyRef { lane, topic: "orders".into(), partition_key: "a".into() };
        relay
            .settle(LaneSettlement {
                completed: vec![head.id()],
                release: vec![key],
                ..LaneSettlement::default()
            })
            .await;
        assert_eq!(ids(&relay.fetch().await), [next.id(), scheduled.id()]);
    })
    .await;
}

#[tokio::test]
async fn a_lane_given_back_is_not_written_to() {
    run(async |db: Arc<Database>| {
        let events = [event("a"), event("a")];
        db.enqueue(&events).await;
        let relay = Relay::start(&db, LONG).await;
        db.store.release(relay.owner, &relay.leases).await.unwrap();
        assert_eq!(relay.complete(ids_of(&events)).await.len(), 16);
        let holds = vec![hold(events[0].id(), Attempt::Counted, Retry::Never)];
        assert_eq!(relay.settle(LaneSettlement { holds, ..LaneSettlement::default() }).await.len(), 16);
        assert_eq!(pending(&db).await, 2);
    })
    .await;
}

#[tokio::test]
async fn a_follower_of_a_key_without_head_is_left_as_it_is() {
    run(async |db: Arc<Database>| {
        let keyless = build(NewOutboxEvent::from_json("t", "orders", r#"{"a":1}"#));
        let events = [event("a"), event("b"), keyless];
        db.enqueue(&events).await;
        let relay = Relay::start(&db, LONG).await;
        relay.settle(LaneSettlement { followers: ids_of(&events), ..LaneSettlement::default() }).await;
        assert_eq!(relay.fetch().await.len(), 3);
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
async fn only_pending_events_are_changed() {
    run(async |db: Arc<Database>| {
        let event = event("a");
        db.enqueue(std::slice::from_ref(&event)).await;
        let relay = Relay::start(&db, LONG).await;
        relay.complete(vec![event.id()]).await;
        let row = "select row_to_json(e)::text from outbox_events e";
        let before: String = db.scalar(row).await;
        relay.complete(vec![event.id()]).await;
        relay
            .settle(LaneSettlement {
                completed: vec![event.id()],
                holds: vec![hold(event.id(), Attempt::Counted, Retry::Never)],
                followers: vec![event.id()],
                ..LaneSettlement::default()
            })
            .await;
        assert_eq!(db.scalar::<String>(row).await, before);
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
            EventRepository::<OutboxEvent>::get_by_id(&db.store, &mut conn, EventId::generate()).await.unwrap();
        assert_eq!(known, None);
    })
    .await;
}
