//! `drain_*`: a full outbox, one relay.

use anyhow::Result;
use omni_box_harness::usage::{listener, rss_mib, seconds_of};
use omni_box_harness::{Servers, TestDatabase, topic};
use sqlx::PgPool;

use crate::relay::Relay;
use crate::report::Report;
use crate::{floor, table};

const PARTITIONS: i32 = 8;

pub(crate) async fn run(servers: &Servers, name: &'static str, events: usize, keys: usize) -> Result<Report> {
    let brokers = &servers.kafka_brokers;
    let topic = topic::create_topic(brokers, name, PARTITIONS, &[]).await?;
    let warm_up = topic::create_topic(brokers, name, PARTITIONS, &[]).await?;
    let database = TestDatabase::create_on(&servers.database_url).await?;
    let store = table::store(&database).await?;

    let relay = Relay::start(&database.url(), brokers)?;
    table::fill(&store, &warm_up, 1_000, 1_000).await?;
    table::drained(&database, brokers, &warm_up, 1_000).await?;
    let kafka_port = brokers.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
    let postgres = listener(database.pool().connect_options().get_port());
    let processes = [Some(relay.pid()?), postgres, kafka_port.and_then(listener)];
    let used = |pid: Option<u32>| seconds_of(pid?);
    // the clock of processes starts before the commit: what writes the rows is not the relay's, so nothing else runs until then
    let prepared = table::prepare(&store, &topic, events, keys).await?;
    let (wal, before) = (wal(database.pool()).await?, processes.map(used));
    let start = prepared.commit(&store).await?;
    let end = table::drained(&database, brokers, &topic, events).await?;
    let (after, wal_bytes) = (processes.map(used), self::wal(database.pool()).await? - wal);
    let memory = rss_mib(relay.pid()?);
    // a backend tells its counts when it ends, at the latest
    relay.stop().await?;
    let hot_ratio = hot_ratio(database.pool()).await?;
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
    let micros = |at: usize| Some((after[at]? - before[at]?) * 1e6 / events as f64);
    (report.cpu_us_relay, report.cpu_us_postgres, report.cpu_us_kafka) = (micros(0), micros(1), micros(2));
    report.wal_bytes_per_event = Some(wal_bytes as f64 / events as f64);
    (report.rss_mib, report.hot_ratio) = (memory, hot_ratio);
    (report.missing, report.duplicates, report.out_of_order) =
        (Some(missing), Some(duplicates), Some(out_of_order));
    Ok(report)
}

/// Where the server's log ends, in bytes.
async fn wal(pool: &PgPool) -> Result<i64> {
    let at = sqlx::query_scalar("select (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint");
    Ok(at.fetch_one(pool).await?)
}

/// How many of the updates of events were heap-only: such an update writes no index.
async fn hot_ratio(pool: &PgPool) -> Result<Option<f64>> {
    let ratio = sqlx::query_scalar(
        "select n_tup_hot_upd::float8 / nullif(n_tup_upd, 0) from pg_stat_user_tables where relname = 'outbox_events'",
    );
    Ok(ratio.fetch_one(pool).await?)
}
