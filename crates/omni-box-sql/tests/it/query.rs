//! Statements from files of the crate that names them.

use omni_box_sql::{Query, Table};
use sqlx::SqlSafeStr;

use crate::dialect::MySql;

omni_box_sql::queries! {
    events {
        release = "events/release.sql",
        settle = "outbox/settle.sql" | "inbox/settle.sql",
    }
    outbox_due = "outbox/due.sql",
}

fn text(query: &Query) -> String {
    query.sql().into_sql_str().as_str().to_owned()
}

#[test]
fn statements_are_rendered_from_files() {
    let queries = Queries::new(&MySql::default());
    let sql = "select e.id from `outbox_events` e where e.scheduled_at <= utc_timestamp(6) limit ?\n";
    assert_eq!(text(&queries.outbox_due), sql);
}

#[test]
fn a_statement_stands_once_for_both_tables() {
    let mut config = MySql::default();
    config.names.set(Table::InboxEvents, "in`box");
    let Queries { outbox_events, inbox_events, .. } = Queries::new(&config);
    let release = |table: &str| {
        format!(
            "update {table} e set e.locked_at = null where e.locked_at < utc_timestamp(6) returning e.id, "
        )
    };
    let (outbox, inbox) = (text(&outbox_events.release), text(&inbox_events.release));
    assert!(outbox.starts_with(&release("`outbox_events`")), "{outbox}");
    assert!(outbox.ends_with(", e.topic, e.partition_key\n"), "{outbox}");
    assert!(inbox.starts_with(&release("`in``box`")), "{inbox}");
    assert!(inbox.ends_with(", e.digest, e.raw_key\n"), "{inbox}");
}

#[test]
fn statements_that_differ_have_a_file_each() {
    let Queries { outbox_events, inbox_events, .. } = Queries::new(&MySql::default());
    assert_eq!(text(&outbox_events.settle), "update `outbox_events` set held = 0\n");
    assert_eq!(text(&inbox_events.settle), "update `inbox_events` set locked_by = null\n");
}
