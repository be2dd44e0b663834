//! Relays that are killed, frozen, doubled and told to stop while many write.

use std::time::Duration;

use anyhow::{Result, ensure};

use omni_box_chaos::world::{Program, SETTLES, SOON, World};

const OWNS_ALL: &str = "select count(*) = 16 from outbox_lanes where leased_until > now() and worker = ";

#[tokio::test]
async fn three_relays_are_killed_while_sixteen_write() -> Result<()> {
    let Some(world) = World::new("three_relays_are_killed").await? else { return Ok(()) };
    let topics = [world.topic("orders", 4).await?, world.topic("bills", 3).await?];
    let writer = format!(
        "writer --topic {} --topic {} --tasks 16 --keys 50 --transactions 120 --rollback-percent 20 --late-percent 10 --late-ms 100",
        topics[0], topics[1]
    );
    let relay = "relay --lease-ttl-ms 1000";
    let mut relays = Vec::new();
    for name in ["r0", "r1", "r2"] {
        relays.push(world.start(name, relay).await?);
    }
    let mut writers = world.start("writer", &writer).await?;
    for turn in 0..8 {
        world.progress(300).await?;
        let victim: &mut Program = &mut relays[turn % 3];
        victim.kill().await?;
        *victim = world.start(&format!("r{turn}-again"), relay).await?;
    }
    writers.finish(SETTLES).await?;
    world.settled().await;
    let verdict = world.judged().await?;
    ensure!(verdict.committed > 3_000 && verdict.rolled_back > 500, "too little happened: {verdict}");
    Ok(())
}

#[tokio::test]
async fn two_relays_have_one_worker_id() -> Result<()> {
    let Some(world) = World::new("two_relays_have_one_worker_id").await? else { return Ok(()) };
    let topic = world.topic("orders", 3).await?;
    let mut first = world.start("publisher-1", "relay --lease-ttl-ms 1000").await?;
    let _second = world.start("publisher-1", "relay --lease-ttl-ms 1000").await?;
    let mut writer =
        world.start("writer", &format!("writer --topic {topic} --tasks 6 --transactions 150")).await?;
    world.until(SOON, "select count(distinct owner) = 2 from outbox_lanes where leased_until > now()").await;
    world.progress(500).await?;
    first.kill().await?;
    world.progress(500).await?;
    writer.finish(SETTLES).await?;
    world.settled().await;
    world.judged().await?;
    Ok(())
}

#[tokio::test]
async fn loops_of_publish_batch_have_one_worker_id() -> Result<()> {
    let Some(world) = World::new("loops_of_publish_batch").await? else { return Ok(()) };
    let topic = world.topic("orders", 3).await?;
    let mut first = world.start("publisher-1", "publisher --lease-ttl-ms 2000").await?;
    let mut second = world.start("publisher-1", "publisher --lease-ttl-ms 2000").await?;
    let mut writer =
        world.start("writer", &format!("writer --topic {topic} --tasks 6 --transactions 80")).await?;
    world.progress(300).await?;
    first.kill().await?;
    let mut third = world.start("publisher-1", "publisher --lease-ttl-ms 2000").await?;
    world.progress(300).await?;
    second.stop().await?;
    writer.finish(SETTLES).await?;
    world.settled().await;
    third.stop().await?;
    world.judged().await?;
    Ok(())
}

#[tokio::test]
async fn low_numbers_commit_late_under_load() -> Result<()> {
    let Some(world) = World::new("low_numbers_commit_late").await? else { return Ok(()) };
    let topic = world.topic("orders", 2).await?;
    let _relays = [
        world.start("r0", "relay --batch-size 50").await?,
        world.start("r1", "relay --batch-size 50").await?,
    ];
    // few keys, so that late ones and quick ones meet on each of them all the time
    let quick = format!("writer --topic {topic} --keys 6 --tasks 4 --transactions 400 --max-events 4");
    let late = format!(
        "writer --topic {topic} --keys 6 --tasks 8 --transactions 25 --max-events 3 --late-percent 100 --late-ms 250"
    );
    let mut writers = [world.start("quick", &quick).await?, world.start("late", &late).await?];
    for writer in &mut writers {
        writer.finish(SETTLES).await?;
    }
    world.settled().await;
    world.judged().await?;
    Ok(())
}

#[tokio::test]
async fn clocks_of_writers_differ() -> Result<()> {
    let Some(world) = World::new("clocks_of_writers_differ").await? else { return Ok(()) };
    let topic = world.topic("orders", 2).await?;
    let _relays = [world.start("r0", "relay").await?, world.start("r1", "relay").await?];
    let mut writers = Vec::new();
    for (name, offset) in [("late", -2_500), ("early", 2_500)] {
        let writer = format!(
            "writer --topic {topic} --keys 10 --tasks 3 --transactions 150 --clock-offset-ms {offset}"
        );
        writers.push(world.start(name, &writer).await?);
    }
    for writer in &mut writers {
        writer.finish(SETTLES).await?;
    }
    world.settled().await;
    world.judged().await?;
    Ok(())
}

#[tokio::test]
async fn head_waits_with_fifty_thousand_followers() -> Result<()> {
    let Some(world) = World::new("head_waits").await? else { return Ok(()) };
    world.watch_marks().await?;
    let topic = world.topic("orders", 2).await?;
    let missing = format!("{topic}-missing");
    let mut first = world.start("r0", "relay --lease-ttl-ms 1000").await?;
    // one transaction first, so that its head is held when the others come
    let followers =
        format!("writer --topic {missing} --keys 1 --tasks 1 --min-events 1000 --max-events 1000");
    world.run("head", &format!("{followers} --transactions 1")).await?;
    world.until(SOON, "select exists (select from outbox_events where held and head)").await;
    world.run("followers", &format!("{followers} --transactions 49")).await?;

    // others of its lane go on, also after the relay has died
    let others = format!("writer --topic {topic} --keys 200 --tasks 4 --transactions 60");
    let others_done = format!(
        "select count(*) > 0 and bool_and(status = 'completed') from outbox_events where topic = '{topic}'
         and lane = (select lane from outbox_events where topic = '{missing}' limit 1)"
    );
    world.run("others", &others).await?;
    world.until(SOON, &others_done).await;
    first.kill().await?;
    let mut second = world.start("r1", "relay --lease-ttl-ms 1000").await?;
    world.run("others-again", &others).await?;
    world.until(SOON, &others_done).await;
    let waiting = world.count(format!(
        "select count(*) from outbox_events where topic = '{missing}' and status = 'pending'"
    ));
    assert_eq!(waiting.await?, 50_000);

    world.create_missing(&missing).await?;
    world.settled().await;
    second.stop().await?;
    assert_eq!(world.count("select count(*) from outbox_events where attempts_made > 0").await?, 0);
    assert_eq!(world.count("select count(*) from chaos_thefts").await?, 0);
    world.judged().await?;
    Ok(())
}

#[tokio::test]
async fn frozen_relay_marks_nothing() -> Result<()> {
    let Some(world) = World::new("frozen_relay_marks_nothing").await? else { return Ok(()) };
    world.watch_marks().await?;
    let topic = world.topic("orders", 2).await?;
    let mut relays = [
        world.start("r0", "relay --lease-ttl-ms 1000").await?,
        world.start("r1", "relay --lease-ttl-ms 1000").await?,
    ];
    let mut writer =
        world.start("writer", &format!("writer --topic {topic} --keys 20 --tasks 6 --pause-ms 2")).await?;
    for turn in 0..4 {
        let (frozen, other) = (turn % 2, (turn + 1) % 2);
        world.until(SOON, format!("select count(*) > 0 from outbox_lanes where worker = 'r{frozen}'")).await;
        world.progress(300).await?;
        relays[frozen].freeze()?;
        world.until(SOON, format!("{OWNS_ALL} 'r{other}'")).await;
        world.progress(300).await?;
        relays[frozen].thaw()?;
        world.progress(300).await?;
    }
    writer.stop().await?;
    world.settled().await;
    for relay in &mut relays {
        relay.stop().await?;
    }
    assert_eq!(world.count("select count(*) from chaos_thefts").await?, 0);
    world.judged().await?;
    Ok(())
}

/// The new owner has published nothing yet when the old one wakes up: what that one had in flight is still pending, and only
/// the lease's epoch keeps it from marking.
#[tokio::test]
async fn relay_wakes_up_before_its_successor_works() -> Result<()> {
    let Some(world) = World::new("relay_wakes_up").await? else { return Ok(()) };
    world.watch_marks().await?;
    let topic = world.topic("orders", 2).await?;
    let mut relay = world.start("r0", "relay --lease-ttl-ms 1500").await?;
    let mut writer = world.start("writer", &format!("writer --topic {topic} --tasks 6")).await?;
    for _ in 0..8 {
        world.until(SOON, format!("{OWNS_ALL} 'r0'")).await;
        world.progress(200).await?;
        relay.freeze()?;
        world.until(SOON, "select not exists (select from outbox_lanes where leased_until > now())").await;
        world
            .execute(
                "update outbox_lanes set owner = gen_random_uuid(), worker = 'successor', epoch = epoch + 1,
                     leased_until = now() + interval '1 second'
                 where lane in (select lane from outbox_lanes for update skip locked)",
            )
            .await?;
        relay.thaw()?;
    }
    writer.stop().await?;
    world.settled().await;
    relay.stop().await?;
    assert_eq!(world.count("select count(*) from chaos_thefts").await?, 0);
    world.judged().await?;
    Ok(())
}

#[tokio::test]
async fn newcomers_get_drained_lanes() -> Result<()> {
    let Some(world) = World::new("newcomers_get_drained_lanes").await? else { return Ok(()) };
    world.watch_marks().await?;
    let topic = world.topic("orders", 2).await?;
    let mut relays = vec![world.start("r0", "relay --lease-ttl-ms 2000").await?];
    let mut writer = world.start("writer", &format!("writer --topic {topic} --tasks 8")).await?;
    for newcomer in ["r1", "r2", "r3"] {
        world.progress(300).await?;
        relays.push(world.start(newcomer, "relay --lease-ttl-ms 2000").await?);
        let shares = format!(
            "select count(distinct worker) = {} and bool_or(worker = '{newcomer}') from outbox_lanes",
            relays.len()
        );
        world.until(SOON, shares).await;
    }
    writer.stop().await?;
    world.settled().await;
    for relay in &mut relays {
        relay.stop().await?;
    }
    assert_eq!(world.count("select count(*) from chaos_thefts").await?, 0);
    let verdict = world.judged().await?;
    ensure!(verdict.duplicates == 0, "a lane is drained before it is handed over: {verdict}");
    Ok(())
}

#[tokio::test]
async fn relay_drains_and_hands_over_at_once() -> Result<()> {
    let Some(world) = World::new("relay_drains_and_hands_over").await? else { return Ok(()) };
    world.watch_marks().await?;
    let topic = world.topic("orders", 2).await?;
    // leases so long that only a hand-over can explain what follows
    let relay = "relay --lease-ttl-ms 24000 --drain-deadline-ms 5000";
    let mut writer = world.start("writer", &format!("writer --topic {topic} --tasks 6 --pause-ms 2")).await?;
    let mut running = world.start("r0", relay).await?;
    for turn in 1..3 {
        world.until(SOON, format!("{OWNS_ALL} 'r{}'", turn - 1)).await;
        world.progress(200).await?;
        let next = world.start(&format!("r{turn}"), relay).await?;
        running.stop().await?;
        world.until(Duration::from_secs(10), format!("{OWNS_ALL} 'r{turn}'")).await;
        running = next;
    }
    writer.stop().await?;
    world.settled().await;
    running.stop().await?;
    assert_eq!(world.count("select count(*) from outbox_lanes where owner is not null").await?, 0);
    assert_eq!(world.count("select count(*) from chaos_thefts").await?, 0);
    let verdict = world.judged().await?;
    ensure!(verdict.duplicates == 0, "a relay that drains sends nothing twice: {verdict}");
    Ok(())
}
