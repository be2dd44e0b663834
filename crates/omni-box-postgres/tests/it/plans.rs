//! The plans of the hot statements: by index, whatever the planner knows of the table and of the parameters.

use std::sync::Arc;

use sqlx::{AssertSqlSafe, Executor, PgConnection};

use crate::database::{Database, run};

const LANES: &str = "'{0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15}'";

/// Names in a statement as the default settings have them.
fn render(sql: &str) -> String {
    const OFFSET: &str =
        "coalesce(nullif(current_setting('omni_box.clock_offset', true), ''), '0')::interval";
    let columns = "e.id, e.payload::text, e.headers::text, e.topic";
    sql.replace("{{clock}}", &format!("(select clock_timestamp() + {OFFSET})"))
        .replace("{{statement_clock}}", &format!("(statement_timestamp() + {OFFSET})"))
        .replace("{{outbox_columns}}", columns)
        .replace("{{inbox_columns}}", columns)
        .replace("{{", "")
        .replace("}}", "")
}

async fn explain(conn: &mut PgConnection, types: &str, sql: &str, arguments: &str, mode: &str) -> String {
    for statement in
        [format!("set plan_cache_mode = {mode}"), format!("prepare hot ({types}) as {}", render(sql))]
    {
        conn.execute(sqlx::raw_sql(AssertSqlSafe(statement))).await.unwrap();
    }
    let explain = format!("explain (costs on) execute hot({arguments})");
    let lines: Vec<String> =
        sqlx::query_scalar(AssertSqlSafe(explain)).persistent(false).fetch_all(&mut *conn).await.unwrap();
    conn.execute("deallocate hot").await.unwrap();
    lines.join("\n")
}

async fn fill(db: &Database) {
    let filler = "json_build_object('a', repeat('x', 200))";
    for (key, count, columns, values) in [
        ("'k' || i % 5000", 100_000, "", ""),
        ("'h' || i % 50", 30_000, ", held", ", true"),
        ("'h' || i", 50, ", held, head, hold_until", ", true, true, now() + interval '1 h'"),
        ("'d' || i % 50", 30_000, ", scheduled_at", ", now() + interval '1 d'"),
    ] {
        db.execute(&format!(
            "insert into outbox_events (event_type, topic, partition_key, payload{columns})
             select 't', 'orders', {key}, {filler}{values} from generate_series(1, {count}) i"
        ))
        .await;
    }
    db.execute(
        "insert into inbox_events (message_id, consumer_group, event_type, source, payload, source_topic, source_partition,
            source_offset)
         select i::text, 'g', 't', 's', '{}', 'orders', i % 4, i from generate_series(1, 20000) i",
    )
    .await;
}

async fn assert_plans(db: &Database, state: &str) {
    let mut conn = db.pool.acquire().await.unwrap();
    let many =
        format!("{LANES}, array_fill(256, array[16]), array_fill(gen_random_uuid(), array[1000]), 67108864");
    let one = "'{3}', '{5000}', '{}', 67108864".to_owned();
    for mode in ["force_generic_plan", "force_custom_plan"] {
        for arguments in [&many, &one] {
            let sql = include_str!("../../queries/lanes/fetch.sql");
            let plan = explain(&mut conn, "smallint[], int[], uuid[], bigint", sql, arguments, mode).await;
            for index in ["hot", "due", "retry", "heads", "followers"] {
                assert!(
                    plan.contains(&format!("using outbox_events_{index} on")),
                    "{state}, {mode}: {index}\n{plan}"
                );
            }
            for bad in ["Seq Scan", "Bitmap", "JIT"] {
                assert!(!plan.contains(bad), "{state}, {mode}: {bad}\n{plan}");
            }
        }
        if state == "empty" {
            continue;
        }
        let complete = include_str!("../../queries/lanes/complete.sql");
        let types = "uuid, smallint[], bigint[], uuid[]";
        let arguments = format!(
            "gen_random_uuid(), {LANES}, array_fill(1::bigint, array[16]), array_fill(gen_random_uuid(), array[1000])"
        );
        let plan = explain(&mut conn, types, complete, &arguments, mode).await;
        assert!(
            plan.contains("outbox_events_pkey") && !plan.contains("Seq Scan on outbox_events"),
            "{state}, {mode}\n{plan}"
        );
        let orphans = include_str!("../../queries/lanes/release_orphans.sql");
        let arguments = format!("gen_random_uuid(), {LANES}, array_fill(1::bigint, array[16])");
        let plan = explain(&mut conn, "uuid, smallint[], bigint[]", orphans, &arguments, mode).await;
        assert!(!plan.contains("Seq Scan on outbox_events"), "{state}, {mode}\n{plan}");
        let release = include_str!("../../queries/lanes/release_keys.sql");
        let arguments = format!("'{{3}}', '{{orders}}', '{{h1}}', {LANES}");
        let plan =
            explain(&mut conn, "smallint[], text[], text[], smallint[]", release, &arguments, mode).await;
        assert!(!plan.contains("Seq Scan on outbox_events"), "{state}, {mode}\n{plan}");
        let pending = include_str!("../../queries/inbox/pending_of.sql").replace("e.topic", "e.source");
        let plan = explain(
            &mut conn,
            "text, text, int, bigint, bigint",
            &pending.replace("{{inbox_columns}}", "e.id"),
            "'g', 'orders', 1, 5, 100",
            mode,
        )
        .await;
        assert!(plan.contains("Index Scan using inbox_events_pending"), "{state}, {mode}\n{plan}");
    }
}

#[tokio::test]
async fn hot_statements_go_by_index() {
    run(async |db: Arc<Database>| {
        assert_plans(&db, "empty").await;
        fill(&db).await;
        assert_plans(&db, "never analysed").await;
        db.execute("analyze outbox_events; analyze inbox_events").await;
        assert_plans(&db, "analysed").await;
    })
    .await;
}

/// Where one key is nearly all that waits, every look-up seems to be answered by the first row that comes along.
#[tokio::test]
async fn one_key_with_all_the_followers_does_not_make_look_ups_scan_the_table() {
    run(async |db: Arc<Database>| {
        for (key, count, columns, values) in [
            ("'hot'", 50_000, ", held", ", true"),
            ("'hot'", 1, ", held, head, hold_until", ", true, true, now() + interval '1 h'"),
            ("'k' || i", 2_000, "", ""),
        ] {
            db.execute(&format!(
                "insert into outbox_events (event_type, topic, partition_key, payload{columns})
                 select 't', 'orders', {key}, '{{}}'{values} from generate_series(1, {count}) i"
            ))
            .await;
        }
        let mut conn = db.pool.acquire().await.unwrap();
        let ids = "array_fill(gen_random_uuid(), array[1000])";
        let fetch = format!("{LANES}, array_fill(256, array[16]), {ids}, 67108864");
        for state in ["never analysed", "analysed"] {
            for mode in ["force_generic_plan", "force_custom_plan"] {
                for (name, types, arguments, sql) in [
                    (
                        "fetch",
                        "smallint[], int[], uuid[], bigint",
                        fetch.clone(),
                        include_str!("../../queries/lanes/fetch.sql"),
                    ),
                    (
                        "follow",
                        "uuid[], smallint[]",
                        format!("{ids}, {LANES}"),
                        include_str!("../../queries/lanes/follow.sql"),
                    ),
                    (
                        "follow_deferred",
                        "uuid[], smallint[]",
                        format!("{ids}, {LANES}"),
                        include_str!("../../queries/lanes/follow_deferred.sql"),
                    ),
                    (
                        "follow_orphaned",
                        "uuid[], smallint[]",
                        format!("{ids}, {LANES}"),
                        include_str!("../../queries/lanes/follow_orphaned.sql"),
                    ),
                    (
                        "release_keys",
                        "smallint[], text[], text[], smallint[]",
                        format!("'{{3}}', '{{orders}}', '{{k1}}', {LANES}"),
                        include_str!("../../queries/lanes/release_keys.sql"),
                    ),
                    (
                        "release_orphans",
                        "uuid, smallint[], bigint[]",
                        format!("gen_random_uuid(), {LANES}, array_fill(1::bigint, array[16])"),
                        include_str!("../../queries/lanes/release_orphans.sql"),
                    ),
                ] {
                    let plan = explain(&mut conn, types, sql, &arguments, mode).await;
                    // a scan for the ids of a whole batch (`e`) may be right in so small a table
                    for looked_up in ["h", "f"] {
                        let scan = format!("Seq Scan on outbox_events {looked_up}");
                        assert!(!plan.contains(&scan), "{state}, {mode}, {name}\n{plan}");
                    }
                }
            }
            db.execute("analyze outbox_events").await;
        }
    })
    .await;
}

#[tokio::test]
async fn the_sixth_execution_is_still_an_index_scan() {
    run(async |db: Arc<Database>| {
        fill(&db).await;
        db.execute("analyze outbox_events").await;
        let mut conn = db.pool.acquire().await.unwrap();
        let sql = render(include_str!("../../queries/lanes/fetch.sql"));
        let prepare = format!("prepare hot (smallint[], int[], uuid[], bigint) as {sql}");
        conn.execute(sqlx::raw_sql(AssertSqlSafe(prepare))).await.unwrap();
        let execute = format!("execute hot({LANES}, array_fill(64, array[16]), '{{}}', 67108864)");
        for _ in 0..6 {
            conn.execute(sqlx::raw_sql(AssertSqlSafe(execute.clone()))).await.unwrap();
        }
        let plan: Vec<String> = sqlx::query_scalar(AssertSqlSafe(format!("explain {execute}")))
            .persistent(false)
            .fetch_all(&mut *conn)
            .await
            .unwrap();
        let plan = plan.join("\n");
        assert!(plan.contains("using outbox_events_hot on") && !plan.contains("Seq Scan"), "{plan}");
    })
    .await;
}

/// Upkeep finds what is old and done by index, where nothing is and where all is.
#[tokio::test]
async fn the_clean_up_goes_by_index() {
    run(async |db: Arc<Database>| {
        db.execute(
            "insert into outbox_events (event_type, topic, payload, status, completed_at)
             select 't', 'orders', '{}', 'completed', now() - random() * interval '1 d' from generate_series(1, 50000) i;
             insert into inbox_events (message_id, consumer_group, event_type, source, payload, status, completed_at)
             select i::text, 'g', 't', 's', '{}', 'completed', now() - random() * interval '1 d' from generate_series(1, 50000) i",
        )
        .await;
        let mut conn = db.pool.acquire().await.unwrap();
        for state in ["never analysed", "analysed"] {
            for mode in ["force_generic_plan", "force_custom_plan"] {
                for retention in ["1 s", "1 y"] {
                    for (table, sql) in [
                        ("outbox_events", include_str!("../../queries/outbox/cleanup.sql")),
                        ("inbox_events", include_str!("../../queries/inbox/cleanup.sql")),
                    ] {
                        let arguments = format!("'{retention}', 1000");
                        let plan = explain(&mut conn, "interval, bigint", sql, &arguments, mode).await;
                        for needed in [
                            format!("Index Scan using {table}_completed on {table} d"),
                            format!("{table}_pkey"),
                        ] {
                            assert!(plan.contains(&needed), "{state}, {mode}, {retention}: {needed}\n{plan}");
                        }
                        for bad in ["Seq Scan", "Sort"] {
                            assert!(!plan.contains(bad), "{state}, {mode}, {retention}: {bad}\n{plan}");
                        }
                    }
                }
            }
            db.execute("analyze outbox_events; analyze inbox_events").await;
        }
    })
    .await;
}
