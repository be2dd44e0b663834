//! `inbox_*`: messages taken into the database by a handler of one insert, exactly once.

mod effects;
mod messages;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use omni_box::kafka::{KafkaConsumerConfig, KafkaEventConsumer};
use omni_box::metrics::InboxMetrics;
use omni_box::postgres::PgStore;
use omni_box::prelude::*;
use omni_box_harness::TestDatabase;
use omni_box_harness::usage::rss_mib;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::report::Report;
use crate::run::Run;
use crate::table;

pub(crate) use effects::{Effects, insert, insert_all};
pub(crate) use messages::EVENT_TYPE;

/// Messages a transaction holds, and transactions at once: the runner's own numbers.
const GROUP: usize = 60;
const AT_ONCE: usize = 4;
const PATIENCE: Duration = Duration::from_secs(300);

#[derive(serde::Deserialize)]
pub(crate) struct Body {
    pub(crate) number: i64,
}

async fn handle(mut cx: InboxContext<'_, PgStore>, body: Body) -> Result<(), HandlerError> {
    insert(cx.conn(), body.number).await?;
    Ok(())
}

async fn handle_all(mut batch: InboxBatch<'_, PgStore>) -> Result<(), HandlerError> {
    let bodies = batch.events.iter().map(|event| event.payload().deserialize::<Body>());
    let numbers: Vec<i64> = bodies.map(|body| Ok(body?.number)).collect::<omni_box::Result<_>>()?;
    insert_all(batch.conn(), &numbers).await?;
    Ok(())
}

/// Counts messages that are done with, once that is committed.
#[derive(Default)]
struct Done(AtomicUsize);

impl Done {
    fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl InboxMetrics for Done {
    fn event_processed(&self, _event_type: &str, _status: &'static str) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn message_duplicate(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// How messages are taken in.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// Handled as they come.
    Inline,
    /// Stored by a runner without a handler, and handled by a worker beside it.
    Stored,
    /// Handled as they come, those of a transaction by one call.
    Batch,
    /// Handled as they come, and each comes twice.
    Duplicates,
}

pub(crate) async fn run(run: &Run, deliveries: usize, way: Way) -> Result<Report> {
    let progress = &run.progress;
    let times = if way == Way::Duplicates { 2 } else { 1 };
    let distinct = deliveries / times;
    progress.preparing("producing messages");
    let topic = messages::produce(run, distinct, times).await?;
    let database = TestDatabase::create_on(&run.servers.database_url).await?;
    let store = table::store(&database).await?;
    let effects = Effects::create(database.pool()).await?;

    let done = Arc::new(Done::default());
    let shutdown = CancellationToken::new();
    let mut running = JoinSet::new();
    let group = format!("bench-{}", uuid::Uuid::now_v7());
    let consumer = KafkaEventConsumer::from_config(KafkaConsumerConfig::new(run.brokers(), &group, [topic]))?;
    let runner = InboxConsumerRunner::builder(consumer, store.clone())
        .metrics(done.clone())
        .concurrency_limit(AT_ONCE)
        .group_size(GROUP);
    if way == Way::Batch {
        let runner = runner.handler(on_batch(EVENT_TYPE, handle_all));
        running.spawn(runner.build()?.run(shutdown.clone()));
    } else if way == Way::Stored {
        let worker = InboxWorker::builder(store)
            .consumer_group(&group)
            .handler(on(EVENT_TYPE, handle))
            .metrics(done.clone())
            .concurrency_limit(AT_ONCE)
            .group_size(GROUP)
            .build()?;
        running.spawn(worker.run(shutdown.clone()));
        running.spawn(runner.build()?.run(shutdown.clone()));
    } else {
        running.spawn(runner.handler(on(EVENT_TYPE, handle)).build()?.run(shutdown.clone()));
    }
    progress.preparing("joining the group");
    // joining a group takes seconds and is not what is measured: the clock starts with the first message that is done
    let first = until(&done, 1, &mut running, |_| {}).await?;
    let start = Instant::now();
    progress.begin(deliveries - first);
    until(&done, deliveries, &mut running, |count| progress.at(count - first)).await?;
    let elapsed = start.elapsed();
    shutdown.cancel();
    while let Some(ended) = running.join_next().await {
        ended??;
    }

    let mut report = Report::new(run.name, deliveries - first, elapsed);
    report.rss_mib = rss_mib(std::process::id());
    (report.missing, report.duplicates) = effects.judge(distinct).await?;
    database.close().await?;
    progress.preparing("measuring the floor");
    let floor = effects::floor(&run.servers, distinct, GROUP, AT_ONCE).await?;
    Ok(report.floor(floor, format!("the inserts alone, {GROUP} a transaction, {AT_ONCE} at once")))
}

/// Waits until so many messages are done; what takes them in must not end before.
async fn until(
    done: &Done,
    wanted: usize,
    running: &mut JoinSet<omni_box::Result<()>>,
    told: impl Fn(usize),
) -> Result<usize> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let count = done.count();
        if count >= wanted {
            told(count);
            return Ok(count);
        }
        told(count);
        anyhow::ensure!(Instant::now() < deadline, "{count} of {wanted} messages are done after 300 s");
        if let Some(ended) = running.try_join_next() {
            ended??;
            anyhow::bail!("what takes messages in has ended");
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
