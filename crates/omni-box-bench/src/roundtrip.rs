//! `roundtrip`: from commit through outbox, relay, Kafka and inbox to a handler, at a steady rate.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use omni_box::kafka::{KafkaConsumerConfig, KafkaEventConsumer};
use omni_box::postgres::PgStore;
use omni_box::prelude::*;
use omni_box_harness::{TestDatabase, topic};
use tokio_util::sync::CancellationToken;

use crate::inbox::{Body, Effects, insert};
use crate::latency::{Load, Timings};
use crate::relay::Relay;
use crate::report::Report;
use crate::run::Run;
use crate::table;

const PARTITIONS: i32 = 8;
const PATIENCE: Duration = Duration::from_secs(60);

/// When the handler took each event, by number. A workload runs once in a process.
static HANDLED: Mutex<Option<HashMap<usize, Instant>>> = Mutex::new(None);

async fn handle(mut cx: InboxContext<'_, PgStore>, body: Body) -> Result<(), HandlerError> {
    insert(cx.conn(), body.number).await?;
    if let Ok(number) = usize::try_from(body.number) {
        let mut handled = HANDLED.lock().unwrap_or_else(PoisonError::into_inner);
        handled.get_or_insert_default().entry(number).or_insert_with(Instant::now);
    }
    Ok(())
}

pub(crate) async fn run(run: &Run, load: Load) -> Result<Report> {
    let topic = topic::create_topic(run.brokers(), run.name, PARTITIONS, &[]).await?;
    let database = TestDatabase::create_on(&run.servers.database_url).await?;
    let store = table::store(&database).await?;
    let effects = Effects::create(database.pool()).await?;
    let relay = Relay::start(&database.url(), run.brokers())?;
    let group = format!("{topic}-group");
    let consumer = KafkaEventConsumer::from_config(KafkaConsumerConfig::new(run.brokers(), group, [&topic]))?;
    let runner = InboxConsumerRunner::builder(consumer, store.clone())
        .handler(on(table::EVENT_TYPE, handle))
        .build()?;
    let shutdown = CancellationToken::new();
    let running = tokio::spawn(runner.run(shutdown.clone()));

    let written = load.write(&store, &topic, &run.progress, &CancellationToken::new()).await?;
    let handled = until(written.len()).await?;
    shutdown.cancel();
    running.await??;
    relay.stop().await?;
    let timings = Timings::of(&load, &written, |number| handled.get(&number).copied());
    let mut report = timings.report(run, &load);
    (report.missing, report.duplicates) = effects.judge(written.len()).await?;
    report.remark = "from the commit to the handler".to_owned();
    database.close().await?;
    Ok(report)
}

/// Waits until so many events were handled.
async fn until(events: usize) -> Result<HashMap<usize, Instant>> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        {
            let mut handled = HANDLED.lock().unwrap_or_else(PoisonError::into_inner);
            if handled.as_ref().is_some_and(|handled| handled.len() >= events) {
                return Ok(handled.take().unwrap_or_default());
            }
        }
        ensure!(Instant::now() < deadline, "not all events were handled within 60 s after the last");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
