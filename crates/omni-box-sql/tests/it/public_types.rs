//! What may cross threads and be printed, says so.

use std::fmt::Debug;

use omni_box_sql::{
    ExpectedTable, KeptError, Migration, Migrations, Outcome, Query, SchemaDifference, Table, TableNames,
};

fn value<T: Send + Sync + Debug + 'static>() {}

#[test]
fn send_sync_debug() {
    value::<(Table, TableNames, Query, Migration, Migrations)>();
    value::<(ExpectedTable, SchemaDifference, Outcome, KeptError)>();
}
