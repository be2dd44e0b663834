//! Samples of tables that are larger than what is counted, and of what only a server has.

use std::time::Duration;

use omni_box_core::Store;
use omni_box_core::store::{Count, Sample};
use omni_box_postgres::{PgConfig, PgStore};
use sqlx::Executor;

use crate::database::run;

async fn sample(store: &PgStore) -> Sample {
    store.inspection().unwrap().sample().await.unwrap()
}

#[tokio::test]
async fn more_than_can_be_counted_is_estimated() {
    run(async |db| {
        let fill = async |count: u32| {
            db.execute(&format!(
                "insert into outbox_events (event_type, topic, partition_key, payload)
                 select 't', 'orders', 'k' || i, '{{}}' from generate_series(1, {count}) i"
            ))
            .await;
        };
        fill(10_000).await;
        let exact = sample(&db.store).await.outbox.backlog;
        assert_eq!(exact, Count { count: 10_000, is_exact: true });
        fill(1).await;
        let never_analysed = sample(&db.store).await.outbox.backlog;
        assert!(!never_analysed.is_exact && never_analysed.count >= 10_000, "{never_analysed:?}");
        fill(9_999).await;
        db.execute("analyze outbox_events").await;
        let estimated = sample(&db.store).await.outbox.backlog;
        assert!(!estimated.is_exact && (19_900..=20_000).contains(&estimated.count), "{estimated:?}");
        db.execute("update outbox_events set status = 'failed'").await;
        let failed = sample(&db.store).await.outbox.failed;
        assert_eq!(failed, Count { count: 10_000, is_exact: false }, "at least so many");
    })
    .await;
}

#[tokio::test]
async fn keys_and_schedules_beyond_the_limit_are_marked() {
    run(async |db| {
        db.execute(
            "insert into outbox_events (event_type, topic, partition_key, payload, held, head)
             select 't', 'orders', 'k' || i, '{}', true, true from generate_series(1, 10001) i;
             insert into outbox_events (event_type, topic, partition_key, payload, created_at, scheduled_at)
             select 't', 'orders', 'one', '{}', now() - interval '2 h', now() - interval '1 h' from generate_series(1, 700) i",
        )
        .await;
        let outbox = sample(&db.store).await.outbox;
        assert_eq!(outbox.parked_keys, Count { count: 10_000, is_exact: false });
        assert!(!outbox.retrying_keys.is_exact, "some of those that were not looked at may wait for a retry");
        assert!(!outbox.backlog.is_exact && outbox.backlog.count >= 600, "{:?}", outbox.backlog);
        assert!(outbox.oldest_due_age.is_some_and(|age| age.as_secs() / 60 == 60), "{:?}", outbox.oldest_due_age);
    })
    .await;
}

/// It holds vacuum back, and what the relay may read.
#[tokio::test]
async fn the_oldest_transaction_has_an_age_and_every_process_sees_the_same() {
    run(async |db| {
        let mut open = db.pool.begin().await.unwrap();
        open.execute("select 1").await.unwrap();
        db.pool.execute("select pg_sleep(0.05)").await.unwrap();
        let other = PgStore::new(db.pool.clone(), PgConfig::default());
        let samples = [sample(&db.store).await, sample(&other).await];
        for sample in &samples {
            let age = sample.oldest_transaction_age.unwrap();
            assert!((Duration::from_millis(50)..Duration::from_secs(60)).contains(&age), "{age:?}");
        }
        assert_eq!(samples[0].outbox, samples[1].outbox);
        open.rollback().await.unwrap();
        assert_eq!(sample(&db.store).await.oldest_transaction_age, None);
    })
    .await;
}
