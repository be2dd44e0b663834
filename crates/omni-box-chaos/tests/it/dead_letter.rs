//! Dead letters that are replayed by a program that is killed, while workers handle what it replays.

use std::time::Duration;

use anyhow::{Result, ensure};
use omni_box_harness::judge::{Effect, InboxHistory, Message, judge_effects};

use omni_box_chaos::world::{SETTLES, World};

/// How many dead letters there are.
const LETTERS: i64 = 50_000;
const KILLS: i64 = 6;
/// How long two workers may take for them.
const HANDLED: Duration = Duration::from_secs(180);

const GIVEN_UP: &str = "
insert into inbox_events (message_id, consumer_group, event_type, source, payload, status, attempts_made, last_error,
    partition_key, source_topic, source_partition, source_offset)
select 'd' || i, 'shipping', 'order.placed', 'orders', '{\"n\": 1}', 'failed', 6, 'no stock',
    'k' || i % 2000, 'orders', i % 4, i
from generate_series(1, $1::bigint) i";

/// Of each dead letter, what it was handled as: itself, or what was stored anew for it.
const HANDLED_AS: &str = "
select coalesce(n.message_id, o.message_id), o.source_partition, o.source_offset
from inbox_events o
left join inbox_events n on n.causation_id = o.id::text
where o.message_id like 'd%'";

/// What the judge needs to know. Each letter has a key of its own for it: letters of one key are replayed in the order in which they failed, and
/// these have failed together.
async fn history(world: &World) -> Result<InboxHistory> {
    let messages: Vec<(String, i32, i64)> = sqlx::query_as(HANDLED_AS).fetch_all(world.database()).await?;
    let effects: Vec<(String, i64)> =
        sqlx::query_as("select message_id, handled from chaos_effects order by handled")
            .fetch_all(world.database())
            .await?;
    let message = |(id, partition, offset): (String, i32, i64)| {
        let key = Some(id.clone().into_bytes());
        Message { id, topic: "orders".to_owned(), partition, offset, key }
    };
    let effect = |(message_id, handled)| Effect { message_id, handled, emitted: None };
    Ok(InboxHistory {
        messages: messages.into_iter().map(message).collect(),
        effects: effects.into_iter().map(effect).collect(),
        ..InboxHistory::default()
    })
}

#[tokio::test]
async fn replaying_is_killed_while_workers_run() -> Result<()> {
    let Some(world) = World::new("replaying_is_killed").await? else { return Ok(()) };
    sqlx::query(GIVEN_UP).bind(LETTERS).execute(world.database()).await?;
    world.execute("analyze inbox_events").await?;
    let mut workers = Vec::new();
    for name in ["w0", "w1"] {
        workers.push(world.start(name, "worker --group shipping --batch-size 1000").await?);
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
    world.until(HANDLED, pending).await;
    for worker in &mut workers {
        worker.stop().await?;
    }
    assert_eq!(world.count(left).await?, 0, "nothing is given up any more");
    let history = history(&world).await?;
    assert_eq!(history.messages.len() as i64, LETTERS, "none was stored anew twice");
    let verdict = judge_effects(&history);
    ensure!(verdict.is_clean(), "a letter is lost, or took effect twice:\n{verdict}");
    let anew = world.count("select count(*) from inbox_events where causation_id is not null").await?;
    // half of each page, but for the pages that a kill has cut in two
    ensure!(anew > LETTERS / 4 && anew < LETTERS, "{anew} of them were stored anew");
    Ok(())
}
