//! What handlers did, and the same inserts alone.

use std::time::Instant;

use anyhow::Result;
use omni_box_harness::{Servers, TestDatabase};
use sqlx::{PgConnection, PgPool};

/// A table with a row for each call of the handler.
pub(crate) struct Effects<'a>(&'a PgPool);

impl<'a> Effects<'a> {
    pub(crate) async fn create(pool: &'a PgPool) -> Result<Self> {
        sqlx::raw_sql(
            "create table effects (id bigint generated always as identity primary key, number bigint not null)",
        )
        .execute(pool)
        .await?;
        Ok(Self(pool))
    }

    /// Messages without an effect, and effects that came twice.
    pub(crate) async fn judge(&self, messages: usize) -> Result<(Option<usize>, Option<usize>)> {
        let (rows, distinct): (i64, i64) =
            sqlx::query_as("select count(*), count(distinct number) from effects").fetch_one(self.0).await?;
        Ok((Some(messages.abs_diff(usize::try_from(distinct)?)), Some(usize::try_from(rows - distinct)?)))
    }
}

/// The handler's insert.
pub(crate) async fn insert(connection: &mut PgConnection, number: i64) -> sqlx::Result<()> {
    sqlx::query("insert into effects (number) values ($1)").bind(number).execute(connection).await?;
    Ok(())
}

/// The inserts of a batch's handler, in one statement.
pub(crate) async fn insert_all(connection: &mut PgConnection, numbers: &[i64]) -> sqlx::Result<()> {
    let insert = "insert into effects (number) select unnest($1::bigint[])";
    sqlx::query(insert).bind(numbers).execute(connection).await?;
    Ok(())
}

/// The inserts of so many messages in transactions of the same size, as many at once; returns messages per second.
pub(super) async fn floor(servers: &Servers, messages: usize, group: usize, at_once: usize) -> Result<f64> {
    let database = TestDatabase::create_on(&servers.database_url).await?;
    Effects::create(database.pool()).await?;
    let start = Instant::now();
    let tasks: Vec<_> = (0..at_once)
        .map(|task| {
            let pool = database.pool().clone();
            tokio::spawn(async move {
                let numbers: Vec<i64> =
                    (task..messages).step_by(at_once).map(|number| number as i64).collect();
                for group in numbers.chunks(group) {
                    let mut tx = pool.begin().await?;
                    for number in group {
                        insert(&mut tx, *number).await?;
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
    let per_s = messages as f64 / start.elapsed().as_secs_f64();
    database.close().await?;
    Ok(per_s)
}
