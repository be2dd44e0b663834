//! What a stretch of time cost: processors, the database's log, statements.

use anyhow::Result;
use omni_box_harness::Servers;
use omni_box_harness::usage::{listener, rss_mib, seconds_of};
use sqlx::PgPool;

use crate::relay::Relay;
use crate::report::Report;

/// The processes that are looked at.
pub(crate) struct Meter {
    relays: Vec<u32>,
    postgres: Option<u32>,
    kafka: Option<u32>,
}

/// What has been used so far.
pub(crate) struct Used {
    relay: Option<f64>,
    postgres: Option<f64>,
    kafka: Option<f64>,
    wal: i64,
    batches: u64,
    statements: u64,
}

impl Meter {
    pub(crate) fn new(servers: &Servers, pool: &PgPool, relays: &[Relay]) -> Result<Self> {
        let kafka = servers.kafka_brokers.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
        Ok(Self {
            relays: relays.iter().map(Relay::pid).collect::<Result<_>>()?,
            postgres: listener(pool.connect_options().get_port()),
            kafka: kafka.and_then(listener),
        })
    }

    pub(crate) async fn read(&self, pool: &PgPool, relays: &mut [Relay]) -> Result<Used> {
        let (mut batches, mut statements) = (0, 0);
        for relay in relays {
            let told = relay.told().await?;
            (batches, statements) = (batches + told.batches, statements + told.statements);
        }
        let of = |pid: Option<u32>| seconds_of(pid?);
        Ok(Used {
            relay: self.relays.iter().map(|pid| seconds_of(*pid)).sum(),
            postgres: of(self.postgres),
            kafka: of(self.kafka),
            wal: wal(pool).await?,
            batches,
            statements,
        })
    }

    /// The largest memory of a relay.
    pub(crate) fn memory(&self) -> Option<f64> {
        self.relays.iter().filter_map(|pid| rss_mib(*pid)).max_by(f64::total_cmp)
    }
}

impl Used {
    /// Notes what each event has cost since.
    pub(crate) fn until(&self, after: &Self, report: &mut Report) {
        let events = report.events as f64;
        let micros = |before: Option<f64>, after: Option<f64>| Some((after? - before?) * 1e6 / events);
        report.cpu_us_relay = micros(self.relay, after.relay);
        report.cpu_us_postgres = micros(self.postgres, after.postgres);
        report.cpu_us_kafka = micros(self.kafka, after.kafka);
        report.wal_bytes_per_event = Some((after.wal - self.wal) as f64 / events);
        let batches = after.batches - self.batches;
        report.statements_per_batch =
            (batches > 0).then(|| (after.statements - self.statements) as f64 / batches as f64);
    }
}

/// Where the server's log ends, in bytes.
async fn wal(pool: &PgPool) -> Result<i64> {
    let at = sqlx::query_scalar("select (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint");
    Ok(at.fetch_one(pool).await?)
}

/// Notes how often events were written again: rows left dead, and how many of the updates wrote no index. A backend tells its counts
/// when it ends, at the latest: ask when the relays have stopped.
pub(crate) async fn updates(pool: &PgPool, report: &mut Report) -> Result<()> {
    let (dead, hot): (Option<f64>, Option<f64>) = sqlx::query_as(
        "select 100 * (n_tup_upd + n_tup_del)::float8 / $1, n_tup_hot_upd::float8 / nullif(n_tup_upd, 0)
         from pg_stat_user_tables where relname = 'outbox_events'",
    )
    .bind(report.events as f64)
    .fetch_one(pool)
    .await?;
    (report.dead_tuples_per_100, report.hot_ratio) = (dead, hot);
    Ok(())
}
