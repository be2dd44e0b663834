//! `inbox_inline`: messages taken into the database by a handler of one insert, exactly once.

use std::time::{Duration, Instant};

use anyhow::Result;
use omni_box::kafka::{KafkaConsumerConfig, KafkaEventConsumer};
use omni_box::postgres::PgStore;
use omni_box::prelude::*;
use omni_box_harness::usage::rss_mib;
use omni_box_harness::{Servers, TestDatabase, topic};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use crate::report::Report;
use crate::table;

const PARTITIONS: i32 = 16;
/// Messages a transaction holds, and transactions at once: the runner's own numbers.
const GROUP: usize = 60;
const AT_ONCE: usize = 4;

const EVENT_TYPE: &str = "bench.order";

#[derive(serde::Deserialize)]
struct Body {
    number: i64,
}

async fn insert(mut cx: InboxContext<'_, PgStore>, body: Body) -> Result<(), HandlerError> {
    insert_effect(cx.conn(), body.number).await?;
    Ok(())
}

async fn insert_effect(connection: &mut sqlx::PgConnection, number: i64) -> sqlx::Result<()> {
    sqlx::query("insert into effects (number) values ($1)").bind(number).execute(connection).await?;
    Ok(())
}

async fn effects_table(pool: &PgPool) -> Result<()> {
    sqlx::raw_sql(
        "create table effects (id bigint generated always as identity primary key, number bigint not null)",
    )
    .execute(pool)
    .await?;
    Ok(())
}

pub(crate) async fn inline(servers: &Servers, events: usize) -> Result<Report> {
    let brokers = &servers.kafka_brokers;
    let topic = topic::create_topic(brokers, "inbox", PARTITIONS, &[]).await?;
    let messages: Vec<topic::Message> = (0..events)
        .map(|number| topic::Message {
            key: Some(format!("key-{}", number % 10_000).into_bytes()),
            value: Some(format!(r#"{{"number":{number},"padding":"{}"}}"#, "x".repeat(200)).into_bytes()),
            headers: vec![
                ("message_id".to_owned(), Some(format!("message-{number}").into_bytes())),
                ("event_type".to_owned(), Some(EVENT_TYPE.into())),
            ],
            ..topic::Message::default()
        })
        .collect();
    topic::produce(brokers, &topic, &messages).await?;

    let database = TestDatabase::create_on(&servers.database_url).await?;
    let store = table::store(&database).await?;
    effects_table(database.pool()).await?;
    let group = format!("bench-{}", uuid::Uuid::now_v7());
    let consumer = KafkaEventConsumer::from_config(KafkaConsumerConfig::new(brokers, group, [topic]))?;
    let mut runner = InboxConsumerRunner::builder(consumer, store)
        .handler(on(EVENT_TYPE, insert))
        .concurrency_limit(AT_ONCE)
        .group_size(GROUP)
        .build()?;
    let shutdown = CancellationToken::new();
    let stop = shutdown.clone();
    let running = tokio::spawn(async move { runner.run_forever(&stop).await });
    // joining a group takes seconds and is not what is measured: the clock starts with the first effect
    wait_for(database.pool(), 1).await?;
    let start = Instant::now();
    let first: i64 = count(database.pool()).await?;
    wait_for(database.pool(), events as i64).await?;
    let elapsed = start.elapsed();
    shutdown.cancel();
    running.await??;
    let (rows, distinct): (i64, i64) = sqlx::query_as("select count(*), count(distinct number) from effects")
        .fetch_one(database.pool())
        .await?;
    database.close().await?;

    let measured = events - usize::try_from(first)?;
    let floor = floor(servers, events).await?;
    let mut report = Report::new("inbox_inline", measured, elapsed)
        .floor(floor, format!("the inserts alone, {GROUP} a transaction, {AT_ONCE} at once"));
    report.rss_mib = rss_mib(std::process::id());
    report.missing = Some(events - usize::try_from(distinct)?);
    report.duplicates = Some(usize::try_from(rows - distinct)?);
    Ok(report)
}

async fn count(pool: &PgPool) -> Result<i64> {
    Ok(sqlx::query_scalar("select count(*) from effects").fetch_one(pool).await?)
}

async fn wait_for(pool: &PgPool, effects: i64) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(300);
    while count(pool).await? < effects {
        anyhow::ensure!(Instant::now() < deadline, "fewer than {effects} effects within 300 s");
        // counting costs the server something: not often
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Ok(())
}

/// The handler's inserts in transactions of the same size, as many at once.
async fn floor(servers: &Servers, events: usize) -> Result<f64> {
    let database = TestDatabase::create_on(&servers.database_url).await?;
    effects_table(database.pool()).await?;
    let start = Instant::now();
    let tasks: Vec<_> = (0..AT_ONCE)
        .map(|task| {
            let pool = database.pool().clone();
            tokio::spawn(async move {
                let numbers: Vec<i64> = (task..events).step_by(AT_ONCE).map(|number| number as i64).collect();
                for group in numbers.chunks(GROUP) {
                    let mut tx = pool.begin().await?;
                    for number in group {
                        insert_effect(&mut tx, *number).await?;
                    }
                    tx.commit().await?;
                }
                Ok::<_, anyhow::Error>(())
            })
        })
        .collect();
    for task in tasks {
        task.await??;
    }
    let per_s = events as f64 / start.elapsed().as_secs_f64();
    database.close().await?;
    Ok(per_s)
}
