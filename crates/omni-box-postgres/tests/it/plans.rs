//! The plans of the hot statements: by index, whatever the planner knows of the table and of the parameters.

use std::sync::Arc;

use omni_box_core::{DeliveryMode, OutboxEvent};
use omni_box_postgres::PgConfig;
use omni_box_sql::render_for;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

use crate::database::{Database, run};

const LANES: &str = "'{0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15}'";

/// Every lane from its beginning.
const ALL: &str = "array_fill(0::bigint, array[16])";

/// A statement, and the types of its parameters.
pub(crate) struct Hot {
    pub(crate) file: &'static str,
    pub(crate) types: &'static str,
    pub(crate) template: &'static str,
    pub(crate) render: fn(&PgConfig, &str) -> String,
}

macro_rules! hot {
    ($file:literal, $types:literal) => {
        $crate::plans::hot!($file, $types, omni_box_sql::render)
    };
    ($file:literal, $types:literal, $render:expr) => {
        $crate::plans::Hot {
            file: $file,
            types: $types,
            template: include_str!(concat!("../../queries/", $file)),
            render: $render,
        }
    };
}

pub(crate) use hot;

static ADVANCE: Hot = hot!("lanes/advance.sql", "uuid, smallint[], text, bigint, text");
static CANDIDATES: Hot = hot!("outbox/candidates.sql", "bigint, text[], text[], uuid[], interval");
static CLAIM: Hot = hot!("outbox/claim.sql", "bigint, uuid[], text, interval");
static COMPLETE: Hot = hot!("lanes/complete.sql", "uuid, smallint[], bigint[], uuid[]");
static FAILED_INBOX: Hot = hot!("inbox/failed.sql", "bigint, timestamptz, uuid, text[], text[]");
static FAILED_OUTBOX: Hot = hot!("outbox/failed.sql", "bigint, timestamptz, uuid, text[], text[], uuid[]");
static FETCH: Hot = hot!("lanes/fetch.sql", "smallint[], int[], uuid[], bigint[]");
static FETCH_PENDING: Hot = hot!("outbox/fetch.sql", "bigint, text[], text[], uuid[]");
static FETCH_SIZED: Hot =
    hot!("lanes/fetch_sized.sql", "smallint[], int[], uuid[], bigint, bigint[], int[], text[]");
static FOLLOW: Hot = hot!("lanes/follow.sql", "uuid[], smallint[]");
static FOLLOW_DEFERRED: Hot = hot!("lanes/follow_deferred.sql", "uuid[], smallint[]");
static KEYS: Hot = hot!("outbox/keys.sql", "bigint, text[], text[], uuid[], interval, text, text");
static ORPHANED: Hot = hot!("lanes/orphaned.sql", "uuid[], smallint[]");
static PENDING_OF: Hot = hot!("inbox/pending_of.sql", "text, text, int, bigint, bigint");
static PURGE_FAILED_INBOX: Hot = hot!("inbox/purge_failed.sql", "interval, bigint");
static PURGE_FAILED_OUTBOX: Hot = hot!("outbox/purge_failed.sql", "interval, bigint");
static PURGE_INBOX: Hot = hot!("inbox/purge.sql", "interval, bigint, timestamptz");
static PURGE_OUTBOX: Hot = hot!("outbox/purge.sql", "interval, bigint, bigint");
static QUARANTINE_LIST: Hot = hot!("quarantine/list.sql", "text, timestamptz, uuid, bigint");
static QUARANTINE_PURGE: Hot = hot!("quarantine/purge.sql", "text, interval, bigint");
static UNCOPIED_OUTBOX: Hot =
    hot!("outbox/uncopied.sql", "bigint, timestamptz, uuid, text[], text[], uuid[]");
static UNCOPIED_INBOX: Hot = hot!("inbox/uncopied.sql", "bigint, timestamptz, uuid, text[], text[]");
static RELEASE_STALE: Hot = hot!("events/release_stale.sql", "interval, bigint", render_for::<OutboxEvent>);
static RELEASE_KEYS: Hot =
    hot!("lanes/release_keys.sql", "smallint[], text[], text[], smallint[], bigint, bigint");
static RELEASE_ORPHANS: Hot = hot!("lanes/release_orphans.sql", "uuid, smallint[], bigint[], bigint");
static SAMPLE_INBOX: Hot = hot!("sample/inbox.sql", "int");
static SAMPLE_OUTBOX: Hot = hot!("sample/outbox.sql", "text");
static SEQUENCE: Hot = hot!("control/sequence.sql", "text, boolean");
static SWEEP: Hot = hot!("lanes/sweep.sql", "uuid, smallint[], bigint");
static UNDRAINED: Hot = hot!("control/undrained.sql", "int");
static UNRELEASED: Hot = hot!("lanes/unreleased.sql", "smallint[], text[], text[], smallint[]");

impl Hot {
    fn prepare(&self) -> String {
        let sql = (self.render)(&PgConfig::default(), self.template);
        format!("prepare hot ({}) as {sql}", self.types)
    }

    pub(crate) async fn plan(&self, conn: &mut PgConnection, arguments: &str, mode: &str) -> String {
        for statement in [format!("set plan_cache_mode = {mode}"), self.prepare()] {
            conn.execute(sqlx::raw_sql(AssertSqlSafe(statement))).await.unwrap();
        }
        let explain = format!("explain (costs on) execute hot({arguments})");
        let lines: Vec<String> =
            sqlx::query_scalar(AssertSqlSafe(explain)).persistent(false).fetch_all(&mut *conn).await.unwrap();
        conn.execute("deallocate hot").await.unwrap();
        lines.join("\n")
    }

    /// How many blocks it reads.
    pub(crate) async fn blocks(&self, conn: &mut PgConnection, arguments: &str, mode: &str) -> u64 {
        for statement in [format!("set plan_cache_mode = {mode}"), self.prepare()] {
            conn.execute(sqlx::raw_sql(AssertSqlSafe(statement))).await.unwrap();
        }
        let explain = format!("explain (analyze, buffers, timing off, format json) execute hot({arguments})");
        let plan: serde_json::Value =
            sqlx::query_scalar(AssertSqlSafe(explain)).persistent(false).fetch_one(&mut *conn).await.unwrap();
        conn.execute("deallocate hot").await.unwrap();
        let of = |kind: &str| plan[0]["Plan"][kind].as_u64().unwrap();
        of("Shared Hit Blocks") + of("Shared Read Blocks")
    }
}

/// Whether a plan scans a whole table; what is for the other delivery mode is never executed.
fn scans(plan: &str, table: &str) -> bool {
    let scan = format!("Seq Scan on {table}");
    plan.lines().any(|line| line.contains(&scan) && !line.contains("by_rows"))
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

/// What a table with a history is mostly made of.
async fn fill_completed(db: &Database) {
    db.execute(
        "insert into outbox_events (event_type, topic, partition_key, payload, status, completed_at)
         select 't', 'orders', 'k' || i % 5000, '{}', 'completed', now() from generate_series(1, 100000) i;
         update outbox_lanes set read_to = (select max(seq) from outbox_events);
         insert into inbox_events (message_id, consumer_group, event_type, source, payload, status, completed_at)
         select 'c' || i, 'g' || i % 20, 't', 's', '{}', 'completed', now() from generate_series(1, 100000) i",
    )
    .await;
}

async fn fill_failed(db: &Database) {
    db.execute(
        "insert into outbox_events (event_type, topic, payload, status)
         select 't', 'orders', '{}', 'failed' from generate_series(1, 20000) i;
         insert into inbox_events (message_id, consumer_group, event_type, source, payload, status, updated_at)
         select 'f' || i, 'g' || i % 20, 't', 's', '{}', 'failed', now() + i * interval '1 us' from generate_series(1, 20000) i;
         insert into inbox_quarantine (consumer_group, topic, partition, \"offset\", error)
         select 'g' || i % 20, 'orders', 0, i, 'e' from generate_series(1, 20000) i",
    )
    .await;
}

async fn assert_plans(db: &Database, state: &str) {
    let mut conn = db.pool.acquire().await.unwrap();
    let in_flight = "array_fill(gen_random_uuid(), array[1000])";
    let many = format!("{LANES}, array_fill(256, array[16]), {in_flight}, {ALL}");
    let one = "'{3}', '{5000}', '{}', '{0}'".to_owned();
    let most = "array_fill(256, array[16])";
    let sized_many = format!("{LANES}, {most}, {in_flight}, 67108864, {ALL}, {most}, '{{}}'");
    let sized_one = "'{3}', '{5000}', '{}', 67108864, '{0}', '{5000}', '{}'".to_owned();
    let leases = format!("gen_random_uuid(), {LANES}, array_fill(1::bigint, array[16])");
    for mode in ["force_generic_plan", "force_custom_plan"] {
        for (fetch, arguments, sorts) in [
            (&FETCH, &many, false),
            (&FETCH, &one, false),
            (&FETCH_SIZED, &sized_many, true),
            (&FETCH_SIZED, &sized_one, true),
        ] {
            let plan = fetch.plan(&mut conn, arguments, mode).await;
            for index in ["hot", "released", "due", "retry", "heads", "followers"] {
                assert!(
                    plan.contains(&format!("using outbox_events_{index} on")),
                    "{state}, {mode}, {}: {index}\n{plan}",
                    fetch.file
                );
            }
            for bad in ["Seq Scan on outbox_events", "Bitmap", "JIT"] {
                assert!(!plan.contains(bad), "{state}, {mode}, {}: {bad}\n{plan}", fetch.file);
            }
            assert!(sorts || !plan.contains("Sort"), "{state}, {mode}, {}\n{plan}", fetch.file);
        }
        if state == "empty" {
            continue;
        }
        for (hot, arguments, index) in [
            (
                &COMPLETE,
                format!("{leases}, array_fill(gen_random_uuid(), array[1000])"),
                "outbox_events_pkey",
            ),
            (&RELEASE_ORPHANS, format!("{leases}, 10000"), "outbox_events"),
            (
                &RELEASE_KEYS,
                format!("'{{3}}', '{{orders}}', '{{h1}}', {LANES}, 10000, 10000"),
                "outbox_events",
            ),
            (&UNRELEASED, format!("'{{3}}', '{{orders}}', '{{h1}}', {LANES}"), "outbox_events"),
            (&SEQUENCE, "'outbox_events', false".to_owned(), "using outbox_events_hot on"),
            (&PENDING_OF, "'g', 'orders', 1, 5, 100".to_owned(), "Index Scan using inbox_events_pending"),
        ] {
            let plan = hot.plan(&mut conn, &arguments, mode).await;
            let any_scan = scans(&plan, "outbox_events") || scans(&plan, "inbox_events");
            assert!(plan.contains(index) && !any_scan, "{state}, {mode}, {}\n{plan}", hot.file);
        }
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
        let fetch = format!("{LANES}, array_fill(256, array[16]), {ids}, {ALL}");
        let most = "array_fill(256, array[16])";
        let fetch_sized = format!("{LANES}, {most}, {ids}, 67108864, {ALL}, {most}, '{{}}'");
        for state in ["never analysed", "analysed"] {
            for mode in ["force_generic_plan", "force_custom_plan"] {
                for (hot, arguments) in [
                    (&FETCH, fetch.clone()),
                    (&FETCH_SIZED, fetch_sized.clone()),
                    (&FOLLOW, format!("{ids}, {LANES}")),
                    (&FOLLOW_DEFERRED, format!("{ids}, {LANES}")),
                    (&ORPHANED, format!("{ids}, {LANES}")),
                    (&RELEASE_KEYS, format!("'{{3}}', '{{orders}}', '{{k1}}', {LANES}, 10000, 10000")),
                    (&UNRELEASED, format!("'{{3}}', '{{orders}}', '{{k1}}', {LANES}")),
                    (
                        &RELEASE_ORPHANS,
                        format!("gen_random_uuid(), {LANES}, array_fill(1::bigint, array[16]), 10000"),
                    ),
                ] {
                    let plan = hot.plan(&mut conn, &arguments, mode).await;
                    // a scan for the ids of a whole batch (`e`) may be right in so small a table
                    for looked_up in ["h", "f"] {
                        let scan = format!("Seq Scan on outbox_events {looked_up}");
                        assert!(!plan.contains(&scan), "{state}, {mode}, {}\n{plan}", hot.file);
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
        conn.execute(sqlx::raw_sql(AssertSqlSafe(FETCH.prepare()))).await.unwrap();
        let execute = format!("execute hot({LANES}, array_fill(64, array[16]), '{{}}', {ALL})");
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

/// A snapshot that is kept open (a dump, a report) keeps what is completed in the indexes. The bound of a lane spares the walk through it.
#[tokio::test]
async fn an_old_snapshot_does_not_make_a_fetch_dearer() {
    run(async |db: Arc<Database>| {
        let mut snapshot = db.pool.begin().await.unwrap();
        for statement in
            ["set transaction isolation level repeatable read", "select count(*) from outbox_events"]
        {
            sqlx::query(statement).execute(&mut *snapshot).await.unwrap();
        }
        db.execute(
            "insert into outbox_events (event_type, topic, partition_key, payload)
             select 't', 'orders', 'k' || i % 5000, '{}' from generate_series(1, 60000) i;
             update outbox_events set status = 'completed', completed_at = now();
             insert into outbox_events (event_type, topic, partition_key, payload)
             select 't', 'orders', 'k' || i, '{}' from generate_series(1, 64) i",
        )
        .await;
        let mut conn = db.pool.acquire().await.unwrap();
        let fetch = |above: i64| {
            format!("{LANES}, array_fill(256, array[16]), '{{}}', array_fill({above}::bigint, array[16])")
        };
        for mode in ["force_generic_plan", "force_custom_plan"] {
            let all = FETCH.blocks(&mut conn, &fetch(0), mode).await;
            let some = FETCH.blocks(&mut conn, &fetch(60_000), mode).await;
            let none = FETCH.blocks(&mut conn, &fetch(60_064), mode).await;
            println!("{mode}: {all} blocks from the beginning, {some} above the bound, {none} of nothing");
            assert!(all > 10_000, "{mode}: {all} blocks: the snapshot keeps nothing, so this shows nothing");
            assert!(some < 700 && none < 400, "{mode}: {some} and {none} blocks");
        }
        snapshot.rollback().await.unwrap();
    })
    .await;
}

/// The heads of a topic that rests are due, and however many they are, a fetch that leaves them out does not meet them.
#[tokio::test]
async fn heads_of_a_topic_that_rests_cost_nothing() {
    run(async |db: Arc<Database>| {
        db.execute(
            "insert into outbox_events (event_type, topic, partition_key, payload, held, head, hold_until)
             select 't', 'away', 'k' || i, '{}', true, true, now() - interval '1 s' from generate_series(1, 100000) i;
             insert into outbox_events (event_type, topic, partition_key, payload, held, head, hold_until)
             select 't', 'topic-' || i % 20, 'k' || i, '{}', true, true, now() - interval '1 s' from generate_series(1, 1000) i;
             insert into outbox_events (event_type, topic, partition_key, payload)
             select 't', 'orders', 'k' || i, '{}' from generate_series(1, 64) i",
        )
        .await;
        let mut conn = db.pool.acquire().await.unwrap();
        for state in ["never analysed", "analysed"] {
            for mode in ["force_generic_plan", "force_custom_plan"] {
                let arguments =
                    format!("{LANES}, array_fill(256, array[16]), '{{}}', 67108864, {ALL}, array_fill(20, array[16]), '{{away}}'");
                let blocks = FETCH_SIZED.blocks(&mut conn, &arguments, mode).await;
                println!("{state}, {mode}: {blocks} blocks");
                // 20 topics in each of 16 lanes, some levels of an index each, twice
                assert!(blocks < 6000, "{state}, {mode}: {blocks} blocks");
                let plan = FETCH_SIZED.plan(&mut conn, &arguments, mode).await;
                assert!(plan.contains("using outbox_events_topics on") && !plan.contains("JIT"), "{state}, {mode}\n{plan}");
            }
            db.execute("analyze outbox_events").await;
        }
    })
    .await;
}

/// What is completed stays in the index of what is in line. No statement walks through it, however much it is.
#[tokio::test]
async fn what_is_completed_costs_nothing() {
    run(async |db: Arc<Database>| {
        const DONE: i64 = 300_000;
        db.execute(&format!(
            "insert into outbox_events (event_type, topic, partition_key, payload, status, completed_at)
             select 't', 'orders', 'k' || i % 5000, '{{}}', 'completed', now() from generate_series(1, {DONE}) i;
             insert into outbox_events (event_type, topic, partition_key, payload)
             select 't', 'orders', 'k' || i, '{{}}' from generate_series(1, 200) i;
             update outbox_lanes set read_to = {DONE}, owner = '00000000-0000-0000-0000-000000000001'"
        ))
        .await;
        let server: String = db
            .scalar(
                "select extract(epoch from pg_postmaster_start_time()) || ':' || to_regclass('outbox_events')::oid::text",
            )
            .await;
        let mut conn = db.pool.acquire().await.unwrap();
        let (ids, most) = ("array_fill(gen_random_uuid(), array[100])", "array_fill(256, array[16])");
        let owner = "'00000000-0000-0000-0000-000000000001'";
        for state in ["never analysed", "analysed"] {
            for mode in ["force_generic_plan", "force_custom_plan"] {
                for (hot, arguments) in [
                    (&FETCH, format!("{LANES}, {most}, {ids}, {ALL}")),
                    (&FETCH_SIZED, format!("{LANES}, {most}, {ids}, 67108864, {ALL}, {most}, '{{}}'")),
                    (&FETCH_PENDING, "100, '{}', '{}', '{}'".to_owned()),
                    (&ADVANCE, format!("{owner}, {LANES}, 'outbox_events', {}, '{server}'", DONE + 200)),
                    (&SWEEP, format!("{owner}, {LANES}, 100000")),
                    (&SAMPLE_OUTBOX, "'outbox_events'".to_owned()),
                    (&SEQUENCE, "'outbox_events', true".to_owned()),
                    (&UNDRAINED, "1".to_owned()),
                    (&RELEASE_STALE, "'1 s', 1000".to_owned()),
                    (&ORPHANED, format!("{ids}, {LANES}")),
                    (&UNRELEASED, format!("'{{3}}', '{{orders}}', '{{k1}}', {LANES}")),
                    (&RELEASE_ORPHANS, format!("{owner}, {LANES}, array_fill(0::bigint, array[16]), 10000")),
                    (&PURGE_OUTBOX, "'1 d', 1000, 0".to_owned()),
                ] {
                    // nothing tells the planner that few events are claimed
                    let is_guess = ["control/undrained.sql", "events/release_stale.sql"].contains(&hot.file);
                    if state == "never analysed" && is_guess {
                        continue;
                    }
                    let blocks = hot.blocks(&mut conn, &arguments, mode).await;
                    println!("{state}, {mode}, {}: {blocks} blocks", hot.file);
                    assert!(blocks < 3_500, "{state}, {mode}, {}: {blocks} blocks", hot.file);
                }
            }
            db.execute("vacuum analyze outbox_events").await;
        }
        let table: i64 = db.scalar("select pg_relation_size('outbox_events') / 8192").await;
        assert!(table > 7_000, "the table has {table} blocks: this shows nothing");
    })
    .await;
}

/// A claim of rows costs the same, however many are pending, and however many of them belong to one key that waits.
#[tokio::test]
async fn a_claim_of_rows_stays_short() {
    // keys, and how many of the first events are heads that wait
    for (keys, heads) in [
        ("'k'", 0),
        ("'k'", 1),
        ("'k' || i % 5000", 0),
        ("'k' || i % 50000", 50_000),
        ("'k' || i", 0),
        ("null", 0),
        ("null", 100_000),
    ] {
        run(async |db: Arc<Database>| {
            db.store.set_delivery_mode(DeliveryMode::Rows).await.unwrap();
            db.execute(&format!(
                "insert into outbox_events (event_type, topic, partition_key, payload)
                 select 't', 'orders', {keys}, '{{}}' from generate_series(1, 100000) i;
                 update outbox_events set held = true, head = true, hold_until = now() + interval '1 h' where seq <= {heads};
                 insert into outbox_events (event_type, topic, partition_key, payload, scheduled_at)
                 select 't', 'orders', 'd' || i % 5, '{{}}', now() + interval '1 d' from generate_series(1, 20000) i"
            ))
            .await;
            db.execute("vacuum outbox_events").await;
            let mut conn = db.pool.acquire().await.unwrap();
            let oldest: String = db
                .scalar("select array(select id from outbox_events where not deferred order by seq limit 200)::text")
                .await;
            for state in ["never analysed", "analysed"] {
                for mode in ["force_generic_plan", "force_custom_plan"] {
                    for (hot, arguments) in [
                        (&CANDIDATES, "200, '{}', '{}', '{}', '1 min'".to_owned()),
                        (&KEYS, "1000, '{}', '{}', '{}', '1 min', '', ''".to_owned()),
                        (&CLAIM, format!("100, '{oldest}', 'w', '1 min'")),
                    ] {
                        let mut tx = conn.begin().await.unwrap();
                        let blocks = hot.blocks(&mut tx, &arguments, mode).await;
                        tx.rollback().await.unwrap();
                        println!("{keys}, {heads}, {state}, {mode}, {}: {blocks} blocks", hot.file);
                        assert!(blocks < 6_000, "{keys}, {heads}, {state}, {mode}, {}: {blocks} blocks", hot.file);
                    }
                }
                db.execute("analyze outbox_events").await;
            }
        })
        .await;
    }
}

/// A sample costs the same, however large the tables are: what is completed is never met, and what is counted has a limit.
#[tokio::test]
async fn a_sample_goes_by_index() {
    run(async |db: Arc<Database>| {
        let samples = [(&SAMPLE_OUTBOX, "'outbox_events'"), (&SAMPLE_INBOX, "100")];
        let mut conn = db.pool.acquire().await.unwrap();
        for state in ["empty", "completed", "never analysed", "analysed"] {
            match state {
                "completed" => fill_completed(&db).await,
                "never analysed" => {
                    fill(&db).await;
                    fill_failed(&db).await;
                }
                "analysed" => {
                    db.execute("analyze outbox_events; analyze inbox_events; analyze inbox_quarantine").await;
                }
                _ => {}
            }
            for mode in ["force_generic_plan", "force_custom_plan"] {
                for (hot, arguments) in samples {
                    let plan = hot.plan(&mut conn, arguments, mode).await;
                    for table in ["outbox_events", "inbox_events"] {
                        assert!(!scans(&plan, table), "{state}, {mode}, {}: {table}\n{plan}", hot.file);
                    }
                    let blocks = hot.blocks(&mut conn, arguments, mode).await;
                    println!("{state}, {mode}, {}: {blocks} blocks", hot.file);
                    assert!(blocks < 25_000, "{state}, {mode}, {}: {blocks} blocks", hot.file);
                }
            }
        }
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
                    for (table, index, purge, place) in [
                        ("outbox_events", "_hot on outbox_events", &PURGE_OUTBOX, ", 0"),
                        ("inbox_events", "_completed on inbox_events d", &PURGE_INBOX, ", null"),
                        ("inbox_events", "_completed on inbox_events d", &PURGE_INBOX, ", now() - interval '12 h'"),
                    ] {
                        let plan = purge.plan(&mut conn, &format!("'{retention}', 1000{place}"), mode).await;
                        for needed in [format!("{table}{index}"), format!("{table}_pkey")] {
                            assert!(plan.contains(&needed), "{state}, {mode}, {retention}: {needed}\n{plan}");
                        }
                        let is_sorted = table == "inbox_events" && plan.contains("Sort");
                        assert!(!scans(&plan, table) && !is_sorted, "{state}, {mode}, {retention}\n{plan}");
                    }
                }
            }
            db.execute("analyze outbox_events; analyze inbox_events").await;
        }
    })
    .await;
}

/// A page of the quarantine costs the same wherever it begins.
#[tokio::test]
async fn the_quarantine_goes_by_index() {
    run(async |db: Arc<Database>| {
        fill_failed(&db).await;
        let mut conn = db.pool.acquire().await.unwrap();
        for state in ["never analysed", "analysed"] {
            for mode in ["force_generic_plan", "force_custom_plan"] {
                for (hot, arguments) in [
                    (&QUARANTINE_LIST, "'g1', null, null, 100"),
                    (&QUARANTINE_LIST, "'g1', now() - interval '1 s', gen_random_uuid(), 100"),
                    (&QUARANTINE_PURGE, "'g1', '1 s', 100"),
                ] {
                    let plan = hot.plan(&mut conn, arguments, mode).await;
                    let by_index = plan.contains("inbox_quarantine_order") && !plan.contains("Seq Scan");
                    // where the server knows nothing of the table, it takes a group for two messages, which it may sort
                    let in_order = state == "never analysed" || !plan.contains("Sort");
                    assert!(by_index && in_order, "{state}, {mode}, {}\n{plan}", hot.file);
                }
            }
            db.execute("analyze inbox_quarantine").await;
        }
    })
    .await;
}

/// A page of dead letters costs what it holds, wherever it begins, and so does a step of their clean-up.
#[tokio::test]
async fn a_page_of_dead_letters_goes_by_index() {
    run(async |db: Arc<Database>| {
        fill_completed(&db).await;
        fill_failed(&db).await;
        // each at a time of its own, and most of them in one group
        db.execute(
            "update outbox_events set updated_at = now() - seq * interval '1 ms' where status = 'failed';
             update inbox_events set updated_at = now() - substr(message_id, 2)::int * interval '1 ms',
                 consumer_group = case when message_id like 'f%00' then consumer_group else 'most' end where status = 'failed'",
        )
        .await;
        let mut conn = db.pool.acquire().await.unwrap();
        for state in ["never analysed", "analysed"] {
            for mode in ["force_generic_plan", "force_custom_plan"] {
                let half = "now() - interval '10 s', gen_random_uuid()";
                for (table, hot, arguments) in [
                    ("outbox_events", &FAILED_OUTBOX, "100, null, null, '{}', '{}', '{}'".to_owned()),
                    ("outbox_events", &FAILED_OUTBOX, format!("100, {half}, '{{}}', '{{}}', '{{}}'")),
                    ("inbox_events", &FAILED_INBOX, "100, null, null, '{}', '{}'".to_owned()),
                    ("inbox_events", &FAILED_INBOX, "100, null, null, '{}', '{most}'".to_owned()),
                    ("inbox_events", &FAILED_INBOX, format!("100, {half}, '{{}}', '{{most,g0}}'")),
                    ("outbox_events", &PURGE_FAILED_OUTBOX, "'1 s', 100".to_owned()),
                    ("inbox_events", &PURGE_FAILED_INBOX, "'1 s', 100".to_owned()),
                ] {
                    let plan = hot.plan(&mut conn, &arguments, mode).await;
                    let by_index = plan.contains(&format!("{table}_failed")) && !scans(&plan, table);
                    assert!(by_index, "{state}, {mode}, {} ({arguments})\n{plan}", hot.file);
                    // where the server knows nothing of the table, it takes a group for a few messages, which it may sort
                    if state == "never analysed" {
                        continue;
                    }
                    conn.execute("begin").await.unwrap();
                    let blocks = hot.blocks(&mut conn, &arguments, mode).await;
                    conn.execute("rollback").await.unwrap();
                    println!("{mode}, {} ({arguments}): {blocks} blocks", hot.file);
                    assert!(blocks < 3_000, "{mode}, {} ({arguments}): {blocks} blocks", hot.file);
                }
            }
            db.execute("vacuum analyze outbox_events, inbox_events").await;
        }
    })
    .await;
}

/// What has a copy outside is not met by the search for what has none, however much was given up.
#[tokio::test]
async fn the_search_for_what_has_no_copy_goes_by_index() {
    run(async |db: Arc<Database>| {
        fill_completed(&db).await;
        fill_failed(&db).await;
        db.execute(
            "update outbox_events set copied_at = updated_at where status = 'failed' and seq % 1000 > 0;
             update inbox_events set copied_at = updated_at where status = 'failed' and message_id not like 'f%000'",
        )
        .await;
        db.execute("vacuum analyze outbox_events, inbox_events").await;
        let mut conn = db.pool.acquire().await.unwrap();
        for mode in ["force_generic_plan", "force_custom_plan"] {
            for (table, hot, arguments) in [
                ("outbox_events", &UNCOPIED_OUTBOX, "50, null, null, '{}', '{}', '{}'"),
                ("inbox_events", &UNCOPIED_INBOX, "50, null, null, '{}', '{g0}'"),
            ] {
                let plan = hot.plan(&mut conn, arguments, mode).await;
                assert!(plan.contains(&format!("{table}_uncopied")), "{mode}, {}\n{plan}", hot.file);
            }
        }
    })
    .await;
}
