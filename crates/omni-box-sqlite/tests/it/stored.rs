//! Claims of stored messages: what they find.

use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use omni_box_core::{
    BatchSize, ClaimToken, ConsumerGroup, DistributedLocking, Event, EventId, EventRepository, FetchFilters,
    InboxEvent, InboxExt, InboxRepository, OutboxExt, OwnerId, Received, Store, WorkerId,
};

use crate::database::Database;

fn token() -> ClaimToken {
    ClaimToken::new(&WorkerId::new("worker-1").unwrap(), OwnerId::generate())
}

fn of_group(name: &str) -> FetchFilters {
    FetchFilters::new().consumer_group(ConsumerGroup::new(name).unwrap())
}

async fn claim(db: &Database, token: &ClaimToken, filters: &FetchFilters) -> Vec<InboxEvent> {
    let locking: &dyn DistributedLocking<InboxEvent> =
        EventRepository::<InboxEvent>::locking(&db.store).unwrap();
    locking.claim(token, BatchSize::new(100).unwrap(), Duration::from_secs(60), filters).await.unwrap()
}

/// Stores messages `from` to `to`, each at the offset of its number, due in the order of their numbers.
async fn store(db: &Database, group: &str, key: &str, partition: &str, [from, to]: [u32; 2]) {
    db.execute(&format!(
        "with recursive n (i) as (select {from} union all select i + 1 from n where i < {to})
         insert into inbox_events (message_id, consumer_group, event_type, source, payload, source_topic, source_partition,
            source_offset, partition_key, scheduled_at)
         select i, '{group}', 't', 's', '{{}}', 'orders', {partition}, case when {partition} is not null then i end, {key}, i
         from n"
    ))
    .await;
}

/// The oldest messages of all belong to a few keys that wait; what is behind them is found all the same, of each kind.
#[tokio::test]
async fn backlogs_of_keys_that_wait_hide_no_other_message() {
    let db = Database::create().await;
    store(&db, "g", "'hot-' || (i % 3)", "0", [1, 3_000]).await;
    db.execute("update inbox_events set scheduled_at = 9000000000000000 where source_offset <= 3").await;
    store(&db, "g", "'cold-' || i", "i % 4", [3_001, 5_000]).await;
    store(&db, "g", "null", "null", [5_001, 5_050]).await;
    store(&db, "g", "null", "7", [5_051, 5_060]).await;
    store(&db, "other", "'cold-' || i", "i % 4", [1, 300]).await;
    let (mine, filters) = (token(), of_group("g"));
    let mut claimed = Vec::new();
    // 2,051 of them are first in their lines and due, 100 a call
    for _ in 0..30 {
        claimed.extend(claim(&db, &mine, &filters).await);
    }
    let distinct: HashSet<EventId> = claimed.iter().map(Event::id).collect();
    assert_eq!((claimed.len(), distinct.len()), (2_051, 2_051), "each due message is claimed once");
    assert!(claimed.iter().all(|message| message.consumer_group().as_str() == "g"));

    db.execute("update inbox_events set scheduled_at = 1 where source_offset <= 3 and consumer_group = 'g'")
        .await;
    let first = claim(&db, &mine, &filters).await.len();
    assert_eq!(first, 3, "the first of their keys are found when they are due");
    let mut others = 0;
    for _ in 0..4 {
        others += claim(&db, &mine, &FetchFilters::new()).await.len();
    }
    assert_eq!(others, 300, "without a filter, those of all groups are found");
}

/// Messages without a key keep the order of their partition, whatever their times are, and one of a partition is claimed at a time.
#[tokio::test]
async fn messages_without_a_key_keep_the_order_of_their_partition() {
    let db = Database::create().await;
    store(&db, "g", "null", "i % 2", [1, 300]).await;
    // the times say the opposite
    db.execute("update inbox_events set scheduled_at = 1000 - source_offset").await;
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
}

/// The handling of a claimed message stores nothing of it again.
#[tokio::test]
async fn a_claimed_message_is_read_where_it_is() {
    let db = Database::create().await;
    store(&db, "g", "'k' || i", "0", [1, 2]).await;
    let claimed = claim(&db, &token(), &of_group("g")).await;
    db.execute(
        "create trigger refuse before insert on inbox_events begin select raise(abort, 'stored again'); end",
    )
    .await;
    let mut tx = db.store.begin().await.unwrap();
    let received = db.store.receive(&mut tx, &claimed).await.unwrap();
    assert!(received.iter().all(|received| matches!(received, Received::Pending { .. })), "{received:?}");
}

/// A page of dead letters costs what it holds, wherever it begins, and whosever they are.
#[tokio::test]
async fn a_page_of_dead_letters_stays_short() {
    let db = Database::counted().await;
    db.execute(
        "with recursive n (i) as (select 1 union all select i + 1 from n where i < 20000)
         insert into inbox_events (message_id, consumer_group, event_type, source, payload, status, updated_at)
         select i, iif(i % 1000 = 0, 'rare', 'most'), 't', 's', '{}', 'failed', i from n;
         with recursive n (i) as (select 1 union all select i + 1 from n where i < 20000)
         insert into outbox_events (event_type, topic, payload, status, updated_at) select 't', 'orders', '{}', 'failed', i from n",
    )
    .await;
    let steps = db.count_steps().await;
    let limit = BatchSize::new(20).unwrap();
    let cost = || steps.swap(0, Ordering::Relaxed);
    let inbox = db.store.inbox().dead_letters().unwrap();
    let outbox = db.store.outbox().dead_letters().unwrap();
    for filters in [FetchFilters::new(), of_group("most"), of_group("rare")] {
        let mut last = None;
        for _ in 0..3 {
            let page = inbox.list(&filters, last.as_ref(), limit).await.unwrap();
            let steps = cost();
            assert!(steps < 30_000, "{filters:?}: {steps} steps");
            last = page.into_iter().next_back().or(last);
        }
    }
    let both = of_group("most").consumer_group(ConsumerGroup::new("rare").unwrap());
    let all = inbox.list(&FetchFilters::new(), None, BatchSize::new(1_500).unwrap()).await.unwrap();
    assert_eq!(
        inbox.list(&both, None, BatchSize::new(1_500).unwrap()).await.unwrap(),
        all,
        "groups are merged"
    );
    cost();
    let mut last = None;
    for _ in 0..3 {
        let page = outbox.list(&FetchFilters::new(), last.as_ref(), limit).await.unwrap();
        let steps = cost();
        assert!(steps < 30_000, "{steps} steps");
        last = page.into_iter().next_back();
    }
}
