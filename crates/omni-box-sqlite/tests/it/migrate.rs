//! Migrations: once, by the first program, whatever the tables are called.

use omni_box_core::{
    BatchSize, DeliveryMode, ErrorKind, Event, EventRepository, FetchFilters, InboxExt, OutboxExt,
    OutboxRepository, Store,
};
use omni_box_sqlite::{SchemaDifference, SqliteConfig, SqliteStore, Table};
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, SqlSafeStr, SqlitePool};
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::database::{Database, event};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_processes_open_and_migrate_at_once() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("new.db");
    let mut tasks = JoinSet::new();
    for _ in 0..10 {
        let path = path.clone();
        tasks.spawn(async move {
            // a pool and a queue of its own, as another process has them
            let store = SqliteStore::open(path, SqliteConfig::default()).await.unwrap();
            store.migrate().await.unwrap();
            store.migrate().await.unwrap();
            store.pool().close().await;
        });
    }
    tasks.join_all().await;
    let store = SqliteStore::open(path, SqliteConfig::default()).await.unwrap();
    assert_eq!(store.verify().await.unwrap(), []);
    let count = |table: &'static str| {
        let sql = format!("select count(*) from {table}");
        sqlx::query_scalar::<_, i64>(AssertSqlSafe(sql)).fetch_one(store.pool())
    };
    assert_eq!(count("omni_box_migrations").await.unwrap(), 1);
    assert_eq!(count("outbox_lanes").await.unwrap(), 16);
}

#[tokio::test]
async fn installations_with_odd_names_stand_side_by_side() {
    let db = Database::create().await;
    let tables = [
        Table::OutboxEvents,
        Table::InboxEvents,
        Table::OutboxLanes,
        Table::OutboxRelays,
        Table::InboxPartitions,
        Table::InboxMembers,
        Table::Quarantine,
        Table::Control,
        Table::Breakers,
        Table::Migrations,
    ];
    let odd = tables.into_iter().fold(SqliteConfig::builder(), |config, table| {
        config.table(table, format!("größe \"{table}\"; drop table x --"))
    });
    let store = SqliteStore::new(db.store.pool().clone(), odd.build().unwrap());
    store.migrate().await.unwrap();
    assert_eq!(store.verify().await.unwrap(), []);
    let mut tx = store.begin().await.unwrap();
    assert!(store.create(&mut tx, &event("a")).await.unwrap().is_new());
    store.commit(tx).await.unwrap();
    assert_eq!(db.count(&store.config().qualified(Table::OutboxEvents)).await, 1);
    assert_eq!(db.count("outbox_events").await, 0);
}

#[test]
fn names_that_cannot_be_are_refused() {
    for (name, says) in [
        ("", "the name of inbox_events is empty"),
        ("SQLite_x", "begins with sqlite_"),
        ("a\0b", "NUL character"),
        ("OUTBOX_EVENTS", "tables outbox_events and inbox_events have the same name"),
    ] {
        let error = SqliteConfig::builder().table(Table::InboxEvents, name).build().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Misconfigured);
        assert!(error.to_string().contains(says), "{error}");
    }
}

#[tokio::test]
async fn the_printed_sql_is_the_migration() {
    let directory = TempDir::new().unwrap();
    let store = SqliteStore::open(directory.path().join("x.db"), SqliteConfig::default()).await.unwrap();
    assert!(store.verify().await.unwrap().contains(&SchemaDifference::MissingTable("outbox_events".into())));
    let error = store.delivery_mode().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Misconfigured);
    assert!(error.to_string().contains("SqliteStore::migrate"), "{error}");
    let sql = store.config().migration_sql();
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(store.pool()).await.unwrap();
    assert_eq!(store.verify().await.unwrap(), []);
    store.migrate().await.unwrap();
    assert_eq!(store.delivery_mode().await.unwrap().as_str(), "lanes");
}

#[tokio::test]
async fn each_printed_migration_is_a_step_of_the_migration() {
    let directory = TempDir::new().unwrap();
    let mut schemas = Vec::new();
    for name in ["printed.db", "migrated.db"] {
        let store = SqliteStore::open(directory.path().join(name), SqliteConfig::default()).await.unwrap();
        if name == "printed.db" {
            for migration in store.config().migrations() {
                let mut tx = store.pool().begin().await.unwrap();
                sqlx::raw_sql(AssertSqlSafe(migration.sql)).execute(&mut *tx).await.unwrap();
                tx.commit().await.unwrap();
            }
            assert_eq!(store.verify().await.unwrap(), []);
        }
        store.migrate().await.unwrap();
        let schema: Vec<(String, Option<String>)> =
            sqlx::query_as("select name, sql from sqlite_schema order by name")
                .fetch_all(store.pool())
                .await
                .unwrap();
        schemas.push(schema);
    }
    assert_eq!(schemas[0], schemas[1]);
}

#[tokio::test]
async fn verify_names_each_difference() {
    let db = Database::create().await;
    db.execute(
        "drop table inbox_quarantine; alter table inbox_events drop column digest; drop index outbox_events_due;
         drop table outbox_relays; create table outbox_relays (owner text, worker integer, alive_until integer);
         update omni_box_migrations set checksum = 'x';
         insert into omni_box_migrations (version, name, checksum) values (99, 'future', 'y')",
    )
    .await;
    let found = db.store.verify().await.unwrap();
    let expected = [
        SchemaDifference::MissingIndex { table: "outbox_events".into(), index: "outbox_events_due".into() },
        SchemaDifference::MissingColumn { table: "inbox_events".into(), column: "digest".into() },
        SchemaDifference::WrongType {
            table: "outbox_relays".into(),
            column: "worker".into(),
            found: "integer".into(),
            expected: "text".into(),
        },
        SchemaDifference::MissingTable("inbox_quarantine".into()),
        SchemaDifference::UnexpectedChecksum(1),
        SchemaDifference::NewerSchema { found: 99, known: 1 },
    ];
    assert_eq!(found, expected);
    let error = db.store.migrate().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Misconfigured, "{error:?}");
}

#[tokio::test]
async fn a_file_that_is_not_wal_is_a_difference_and_works() {
    let directory = TempDir::new().unwrap();
    let options = SqliteConnectOptions::new().filename(directory.path().join("x.db")).create_if_missing(true);
    let pool = SqlitePool::connect_with(options).await.unwrap();
    let store = SqliteStore::new(pool, SqliteConfig::default());
    store.migrate().await.unwrap();
    let found =
        SchemaDifference::WrongSetting { setting: "journal_mode", found: "delete".into(), expected: "wal" };
    assert_eq!(store.verify().await.unwrap(), [found]);
    let mut tx = store.begin().await.unwrap();
    assert!(store.create(&mut tx, &event("a")).await.unwrap().is_new());
    store.commit(tx).await.unwrap();
}

/// A program that writes to the table by other means need not know what omni-box adds to it.
#[tokio::test]
async fn a_foreign_writer_names_only_what_it_has() {
    let db = Database::create().await;
    db.execute(
        "insert into outbox_events (event_type, topic, partition_key, payload) values ('t', 'orders', 'a', '{\"a\": 1}');
         insert into inbox_events (message_id, consumer_group, event_type, source, payload) values ('m', 'g', 't', 's', '{}')",
    )
    .await;
    db.enqueue(&[event("a")]).await;
    let lanes: Vec<i64> = sqlx::query_scalar("select distinct lane from outbox_events")
        .fetch_all(db.store.pool())
        .await
        .unwrap();
    assert_eq!(lanes.len(), 1, "a key belongs to one lane, whatever program writes");
    let (limit, filters) = (BatchSize::new(10).unwrap(), FetchFilters::new());
    let inbox = db.store.inbox().fetch_pending(limit, &filters).await.unwrap();
    assert_eq!(inbox.len(), 1);
    for bad in [
        "insert into outbox_events (id, event_type, topic, payload) values ('7', 't', 'orders', '{}')",
        "insert into outbox_events (event_type, topic, payload) values ('t', 'orders', 'no json')",
        "insert into outbox_events (event_type, topic, payload, status) values ('t', 'orders', '{}', 'done')",
        "insert into outbox_events (event_type, topic, payload, created_at) values ('t', 'orders', '{}', 'now')",
    ] {
        sqlx::raw_sql(bad).execute(db.store.pool()).await.unwrap_err();
    }
}

/// One bad row blocks no fetch.
#[tokio::test]
async fn text_of_a_foreign_writer_that_is_none_can_be_read() {
    let db = Database::create().await;
    db.execute(
        "insert into outbox_events (event_type, topic, payload, last_error) values (cast(x'6f80' as text), 'orders', '{}', cast(x'80' as text));
         insert into inbox_events (message_id, consumer_group, event_type, source, payload) values (cast(x'6d80' as text), 'g', 't', 's', '{}')",
    )
    .await;
    db.enqueue(&[event("a")]).await;
    let (limit, filters) = (BatchSize::new(10).unwrap(), FetchFilters::new());
    let outbox = db.store.outbox().fetch_pending(limit, &filters).await.unwrap();
    assert_eq!(outbox.len(), 2);
    assert_eq!((outbox[0].event_type(), outbox[0].lifecycle().last_error()), ("o\u{fffd}", Some("\u{fffd}")));
    let inbox = db.store.inbox().fetch_pending(limit, &filters).await.unwrap();
    assert_eq!(inbox[0].message_id(), "m\u{fffd}");
}

#[tokio::test]
async fn lanes_spread_keys_as_they_are_usually_made() {
    let db = Database::create().await;
    let makers: [fn(u32) -> String; 4] = [
        |n| format!("order-{n}"),
        |n| format!("{n:06}"),
        |_| omni_box_core::EventId::generate().to_string(),
        |n| format!("tenant-{}/cart", n * 7),
    ];
    for make in makers {
        let events: Vec<_> = (0..1000).map(|n| event(&make(n))).collect();
        db.enqueue(&events).await;
        let sizes: Vec<i64> = sqlx::query_scalar("select count(*) from outbox_events group by lane")
            .fetch_all(db.store.pool())
            .await
            .unwrap();
        assert!(sizes.len() >= 8 && sizes.iter().all(|size| *size < 250), "{}: {sizes:?}", make(1));
        db.execute("delete from outbox_events").await;
    }
}

/// The application's own migrations, by sqlx, up to a version.
fn of_the_application(version: usize) -> Migrator {
    let all = [
        "create table orders (id integer primary key)",
        "create table order_events (
            order_id integer not null references orders (id), event_id text not null references outbox_events (id)
         )",
    ];
    let migration = |(version, sql): (i64, &'static str)| {
        Migration::new(version, "app".into(), MigrationType::Simple, sql.into_sql_str(), false)
    };
    Migrator::with_migrations((1..).zip(all).take(version).map(migration).collect())
}

#[tokio::test]
async fn the_applications_own_migrations_stand_beside() {
    let directory = TempDir::new().unwrap();
    let store = SqliteStore::open(directory.path().join("app.db"), SqliteConfig::default()).await.unwrap();
    of_the_application(1).run(store.pool()).await.unwrap();
    store.migrate().await.unwrap();
    assert_eq!(store.verify().await.unwrap(), []);
    of_the_application(2).run(store.pool()).await.unwrap();
    for _ in 0..2 {
        store.migrate().await.unwrap();
        of_the_application(2).run(store.pool()).await.unwrap();
    }
    assert_eq!(store.verify().await.unwrap(), []);
    let versions = "select version from omni_box_migrations union all select version from _sqlx_migrations where success";
    let versions: Vec<i64> = sqlx::query_scalar(versions).fetch_all(store.pool()).await.unwrap();
    assert_eq!(versions, [1, 1, 2], "each has its own");
    let mut tx = store.begin().await.unwrap();
    store.create(&mut tx, &event("a")).await.unwrap();
    for sql in ["insert into orders values (7)", "insert into order_events select 7, id from outbox_events"] {
        assert_eq!(sqlx::query(sql).execute(&mut *tx).await.unwrap().rows_affected(), 1, "{sql}");
    }
    store.commit(tx).await.unwrap();
}

/// What the next release has added stops no program of this one, where the migration says so. Where it does not, or says otherwise, the
/// program is refused.
#[tokio::test]
async fn programs_are_replaced_one_by_one_where_the_newer_schema_is_for_both() {
    let db = Database::create().await;
    db.execute(
        "alter table outbox_events add column of_the_next text;
         update omni_box_control set schema_version = 2;
         insert into omni_box_migrations (version, name, checksum, oldest) values (2, 'next', 'y', 1)",
    )
    .await;
    // as a program does that is started again
    db.store.migrate().await.unwrap();
    assert_eq!(db.store.verify().await.unwrap(), []);
    assert_eq!(db.store.delivery_mode().await.unwrap(), DeliveryMode::Lanes);
    db.enqueue(&[event("a")]).await;
    for oldest in ["2", "null"] {
        db.execute(&format!("update omni_box_migrations set oldest = {oldest} where version = 2")).await;
        let refused =
            [db.store.migrate().await.unwrap_err(), db.store.delivery_mode().await.map(drop).unwrap_err()];
        for error in refused {
            assert_eq!(error.kind(), ErrorKind::Misconfigured, "{oldest}: {error:?}");
            assert!(error.to_string().contains("version 2"), "{oldest}: {error}");
        }
        let newer = SchemaDifference::NewerSchema { found: 2, known: 1 };
        assert_eq!(db.store.verify().await.unwrap(), [newer], "{oldest}");
    }
}
