//! Servers that stop and come back under load.

use std::time::Duration;

use anyhow::{Result, ensure};
use omni_box_harness::judge::InboxExpectation;
use omni_box_harness::servers;
use omni_box_harness::services::local::{KafkaServer, PostgresServer};
use tokio::time::Instant;

use omni_box_chaos::shop::Shop;
use omni_box_chaos::world::clean;

/// How long the broker stays away.
const OUTAGE: Duration = Duration::from_secs(20);

#[tokio::test]
async fn broker_stops_for_twenty_seconds() -> Result<()> {
    let Some(servers) = servers() else { return Ok(()) };
    let dir = tempfile::tempdir()?;
    let mut kafka = KafkaServer::start(dir.path()).await?;
    let shop = Shop::on("broker_stops", &servers.database_url, &kafka.brokers()).await?;
    let mut relays = shop.relays().await?;
    let mut second_relay = shop.ordering.start("r1", "relay --lease-ttl-ms 2000").await?;
    let mut consumer = shop.consumer("c0", "--property session.timeout.ms=45000").await?;
    // a group whose session ends meanwhile, so that it loses its partitions and gets them again
    let (expired, its_shipments) =
        (format!("{}-expired", shop.group), shop.shipping.topic("shipments", 2).await?);
    let mut expiring = shop.shipping.start("c1", &shop.consumer_of(&expired, &its_shipments)).await?;
    let mut writer = shop.writer("--tasks 4 --pause-ms 100").await?;
    shop.ordering.progress(500).await?;

    let back_at = Instant::now() + OUTAGE;
    kafka.stop().await?;
    // what they have sent and the broker has not taken dies with them: it must not be marked
    for (name, relay) in [("r0-again", &mut relays[0]), ("r1-again", &mut second_relay)] {
        relay.kill().await?;
        *relay = shop.ordering.start(name, "relay --lease-ttl-ms 2000").await?;
    }
    let before = "select count(*) from chaos_journal";
    let enqueued = shop.ordering.count(before).await?;
    shop.ordering.until(OUTAGE, format!("select ({before}) > {}", enqueued + 200)).await;
    tokio::time::sleep_until(back_at).await;
    kafka.start_again().await?;

    shop.ordering.progress(500).await?;
    writer.stop().await?;
    shop.settled().await?;
    shop.handled(&expired).await?;
    shop.shipping.settled().await;
    assert_no_attempt(&shop).await?;
    for program in relays.iter_mut().chain([&mut second_relay, &mut consumer, &mut expiring]) {
        program.stop().await?;
    }
    let of_expired =
        InboxExpectation { group: expired, handler_topic: Some(its_shipments), ..shop.expectation() };
    let judge = shop
        .judge()
        .inbox(shop.shipping.database(), shop.expectation())
        .inbox(shop.shipping.database(), of_expired);
    let verdict = clean(&judge).await?;
    ensure!(verdict.effects > 2_000, "too little happened: {verdict}");
    Ok(())
}

#[tokio::test]
async fn database_restarts_and_crashes() -> Result<()> {
    let Some(servers) = servers() else { return Ok(()) };
    let dir = tempfile::tempdir()?;
    let mut postgres = PostgresServer::start(dir.path()).await?;
    let shop = Shop::on("database_restarts", &postgres.url(), &servers.kafka_brokers).await?;
    let mut relays = shop.relays().await?;
    let mut second_relay = shop.ordering.start("r1", "relay --lease-ttl-ms 2000").await?;
    let mut consumer = shop.consumer("c0", "").await?;
    let mut writer = shop.writer("--tasks 6 --rollback-percent 10 --pause-ms 5").await?;
    shop.ordering.progress(500).await?;
    postgres.stop().await?;
    postgres.start_again().await?;
    shop.ordering.progress(500).await?;
    postgres.kill().await?;
    postgres.start_again().await?;
    shop.ordering.progress(500).await?;
    writer.stop().await?;
    shop.settled().await?;
    assert_no_attempt(&shop).await?;
    for program in relays.iter_mut().chain([&mut second_relay, &mut consumer]) {
        program.stop().await?;
    }
    shop.judged().await?;
    Ok(())
}

/// No event and no message pays for an outage.
async fn assert_no_attempt(shop: &Shop) -> Result<()> {
    let outbox = "select count(*) from outbox_events where attempts_made > 0";
    assert_eq!(shop.ordering.count(outbox).await?, 0);
    assert_eq!(shop.shipping.count(outbox).await?, 0);
    assert_eq!(shop.shipping.count("select count(*) from inbox_events where attempts_made > 0").await?, 0);
    Ok(())
}
