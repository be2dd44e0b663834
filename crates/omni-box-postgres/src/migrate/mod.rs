//! Migrations: applied once each, in order, by one process at a time; beside the application's own.

mod adopt;
mod verify;

use std::time::Duration;

use omni_box_core::{Error, ErrorKind, Result};
use omni_box_sql::{Applied, Dialect, render};
use sqlx::{AssertSqlSafe, Executor, PgConnection};
use tokio::time::Instant;

use crate::error::failed;
use crate::migrations::MIGRATIONS;
use crate::{PgConfig, PgStore, PgTx, Table};

/// Between two attempts to get a lock.
const POLL: Duration = Duration::from_millis(50);

impl PgStore {
    /// Brings the schema to the version this program needs; does nothing if it has it. May be called by any number of processes at
    /// once: one works, the others wait.
    ///
    /// Tables of events that the models of the Python library omni-box have made are adopted. What they lack is added, what they hold
    /// stays, and pending events are numbered in the order of `created_at` and `id`. An outbox is rewritten once and locked
    /// meanwhile, for about fifteen seconds with a million rows. Lines of level INFO say its size before and the time after. An adopted outbox
    /// has the delivery mode `rows`, in which Python goes on publishing from it; once no publisher of Python's runs,
    /// [`set_delivery_mode`](Self::set_delivery_mode) changes it. A table that is partitioned, or not Python's, is refused.
    ///
    /// # Errors
    /// [`Misconfigured`](ErrorKind::Misconfigured) when the schema is newer than this program and not for it, or an applied migration is not
    /// the one it knows. So it is when another program's table has the name of one of its own. [`Timeout`](ErrorKind::Timeout) when another migration
    /// does not end. [`Contention`](ErrorKind::Contention) when a table to adopt stays locked.
    ///
    /// # Cancel safety
    /// Each migration is a transaction: it is applied whole or not at all.
    pub async fn migrate(&self) -> Result<()> {
        let deadline = Instant::now() + self.config.migrate_wait;
        loop {
            match self.migrate_one(deadline).await {
                Ok(true) => {}
                Ok(false) => return Ok(()),
                // a table that others have locked: they go on before this tries again
                Err(error) if error.kind() == ErrorKind::Contention && Instant::now() < deadline => {
                    tokio::time::sleep(POLL).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Applies the next migration, if there is one.
    async fn migrate_one(&self, deadline: Instant) -> Result<bool> {
        let mut tx = self.lock_migrations(deadline).await?;
        self.prepare(&mut tx).await?;
        let applied = applied(&mut tx, &self.config).await?;
        let next = MIGRATIONS.next(&applied)?;
        if let Some(migration) = next {
            let sql = migration.sql(&*self.config);
            if !applied.is_empty() || !self.adopt(&mut tx, &sql).await? {
                run(&mut tx, sql).await?;
            }
            tracing::info!(version = migration.version, name = migration.name, "applied a migration");
        }
        tx.commit_checked().await?;
        Ok(next.is_some())
    }

    /// A transaction that alone may migrate. The lock ends with it, whatever becomes of the connection. It is polled for, since a
    /// session that waits for a lock inside the server holds a snapshot that may stop others.
    async fn lock_migrations(&self, deadline: Instant) -> Result<PgTx> {
        loop {
            let mut tx = PgTx::begin(&self.connections).await?;
            let locked: bool = sqlx::query_scalar("select pg_try_advisory_xact_lock($1)")
                .bind(self.config.migration_lock())
                .fetch_one(&mut *tx)
                .await
                .map_err(self.failed("lock the migrations"))?;
            if locked {
                return Ok(tx);
            }
            tx.commit_checked().await?;
            if Instant::now() >= deadline {
                return Err(Error::new(
                    ErrorKind::Timeout,
                    format!("another migration has not ended within {:?}", self.config.migrate_wait),
                ));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Makes schema and ledger. It looks first: `if not exists` asks for the right to create even when there is nothing to do.
    async fn prepare(&self, conn: &mut PgConnection) -> Result<()> {
        let (schema, ledger): (bool, bool) = sqlx::query_as(
            "select exists (select from pg_namespace where nspname = $1), to_regclass($2) is not null",
        )
        .bind(self.config.schema())
        .bind(self.config.qualified(Table::Migrations))
        .fetch_one(&mut *conn)
        .await
        .map_err(self.failed("look for the schema"))?;
        if !schema {
            run(conn, format!("create schema {}", self.config.quote(self.config.schema()))).await?;
        }
        if !ledger {
            run(conn, render(&*self.config, MIGRATIONS.ledger)).await?;
        }
        Ok(())
    }
}

async fn run(conn: &mut PgConnection, sql: String) -> Result<()> {
    conn.execute(sqlx::raw_sql(AssertSqlSafe(sql))).await.map_err(failed("migrate"))?;
    Ok(())
}

/// Each applied migration.
async fn applied(conn: &mut PgConnection, config: &PgConfig) -> Result<Vec<Applied>> {
    let ledger = config.qualified(Table::Migrations);
    let sql = format!("select version::int8, checksum, oldest::int8 from {ledger} order by version");
    sqlx::query_as(AssertSqlSafe(sql))
        .fetch_all(conn)
        .await
        .map_err(failed("read which migrations were applied"))
}
