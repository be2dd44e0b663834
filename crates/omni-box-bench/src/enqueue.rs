//! `enqueue_one`: one event in a business transaction of one insert, beside the same transaction without it.

use std::time::Instant;

use anyhow::Result;
use omni_box::prelude::*;
use omni_box_harness::{Servers, TestDatabase};

use crate::report::Report;
use crate::table;

pub(crate) async fn one(servers: &Servers, events: usize) -> Result<Report> {
    let database = TestDatabase::create_on(&servers.database_url).await?;
    let store = table::store(&database).await?;
    sqlx::raw_sql(
        "create table business (id bigint generated always as identity primary key, text text not null)",
    )
    .execute(database.pool())
    .await?;
    let domain = OmniBoxDomainService::default();
    let mut connection = database.pool().acquire().await?;
    let (mut with, mut without) = (Vec::with_capacity(events), Vec::with_capacity(events));
    // turn by turn, so that both see the same machine
    for number in 0..events * 2 {
        let is_with = number % 2 == 0;
        let start = Instant::now();
        let mut tx = sqlx::Connection::begin(&mut *connection).await?;
        sqlx::query("insert into business (text) values ('something happened')").execute(&mut *tx).await?;
        if is_with {
            store.create(&mut tx, &table::event(&domain, "bench", number % 100, number)?).await?;
        }
        tx.commit().await?;
        if is_with { &mut with } else { &mut without }.push(start.elapsed().as_secs_f64());
    }
    let stored: i64 =
        sqlx::query_scalar("select count(*) from outbox_events").fetch_one(database.pool()).await?;
    drop(connection);
    database.close().await?;

    let seconds: f64 = with.iter().sum();
    let floor = events as f64 / without.iter().sum::<f64>();
    let millis: Vec<f64> = with.iter().map(|seconds| seconds * 1e3).collect();
    let mut report =
        Report::new("enqueue_one", events, std::time::Duration::from_secs_f64(seconds)).latencies(&millis);
    let times = floor / report.rate_per_s;
    report = report.floor(floor, format!("{times:.2} x the transaction without it"));
    report.missing = Some(events.abs_diff(usize::try_from(stored)?));
    Ok(report)
}
