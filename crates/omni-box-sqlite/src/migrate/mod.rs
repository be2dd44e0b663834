//! Migrations: applied once each, in order, by one process at a time; beside the application's own.

mod verify;

use std::time::Duration;

use omni_box_core::{Error, ErrorKind, Result};
use omni_box_sql::{Applied, render};
use sqlx::{AssertSqlSafe, Executor, SqliteConnection};
use tokio::time::Instant;

use crate::error::failed;
use crate::migrations::MIGRATIONS;
use crate::{SqliteConfig, SqliteStore, SqliteTx, Table};

impl SqliteStore {
    /// Brings the schema to the version this program needs; does nothing if it has it. May be called by any number of processes at
    /// once: one works, the others wait.
    ///
    /// # Errors
    /// [`Misconfigured`](ErrorKind::Misconfigured) when the schema is newer than this program and not for it, or an applied migration is not
    /// the one it knows. [`Timeout`](ErrorKind::Timeout) when another migration, or any other writer, does not end.
    ///
    /// # Cancel safety
    /// Each migration is a transaction: it is applied whole or not at all.
    pub async fn migrate(&self) -> Result<()> {
        let deadline = Instant::now() + self.config.migrate_wait;
        while self.migrate_one(deadline).await? {}
        Ok(())
    }

    /// Applies the next migration, if there is one.
    async fn migrate_one(&self, deadline: Instant) -> Result<bool> {
        // by a reader first: who has nothing to do does not wait for a writer
        if self.is_up_to_date().await? {
            return Ok(false);
        }
        let mut tx = self.lock_migrations(deadline).await?;
        run(&mut tx, render(&*self.config, MIGRATIONS.ledger)).await?;
        let applied = applied(&mut tx, &self.config).await?;
        let next = MIGRATIONS.next(&applied)?;
        if let Some(migration) = next {
            run(&mut tx, migration.sql(&*self.config)).await?;
            tracing::info!(version = migration.version, name = migration.name, "applied a migration");
        }
        tx.commit().await?;
        Ok(next.is_some())
    }

    async fn is_up_to_date(&self) -> Result<bool> {
        let mut tx = SqliteTx::begin_read(&self.pool).await?;
        if !has_ledger(&mut tx, &self.config).await? {
            return Ok(false);
        }
        let applied = applied(&mut tx, &self.config).await?;
        tx.rollback().await?;
        Ok(MIGRATIONS.next(&applied)?.is_none())
    }

    /// The file's write lock, under which one alone migrates.
    async fn lock_migrations(&self, deadline: Instant) -> Result<SqliteTx> {
        const PAUSE: Duration = Duration::from_millis(10);
        loop {
            match self.begin_bare().await {
                Err(error) if error.kind() == ErrorKind::Contention && Instant::now() < deadline => {
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) if error.kind() == ErrorKind::Contention => {
                    let waited = self.config.migrate_wait;
                    let message = format!("another migration or writer has not ended within {waited:?}");
                    return Err(Error::new(ErrorKind::Timeout, message).with_source(error));
                }
                begun => return begun,
            }
        }
    }
}

async fn run(conn: &mut SqliteConnection, sql: String) -> Result<()> {
    conn.execute(sqlx::raw_sql(AssertSqlSafe(sql))).await.map_err(failed("migrate"))?;
    Ok(())
}

async fn has_ledger(conn: &mut SqliteConnection, config: &SqliteConfig) -> Result<bool> {
    sqlx::query_scalar(
        "select exists (select 1 from sqlite_schema where type = 'table' and name = ?1 collate nocase)",
    )
    .bind(config.table(Table::Migrations))
    .fetch_one(conn)
    .await
    .map_err(failed("look for the schema"))
}

/// Each applied migration.
async fn applied(conn: &mut SqliteConnection, config: &SqliteConfig) -> Result<Vec<Applied>> {
    let ledger = config.qualified(Table::Migrations);
    let sql = format!("select version, checksum, oldest from {ledger} order by version");
    sqlx::query_as(AssertSqlSafe(sql))
        .fetch_all(conn)
        .await
        .map_err(failed("read which migrations were applied"))
}
