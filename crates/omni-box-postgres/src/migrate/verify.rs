//! Compares the schema with what this program needs. Reads only.

use std::collections::HashMap;

use omni_box_core::Result;
use omni_box_sql::{ExpectedTable, SchemaDifference};
use sqlx::PgConnection;

use super::applied;
use crate::error::failed;
use crate::migrations::MIGRATIONS;
use crate::sequence::Waiting;
use crate::{PgStore, PgTx, Table};

/// Tables that the Python library made have `jsonb` for `json`.
static EXPECTED: [ExpectedTable; 10] = [
    ExpectedTable {
        table: Table::OutboxEvents,
        columns: "id uuid, event_type varchar, aggregate_type varchar, aggregate_id uuid, topic varchar, \
                  partition_key varchar, payload json|jsonb, headers jsonb, trace_id varchar, correlation_id varchar, \
                  causation_id varchar, idempotency_key varchar, schema_version varchar, status varchar, attempts_made int4, \
                  max_attempts int4, last_error varchar, scheduled_at timestamptz, completed_at timestamptz, \
                  locked_at timestamptz, locked_by varchar, created_at timestamptz, updated_at timestamptz, seq int8, \
                  lane int2, deferred bool, held bool, head bool, hold_until timestamptz, released bool, \
                  copied_at timestamptz, aside varchar, failed_at timestamptz, uncopied_at timestamptz",
        indexes: &[
            "_pkey",
            "_idempotency",
            "_hot",
            "_released",
            "_due",
            "_retry",
            "_topics",
            "_heads",
            "_followers",
            "_failed",
            "_uncopied",
            "_locked",
        ],
    },
    ExpectedTable {
        table: Table::InboxEvents,
        columns: "id uuid, message_id varchar, consumer_group varchar, event_type varchar, source varchar, \
                  payload json|jsonb, headers jsonb, trace_id varchar, correlation_id varchar, causation_id varchar, \
                  idempotency_key varchar, schema_version varchar, status varchar, attempts_made int4, max_attempts int4, \
                  last_error varchar, scheduled_at timestamptz, completed_at timestamptz, locked_at timestamptz, \
                  locked_by varchar, created_at timestamptz, updated_at timestamptz, partition_key varchar, \
                  source_topic varchar, source_partition int4, source_offset int8, produced_at timestamptz, digest bytea, \
                  raw_key bytea, copied_at timestamptz",
        indexes: &[
            "_pkey",
            "_message",
            "_pending",
            "_ready",
            "_keyless",
            "_lines",
            "_claimed",
            "_completed",
            "_failed",
            "_uncopied",
        ],
    },
    ExpectedTable {
        table: Table::OutboxLanes,
        columns: "lane int2, owner uuid, worker text, epoch int8, leased_until timestamptz, idle bool, read_to int8",
        indexes: &["_pkey"],
    },
    ExpectedTable {
        table: Table::OutboxRelays,
        columns: "owner uuid, worker text, alive_until timestamptz",
        indexes: &["_pkey"],
    },
    ExpectedTable {
        table: Table::InboxPartitions,
        columns: "consumer_group varchar, topic varchar, partition int4, worker text, attached_at timestamptz, clean bool",
        indexes: &["_pkey"],
    },
    ExpectedTable {
        table: Table::InboxMembers,
        columns: "member uuid, consumer_group varchar, handling text, alive_until timestamptz",
        indexes: &["_pkey"],
    },
    ExpectedTable {
        table: Table::Quarantine,
        columns: "id uuid, consumer_group varchar, topic varchar, partition int4, offset int8, key bytea, headers jsonb, \
                  value bytea, produced_at timestamptz, error text, created_at timestamptz, fingerprint bytea",
        indexes: &["_pkey", "_position"],
    },
    ExpectedTable {
        table: Table::Control,
        columns: "singleton bool, installation uuid, schema_version int4, lanes int2, delivery_mode text",
        indexes: &["_pkey"],
    },
    ExpectedTable {
        table: Table::Breakers,
        columns: "name varchar, failures int4, open_until timestamptz, trial uuid, trial_until timestamptz",
        indexes: &["_pkey"],
    },
    ExpectedTable {
        table: Table::Migrations,
        columns: "version int4, name text, checksum text, oldest int4, applied_at timestamptz",
        indexes: &["_pkey"],
    },
];

/// What the program needs of a table.
pub(super) fn expected(table: Table) -> &'static ExpectedTable {
    EXPECTED.iter().find(|expected| expected.table == table).expect("each table is listed")
}

impl PgStore {
    /// Compares the schema with what this program needs, and the sequence of events with those that wait; empty if all is well. Changes
    /// nothing.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn verify(&self) -> Result<Vec<SchemaDifference>> {
        let mut tx = PgTx::begin(&self.connections).await?;
        sqlx::query("set transaction read only")
            .execute(&mut *tx)
            .await
            .map_err(failed("verify the schema"))?;
        let mut differences = Vec::new();
        for expected in &EXPECTED {
            let table = self.config.table(expected.table);
            let (columns, indexes) = (
                columns(&mut tx, self.config.schema(), table).await?,
                indexes(&mut tx, self.config.schema(), table).await?,
            );
            differences.extend(expected.differences(&*self.config, &columns, &indexes));
        }
        if differences.is_empty() {
            differences.extend(self.sequence_behind(&mut tx, Waiting::All).await?);
        }
        let enqueue = self.config.enqueue();
        if !has_function(&mut tx, self.config.schema(), &enqueue).await? {
            differences.push(SchemaDifference::MissingFunction(enqueue));
        }
        let ledger = self.config.table(Table::Migrations);
        if !differences.contains(&SchemaDifference::MissingTable(ledger.to_owned())) {
            differences.extend(MIGRATIONS.differences(&applied(&mut tx, &self.config).await?));
        }
        tx.commit_checked().await?;
        Ok(differences)
    }
}

pub(super) async fn columns(
    conn: &mut PgConnection,
    schema: &str,
    table: &str,
) -> Result<HashMap<String, String>> {
    let rows: Vec<(String, String)> = sqlx::query_as(
        "select a.attname::text, t.typname::text from pg_attribute a \
         join pg_class c on c.oid = a.attrelid join pg_namespace n on n.oid = c.relnamespace \
         join pg_type t on t.oid = a.atttypid \
         where n.nspname = $1 and c.relname = $2 and c.relkind in ('r', 'p') and a.attnum > 0 and not a.attisdropped",
    )
    .bind(schema)
    .bind(table)
    .fetch_all(conn)
    .await
    .map_err(failed("read the columns of a table"))?;
    Ok(rows.into_iter().collect())
}

async fn indexes(conn: &mut PgConnection, schema: &str, table: &str) -> Result<Vec<String>> {
    sqlx::query_scalar(
        "select i.relname::text from pg_index x join pg_class i on i.oid = x.indexrelid \
         join pg_class c on c.oid = x.indrelid join pg_namespace n on n.oid = c.relnamespace \
         where n.nspname = $1 and c.relname = $2 and x.indisvalid",
    )
    .bind(schema)
    .bind(table)
    .fetch_all(conn)
    .await
    .map_err(failed("read the indexes of a table"))
}

async fn has_function(conn: &mut PgConnection, schema: &str, function: &str) -> Result<bool> {
    sqlx::query_scalar(
        "select exists (select from pg_proc p join pg_namespace n on n.oid = p.pronamespace \
         where n.nspname = $1 and p.proname = $2)",
    )
    .bind(schema)
    .bind(function)
    .fetch_one(conn)
    .await
    .map_err(failed("look for a function"))
}
