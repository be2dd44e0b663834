//! Statements, with their table names put in once.

use std::sync::Arc;

use sqlx::AssertSqlSafe;

use crate::{Dialect, render};

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

    /// Its text, as sqlx takes it. It is a store's own, and the names in it were quoted: safe.
    pub fn sql(&self) -> AssertSqlSafe<Arc<str>> {
        AssertSqlSafe(Arc::clone(&self.0))
    }
}

/// Makes the struct `Queries` of a store's statements: `Queries::new` takes the [`Dialect`](crate::Dialect) and renders them all.
///
/// Each has the name of a field and a file below `../queries`, seen from the file that invokes the macro:
///
/// ```text
/// omni_box_sql::queries! {
///     outbox_create = "outbox/create.sql",
///     outbox_fetch = "outbox/fetch.sql",
/// }
///
/// sqlx::query(queries.outbox_fetch.sql()).bind(limit).fetch_all(conn).await?;
/// ```
#[macro_export]
macro_rules! queries {
    ($($name:ident = $file:literal,)*) => {
        /// Every statement, named for its file.
        #[derive(Debug)]
        pub(crate) struct Queries {
            $(pub(crate) $name: $crate::Query,)*
        }

        impl Queries {
            pub(crate) fn new(dialect: &impl $crate::Dialect) -> Self {
                Self {
                    $($name: $crate::Query::new(dialect, include_str!(concat!("../queries/", $file))),)*
                }
            }
        }
    };
}
