//! Templates, rendered for MySQL.

use omni_box_sql::{Dialect, Table, TableNames, render};

/// Settings of a store on MySQL, as an outsider would write them.
#[derive(Default)]
pub(crate) struct MySql {
    pub(crate) names: TableNames,
}

impl Dialect for MySql {
    fn names(&self) -> &TableNames {
        &self.names
    }

    fn expression(&self, placeholder: &str) -> Option<String> {
        (placeholder == "clock").then(|| "utc_timestamp(6)".to_owned())
    }

    fn quote(&self, name: &str) -> String {
        format!("`{}`", name.replace('`', "``"))
    }
}

#[test]
fn placeholders_are_replaced_and_all_else_stays() {
    let mut config = MySql::default();
    config.names.set(Table::InboxEvents, "in`box {{clock}}");
    for (template, sql) in [
        ("", ""),
        ("select '{}' }} { 1", "select '{}' }} { 1"),
        ("{{outbox_events}}", "`outbox_events`"),
        (
            "create index {{outbox_events_hot}} on {{outbox_events}} (a)",
            "create index `outbox_events_hot` on `outbox_events` (a)",
        ),
        ("{{inbox_events}}{{inbox_events_pending}}", "`in``box {{clock}}``in``box {{clock}}_pending`"),
        ("where at <= {{clock}};", "where at <= utc_timestamp(6);"),
    ] {
        assert_eq!(render(&config, template), sql);
    }
}

#[test]
fn every_table_has_a_placeholder_of_its_own() {
    let mut config = MySql::default();
    for (number, table) in Table::ALL.iter().enumerate() {
        config.names.set(*table, number.to_string());
    }
    for (number, table) in Table::ALL.iter().enumerate() {
        let sql = render(&config, &format!("{{{{{table}}}}} {{{{{table}_pkey}}}}"));
        assert_eq!(sql, format!("`{number}` `{number}_pkey`"));
    }
}

#[test]
#[should_panic(expected = "the placeholder {{outbox}} names neither a table nor an expression")]
fn a_template_that_is_wrong_is_found_at_once() {
    render(&MySql::default(), "select * from {{outbox}}");
}
