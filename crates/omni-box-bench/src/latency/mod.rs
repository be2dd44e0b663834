//! `latency_*`: from commit to a consumer, at a steady rate, beside a hand-written poll-and-produce loop; and where the time goes.

mod arrivals;
mod by_hand;
mod load;
mod observed;
mod stages;

use anyhow::Result;
use omni_box::postgres::{PgConfig, PgStore};
use omni_box::prelude::*;
use omni_box_harness::{TestDatabase, topic};
use sqlx::postgres::PgPoolOptions;
use tokio_util::sync::CancellationToken;

use crate::report::{Report, percentile};
use crate::run::Run;
use crate::{relay, table};

pub(crate) use arrivals::{Arrivals, Consuming};
pub(crate) use load::{Load, Written};
use observed::{Observed, Stamps};
pub(crate) use stages::Timings;

const PARTITIONS: i32 = 8;

pub(crate) async fn run(run: &Run, load: Load) -> Result<Report> {
    let stamps = Stamps::default();
    let seen = stamps.clone();
    let (written, arrived) = measure(run, &load, |url, brokers, shutdown| async move {
        // connections of its own, as in a process of its own
        let pool = PgPoolOptions::new().max_connections(8).connect(&url).await?;
        let store = Observed::new(PgStore::new(pool, PgConfig::default()), &seen);
        let publisher = Observed::new(relay::publisher(&brokers)?, &seen);
        Ok(OutboxRelay::builder(store, publisher).build()?.run(shutdown).await?)
    })
    .await?;
    let ours = Timings::of(&load, &written, |number| arrived.at(number));
    let mut report = ours.report(run, &load);
    report.stages = Some(stages::attribute(&load, &written, &stamps, &arrived));

    run.progress.preparing("measuring a hand-written loop");
    let (written, arrived) = measure(run, &load, by_hand::publish).await?;
    let by_hand = Timings::of(&load, &written, |number| arrived.at(number));
    let part = |millis: &[f64], part| percentile(millis, part).unwrap_or(f64::NAN);
    report.remark = format!(
        "p99 of the warm-up {:.0} ms; a hand-written loop: p50 {:.2}, p99 {:.2} ms",
        part(ours.cold(), 0.99),
        part(by_hand.millis(), 0.50),
        part(by_hand.millis(), 0.99)
    );
    Ok(report)
}

/// Writes at a rate while `publish` runs; returns what was written, and what arrived.
async fn measure<F>(
    run: &Run,
    load: &Load,
    publish: impl FnOnce(String, String, CancellationToken) -> F,
) -> Result<(Vec<Written>, Arrivals)>
where
    F: Future<Output = Result<()>> + Send + 'static,
{
    // the broker notes when it has appended a message
    let by_broker = [("message.timestamp.type", "LogAppendTime")];
    let topic = topic::create_topic(run.brokers(), run.name, PARTITIONS, &by_broker).await?;
    let database = TestDatabase::create_on(&run.servers.database_url).await?;
    let store = table::store(&database).await?;
    let shutdown = CancellationToken::new();
    let publishing = tokio::spawn(publish(database.url(), run.brokers().to_owned(), shutdown.clone()));
    let consuming = Consuming::start(run.brokers(), &topic, PARTITIONS);

    let written = load.write(&store, &topic, &run.progress, &CancellationToken::new()).await?;
    table::drained(database.pool(), run.brokers(), &topic, written.len()).await?;
    let arrived = consuming.until(written.len()).await?;
    shutdown.cancel();
    publishing.await??;
    database.close().await?;
    Ok((written, arrived))
}
