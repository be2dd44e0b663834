//! Claims of stored messages: what they cost, and what they find.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use omni_box_core::{
    BatchSize, ClaimToken, ConsumerGroup, DistributedLocking, Event, EventId, EventRepository, FetchFilters,
    InboxEvent, InboxExt, InboxRepository, OwnerId, Received, Store, WorkerId,
};
use sqlx::Connection;

use crate::database::{Database, run};
use crate::plans::{Hot, hot};

static CANDIDATES: Hot = hot!("inbox/candidates.sql", "bigint, text[], text[], interval");
static KEYS: Hot = hot!("inbox/keys.sql", "bigint, text[], interval, text, bigint");
static CLAIM: Hot = hot!("inbox/claim.sql", "bigint, uuid[], text, interval");
static GROUPS: Hot = hot!("inbox/groups.sql", "int");

/// Longer than a test takes on a busy machine.
const TTL: Duration = Duration::from_secs(600);

fn token() -> ClaimToken {
    ClaimToken::new(&WorkerId::new("worker-1").unwrap(), OwnerId::generate())
}

fn of_group(name: &str) -> FetchFilters {
    FetchFilters::new().consumer_group(ConsumerGroup::new(name).unwrap())
}

async fn claim(db: &Database, token: &ClaimToken, filters: &FetchFilters) -> Vec<InboxEvent> {
    let locking: &dyn DistributedLocking<InboxEvent> = db.store.locking().unwrap();
    locking.claim(token, BatchSize::new(100).unwrap(), TTL, filters).await.unwrap()
}

/// Stores messages `from` to `to`, each at the offset of its number, due in the order of their numbers.
async fn store(db: &Database, group: &str, key: &str, partition: &str, [from, to]: [u32; 2]) {
    db.execute(&format!(
        "insert into inbox_events (message_id, consumer_group, event_type, source, payload, source_topic, source_partition,
            source_offset, partition_key, scheduled_at)
         select i::text, '{group}', 't', 's', '{{}}', 'orders', {partition}, case when {partition} is not null then i end, {key},
            now() - interval '1 h' + i * interval '1 ms'
         from generate_series({from}, {to}) i"
    ))
    .await;
}

/// A claim costs the same, however many messages are pending, and however many of them belong to one key that waits or is claimed.
#[tokio::test]
async fn a_claim_of_messages_stays_short() {
    let waiting = "scheduled_at = now() + interval '1 h'";
    let claimed = "locked_at = now(), locked_by = 'w'";
    // keys, partitions, and what of the first messages is changed in which way
    for (key, partition, first, change) in [
        ("'k'", "0", 0, waiting),
        ("'k'", "0", 1, waiting),
        ("'k'", "0", 1, claimed),
        ("'k' || i % 5000", "i % 16", 0, waiting),
        ("'k' || i % 5000", "i % 16", 1_000, claimed),
        ("'k' || i % 50000", "i % 16", 50_000, waiting),
        ("'k' || i", "0", 0, waiting),
        ("null", "i % 16", 0, waiting),
        ("null", "null", 0, waiting),
        ("null", "null", 50_000, waiting),
    ] {
        run(async |db: Arc<Database>| {
            store(&db, "g", key, partition, [1, 100_000]).await;
            db.execute(&format!("update inbox_events set {change} where message_id::int <= {first}")).await;
            db.execute("vacuum inbox_events").await;
            let oldest: String = db
                .scalar("select array(select id from inbox_events where scheduled_at < now() order by scheduled_at limit 200)::text")
                .await;
            let mut conn = db.pool.acquire().await.unwrap();
            for state in ["never analysed", "analysed"] {
                for mode in ["force_generic_plan", "force_custom_plan"] {
                    for (hot, arguments) in [
                        (&CANDIDATES, "200, '{g}', '{}', '1 min'".to_owned()),
                        (&KEYS, "1000, '{}', '1 min', 'g', -1".to_owned()),
                        (&CLAIM, format!("100, '{oldest}', 'w', '1 min'")),
                    ] {
                        let mut tx = conn.begin().await.unwrap();
                        let blocks = hot.blocks(&mut tx, &arguments, mode).await;
                        tx.rollback().await.unwrap();
                        let of = format!("{key}, {partition}, {first} {change}, {state}, {mode}, {}: {blocks} blocks", hot.file);
                        println!("{of}");
                        assert!(blocks < 6_000, "{of}");
                    }
                }
                db.execute("analyze inbox_events").await;
            }
            let blocks = GROUPS.blocks(&mut conn, "1", "force_generic_plan").await;
            assert!(blocks < 100, "the groups: {blocks} blocks");
        })
        .await;
    }
}

/// The oldest messages of all belong to a few keys that wait, or are claimed; what is behind them is found all the same, of each kind.
#[tokio::test]
async fn backlogs_of_keys_that_wait_hide_no_other_message() {
    run(async |db: Arc<Database>| {
        store(&db, "g", "'hot-' || i % 3", "0", [1, 20_000]).await;
        db.execute("update inbox_events set scheduled_at = now() + interval '1 h' where source_offset <= 3").await;
        store(&db, "g", "'cold-' || i", "i % 4", [20_001, 23_000]).await;
        store(&db, "g", "null", "null", [23_001, 23_050]).await;
        store(&db, "g", "null", "7", [23_051, 23_060]).await;
        store(&db, "other", "'cold-' || i", "i % 4", [1, 500]).await;
        let (mine, filters) = (token(), of_group("g"));
        let mut claimed = Vec::new();
        // 3,051 of them are first in their lines and due, 100 a call
        for _ in 0..40 {
            claimed.extend(claim(&db, &mine, &filters).await);
        }
        let distinct: HashSet<EventId> = claimed.iter().map(Event::id).collect();
        assert_eq!((claimed.len(), distinct.len()), (3_051, 3_051), "each due message is claimed once");
        assert!(claimed.iter().all(|message| message.consumer_group().as_str() == "g"));

        db.execute("update inbox_events set scheduled_at = now() - interval '1 s' where source_offset <= 3 and consumer_group = 'g'")
            .await;
        let mut first = 0;
        // a thousand keys a call
        for _ in 0..4 {
            first += claim(&db, &mine, &filters).await.len();
        }
        assert_eq!(first, 3, "the first of their keys are found when they are due");
        let mut others = 0;
        for _ in 0..5 {
            others += claim(&db, &mine, &FetchFilters::new()).await.len();
        }
        assert_eq!(others, 500, "without a filter, those of all groups are found");
    })
    .await;
}

/// Messages without a key keep the order of their partition, whatever their times are, and one of a partition is claimed at a time.
#[tokio::test]
async fn messages_without_a_key_keep_the_order_of_their_partition() {
    run(async |db: Arc<Database>| {
        store(&db, "g", "null", "i % 2", [1, 300]).await;
        // the times say the opposite
        db.execute("update inbox_events set scheduled_at = now() - source_offset * interval '1 s'").await;
        let (mine, filters) = (token(), of_group("g"));
        for n in 0..20 {
            let claimed = claim(&db, &mine, &filters).await;
            let mut offsets: Vec<i64> = claimed.iter().map(|m| m.position().unwrap().offset).collect();
            offsets.sort_unstable();
            assert_eq!(offsets, [2 * n + 1, 2 * n + 2], "the oldest of each partition");
            assert!(
                claim(&db, &token(), &filters).await.is_empty(),
                "while one of a partition is at work, no other is"
            );
            for message in claimed {
                assert!(db.store.inbox().mark_completed(message.id(), &mine).await.unwrap());
            }
        }
    })
    .await;
}

/// The handling of a claimed message sends nothing of it to the server, and reads nothing but what changes.
#[tokio::test]
async fn a_claimed_message_is_locked_where_it_is() {
    run(async |db: Arc<Database>| {
        store(&db, "g", "'k' || i", "0", [1, 4]).await;
        let (mine, filters) = (token(), of_group("g"));
        let claimed = claim(&db, &mine, &filters).await;
        db.execute(
            "create function refuse() returns trigger language plpgsql as $$ begin raise 'sent again'; end $$;
             create trigger refuse before insert on inbox_events execute function refuse();
             update inbox_events set payload = '{\"read\": \"again\"}', attempts_made = 2, status =
                case source_offset when 1 then 'completed' when 2 then 'failed' else 'pending' end",
        )
        .await;
        let claimed_at =
            |offset: i64| claimed.iter().find(|m| m.position().unwrap().offset == offset).unwrap();
        let messages = [3, 1, 4, 2].map(|offset| claimed_at(offset).clone());
        let mut tx = db.store.begin().await.unwrap();
        let received = db.store.receive(&mut tx, &messages).await.unwrap();
        let [
            Received::Pending { event, wait },
            Received::Completed(_),
            Received::Pending { .. },
            Received::Failed(_),
        ] = &received[..]
        else {
            panic!("in the order given: {received:?}")
        };
        assert_eq!((event.record(), *wait), (messages[0].record(), Duration::ZERO));
        assert_eq!(event.lifecycle().attempts_made(), 2, "what changes is that of the row");
        let locked = "select count(*) from (select from inbox_events for update skip locked) free";
        assert_eq!(db.scalar::<i64>(locked).await, 0, "they are locked");
    })
    .await;
}

/// One whose row was deleted meanwhile is stored anew, as any message is.
#[tokio::test]
async fn a_claimed_message_that_was_deleted_is_stored_anew() {
    run(async |db: Arc<Database>| {
        store(&db, "g", "'k' || i", "0", [1, 2]).await;
        let claimed = claim(&db, &token(), &of_group("g")).await;
        db.execute("delete from inbox_events where source_offset = 1").await;
        let mut tx = db.store.begin().await.unwrap();
        let received = db.store.receive(&mut tx, &claimed).await.unwrap();
        assert!(matches!(&received[..], [Received::New, Received::Pending { .. }]), "{received:?}");
    })
    .await;
}
