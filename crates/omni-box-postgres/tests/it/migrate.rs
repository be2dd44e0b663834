//! Migrations: once, by the process that comes first, wherever the tables are to be.

use std::sync::Arc;

use omni_box_core::{DeliveryMode, ErrorKind, EventRepository, OutboxRepository};
use omni_box_postgres::{PgConfig, PgStore, SchemaDifference, Table};
use sqlx::SqlSafeStr;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::postgres::PgPoolOptions;

use crate::database::{Database, event, run, run_with};

#[tokio::test]
async fn ten_processes_migrate_at_once() {
    run_with(PgConfig::default(), async |db: Arc<Database>| {
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..10 {
            let options = db.pool.connect_options().as_ref().clone();
            tasks.spawn(async move {
                let pool = PgPoolOptions::new().max_connections(2).connect_with(options).await.unwrap();
                PgStore::new(pool.clone(), PgConfig::default()).migrate().await.unwrap();
                pool.close().await;
            });
        }
        tasks.join_all().await;
        assert_eq!(db.store.verify().await.unwrap(), []);
        assert_eq!(db.scalar::<i64>("select count(*) from omni_box_migrations").await, 1);
        assert_eq!(db.scalar::<i64>("select count(*) from outbox_lanes").await, 16);
    })
    .await;
}

#[tokio::test]
async fn installations_with_odd_names_stand_side_by_side() {
    run_with(PgConfig::default(), async |db: Arc<Database>| {
        let long = "x".repeat(63);
        let configs = [
            PgConfig::default(),
            PgConfig::builder().schema("Omni \"Box\"").build().unwrap(),
            PgConfig::builder().schema("sch.ema").table(Table::OutboxEvents, long).build().unwrap(),
            PgConfig::builder().schema("Größe").table(Table::Control, "c o n t r o l").build().unwrap(),
        ];
        for config in configs {
            let store = PgStore::new(db.pool.clone(), config);
            store.migrate().await.unwrap();
            store.migrate().await.unwrap();
            assert_eq!(store.verify().await.unwrap(), []);
            let mut tx = db.pool.begin().await.unwrap();
            assert!(store.create(&mut tx, &event("a")).await.unwrap().is_new());
            tx.commit().await.unwrap();
            let table = store.config().qualified(Table::OutboxEvents);
            assert_eq!(db.scalar::<i64>(&format!("select count(*) from {table}")).await, 1);
        }
    })
    .await;
}

#[tokio::test]
async fn the_printed_sql_is_the_migration() {
    run_with(PgConfig::builder().schema("elsewhere").build().unwrap(), async |db: Arc<Database>| {
        db.execute(&db.store.config().migration_sql()).await;
        assert_eq!(db.store.verify().await.unwrap(), []);
        db.store.migrate().await.unwrap();
        assert_eq!(db.store.delivery_mode().await.unwrap().as_str(), "lanes");
    })
    .await;
}

#[tokio::test]
async fn each_printed_migration_is_a_step_of_the_migration() {
    run_with(PgConfig::builder().schema("elsewhere").build().unwrap(), async |db: Arc<Database>| {
        const CATALOGUE: &str = "select string_agg(what, E'\n' order by what) from (
            select table_name || '.' || column_name || ' ' || udt_name || ' ' || coalesce(column_default, '') as what
            from information_schema.columns where table_schema = 'elsewhere'
            union all select indexdef from pg_indexes where schemaname = 'elsewhere'
            union all select version || ' ' || checksum from elsewhere.omni_box_migrations) c";
        for migration in db.store.config().migrations() {
            let is_control = |line: &str| ["begin;", "commit;"].contains(&line);
            assert!(!migration.sql.lines().any(is_control), "no transaction control in {}", migration.version);
            // as a migrator does it
            let mut tx = db.pool.begin().await.unwrap();
            sqlx::raw_sql(sqlx::AssertSqlSafe(migration.sql)).execute(&mut *tx).await.unwrap();
            tx.commit().await.unwrap();
        }
        assert_eq!(db.store.verify().await.unwrap(), []);
        let printed: String = db.scalar(CATALOGUE).await;
        db.execute("drop schema elsewhere cascade").await;
        db.store.migrate().await.unwrap();
        assert_eq!(db.scalar::<String>(CATALOGUE).await, printed);
    })
    .await;
}

#[tokio::test]
async fn verify_names_each_difference() {
    run(async |db: Arc<Database>| {
        db.execute(
            "drop table inbox_quarantine; alter table inbox_events drop column digest;
             alter table outbox_relays alter column worker type varchar(9); drop index outbox_events_due;
             update omni_box_migrations set checksum = 'x';
             insert into omni_box_migrations (version, name, checksum) values (99, 'future', 'y')",
        )
        .await;
        let found = db.store.verify().await.unwrap();
        let text = found.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        for wanted in [
            "table inbox_quarantine is missing",
            "column digest of table inbox_events is missing",
            "column worker of table outbox_relays is varchar, needs to be text",
            "index outbox_events_due of table outbox_events is missing or not valid",
            "migration 1 was applied with another text than this program has",
            "the schema has version 99, this program knows versions up to 1",
        ] {
            assert!(text.contains(wanted), "{wanted:?} is not in\n{text}");
        }
        assert_eq!(found.len(), 6, "{text}");
        assert!(db.store.migrate().await.is_err());
    })
    .await;
}

#[tokio::test]
async fn an_empty_database_is_named_as_such() {
    run_with(PgConfig::default(), async |db: Arc<Database>| {
        let found = db.store.verify().await.unwrap();
        assert!(found.contains(&SchemaDifference::MissingTable("outbox_events".to_owned())));
        let error = db.store.delivery_mode().await.unwrap_err();
        assert_eq!(error.kind(), omni_box_core::ErrorKind::Misconfigured);
        assert!(error.to_string().contains("migrate"), "{error}");
    })
    .await;
}

#[tokio::test]
async fn every_column_that_the_migrations_make_is_verified() {
    run(async |db: Arc<Database>| {
        let columns: Vec<(String, String)> = sqlx::query_as(
            "select table_name::text, column_name::text from information_schema.columns where table_schema = 'public'
             and table_name <> 'omni_box_migrations'",
        )
        .fetch_all(&db.pool)
        .await
        .unwrap();
        assert!(columns.len() > 80, "{columns:?}");
        let mut unnoticed = Vec::new();
        for (table, column) in columns {
            db.execute(&format!("alter table {table} rename column \"{column}\" to gone")).await;
            let found = db.store.verify().await.unwrap();
            let is_named = |difference: &SchemaDifference| {
                matches!(difference, SchemaDifference::MissingColumn { column: missing, .. } if *missing == column)
            };
            if !found.iter().any(is_named) {
                unnoticed.push(format!("{table}.{column}"));
            }
            db.execute(&format!("alter table {table} rename column gone to \"{column}\"")).await;
        }
        assert_eq!(unnoticed, [""; 0]);
    })
    .await;
}

/// The application's own migrations, by sqlx, up to a version.
fn of_the_application(version: usize) -> Migrator {
    let all = [
        "create table orders (id bigint primary key)",
        "create table order_events (
            order_id bigint not null references orders (id), event_id uuid not null references outbox_events (id)
         )",
    ];
    let migration = |(version, sql): (i64, &'static str)| {
        Migration::new(version, "app".into(), MigrationType::Simple, sql.into_sql_str(), false)
    };
    Migrator::with_migrations((1..).zip(all).take(version).map(migration).collect())
}

#[tokio::test]
async fn the_applications_own_migrations_stand_beside() {
    run_with(PgConfig::default(), async |db: Arc<Database>| {
        // as processes do that start at once
        let first = of_the_application(1);
        let (app, ours) = tokio::join!(first.run(&db.pool), db.store.migrate());
        app.unwrap();
        ours.unwrap();
        assert_eq!(db.store.verify().await.unwrap(), []);
        of_the_application(2).run(&db.pool).await.unwrap();
        for _ in 0..2 {
            db.store.migrate().await.unwrap();
            of_the_application(2).run(&db.pool).await.unwrap();
        }
        assert_eq!(db.store.verify().await.unwrap(), []);
        assert_eq!(db.scalar::<i64>("select count(*) from omni_box_migrations").await, 1);
        let theirs = "select array_agg(version order by version) from _sqlx_migrations where success";
        assert_eq!(db.scalar::<Vec<i64>>(theirs).await, [1, 2]);
        db.enqueue(&[event("a")]).await;
        db.execute("insert into orders values (7); insert into order_events select 7, id from outbox_events")
            .await;
    })
    .await;
}

/// What the next release has added stops no program of this one, where the migration says so. Where it does not, or says otherwise, the
/// program is refused.
#[tokio::test]
async fn programs_are_replaced_one_by_one_where_the_newer_schema_is_for_both() {
    run(async |db: Arc<Database>| {
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
            let refused = [
                db.store.migrate().await.unwrap_err(),
                db.store.delivery_mode().await.map(drop).unwrap_err(),
            ];
            for error in refused {
                assert_eq!(error.kind(), ErrorKind::Misconfigured, "{oldest}: {error:?}");
                assert!(error.to_string().contains("version 2"), "{oldest}: {error}");
            }
            let newer = SchemaDifference::NewerSchema { found: 2, known: 1 };
            assert_eq!(db.store.verify().await.unwrap(), [newer], "{oldest}");
        }
    })
    .await;
}
