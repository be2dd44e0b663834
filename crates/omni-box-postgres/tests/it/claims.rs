//! What a claim of rows costs, and how it is planned.

use std::sync::Arc;

use omni_box_core::DeliveryMode;
use sqlx::Connection;

use crate::database::{Database, run};
use crate::plans::{Hot, hot};

static CANDIDATES: Hot = hot!("outbox/candidates.sql", "bigint, text[], text[], uuid[], interval");
static CLAIM: Hot = hot!("outbox/claim.sql", "bigint, uuid[], text, interval");
static FETCH: Hot = hot!("outbox/fetch_rows.sql", "bigint, uuid[]");
static KEYS: Hot = hot!("outbox/keys.sql", "bigint, text[], text[], uuid[], interval, text, text");
static SCHEDULED_KEYS: Hot =
    hot!("outbox/scheduled_keys.sql", "bigint, text[], text[], uuid[], interval, text, text");

/// What was scheduled for later and is due makes no claim dearer, however much it is, and to whichever keys it belongs.
#[tokio::test]
async fn a_claim_among_scheduled_events_stays_short() {
    for (keys, due) in [
        ("'k'", "i * interval '1 ms'"),
        // stored in the opposite order, or all for one moment
        ("'k'", "- i * interval '1 ms'"),
        ("'k'", "interval '0'"),
        ("'k' || i % 5000", "i * interval '1 ms'"),
        ("'k' || i", "i * interval '1 ms'"),
        ("null", "i * interval '1 ms'"),
    ] {
        run(async |db: Arc<Database>| {
            db.store.set_delivery_mode(DeliveryMode::Rows).await.unwrap();
            db.execute(&format!(
                "insert into outbox_events (event_type, topic, partition_key, payload, created_at, scheduled_at)
                 select 't', 'orders', {keys}, '{{}}', now() - interval '1 d', now() - interval '1 h' + {due}
                 from generate_series(1, 100000) i;
                 insert into outbox_events (event_type, topic, partition_key, payload)
                 select 't', 'orders', 'k' || i, '{{}}' from generate_series(1, 200) i"
            ))
            .await;
            db.execute("vacuum outbox_events").await;
            let mut conn = db.pool.acquire().await.unwrap();
            let oldest: String = db
                .scalar("select array(select id from outbox_events order by scheduled_at limit 200)::text")
                .await;
            for state in ["never analysed", "analysed"] {
                for mode in ["force_generic_plan", "force_custom_plan"] {
                    for (hot, arguments) in [
                        (&CANDIDATES, "200, '{}', '{}', '{}', '1 min'".to_owned()),
                        (&KEYS, "1000, '{}', '{}', '{}', '1 min', '', ''".to_owned()),
                        (&SCHEDULED_KEYS, "1000, '{}', '{}', '{}', '1 min', '', ''".to_owned()),
                        (&CLAIM, format!("100, '{oldest}', 'w', '1 min'")),
                        (&FETCH, format!("100, '{oldest}'")),
                    ] {
                        let mut tx = conn.begin().await.unwrap();
                        let blocks = hot.blocks(&mut tx, &arguments, mode).await;
                        tx.rollback().await.unwrap();
                        let of = format!("{keys}, {due}, {state}, {mode}, {}: {blocks} blocks", hot.file);
                        println!("{of}");
                        // a window of each sort, or a thousand keys, or two hundred events
                        let most = if hot.file.contains("candidates") { 500 } else { 6_500 };
                        assert!(blocks < most, "{of}");
                    }
                }
                db.execute("analyze outbox_events").await;
            }
        })
        .await;
    }
}

/// The planner expects a look-up for each id. Of ids that it can count it would expect so much work that it compiles the statement, which
/// takes most of a second.
#[tokio::test]
async fn a_claim_of_many_is_not_compiled() {
    run(async |db: Arc<Database>| {
        db.store.set_delivery_mode(DeliveryMode::Rows).await.unwrap();
        db.execute(
            "insert into outbox_events (event_type, topic, partition_key, payload)
             select 't', 'orders', 'hot-' || i % 3, '{}' from generate_series(1, 60000) i;
             insert into outbox_events (event_type, topic, partition_key, payload)
             select 't', 'orders', 'cold-' || i, '{}' from generate_series(1, 3000) i",
        )
        .await;
        // what was claimed is in the index of claims until it is vacuumed
        for _ in 0..10 {
            db.execute("update outbox_events set locked_at = now() where partition_key like 'cold%'").await;
            db.execute("update outbox_events set locked_at = null where partition_key like 'cold%'").await;
        }
        let ids: String =
            db.scalar("select array(select id from outbox_events order by seq desc limit 1000)::text").await;
        let mut conn = db.pool.acquire().await.unwrap();
        for state in ["never analysed", "analysed"] {
            for mode in ["force_generic_plan", "force_custom_plan"] {
                for (hot, arguments) in
                    [(&CLAIM, format!("100, '{ids}', 'w', '1 min'")), (&FETCH, format!("100, '{ids}'"))]
                {
                    let plan = hot.plan(&mut conn, &arguments, mode).await;
                    let by_index = plan.contains("outbox_events_pkey") && !plan.contains("Seq Scan");
                    assert!(by_index && !plan.contains("JIT"), "{state}, {mode}, {}\n{plan}", hot.file);
                }
            }
            db.execute("analyze outbox_events").await;
        }
    })
    .await;
}
