//! Compares the schema with what this program needs. Reads only.

use std::collections::HashMap;

use omni_box_core::Result;
use omni_box_sql::{ExpectedTable, SchemaDifference};
use sqlx::SqliteConnection;

use super::applied;
use crate::error::failed;
use crate::migrations::MIGRATIONS;
use crate::{SqliteStore, SqliteTx, Table};

const EXPECTED: [ExpectedTable; 10] = [
    ExpectedTable {
        table: Table::OutboxEvents,
        columns: "id text, event_type text, aggregate_type text, aggregate_id text, topic text, \
                  partition_key text, payload text, headers text, trace_id text, correlation_id text, \
                  causation_id text, idempotency_key text, schema_version text, status text, last_error text, \
                  locked_by text, seq integer, attempts_made integer, max_attempts integer, \
                  scheduled_at integer, completed_at integer, locked_at integer, created_at integer, \
                  updated_at integer, lane integer, deferred integer, held integer, head integer, \
                  hold_until integer, copied_at integer",
        indexes: &[
            "_id",
            "_idempotency",
            "_hot",
            "_due",
            "_retry",
            "_topics",
            "_heads",
            "_followers",
            "_completed",
            "_failed",
            "_uncopied",
        ],
    },
    ExpectedTable {
        table: Table::InboxEvents,
        columns: "id text, message_id text, consumer_group text, event_type text, source text, payload text, \
                  headers text, trace_id text, correlation_id text, causation_id text, idempotency_key text, \
                  schema_version text, status text, last_error text, locked_by text, partition_key text, \
                  source_topic text, attempts_made integer, max_attempts integer, scheduled_at integer, \
                  completed_at integer, locked_at integer, created_at integer, updated_at integer, \
                  source_partition integer, source_offset integer, produced_at integer, digest blob, \
                  copied_at integer, raw_key blob",
        indexes: &[
            "_id",
            "_message",
            "_pending",
            "_ready",
            "_keyless",
            "_lines",
            "_claimed",
            "_completed",
            "_failed",
            "_given_up",
            "_uncopied",
        ],
    },
    ExpectedTable {
        table: Table::OutboxLanes,
        columns: "owner text, worker text, lane integer, epoch integer, leased_until integer, idle integer",
        indexes: &[],
    },
    ExpectedTable {
        table: Table::OutboxRelays,
        columns: "owner text, worker text, alive_until integer",
        indexes: &[],
    },
    ExpectedTable {
        table: Table::InboxPartitions,
        columns: "consumer_group text, topic text, worker text, partition integer, attached_at integer, \
                  clean integer",
        indexes: &[],
    },
    ExpectedTable {
        table: Table::InboxMembers,
        columns: "member text, consumer_group text, handling text, alive_until integer",
        indexes: &[],
    },
    ExpectedTable {
        table: Table::Quarantine,
        columns: "id text, consumer_group text, topic text, headers text, error text, partition integer, \
                  offset integer, produced_at integer, created_at integer, key blob, value blob, \
                  fingerprint blob",
        indexes: &["_id", "_position"],
    },
    ExpectedTable {
        table: Table::Control,
        columns: "installation text, delivery_mode text, singleton integer, schema_version integer, \
                  lanes integer, clock_offset_ms integer",
        indexes: &[],
    },
    ExpectedTable {
        table: Table::Breakers,
        columns: "name text, trial text, failures integer, open_until integer, trial_until integer",
        indexes: &[],
    },
    ExpectedTable {
        table: Table::Migrations,
        columns: "name text, checksum text, version integer, oldest integer, applied_at integer",
        indexes: &[],
    },
];

impl SqliteStore {
    /// Compares the file with what this program needs; empty if it is that. Changes nothing.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn verify(&self) -> Result<Vec<SchemaDifference>> {
        let mut tx = SqliteTx::begin_read(&self.pool).await?;
        let mut differences = Vec::new();
        let found: String = sqlx::query_scalar("pragma journal_mode")
            .fetch_one(&mut *tx)
            .await
            .map_err(failed("read the journal mode"))?;
        if found != "wal" {
            let setting = "journal_mode";
            differences.push(SchemaDifference::WrongSetting { setting, found, expected: "wal" });
        }
        for expected in &EXPECTED {
            let table = self.config.table(expected.table);
            let (columns, indexes) = (columns(&mut tx, table).await?, indexes(&mut tx, table).await?);
            differences.extend(expected.differences(&*self.config, &columns, &indexes));
        }
        let ledger = self.config.table(Table::Migrations);
        if !differences.contains(&SchemaDifference::MissingTable(ledger.to_owned())) {
            differences.extend(MIGRATIONS.differences(&applied(&mut tx, &self.config).await?));
        }
        tx.rollback().await?;
        Ok(differences)
    }
}

/// Type by name, generated columns too.
async fn columns(conn: &mut SqliteConnection, table: &str) -> Result<HashMap<String, String>> {
    let rows: Vec<(String, String)> = sqlx::query_as("select name, lower(type) from pragma_table_xinfo(?1)")
        .bind(table)
        .fetch_all(conn)
        .await
        .map_err(failed("read the columns of a table"))?;
    Ok(rows.into_iter().collect())
}

async fn indexes(conn: &mut SqliteConnection, table: &str) -> Result<Vec<String>> {
    sqlx::query_scalar("select name from pragma_index_list(?1)")
        .bind(table)
        .fetch_all(conn)
        .await
        .map_err(failed("read the indexes of a table"))
}
