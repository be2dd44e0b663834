//! How far lanes are read by all their owners, and completions that write no index.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use omni_box_core::{
    BatchSize, Event, EventId, LaneRead, LaneSettlement, Lease, OrderedLanes, OutboxEvent, OwnerId,
    RetentionPolicies,
};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::database::{Database, event, eventually, request, run};

const TTL: Duration = Duration::from_secs(60);

struct Relay {
    db: Arc<Database>,
    owner: OwnerId,
    leases: Vec<Lease>,
}

impl Relay {
    async fn start(db: &Arc<Database>) -> Self {
        let owner = OwnerId::generate();
        let leases = db.store.lease(&request(owner, TTL)).await.unwrap().leases;
        Self { db: Arc::clone(db), owner, leases }
    }

    async fn heartbeat(&self) {
        self.db.store.lease(&request(self.owner, TTL)).await.unwrap();
    }

    async fn fetch(&self, limit: u32) -> Vec<EventId> {
        let reads: Vec<_> = self.leases.iter().map(|lease| LaneRead::all(lease.lane, limit)).collect();
        let fetch = self.db.store.fetch(&reads, &[], &[], 64 << 20).await.unwrap();
        fetch.events.iter().map(|event| event.event.id()).collect()
    }

    async fn complete(&self, completed: Vec<EventId>) {
        let settlement = LaneSettlement { completed, ..LaneSettlement::default() };
        assert_eq!(self.db.store.settle(self.owner, &self.leases, &settlement).await.unwrap().lost, []);
    }

    /// Goes on until each lane is read to `seq` at least.
    async fn until_read_to(&self, seq: i64) {
        eventually("lanes are moved on", async || {
            self.fetch(100).await;
            self.heartbeat().await;
            let least = self.db.scalar::<i64>("select min(read_to) from outbox_lanes").await;
            (least >= seq).then_some(())
        })
        .await;
    }
}

async fn seq_of(db: &Database, id: EventId) -> i64 {
    db.scalar(&format!("select seq from outbox_events where id = '{id}'")).await
}

fn many(count: usize) -> Vec<OutboxEvent> {
    (0..count).map(|number| event(&format!("key-{number}"))).collect()
}

#[tokio::test]
async fn completions_of_a_drain_are_heap_only() {
    run(async |db: Arc<Database>| {
        let relay = Relay::start(&db).await;
        for _ in 0..4 {
            for events in many(4_000).chunks(1_000) {
                db.enqueue(events).await;
            }
            loop {
                let due = relay.fetch(125).await;
                if due.is_empty() {
                    break;
                }
                relay.complete(due).await;
            }
            relay.heartbeat().await;
        }
        assert_eq!(
            db.scalar::<i64>("select count(*) from outbox_events where status <> 'completed'").await,
            0
        );
        // a backend tells its counts when it ends, at the latest
        let options = db.pool.connect_options();
        db.pool.close().await;
        let mut conn = PgConnection::connect_with(&options).await.unwrap();
        let counts =
            "select n_tup_upd, n_tup_hot_upd from pg_stat_user_tables where relname = 'outbox_events'";
        let (updates, heap_only) = eventually("the counts are told", async || {
            let counts: (i64, i64) = sqlx::query_as(counts).fetch_one(&mut conn).await.unwrap();
            (counts.0 >= 16_000).then_some(counts)
        })
        .await;
        println!("{heap_only} of {updates} updates were heap-only");
        assert!(heap_only * 100 > updates * 95, "{heap_only} of {updates} updates were heap-only");
    })
    .await;
}

#[tokio::test]
async fn lanes_are_moved_on_to_what_is_not_done() {
    run(async |db: Arc<Database>| {
        let events = many(200);
        db.enqueue(&events).await;
        let relay = Relay::start(&db).await;
        let (open, done) = events.split_at(1);
        assert_eq!(relay.fetch(1000).await.into_iter().collect::<HashSet<_>>().len(), 200);
        relay.complete(done.iter().map(Event::id).collect()).await;
        eventually("other lanes are moved on", async || {
            relay.fetch(100).await;
            relay.heartbeat().await;
            let least = "select count(*) from outbox_lanes where read_to >= 200";
            (db.scalar::<i64>(least).await == 15).then_some(())
        })
        .await;
        let first = seq_of(&db, open[0].id()).await;
        let least: i64 = db.scalar("select min(read_to) from outbox_lanes").await;
        assert!(least < first, "a lane was moved to {least}, beyond an event at {first} that was not marked");
        // it ends, and another begins
        db.store.leave(relay.owner).await.unwrap();
        let next = Relay::start(&db).await;
        assert_eq!(next.fetch(1000).await, [open[0].id()]);
        next.complete(vec![open[0].id()]).await;
        next.until_read_to(200).await;
    })
    .await;
}

#[tokio::test]
async fn a_writer_that_has_not_committed_keeps_lanes_from_being_moved_on() {
    run(async |db: Arc<Database>| {
        let mut late = db.pool.begin().await.unwrap();
        let [slow, quick] = [event("a"), event("a")];
        omni_box_core::EventRepository::create(&db.store, &mut late, &slow).await.unwrap();
        db.enqueue(std::slice::from_ref(&quick)).await;
        let relay = Relay::start(&db).await;
        assert_eq!(relay.fetch(10).await, [quick.id()]);
        relay.complete(vec![quick.id()]).await;
        for _ in 0..60 {
            relay.fetch(10).await;
            relay.heartbeat().await;
        }
        late.commit().await.unwrap();
        db.store.leave(relay.owner).await.unwrap();
        assert_eq!(Relay::start(&db).await.fetch(10).await, [slow.id()]);
    })
    .await;
}

#[tokio::test]
async fn what_is_made_due_by_hand_is_found_by_a_sweep() {
    run(async |db: Arc<Database>| {
        let events = many(300);
        db.enqueue(&events).await;
        let relay = Relay::start(&db).await;
        relay.fetch(1000).await;
        relay.complete(events.iter().map(Event::id).collect()).await;
        relay.until_read_to(300).await;
        let again = events[7].id();
        db.execute(&format!(
            "update outbox_events set status = 'pending', completed_at = null where id = '{again}'"
        ))
        .await;
        assert_eq!(relay.fetch(10).await, [], "owners do not look there");
        // a new owner begins with a sweep
        db.store.leave(relay.owner).await.unwrap();
        let next = Relay::start(&db).await;
        assert_eq!(next.fetch(10).await, [again]);
        next.complete(vec![again]).await;
        assert_eq!(db.scalar::<i64>("select count(*) from outbox_events where aside is not null").await, 0);
    })
    .await;
}

#[tokio::test]
async fn a_sequence_that_was_set_back_makes_lanes_be_read_from_their_beginning() {
    run(async |db: Arc<Database>| {
        let events = many(50);
        db.enqueue(&events).await;
        let relay = Relay::start(&db).await;
        relay.fetch(1000).await;
        relay.complete(events.iter().map(Event::id).collect()).await;
        relay.until_read_to(50).await;
        db.execute("truncate outbox_events restart identity").await;
        let new = event("new");
        db.enqueue(std::slice::from_ref(&new)).await;
        db.store.leave(relay.owner).await.unwrap();
        let next = Relay::start(&db).await;
        assert_eq!(db.scalar::<i64>("select max(read_to) from outbox_lanes").await, 0);
        assert_eq!(next.fetch(10).await, [new.id()]);
    })
    .await;
}

#[tokio::test]
async fn a_clean_up_steps_over_what_stays() {
    run(async |db: Arc<Database>| {
        let insert = |count: u32, columns: &str, values: &str| {
            format!(
                "insert into outbox_events (event_type, topic, partition_key, payload, created_at, scheduled_at{columns})
                 select 't', 'orders', 'k' || i, '{{}}', now() - interval '2 d', now() - interval '2 d'{values} from generate_series(1, {count}) i;"
            )
        };
        db.execute(&[
            insert(4_000, "", ""),
            insert(1_000, ", status", ", 'failed'"),
            insert(1_000, ", held, head", ", true, true"),
            insert(20, ", status, completed_at", ", 'completed', now() - interval '1 d'"),
            insert(30, ", status, completed_at", ", 'completed', now()"),
            insert(5, ", status, completed_at", ", 'completed', now() - interval '1 d'"),
            // these were scheduled for later
            "update outbox_events set scheduled_at = created_at + interval '1 h' where seq > 6050".to_owned(),
        ]
        .concat())
        .await;
        let (hour, batch) = (Duration::from_secs(3600), BatchSize::new(10).unwrap());
        let clean_up = async |most| {
            RetentionPolicies::<OutboxEvent>::cleanup_old_events(&db.store, hour, batch, most).await.unwrap()
        };
        assert_eq!(clean_up(1).await, 10);
        assert_eq!(clean_up(100).await, 15);
        assert_eq!(clean_up(100).await, 0);
        assert_eq!(db.scalar::<i64>("select count(*) from outbox_events where status = 'completed'").await, 30);
        assert_eq!(db.scalar::<i64>("select count(*) from outbox_events where status <> 'completed'").await, 6_000);
    })
    .await;
}

#[tokio::test]
async fn what_is_set_aside_follows_from_what_others_write() {
    run(async |db: Arc<Database>| {
        db.enqueue(&[event("a")]).await;
        for (change, aside) in [
            ("held = true, head = true", "head"),
            ("head = false", "follower"),
            ("held = false, released = true", "released"),
            ("released = false, scheduled_at = created_at + interval '1 h'", "deferred"),
            ("status = 'failed'", "failed"),
            ("status = 'completed', completed_at = now()", ""),
            ("status = 'pending', completed_at = null, scheduled_at = created_at", ""),
        ] {
            db.execute(&format!("update outbox_events set {change}")).await;
            let found: String =
                sqlx::query_scalar(AssertSqlSafe("select coalesce(aside, '') from outbox_events".to_owned()))
                    .fetch_one(&db.pool)
                    .await
                    .unwrap();
            assert_eq!(found, aside, "{change}");
        }
    })
    .await;
}
