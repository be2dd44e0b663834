//! Dead letters that are replayed by a program that is killed, while workers handle what it replays.

use anyhow::{Result, ensure};

use omni_box_chaos::world::{SETTLES, World};

/// How many dead letters there are.
const LETTERS: i64 = 20_000;
const KILLS: i64 = 6;

const GIVEN_UP: &str = "
insert into inbox_events (message_id, consumer_group, event_type, source, payload, status, attempts_made, last_error,
    partition_key, source_topic, source_partition, source_offset)
select 'd' || i, 'shipping', 'order.placed', 'orders', '{\"n\": 1}', 'failed', 6, 'no stock',
    'k' || i % 2000, 'orders', i % 4, i
from generate_series(1, $1::bigint) i";

/// Of each dead letter, how often it took effect: as what it was, or as what was stored anew for it.
const NOT_ONCE: &str = "
select count(*) from (
    select o.id
    from inbox_events o
    left join inbox_events n on n.causation_id = o.id::text
    left join chaos_effects e on e.message_id = coalesce(n.message_id, o.message_id)
    where o.message_id like 'd%'
    group by o.id
    having count(e.handled) <> 1
) x";

#[tokio::test]
async fn replaying_is_killed_while_workers_run() -> Result<()> {
    let Some(world) = World::new("replaying_is_killed").await? else { return Ok(()) };
    sqlx::query(GIVEN_UP).bind(LETTERS).execute(world.database()).await?;
    world.execute("analyze inbox_events").await?;
    let mut workers = Vec::new();
    for name in ["w0", "w1"] {
        workers.push(world.start(name, "worker --group shipping").await?);
    }
    let left = "select count(*) from inbox_events where status = 'failed'";
    for kill in 1..=KILLS {
        let mut replayer = world.start(&format!("r{kill}"), "replayer --group shipping").await?;
        let enough = LETTERS - kill * LETTERS / (KILLS + 4);
        world.until(SETTLES, format!("({left}) <= {enough}")).await;
        replayer.kill().await?;
        ensure!(world.count(left).await? > 0, "it was done before it was killed");
    }
    world.run("replayer", "replayer --group shipping").await?;
    let pending = "select not exists (select from inbox_events where status = 'pending')";
    world.until(SETTLES, pending).await;
    for worker in &mut workers {
        worker.stop().await?;
    }
    assert_eq!(world.count(left).await?, 0, "nothing is given up any more");
    assert_eq!(world.count("select count(*) from chaos_effects").await?, LETTERS, "each took effect once");
    assert_eq!(world.count(NOT_ONCE).await?, 0, "none is lost, and none took effect twice");
    let anew = world.count("select count(*) from inbox_events where causation_id is not null").await?;
    // half of each page, but for the pages that a kill has cut in two
    ensure!(anew > LETTERS / 4 && anew < LETTERS, "{anew} of them were stored anew");
    Ok(())
}
