//! Statements from files of the crate that names them.

use sqlx::SqlSafeStr;

use crate::dialect::MySql;

omni_box_sql::queries! {
    outbox_due = "outbox/due.sql",
}

#[test]
fn statements_are_rendered_from_files() {
    let queries = Queries::new(&MySql::default());
    let sql = "select e.id from `outbox_events` e where e.scheduled_at <= utc_timestamp(6) limit ?\n";
    assert_eq!(queries.outbox_due.sql().into_sql_str().as_str(), sql);
}
