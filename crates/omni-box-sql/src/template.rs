//! Templates of statements, rendered for a dialect.

use omni_box_core::{InboxEvent, OutboxEvent};

use crate::event::LIFECYCLE_COLUMNS;
use crate::{Dialect, StoredEvent, Table};

/// Replaces what stands in double braces. `{{outbox_events}}` becomes the [qualified](Dialect::qualified) table, and
/// `{{outbox_events_hot}}` the quoted name [derived](Dialect::derived) from that of its table. `{{outbox_columns}}` and `{{inbox_columns}}`
/// become [what is read](StoredEvent::columns) of the events `e`, `{{lifecycle_columns}}` the part of it that changes, and anything else
/// becomes its [expression](Dialect::expression).
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

/// Renders a template that stands once for both kinds of events. `{{events}}` is the table of `E`, and `{{event_columns}}` what is
/// [read](StoredEvent::columns) of its events `e`. Everything else is as in [`render`].
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
        "lifecycle_columns" => return LIFECYCLE_COLUMNS.to_owned(),
        _ => {}
    }
    match Table::of_placeholder(placeholder) {
        Some((table, "")) => dialect.qualified(table),
        Some((table, suffix)) => dialect.quote(&dialect.derived(table, suffix)),
        None => panic!("the placeholder {{{{{placeholder}}}}} names neither a table nor an expression"),
    }
}
