//! `neighbours`: a trickle of events to one topic while a burst of another topic waits in the same outbox, or in one of its own.

use std::time::{Duration, Instant};

use anyhow::Result;
use omni_box::postgres::{PgConfig, PgStore};
use omni_box_harness::{TestDatabase, topic};
use tokio_util::sync::CancellationToken;

use crate::latency::{Consuming, Load};
use crate::relay::Relay;
use crate::report::{Report, percentile};
use crate::run::Run;
use crate::table;

const PARTITIONS: i32 = 8;
const RATE: usize = 100;
const ALONE: Duration = Duration::from_secs(4);
/// Longer than any burst takes: the trickle ends with the burst.
const AT_MOST: usize = 600;
/// The schema of the second outbox.
const APART: &str = "bulk";

/// Milliseconds of the trickle's events before and during the burst.
struct Course {
    alone: Vec<f64>,
    during: Vec<f64>,
    burst: Duration,
    missing: usize,
}

pub(crate) async fn run(run: &Run, burst: usize) -> Result<Report> {
    let shared = measure(run, burst, false).await?;
    let apart = measure(run, burst, true).await?;
    let p99 = |millis: &[f64]| percentile(millis, 0.99).unwrap_or(f64::NAN);
    let mut report = Report::new(run.name, burst, shared.burst).latencies(&shared.during);
    report.missing = Some(shared.missing + apart.missing);
    report.remark = format!(
        "of the trickle; p99 before the burst {:.1} ms; burst in an outbox of its own: {:.1} ms, {:.0}/s",
        p99(&shared.alone),
        p99(&apart.during),
        burst as f64 / apart.burst.as_secs_f64(),
    );
    Ok(report)
}

async fn measure(run: &Run, burst: usize, is_apart: bool) -> Result<Course> {
    let brokers = run.brokers();
    let trickle = topic::create_topic(brokers, run.name, PARTITIONS, &[]).await?;
    let bulk = topic::create_topic(brokers, run.name, PARTITIONS, &[]).await?;
    let database = TestDatabase::create_on(&run.servers.database_url).await?;
    let store = table::store(&database).await?;
    let mut relays = vec![Relay::start(&database.url(), brokers)?];
    let mut bulk_store = store.clone();
    if is_apart {
        bulk_store = PgStore::new(database.pool().clone(), PgConfig::builder().schema(APART).build()?);
        bulk_store.migrate().await?;
        relays.push(Relay::start_in(APART, &database.url(), brokers)?);
    }
    let consuming = Consuming::start(brokers, &trickle, PARTITIONS);
    let (load, ended) = (Load { writers: 2, ..Load::new(RATE, AT_MOST) }, CancellationToken::new());
    let writing = {
        let (store, trickle, ended) = (store.clone(), trickle.clone(), ended.clone());
        let progress = run.progress.clone();
        tokio::spawn(async move { load.write(&store, &trickle, &progress, &ended).await })
    };
    tokio::time::sleep(load.warm_up + ALONE).await;
    let alone_until = Instant::now();
    let prepared = table::prepare(&bulk_store, &bulk, burst, burst).await?;
    let began = prepared.commit(&bulk_store).await?.into_std();
    table::published(brokers, &bulk, burst, |_| {}).await?;
    let end = Instant::now();
    ended.cancel();
    let written = writing.await??;
    let arrived = consuming.until(written.len()).await?;
    for relay in relays {
        relay.stop().await?;
    }
    database.close().await?;

    let mut course = Course { alone: Vec::new(), during: Vec::new(), burst: end - began, missing: 0 };
    for (number, event) in written.iter().enumerate() {
        let Some(at) = arrived.at(number) else {
            course.missing += 1;
            continue;
        };
        let millis = at.saturating_duration_since(event.committed).as_secs_f64() * 1e3;
        if event.committed >= began && event.committed < end {
            course.during.push(millis);
        } else if number >= load.unmeasured() && event.committed < alone_until {
            course.alone.push(millis);
        }
    }
    Ok(course)
}
