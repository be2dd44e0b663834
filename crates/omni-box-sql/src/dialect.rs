//! What a database's SQL looks like, and templates rendered for it.

use omni_box_core::{InboxEvent, OutboxEvent};

use crate::{StoredEvent, Table, TableNames};

/// What a database's SQL looks like, and what the tables are called in it. The settings of a store implement it.
///
/// - Nothing of it depends on the time: statements are rendered once, and what a migration has made is found again by the same names.
/// - No two tables have one name, and a [`derived`](Self::derived) name is nothing else's: names were [checked](TableNames::check).
pub trait Dialect {
    /// What the tables are called.
    fn names(&self) -> &TableNames;

    /// The SQL in place of a placeholder that names no table, such as `{{clock}}`; `None` if there is no such placeholder.
    fn expression(&self, placeholder: &str) -> Option<String>;

    /// Quotes an identifier, so that every name stands for itself; by double quotes, as the SQL standard has it.
    fn quote(&self, name: &str) -> String {
        format!("\"{}\"", name.replace('"', "\"\""))
    }

    /// A table as it stands in SQL: quoted, and qualified where the database has schemas.
    fn qualified(&self, table: Table) -> String {
        self.quote(self.names().get(table))
    }

    /// A column that holds JSON, as it is selected to be read as text; the column itself, if the database has JSON as text.
    fn json_text(&self, column: &str) -> String {
        column.to_owned()
    }

    /// The name of an index or constraint of a table, not quoted. A database that cuts names must cut them here, and keep them apart.
    fn derived(&self, table: Table, suffix: &str) -> String {
        format!("{}{suffix}", self.names().get(table))
    }
}

/// Replaces what stands in double braces: `{{outbox_events}}` by the [qualified](Dialect::qualified) table, `{{outbox_events_hot}}` by
/// the quoted name [derived](Dialect::derived) from that of its table, `{{outbox_columns}}` and `{{inbox_columns}}` by
/// [what is read](StoredEvent::columns) of the events `e`, and anything else by its [expression](Dialect::expression).
///
/// # Panics
/// When the template is wrong: braces that are not closed, or a placeholder that is none of these. Templates are a store's own.
pub fn render(dialect: &(impl Dialect + ?Sized), template: &str) -> String {
    let mut sql = String::with_capacity(template.len() + 256);
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        let (placeholder, after) = after.split_once("}}").expect("a placeholder is closed");
        sql.push_str(before);
        sql.push_str(&resolve(dialect, placeholder));
        rest = after;
    }
    sql.push_str(rest);
    sql
}

/// Renders a template that stands once for both kinds of events: `{{events}}` is the table of `E`, and `{{event_columns}}` what is
/// [read](StoredEvent::columns) of its events `e`; everything else is as in [`render`].
///
/// ```
/// use omni_box_core::{InboxEvent, OutboxEvent};
/// use omni_box_sql::{Dialect, TableNames, render_for};
///
/// struct Plain(TableNames);
///
/// impl Dialect for Plain {
///     fn names(&self) -> &TableNames {
///         &self.0
///     }
///
///     fn expression(&self, _placeholder: &str) -> Option<String> {
///         None
///     }
/// }
///
/// let config = Plain(TableNames::default());
/// let template = "delete from {{events}} where id = ?";
/// assert_eq!(render_for::<OutboxEvent>(&config, template), r#"delete from "outbox_events" where id = ?"#);
/// assert_eq!(render_for::<InboxEvent>(&config, template), r#"delete from "inbox_events" where id = ?"#);
/// ```
///
/// # Panics
/// As [`render`].
pub fn render_for<E: StoredEvent>(dialect: &(impl Dialect + ?Sized), template: &str) -> String {
    let table = format!("{{{{{}}}}}", E::TABLE.default_name());
    let template = template.replace("{{events}}", &table);
    render(dialect, &template.replace("{{event_columns}}", &E::columns(dialect)))
}

fn resolve(dialect: &(impl Dialect + ?Sized), placeholder: &str) -> String {
    if let Some(expression) = dialect.expression(placeholder) {
        return expression;
    }
    match placeholder {
        "outbox_columns" => return OutboxEvent::columns(dialect),
        "inbox_columns" => return InboxEvent::columns(dialect),
        _ => {}
    }
    match Table::of_placeholder(placeholder) {
        Some((table, "")) => dialect.qualified(table),
        Some((table, suffix)) => dialect.quote(&dialect.derived(table, suffix)),
        None => panic!("the placeholder {{{{{placeholder}}}}} names neither a table nor an expression"),
    }
}
