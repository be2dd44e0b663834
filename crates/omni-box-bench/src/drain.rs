//! `drain_*`: a full outbox, one relay.

use anyhow::Result;
use omni_box::kafka::{KafkaEventPublisher, KafkaPublisherConfig};
use omni_box::prelude::*;
use omni_box_harness::{Servers, TestDatabase, topic};
use tokio_util::sync::CancellationToken;

use crate::report::{Report, rss_mib};
use crate::{floor, table};

const PARTITIONS: i32 = 8;

pub(crate) async fn run(servers: &Servers, name: &'static str, events: usize, keys: usize) -> Result<Report> {
    let brokers = &servers.kafka_brokers;
    let topic = topic::create_topic(brokers, name, PARTITIONS, &[]).await?;
    let warm_up = topic::create_topic(brokers, name, PARTITIONS, &[]).await?;
    let database = TestDatabase::create_on(&servers.database_url).await?;
    let store = table::store(&database).await?;

    let publisher = KafkaEventPublisher::from_config(KafkaPublisherConfig::new(brokers), RawEventConverter)?;
    let shutdown = CancellationToken::new();
    let relay = OutboxRelay::builder(store.clone(), publisher).build()?;
    let relay = tokio::spawn(relay.run(shutdown.clone()));
    table::fill(&store, &warm_up, 1_000, 1_000).await?;
    table::drained(&database).await?;

    let start = table::fill(&store, &topic, events, keys).await?;
    let end = table::drained(&database).await?;
    shutdown.cancel();
    relay.await??;
    database.close().await?;
    let (missing, duplicates, out_of_order) = table::judge(brokers, &topic, events).await?;

    let floor_topic = topic::create_topic(brokers, name, PARTITIONS, &[]).await?;
    let kafka_floor = floor::kafka(brokers, &floor_topic, events, keys).await?;
    let database = TestDatabase::create_on(&servers.database_url).await?;
    let store = table::store(&database).await?;
    table::fill(&store, &floor_topic, events, keys).await?;
    let sql_floor = floor::sql(database.pool(), keys.min(16) as i64).await?;
    database.close().await?;

    let mut report = Report::new(name, events, end - start)
        .floor(sql_floor.min(kafka_floor), format!("sql {sql_floor:.0}/s, kafka {kafka_floor:.0}/s"));
    report.rss_mib = rss_mib();
    (report.missing, report.duplicates, report.out_of_order) =
        (Some(missing), Some(duplicates), Some(out_of_order));
    Ok(report)
}
