//! Adopts tables of events that the Python library omni-box has made: adds what they lack, keeps what they hold.

use std::time::Duration;

use omni_box_core::{DeliveryMode, Error, ErrorKind, Result};
use omni_box_sql::{Dialect, SchemaDifference};
use sqlx::{Executor, PgConnection};
use tokio::time::Instant;

use super::{run, verify};
use crate::error::failed;
use crate::{PgStore, Table};

/// How long writers may have to wait behind this for the lock of a table.
const LOCK_WAIT: Duration = Duration::from_secs(2);

/// A table that Python may have made.
struct Adoptable {
    table: Table,
    /// What the adoption adds.
    added: &'static [&'static str],
    /// Unique indexes by their columns and condition, and what their names have behind that of the table here. They get these names.
    unique: &'static [(&'static str, Option<&'static str>, &'static str)],
}

const OUTBOX: Adoptable = Adoptable {
    table: Table::OutboxEvents,
    added: &[
        "seq",
        "lane",
        "deferred",
        "held",
        "head",
        "hold_until",
        "released",
        "copied_at",
        "aside",
        "failed_at",
        "uncopied_at",
    ],
    unique: &[
        ("id", None, "_pkey"),
        ("idempotency_key", Some("(idempotency_key IS NOT NULL)"), "_idempotency"),
    ],
};

const INBOX: Adoptable = Adoptable {
    table: Table::InboxEvents,
    added: &[
        "partition_key",
        "source_topic",
        "source_partition",
        "source_offset",
        "produced_at",
        "digest",
        "raw_key",
        "copied_at",
    ],
    unique: &[("id", None, "_pkey"), ("message_id,consumer_group", None, "_message")],
};

impl PgStore {
    /// Applies the first migration, whose SQL this is, beside tables that Python has made; `false`: there are none, and nothing was done.
    pub(super) async fn adopt(&self, conn: &mut PgConnection, sql: &str) -> Result<bool> {
        let outbox = self.adopt_table(conn, &OUTBOX).await?;
        let inbox = self.adopt_table(conn, &INBOX).await?;
        if !outbox && !inbox {
            return Ok(false);
        }
        run(conn, beside(sql)).await?;
        if outbox {
            self.begin_in_rows(conn).await?;
        }
        Ok(true)
    }

    async fn adopt_table(&self, conn: &mut PgConnection, adoptable: &Adoptable) -> Result<bool> {
        let (config, table) = (&*self.config, adoptable.table);
        let name = config.table(table);
        let columns = verify::columns(conn, config.schema(), name).await?;
        if columns.is_empty() {
            return Ok(false);
        }
        let qualified = config.qualified(table);
        let is_partitioned: bool = sqlx::query_scalar(
            "select coalesce((select relkind = 'p' from pg_class where oid = to_regclass($1)), false)",
        )
        .bind(&qualified)
        .fetch_one(&mut *conn)
        .await
        .map_err(failed("look whether a table is partitioned"))?;
        if is_partitioned {
            let why = "it is partitioned, so that no unique index keeps ids, idempotency keys and messages from being there twice";
            return Err(not_ours(name, why));
        }
        let is_added = |column: &String| adoptable.added.contains(&column.as_str());
        let strange =
            verify::expected(table).differences(config, &columns, &[]).into_iter().find(|difference| {
                match difference {
                    SchemaDifference::MissingColumn { column, .. } => !is_added(column),
                    SchemaDifference::MissingIndex { .. } => false,
                    _ => true,
                }
            });
        if let Some(difference) = strange {
            return Err(not_ours(name, &difference.to_string()));
        }
        if let Some(column) = adoptable.added.iter().find(|column| columns.contains_key(**column)) {
            return Err(not_ours(name, &format!("column {column} is there already")));
        }
        let wait = LOCK_WAIT.as_millis();
        let lock =
            format!("set local lock_timeout = {wait}; lock table {qualified} in access exclusive mode");
        run(conn, lock).await?;
        let start = Instant::now();
        let bytes: i64 = sqlx::query_scalar("select pg_table_size(to_regclass($1))")
            .bind(&qualified)
            .fetch_one(&mut *conn)
            .await
            .map_err(failed("measure a table"))?;
        tracing::info!(
            table = name,
            bytes,
            "adopts a table of the Python library; it is locked until the migration commits"
        );
        self.rename_indexes(conn, adoptable).await?;
        match table {
            Table::OutboxEvents => conn.execute(sqlx::raw_sql(self.queries.adopt_outbox.sql())).await,
            _ => conn.execute(sqlx::raw_sql(self.queries.adopt_inbox.sql())).await,
        }
        .map_err(failed("adopt a table of the Python library"))?;
        tracing::info!(table = name, locked_for = ?start.elapsed(), "added what the table lacked");
        Ok(true)
    }

    /// An index that Python made and this library would make again gets the name that is looked for here.
    async fn rename_indexes(&self, conn: &mut PgConnection, adoptable: &Adoptable) -> Result<()> {
        let (config, name) = (&*self.config, self.config.table(adoptable.table));
        let found: Vec<(String, Option<String>, Option<String>)> =
            sqlx::query_as(self.queries.adopt_unique_indexes.sql())
                .bind(config.schema())
                .bind(name)
                .fetch_all(&mut *conn)
                .await
                .map_err(failed("read the indexes of a table"))?;
        for (columns, condition, suffix) in adoptable.unique {
            let wanted = config.derived(adoptable.table, suffix);
            let index = found
                .iter()
                .find(|(_, its, when)| its.as_deref() == Some(*columns) && when.as_deref() == *condition);
            match index {
                Some((index, ..)) if *index == wanted => {}
                Some((index, ..)) => {
                    let (schema, index, wanted) =
                        (config.quote(config.schema()), config.quote(index), config.quote(&wanted));
                    run(conn, format!("alter index {schema}.{index} rename to {wanted}")).await?;
                }
                None => return Err(not_ours(name, &format!("no unique index on ({columns})"))),
            }
        }
        Ok(())
    }

    /// Chooses the mode in which Python's publishers, which may be at work, share an outbox with this library.
    async fn begin_in_rows(&self, conn: &mut PgConnection) -> Result<()> {
        sqlx::query(self.queries.control_set_mode.sql())
            .bind(DeliveryMode::Rows.as_str())
            .execute(&mut *conn)
            .await
            .map_err(self.failed("change the delivery mode"))?;
        conn.execute(sqlx::raw_sql(self.queries.control_rows_indexes.sql()))
            .await
            .map_err(self.failed("change the indexes"))?;
        Ok(())
    }
}

/// The first migration, which leaves what is there as it is.
fn beside(sql: &str) -> String {
    let makes = ["create table ", "create unique index ", "create index "];
    let line = |line: &str| match makes.iter().find_map(|make| Some((make, line.strip_prefix(make)?))) {
        Some((make, rest)) => format!("{make}if not exists {rest}\n"),
        None => format!("{line}\n"),
    };
    sql.lines().map(line).collect()
}

fn not_ours(table: &str, why: &str) -> Error {
    let message = format!(
        "the table {table} is there already, and cannot be adopted as one of the Python library omni-box ({why}); \
         configure another schema or name"
    );
    Error::new(ErrorKind::Misconfigured, message)
}
