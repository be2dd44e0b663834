//! Tables of the Python library omni-box become this library's, with what they hold.

use std::sync::Arc;
use std::time::Duration;

use omni_box_core::{DeliveryMode, ErrorKind, OutboxRepository};
use omni_box_harness::Log;
use omni_box_postgres::{PgConfig, PgStore, Table};

use crate::database::{Database, event, eventually, run_with};

const PYTHON: &str = include_str!("python_models.sql");

/// Events of two keys, whose ids and places in the table are not in the order of their times, and messages.
const ROWS: &str = "
    insert into outbox_events (id, event_type, payload, status, attempts_made, max_attempts, scheduled_at, completed_at, locked_at,
        locked_by, created_at, updated_at, last_error, aggregate_type, aggregate_id, topic, partition_key)
    select md5(n::text)::uuid, 'order.placed', jsonb_build_object('n', n), status, case status when 'failed' then 6 else 0 end, 6,
        timestamptz '2026-01-01' + n * interval '1 s', case status when 'completed' then timestamptz '2026-02-01' end,
        case n when 2 then now() end, case n when 2 then 'publisher-1' end, timestamptz '2026-01-01' + n / 2 * interval '1 s',
        case n when 3 then null else timestamptz '2026-01-02' end, case status when 'failed' then 'no' end,
        'order', gen_random_uuid(), 'orders', (n % 2)::text
    from (
        select n, case n % 5 when 0 then 'completed' when 1 then 'failed' else 'pending' end as status
        from generate_series(40, 1, -1) n
    ) o;
    insert into inbox_events (id, message_id, consumer_group, source, event_type, payload, headers, status, attempts_made, max_attempts,
        scheduled_at, completed_at)
    select gen_random_uuid(), n::text, 'shipping', 'orders', 'order.placed', '{\"n\": 1}', '{\"a\": \"b\"}',
        case n % 2 when 0 then 'completed' else 'pending' end, 0, 6, now(), case n % 2 when 0 then now() end
    from generate_series(1, 10) n";

/// Everything that Python stored, as text.
const HELD: &str = "select string_agg(row, E'\n' order by row) from (
    select concat_ws('|', id, event_type, payload, headers, status, attempts_made, max_attempts, last_error, scheduled_at, completed_at,
        locked_at, locked_by, created_at, aggregate_type, aggregate_id, topic, partition_key) as row from outbox_events
    union all
    select concat_ws('|', id, message_id, consumer_group, source, event_type, payload, headers, status, scheduled_at, completed_at,
        created_at) from inbox_events
) rows";

/// Columns and indexes that this library makes, of every table.
const CATALOGUE: &str = "select string_agg(what, E'\n' order by what) from (
    select concat_ws(' ', c.table_name, c.column_name, c.udt_name, c.character_maximum_length, c.is_nullable, c.column_default,
        c.is_identity, c.identity_generation, c.generation_expression) as what
    from information_schema.columns c where c.table_schema = 'public' and c.column_name <> 'payload'
    union all
    select i.indexname || ' ' || i.indexdef from pg_indexes i where i.schemaname = 'public' and i.indexname not like 'idx_%'
    union all
    select c.relname || ' ' || c.reloptions::text from pg_class c where c.relname like '%box_events'
    union all
    select o.conname || ' ' || pg_get_constraintdef(o.oid) from pg_constraint o
    where o.contype = 'c' and o.conname not like 'ck_%'
) c";

async fn on_tables_of_python(test: impl AsyncFnOnce(Arc<Database>)) {
    run_with(PgConfig::default(), async |db| {
        db.execute(PYTHON).await;
        test(db).await;
    })
    .await;
}

#[tokio::test]
async fn tables_of_the_python_library_are_adopted_with_what_they_hold() {
    on_tables_of_python(async |db: Arc<Database>| {
        db.execute(ROWS).await;
        let held: String = db.scalar(HELD).await;
        let log = Log::listen();
        db.store.migrate().await.unwrap();
        assert_eq!(db.store.verify().await.unwrap(), []);
        assert_eq!(db.scalar::<String>(HELD).await, held);
        for table in ["outbox_events", "inbox_events"] {
            let told = log.events().into_iter().filter(|line| line.get("table").is_some_and(|name| name == table));
            let fields: Vec<Vec<&str>> = told.map(|line| line.into_keys().collect()).collect();
            assert_eq!(fields, [["bytes", "message", "table"], ["locked_for", "message", "table"]]);
        }

        // as Python would have published them
        let python = "select string_agg(payload->>'n', ' ' order by created_at, id) from outbox_events where status <> 'completed'";
        let here = "select string_agg(payload->>'n', ' ' order by seq) from outbox_events where status <> 'completed'";
        assert_eq!(db.scalar::<String>(here).await, db.scalar::<String>(python).await);
        let numbers = "select array_agg(seq order by seq) from outbox_events where status <> 'completed'";
        assert_eq!(db.scalar::<Vec<i64>>(numbers).await, (1..=32).collect::<Vec<i64>>());
        db.enqueue(&[event("new")]).await;
        assert_eq!(db.scalar::<i64>("select seq from outbox_events where partition_key = 'new'").await, 33);

        // what Python claimed is finished by Python, in the mode that it knows
        assert_eq!(db.store.delivery_mode().await.unwrap(), DeliveryMode::Rows);
        let error = db.store.set_delivery_mode(DeliveryMode::Lanes).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Misconfigured, "{error}");
        db.execute("update outbox_events set locked_at = null, locked_by = null").await;
        db.store.set_delivery_mode(DeliveryMode::Lanes).await.unwrap();
        db.store.migrate().await.unwrap();
        assert_eq!(db.store.verify().await.unwrap(), []);
    })
    .await;
}

#[tokio::test]
async fn an_adopted_table_is_as_a_new_one() {
    let mut catalogues = Vec::new();
    for tables in [PYTHON, ""] {
        run_with(PgConfig::default(), async |db: Arc<Database>| {
            db.execute(tables).await;
            db.store.migrate().await.unwrap();
            for mode in [DeliveryMode::Rows, DeliveryMode::Lanes] {
                db.store.set_delivery_mode(mode).await.unwrap();
            }
            catalogues.push(db.scalar::<String>(CATALOGUE).await);
        })
        .await;
    }
    let lines = |catalogue: &str| catalogue.lines().map(str::to_owned).collect::<Vec<_>>();
    if let [adopted, new] = &catalogues[..] {
        assert_eq!(lines(adopted), lines(new));
    }
}

#[tokio::test]
async fn an_outbox_alone_is_adopted_and_an_inbox_alone_leaves_the_mode() {
    for (missing, mode) in [("inbox_events", DeliveryMode::Rows), ("outbox_events", DeliveryMode::Lanes)] {
        on_tables_of_python(async |db: Arc<Database>| {
            db.execute(&format!("drop table {missing}")).await;
            db.store.migrate().await.unwrap();
            assert_eq!(db.store.verify().await.unwrap(), []);
            assert_eq!(db.store.delivery_mode().await.unwrap(), mode, "without {missing}");
        })
        .await;
    }
}

#[tokio::test]
async fn tables_with_other_names_are_adopted() {
    let config = PgConfig::builder()
        .schema("shop \"two\"")
        .table(Table::OutboxEvents, "order's events")
        .table(Table::InboxEvents, "Received")
        .build()
        .unwrap();
    run_with(config, async |db: Arc<Database>| {
        let named = PYTHON
            .replace("table outbox_events", "table \"shop \"\"two\"\"\".\"order's events\"")
            .replace("on outbox_events", "on \"shop \"\"two\"\"\".\"order's events\"")
            .replace("table inbox_events", "table \"shop \"\"two\"\"\".\"Received\"")
            .replace("on inbox_events", "on \"shop \"\"two\"\"\".\"Received\"");
        db.execute(&format!("create schema \"shop \"\"two\"\"\"; {named}")).await;
        db.store.migrate().await.unwrap();
        assert_eq!(db.store.verify().await.unwrap(), []);
        db.enqueue(&[event("a")]).await;
    })
    .await;
}

#[tokio::test]
async fn a_table_of_anything_else_is_refused_and_left_alone() {
    let partitioned = PYTHON
        .replacen("primary key (id)", "primary key (id, created_at)", 1)
        .replacen("\n);", "\n) partition by range (created_at);", 1)
        .replacen("outbox_events (idempotency_key)", "outbox_events (idempotency_key, created_at)", 1);
    let without_inbox_key =
        PYTHON.replace("create unique index idx_inbox_dedup", "create index idx_inbox_dedup");
    let half_done = format!("{PYTHON}; alter table outbox_events add column seq bigint");
    for (tables, why) in [
        ("create table outbox_events (id bigint primary key)", "column id of table outbox_events is int8"),
        (
            "create table inbox_events (id uuid primary key)",
            "column message_id of table inbox_events is missing",
        ),
        (
            &partitioned,
            "table outbox_events is there already, and cannot be adopted as one of the Python library omni-box (it is partitioned",
        ),
        (&without_inbox_key, "no unique index on (message_id,consumer_group)"),
        (&half_done, "column seq is there already"),
    ] {
        run_with(PgConfig::default(), async |db: Arc<Database>| {
            let count = "select count(*) from information_schema.columns where table_schema = 'public'";
            db.execute(tables).await;
            let before: i64 = db.scalar(count).await;
            let error = db.store.migrate().await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Misconfigured, "{error}");
            assert!(error.to_string().contains(why), "{error}");
            assert_eq!(db.scalar::<i64>(count).await, before);
        })
        .await;
    }
}

#[tokio::test]
async fn an_adoption_that_waits_for_a_lock_lets_writers_pass() {
    on_tables_of_python(async |db: Arc<Database>| {
        let impatient = PgConfig::builder().migrate_wait(Duration::ZERO).build().unwrap();
        let mut long = db.pool.begin().await.unwrap();
        sqlx::query("lock table outbox_events in row exclusive mode").execute(&mut *long).await.unwrap();
        let error = PgStore::new(db.pool.clone(), impatient).migrate().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Contention, "{error}");

        let migration = tokio::spawn({
            let store = db.store.clone();
            async move { store.migrate().await }
        });
        eventually("the migration waits", async || {
            let waits = "select count(*) from pg_locks l join pg_class c on c.oid = l.relation
                         where c.relname = 'outbox_events' and not l.granted";
            (db.scalar::<i64>(waits).await > 0).then_some(())
        })
        .await;
        // queues behind the migration's lock, and gets its turn before the other transaction ends
        db.execute("update outbox_events set last_error = null").await;
        assert!(!migration.is_finished());
        long.rollback().await.unwrap();
        migration.await.unwrap().unwrap();
        assert_eq!(db.store.verify().await.unwrap(), []);
    })
    .await;
}
