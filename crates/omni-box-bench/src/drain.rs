//! `drain_*`: a full outbox, one relay or two, and what else may stand in the table.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use omni_box_harness::{TestDatabase, topic};

use crate::costs::{self, Meter};
use crate::relay::Relay;
use crate::report::Report;
use crate::run::Run;
use crate::surroundings::Around;
use crate::{floor, table};

const PARTITIONS: i32 = 8;
const WARM_UP: usize = 1_000;
/// More events than this tell no more about the floor.
const FLOOR: usize = 100_000;
const PATIENCE: Duration = Duration::from_secs(300);

/// What is drained, and by how many relays.
pub(crate) struct Drain {
    pub(crate) events: usize,
    pub(crate) keys: usize,
    pub(crate) relays: usize,
    pub(crate) around: Around,
    /// Whether the relays' metrics are on a registry that is looked at, and the tables are sampled for it.
    pub(crate) has_metrics: bool,
}

impl Drain {
    pub(crate) fn new(events: usize, keys: usize) -> Self {
        Self { events, keys, relays: 1, around: Around::Nothing, has_metrics: false }
    }
}

pub(crate) async fn run(run: &Run, drain: Drain) -> Result<Report> {
    let Drain { events, keys, relays, around, has_metrics } = drain;
    let (brokers, progress) = (run.brokers(), &run.progress);
    let topic = topic::create_topic(brokers, run.name, PARTITIONS, &[]).await?;
    let warm_up = topic::create_topic(brokers, run.name, PARTITIONS, &[]).await?;
    let database = TestDatabase::create_on(&run.servers.database_url).await?;
    let store = table::store(&database).await?;
    progress.preparing("rows around the events");
    around.fill(database.pool(), &topic).await?;

    let mut relays = start(&database, brokers, relays, has_metrics).await?;
    progress.preparing("warming up");
    table::fill(&store, &warm_up, WARM_UP, WARM_UP).await?;
    table::drained(database.pool(), brokers, &warm_up, WARM_UP).await?;
    let open = around.open(&database).await?;
    let meter = Meter::new(&run.servers, database.pool(), &relays)?;
    // the clock of processes starts before the commit: what writes the rows is not the relay's, so nothing else runs until then
    progress.preparing("writing events");
    let prepared = table::prepare(&store, &topic, events, keys).await?;
    let before = meter.read(database.pool(), &mut relays).await?;
    let start = prepared.commit(&store).await?;
    progress.begin(events);
    let watched = progress.clone();
    table::published(brokers, &topic, events, move |done| watched.at(done)).await?;
    match around {
        // heads of the missing topic are in flight all the time
        Around::ClosedTopic(_) => table::settled(database.pool()).await?,
        _ => settled(&mut relays).await?,
    }
    let mut report = Report::new(run.name, events, start.elapsed());
    before.until(&meter.read(database.pool(), &mut relays).await?, &mut report);
    report.rss_mib = meter.memory();
    for relay in relays {
        relay.stop().await?;
    }
    open.close().await?;
    costs::updates(database.pool(), &mut report).await?;
    ensure!(!table::is_any_left(database.pool()).await?, "events are left in the table");
    database.close().await?;
    (report.missing, report.duplicates, report.out_of_order) = table::judge(brokers, &topic, events).await?;

    progress.preparing("measuring floors");
    let (sql, kafka) = floors(run, events.min(FLOOR), keys).await?;
    Ok(report.floor(sql.min(kafka), format!("sql {sql:.0}/s, kafka {kafka:.0}/s")))
}

async fn start(
    database: &TestDatabase,
    brokers: &str,
    relays: usize,
    has_metrics: bool,
) -> Result<Vec<Relay>> {
    let start = if has_metrics { Relay::start_with_metrics } else { Relay::start };
    let mut started = Vec::new();
    for _ in 0..relays {
        started.push(start(&database.url(), brokers)?);
    }
    // each has its share before anything is measured
    let deadline = Instant::now() + PATIENCE;
    let fair = 16 / relays;
    for relay in &mut started {
        while relay.told().await?.lanes != fair {
            ensure!(Instant::now() < deadline, "a relay owns no share of the lanes after 300 s");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    Ok(started)
}

/// Waits until the relays have written down what became of everything. What is not due counts for nothing.
async fn settled(relays: &mut [Relay]) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    for relay in relays {
        while relay.told().await?.in_flight > 0 {
            ensure!(Instant::now() < deadline, "outcomes are not written within 300 s");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    Ok(())
}

/// The same rows by SQL alone, and the same bytes to Kafka alone; nothing else is in the table.
async fn floors(run: &Run, events: usize, keys: usize) -> Result<(f64, f64)> {
    let topic = topic::create_topic(run.brokers(), run.name, PARTITIONS, &[]).await?;
    let kafka = floor::kafka(run.brokers(), &topic, events, keys).await?;
    let database = TestDatabase::create_on(&run.servers.database_url).await?;
    let store = table::store(&database).await?;
    table::fill(&store, &topic, events, keys).await?;
    let sql = floor::sql(database.pool(), keys.min(16) as i64).await?;
    database.close().await?;
    Ok((sql, kafka))
}
