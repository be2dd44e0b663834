//! `enqueue_*`: events in business transactions, beside the same transactions without them or with bare rows.

use std::time::{Duration, Instant};

use anyhow::Result;
use omni_box::prelude::*;
use omni_box_harness::TestDatabase;
use sqlx::{Connection, PgConnection, PgPool};

use crate::report::Report;
use crate::run::{Run, same};
use crate::table;

/// Events of a transaction of `enqueue_bulk`.
const BULK: usize = 1_000;

/// `enqueue_one`: one event in a transaction of one insert, beside the same transaction without it.
pub(crate) async fn one(run: &Run, events: usize) -> Result<Report> {
    let database = TestDatabase::create_on(&run.servers.database_url).await?;
    let store = table::store(&database).await?;
    sqlx::raw_sql(
        "create table business (id bigint generated always as identity primary key, text text not null)",
    )
    .execute(database.pool())
    .await?;
    let domain = OmniBoxDomainService::default();
    let mut connection = database.pool().acquire().await?;
    let (mut with, mut without) = (Vec::with_capacity(events), Vec::with_capacity(events));
    run.progress.begin(events);
    // turn by turn, so that both see the same machine
    for number in 0..events * 2 {
        let is_with = number % 2 == 0;
        let start = Instant::now();
        let mut tx = connection.begin().await?;
        sqlx::query("insert into business (text) values ('something happened')").execute(&mut *tx).await?;
        if is_with {
            store.create(&mut tx, &table::event(&domain, "bench", number % 100, number)?).await?;
        }
        tx.commit().await?;
        if is_with { &mut with } else { &mut without }.push(start.elapsed().as_secs_f64());
        run.progress.at(with.len());
    }
    drop(connection);
    let stored = stored(database.pool()).await?;
    database.close().await?;

    let seconds: f64 = with.iter().sum();
    let floor = events as f64 / without.iter().sum::<f64>();
    let millis: Vec<f64> = with.iter().map(|seconds| seconds * 1e3).collect();
    let mut report = Report::new(run.name, events, Duration::from_secs_f64(seconds)).latencies(&millis);
    let times = floor / report.rate_per_s;
    report = report.floor(floor, format!("{times:.2} x the transaction without it"));
    report.missing = Some(events.abs_diff(usize::try_from(stored)?));
    Ok(report)
}

/// `enqueue_bulk`: 1,000 events a transaction, beside bare inserts of the same rows into a table of the same form.
pub(crate) async fn bulk(run: &Run, transactions: usize) -> Result<Report> {
    let database = TestDatabase::create_on(&run.servers.database_url).await?;
    let store = table::store(&database).await?;
    // a table of its own for each, so that neither's indexes grow by the other's rows
    sqlx::raw_sql("create table bare_events (like outbox_events including all)")
        .execute(database.pool())
        .await?;
    let domain = OmniBoxDomainService::default();
    let mut connection = database.pool().acquire().await?;
    let (mut ours, mut bare) = (Duration::ZERO, Duration::ZERO);
    let events = transactions * BULK;
    run.progress.begin(events);
    for number in 0..transactions {
        let events: Vec<OutboxEvent> = (number * BULK..(number + 1) * BULK)
            .map(|number| table::numbered(&domain, "bench", 1_000_000, number))
            .collect::<Result<_>>()?;
        let start = Instant::now();
        let mut tx = connection.begin().await?;
        store.create_many(&mut tx, &events).await?;
        tx.commit().await?;
        ours += start.elapsed();
        let start = Instant::now();
        insert_bare(&mut connection, &events).await?;
        bare += start.elapsed();
        run.progress.at((number + 1) * BULK);
    }
    drop(connection);
    let stored = stored(database.pool()).await?;
    let inserted = sqlx::query_scalar("select count(*) from bare_events").fetch_one(database.pool()).await?;
    same("bare rows", inserted, events)?;
    database.close().await?;

    let floor = events as f64 / bare.as_secs_f64();
    let mut report =
        Report::new(run.name, events, ours).floor(floor, "the same rows, one bare insert a transaction");
    report.missing = Some(events.abs_diff(usize::try_from(stored)?));
    Ok(report)
}

/// The leanest transaction that inserts these rows: one statement, columns as arrays.
async fn insert_bare(connection: &mut PgConnection, events: &[OutboxEvent]) -> Result<()> {
    let mut tx = connection.begin().await?;
    sqlx::query(
        "insert into bare_events (id, event_type, topic, partition_key, payload)
         select n.id, n.event_type, n.topic, n.partition_key, n.payload::json
         from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[])
             as n (id, event_type, topic, partition_key, payload)",
    )
    .bind(events.iter().map(|event| event.id().as_uuid()).collect::<Vec<_>>())
    .bind(events.iter().map(OutboxEvent::event_type).collect::<Vec<_>>())
    .bind(events.iter().map(OutboxEvent::topic).collect::<Vec<_>>())
    .bind(events.iter().map(OutboxEvent::partition_key).collect::<Vec<_>>())
    .bind(events.iter().map(|event| event.payload().as_str()).collect::<Vec<_>>())
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(())
}

async fn stored(pool: &PgPool) -> Result<i64> {
    Ok(sqlx::query_scalar("select count(*) from outbox_events").fetch_one(pool).await?)
}
