//! The plans of the hot statements: by index, whether SQLite knows the table or not.

use omni_box_core::{DeliveryMode, InboxEvent, OutboxEvent};
use omni_box_sql::{StoredEvent, render, render_for};
use omni_box_sqlite::{SqliteConfig, SqliteStore};
use sqlx::{AssertSqlSafe, Row};

use crate::database::Database;

macro_rules! query {
    ($file:literal) => {
        query!($file, render)
    };
    ($file:literal, $render:expr) => {
        ($file, $render(&SqliteConfig::default(), include_str!(concat!("../../queries/", $file))))
    };
}

async fn plan(store: &SqliteStore, sql: &str) -> String {
    let rows = sqlx::query(AssertSqlSafe(format!("explain query plan {sql}")))
        .fetch_all(store.pool())
        .await
        .unwrap();
    rows.iter().map(|row| row.get::<String, _>("detail")).collect::<Vec<_>>().join("\n")
}

async fn assert_plans(store: &SqliteStore, state: &str) {
    for ((file, sql), indexes) in [
        (query!("lanes/fetch.sql"), &["hot", "due", "retry", "topics"][..]),
        (query!("lanes/any_due.sql"), &["hot", "due", "retry"]),
        (query!("lanes/read.sql"), &["heads", "followers", "INTEGER PRIMARY KEY"]),
        (query!("lanes/complete.sql"), &["id"]),
        (query!("lanes/hold.sql"), &["id"]),
        (query!("lanes/follow.sql"), &["id", "heads"]),
        (query!("lanes/follow_deferred.sql"), &["id", "heads"]),
        (query!("lanes/orphaned.sql"), &["id", "heads", "followers"]),
        (query!("lanes/waits.sql"), &["followers"]),
        (query!("lanes/release_key.sql"), &["heads", "followers"]),
        (query!("lanes/release_orphans.sql"), &["heads", "followers"]),
        (query!("outbox/by_key.sql"), &["idempotency"]),
        (query!("outbox/complete.sql"), &["id"]),
        (query!("inbox/by_message.sql"), &["message"]),
        (query!("inbox/complete.sql"), &["id"]),
        (query!("inbox/settle_completed.sql"), &["id"]),
        (query!("inbox/set_back.sql"), &["id"]),
        (query!("inbox/fail.sql"), &["id"]),
        (query!("inbox/pending_of.sql"), &["pending"]),
    ] {
        let plan = plan(store, &sql).await;
        let table = if file.starts_with("inbox") { "inbox_events" } else { "outbox_events" };
        for index in indexes {
            let named = format!("INDEX {table}_{index} ");
            assert!(
                plan.contains(&named) || plan.contains(index) && index.contains(' '),
                "{state}: {file}: {index}\n{plan}"
            );
        }
        // a walk along an index is one too
        let walks =
            |line: &&str| line.starts_with("SCAN") && !line.contains("VIRTUAL TABLE") && !is_small(line);
        let walked: Vec<&str> = plan.lines().filter(walks).collect();
        assert!(walked.is_empty(), "{state}: {file}: {walked:?}\n{plan}");
        // the branches of a fetch, each at most the limit (one of them that of each topic); and what was read by id
        let sorts = plan.matches("USE TEMP B-TREE FOR ORDER BY").count();
        let allowed = match file {
            "lanes/fetch.sql" => 5,
            "lanes/read.sql" | "lanes/follow_deferred.sql" => 1,
            _ => 0,
        };
        assert!(sorts <= allowed, "{state}: {file}\n{plan}");
    }
}

/// One row, or what an inner query made.
fn is_small(line: &str) -> bool {
    ["SCAN c", "SCAN d", "SCAN l", "SCAN n", "SCAN t", "SCAN CONSTANT ROW", "SCAN (subquery", "SCAN (join"]
        .iter()
        .any(|small| line.starts_with(small))
}

async fn fill(db: &Database) {
    let numbers = "with recursive n (i) as (select 1 union all select i + 1 from n where i < 5000)";
    let payload = "json_object('a', hex(zeroblob(100)))";
    for (columns, values) in [
        ("", ""),
        (", held", ", 1"),
        (", held, head, hold_until", ", 1, 1, 9e15"),
        (", scheduled_at", ", 9e15"),
        (", status, completed_at", ", 'completed', 7"),
    ] {
        db.execute(&format!(
            "insert into outbox_events (event_type, topic, partition_key, payload{columns})
             {numbers} select 't', 'orders', 'k' || i % 1250, {payload}{values} from n"
        ))
        .await;
    }
    db.execute(&format!(
        "insert into inbox_events (message_id, consumer_group, event_type, source, payload, source_topic, source_partition,
            source_offset)
         {numbers} select i, 'g', 't', 's', '{{}}', 'orders', i % 4, i from n"
    ))
    .await;
}

#[tokio::test]
async fn hot_statements_go_by_index() {
    let db = Database::create().await;
    assert_plans(&db.store, "empty").await;
    assert_shared_plans::<OutboxEvent>(&db.store, "empty").await;
    assert_shared_plans::<InboxEvent>(&db.store, "empty").await;
    fill(&db).await;
    assert_plans(&db.store, "never analysed").await;
    assert_shared_plans::<OutboxEvent>(&db.store, "never analysed").await;
    assert_shared_plans::<InboxEvent>(&db.store, "never analysed").await;
    db.execute("analyze").await;
    // what was counted is read when a connection is opened
    let store = db.open().await;
    assert_plans(&store, "analysed").await;
    assert_shared_plans::<OutboxEvent>(&store, "analysed").await;
    assert_shared_plans::<InboxEvent>(&store, "analysed").await;
}

/// Statements that stand once for both tables, on one of them.
async fn assert_shared_plans<E: StoredEvent>(store: &SqliteStore, state: &str) {
    let table = E::TABLE.default_name();
    for ((file, sql), index) in [
        (query!("events/claim_one.sql", render_for::<E>), "id"),
        (query!("events/get.sql", render_for::<E>), "id"),
        (query!("events/purge.sql", render_for::<E>), "completed"),
        (query!("events/refresh.sql", render_for::<E>), "id"),
        (query!("events/release.sql", render_for::<E>), "id"),
    ] {
        let plan = plan(store, &sql).await;
        assert!(plan.contains(&format!("INDEX {table}_{index} ")), "{state}: {file}\n{plan}");
        let walks = plan.lines().any(|line| line.starts_with(&format!("SCAN {table}")) || line == "SCAN e");
        assert!(!walks && !plan.contains("FOR ORDER BY"), "{state}: {file}\n{plan}");
    }
}

#[tokio::test]
async fn claims_go_by_the_indexes_of_their_mode() {
    let db = Database::create().await;
    db.store.set_delivery_mode(DeliveryMode::Rows).await.unwrap();
    fill(&db).await;
    // most of a table that lives is history
    db.execute("update outbox_events set status = 'completed', completed_at = 7 where seq % 100 <> 0").await;
    for state in ["never analysed", "analysed"] {
        let store = db.open().await;
        for ((file, sql), indexes) in [
            (
                query!("outbox/claimable.sql"),
                &["order", "keyless", "again", "waiting", "later", "claimed", "keys", "scheduled"][..],
            ),
            (query!("outbox/keys.sql"), &["keys", "claimed", "scheduled"]),
            (query!("outbox/scheduled_keys.sql"), &["scheduled", "claimed", "keys"]),
        ] {
            let plan = plan(&store, &sql).await;
            for index in indexes {
                assert!(
                    plan.contains(&format!("INDEX outbox_events_{index}")),
                    "{state}: {file}: {index}\n{plan}"
                );
            }
            // along an index to a limit, or a look-up
            let walks = plan.lines().any(|line| {
                ["SCAN e", "SCAN o"].iter().any(|walk| line.starts_with(walk))
                    && !line.contains("USING INDEX")
            });
            // that of what was found
            let sorts = plan.matches("USE TEMP B-TREE FOR ORDER BY").count();
            assert!(!walks && sorts <= 1, "{state}: {file}\n{plan}");
        }
        db.execute("analyze").await;
    }
}

/// A claim of stored messages looks each row up that it needs, however many are pending.
#[tokio::test]
async fn claims_of_messages_walk_along_no_table() {
    let db = Database::create().await;
    for state in ["empty", "never analysed", "analysed"] {
        match state {
            "never analysed" => fill(&db).await,
            "analysed" => db.execute("analyze").await,
            _ => {}
        }
        let store = db.open().await;
        for ((file, sql), indexes) in [
            (query!("inbox/claimable.sql"), &["ready", "keyless", "claimed", "lines", "id"][..]),
            (query!("inbox/keys.sql"), &["lines", "claimed", "id"]),
            (query!("inbox/groups.sql"), &["pending"]),
        ] {
            let plan = plan(&store, &sql).await;
            for index in indexes {
                assert!(
                    plan.contains(&format!("INDEX inbox_events_{index} ")),
                    "{state}: {file}: {index}\n{plan}"
                );
            }
            let walks =
                plan.lines().any(|line| ["SCAN e", "SCAN o"].iter().any(|walk| line.starts_with(walk)));
            // that of what was found
            let sorts = plan.matches("USE TEMP B-TREE FOR ORDER BY").count();
            assert!(!walks && sorts <= 1, "{state}: {file}\n{plan}");
        }
        for ((file, sql), index) in [
            (query!("outbox/failed.sql"), "outbox_events_failed ("),
            (query!("outbox/uncopied.sql"), "outbox_events_uncopied ("),
            (query!("inbox/failed.sql"), "inbox_events_given_up ("),
            (query!("inbox/failed_of.sql"), "inbox_events_failed (consumer_group=? AND "),
            (query!("inbox/uncopied.sql"), "inbox_events_uncopied ("),
        ] {
            let plan = plan(&store, &sql).await;
            // from where the page begins
            let by_place = plan.contains(&format!("INDEX {index}(updated_at,id)>(?,?))"));
            assert!(by_place && !plan.contains("FOR ORDER BY"), "{state}: {file}\n{plan}");
        }
    }
}

/// A sample costs the same, however large the tables are: it walks along indexes of what is not completed, to a limit.
#[tokio::test]
async fn a_sample_goes_by_index() {
    let db = Database::create().await;
    for state in ["empty", "never analysed", "analysed"] {
        match state {
            "never analysed" => {
                fill(&db).await;
                db.execute("update outbox_events set status = 'failed' where seq % 100 = 1").await;
            }
            "analysed" => db.execute("analyze").await,
            _ => {}
        }
        let store = db.open().await;
        for ((file, sql), indexes) in [
            (query!("sample/outbox.sql"), &["hot", "due", "retry", "failed"][..]),
            (query!("sample/inbox.sql"), &["pending", "failed"]),
        ] {
            let plan = plan(&store, &sql).await;
            let table = if file.contains("inbox") { "inbox_events" } else { "outbox_events" };
            for index in indexes {
                assert!(plan.contains(&format!("INDEX {table}_{index}")), "{state}: {file}: {index}\n{plan}");
            }
            let walks = |line: &&str| {
                ["SCAN e", "SEARCH e"].iter().any(|walk| line.starts_with(walk)) && !line.contains("INDEX")
            };
            let walked: Vec<&str> = plan.lines().filter(walks).collect();
            assert!(walked.is_empty(), "{state}: {file}: {walked:?}\n{plan}");
        }
    }
}

#[tokio::test]
async fn the_quarantine_goes_by_index() {
    let db = Database::create().await;
    for (file, sql) in [query!("quarantine/list.sql"), query!("quarantine/purge.sql")] {
        let plan = plan(&db.store, &sql).await;
        assert!(plan.contains("INDEX inbox_quarantine_order "), "{file}\n{plan}");
        let walks = plan.lines().any(|line| line.starts_with("SCAN") && !is_small(line));
        assert!(!walks && !plan.contains("FOR ORDER BY"), "{file}\n{plan}");
    }
}
