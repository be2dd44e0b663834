//! The embedded store: processes that share an SQLite file are killed.

use std::path::Path;

use anyhow::{Result, ensure};
use omni_box_harness::eventually;
use omni_box_harness::judge::{Enqueued, History, judge_delivery, read_topics};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};
use sqlx::{Row, SqlitePool};

use omni_box_chaos::world::{SETTLES, SOON, World};

#[tokio::test]
async fn writers_and_relays_of_one_file_are_killed_in_turns() -> Result<()> {
    let Some(world) = World::new("writers_and_relays_of_one_file").await? else { return Ok(()) };
    let topic = world.topic("orders", 3).await?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("orders.db");
    let writer = format!("file-writer --topic {topic} --file {}", file.display());
    let relay = format!("file-relay --file {}", file.display());
    let mut programs = Vec::new();
    for (name, command) in [("w0", &writer), ("w1", &writer), ("r0", &relay), ("r1", &relay)] {
        programs.push((name, command, world.start(name, command).await?));
    }
    let pool = open(&file).await?;
    for turn in 0..12 {
        progress(&pool, 100).await;
        let (name, command, program) = &mut programs[turn % 4];
        program.kill().await?;
        *program = world.start(&format!("{name}-{turn}"), command).await?;
    }
    for (_, _, writer) in &mut programs[..2] {
        writer.stop().await?;
    }
    eventually(SETTLES, async || count(&pool, "status = 'pending'").await == 0).await;
    for (_, _, relay) in &mut programs[2..] {
        relay.stop().await?;
    }

    assert_eq!(count(&pool, "status <> 'completed' or attempts_made > 0").await, 0);
    let sound: String = sqlx::query_scalar("pragma integrity_check").fetch_one(&pool).await?;
    assert_eq!(sound, "ok");
    let verdict = judge_delivery(&History {
        enqueued: enqueued(&pool).await?,
        rolled_back: sqlx::query_scalar("select event_id from chaos_journal where rolled_back")
            .fetch_all(&pool)
            .await?
            .into_iter()
            .collect(),
        messages: read_topics(&world.brokers, &[topic]).await?,
        ..History::default()
    });
    println!("{verdict}");
    ensure!(verdict.is_clean() && verdict.rolled_back > 0, "a promise was broken:\n{verdict}");
    Ok(())
}

async fn open(file: &Path) -> Result<SqlitePool> {
    let options = SqliteConnectOptions::new().filename(file).busy_timeout(SOON);
    Ok(SqlitePoolOptions::new().max_connections(1).connect_with(options).await?)
}

async fn count(pool: &SqlitePool, condition: &'static str) -> i64 {
    let sql = sqlx::AssertSqlSafe(format!("select count(*) from outbox_events where {condition}"));
    sqlx::query_scalar(sql).fetch_one(pool).await.expect("the file can be read")
}

async fn progress(pool: &SqlitePool, more: i64) {
    let now = count(pool, "status = 'completed'").await;
    eventually(SOON, async || count(pool, "status = 'completed'").await >= now + more).await;
}

async fn enqueued(pool: &SqlitePool) -> Result<Vec<Enqueued>> {
    let rows = sqlx::query(
        "select e.event_id, e.topic, e.partition_key, e.tx, e.stamp, c.stamp
         from chaos_journal e left join chaos_journal c on c.tx = e.tx and c.event_id is null
         where e.event_id is not null and not e.rolled_back",
    )
    .fetch_all(pool)
    .await?;
    rows.iter()
        .map(|row| {
            Ok(Enqueued {
                id: row.try_get(0)?,
                topic: row.try_get(1)?,
                key: row.try_get(2)?,
                tx: row.try_get(3)?,
                started: row.try_get(4)?,
                committed: row.try_get(5)?,
            })
        })
        .collect()
}
