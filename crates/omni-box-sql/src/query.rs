//! Statements, with their table names put in once.

use std::sync::Arc;

use sqlx::AssertSqlSafe;

use crate::{Dialect, StoredEvent, render, render_for};

/// A statement of a store. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct Query(Arc<str>);

impl Query {
    /// Renders a template; see [`render`].
    ///
    /// # Panics
    /// When the template is wrong.
    pub fn new(dialect: &(impl Dialect + ?Sized), template: &str) -> Self {
        Self(render(dialect, template).into())
    }

    /// Renders a template for one kind of events; see [`render_for`].
    ///
    /// # Panics
    /// When the template is wrong.
    pub fn new_for<E: StoredEvent>(dialect: &(impl Dialect + ?Sized), template: &str) -> Self {
        Self(render_for::<E>(dialect, template).into())
    }

    /// Its text, as sqlx takes it. The text is the store's own, and the names in it were quoted: safe.
    pub fn sql(&self) -> AssertSqlSafe<Arc<str>> {
        AssertSqlSafe(Arc::clone(&self.0))
    }
}

/// Makes the struct `Queries` of a store's statements: `Queries::new` takes the [`Dialect`] and renders them all.
///
/// A statement is a field and a file below `../queries`, seen from the file that invokes the macro. What a store does alike to the events
/// of both tables stands under `events`, and is found in the fields `outbox_events` and `inbox_events`. A statement that differs by the
/// table's name alone has one file, which is [rendered for each kind](render_for). One that differs by more has two, the outbox's first.
///
/// ```text
/// omni_box_sql::queries! {
///     events {
///         get = "events/get.sql",
///         fetch = "outbox/fetch.sql" | "inbox/fetch.sql",
///     }
///     outbox_create = "outbox/create.sql",
/// }
///
/// sqlx::query(queries.inbox_events.get.sql()).bind(id).fetch_optional(conn).await?;
/// ```
#[macro_export]
macro_rules! queries {
    (@last $only:literal) => { $only };
    (@last $first:literal $last:literal) => { $last };
    (
        events { $($event:ident = $of_outbox:literal $(| $of_inbox:literal)?,)* }
        $($name:ident = $file:literal,)*
    ) => {
        /// Every statement, named for its file.
        #[derive(Debug)]
        pub(crate) struct Queries {
            $(pub(crate) $name: $crate::Query,)*
            pub(crate) outbox_events: EventQueries,
            pub(crate) inbox_events: EventQueries,
        }

        impl Queries {
            pub(crate) fn new(dialect: &impl $crate::Dialect) -> Self {
                Self {
                    $($name: $crate::Query::new(dialect, include_str!(concat!("../queries/", $file))),)*
                    outbox_events: EventQueries {
                        $($event: $crate::Query::new_for::<$crate::hidden::OutboxEvent>(
                            dialect,
                            include_str!(concat!("../queries/", $of_outbox)),
                        ),)*
                    },
                    inbox_events: EventQueries {
                        $($event: $crate::Query::new_for::<$crate::hidden::InboxEvent>(
                            dialect,
                            include_str!(concat!("../queries/", $crate::queries!(@last $of_outbox $($of_inbox)?))),
                        ),)*
                    },
                }
            }
        }

        /// The statements on the events of one table.
        #[derive(Debug)]
        pub(crate) struct EventQueries {
            $(pub(crate) $event: $crate::Query,)*
        }
    };
}
