//! Servers that stop and come back under load.

use std::time::Duration;

use anyhow::{Result, ensure};
use omni_box_harness::judge::InboxExpectation;
use omni_box_harness::servers;
use omni_box_harness::services::local::{KafkaServer, PostgresServer};
use tokio::time::Instant;

use crate::world::{SESSION, World};

/// How long the broker stays away.
const OUTAGE: Duration = Duration::from_secs(20);

#[tokio::test]
async fn broker_stops_for_twenty_seconds() -> Result<()> {
    let Some(servers) = servers() else { return Ok(()) };
    let dir = tempfile::tempdir()?;
    let mut kafka = KafkaServer::start(dir.path()).await?;
    let world = World::on("broker_stops", &servers.database_url, &kafka.brokers()).await?;
    let (orders, shipments) = (world.topic("orders", 3).await?, world.topic("shipments", 3).await?);
    let mut relays = [
        world.start("r0", "relay --lease-ttl-ms 2000").await?,
        world.start("r1", "relay --lease-ttl-ms 2000").await?,
    ];
    let consumer = format!("consumer --topic {orders} --group {orders} --emit {shipments} {SESSION}");
    let mut consumer = world.start("c0", &consumer).await?;
    let mut writer =
        world.start("writer", &format!("writer --topic {orders} --tasks 4 --pause-ms 100")).await?;
    world.progress(500).await?;

    let back_at = Instant::now() + OUTAGE;
    kafka.stop().await?;
    let before = "select count(*) from chaos_journal";
    let enqueued = world.count(before).await?;
    world.until(OUTAGE, format!("select ({before}) > {}", enqueued + 200)).await;
    tokio::time::sleep_until(back_at).await;
    kafka.start_again().await?;

    world.progress(500).await?;
    writer.stop().await?;
    world.settled().await;
    world.handled(&orders, &orders).await;
    world.settled().await;
    assert_eq!(world.count("select count(*) from outbox_events where attempts_made > 0").await?, 0);
    assert_eq!(world.count("select count(*) from inbox_events where attempts_made > 1").await?, 0);
    for program in relays.iter_mut().chain([&mut consumer]) {
        program.stop().await?;
    }
    let verdict = world.judged_with(shipping(&orders, &shipments)).await?;
    ensure!(verdict.effects > 1_000, "too little happened: {verdict}");
    Ok(())
}

#[tokio::test]
async fn database_restarts_and_crashes() -> Result<()> {
    let Some(servers) = servers() else { return Ok(()) };
    let dir = tempfile::tempdir()?;
    let mut postgres = PostgresServer::start(dir.path()).await?;
    let world = World::on("database_restarts", &postgres.url(), &servers.kafka_brokers).await?;
    let (orders, shipments) = (world.topic("orders", 3).await?, world.topic("shipments", 3).await?);
    let mut relays = [
        world.start("r0", "relay --lease-ttl-ms 2000").await?,
        world.start("r1", "relay --lease-ttl-ms 2000").await?,
    ];
    let consumer = format!("consumer --topic {orders} --group {orders} --emit {shipments} {SESSION}");
    let mut consumer = world.start("c0", &consumer).await?;
    let mut writer = world
        .start("writer", &format!("writer --topic {orders} --tasks 6 --rollback-percent 10 --pause-ms 5"))
        .await?;
    world.progress(500).await?;
    postgres.stop().await?;
    postgres.start_again().await?;
    world.progress(500).await?;
    postgres.kill().await?;
    postgres.start_again().await?;
    world.progress(500).await?;
    writer.stop().await?;
    world.settled().await;
    world.handled(&orders, &orders).await;
    world.settled().await;
    assert_eq!(world.count("select count(*) from outbox_events where attempts_made > 0").await?, 0);
    for program in relays.iter_mut().chain([&mut consumer]) {
        program.stop().await?;
    }
    world.judged_with(shipping(&orders, &shipments)).await?;
    Ok(())
}

fn shipping(orders: &str, shipments: &str) -> InboxExpectation {
    InboxExpectation {
        // of this test alone, as the topic is: members of one group wait for each other
        group: orders.into(),
        topics: vec![orders.into()],
        handler_topic: Some(shipments.into()),
        ..InboxExpectation::default()
    }
}
