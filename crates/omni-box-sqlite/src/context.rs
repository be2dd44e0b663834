//! Parts of a handler in transactions of sqlx's own.

use std::future::Future;

use omni_box_core::{InboxContext, Result};
use omni_box_sql::no_transaction;
use sqlx::{Connection, Sqlite, Transaction};

use crate::SqliteStore;
use crate::error::failed;

/// What an [`InboxContext`] of a [`SqliteStore`] offers beside its connection.
pub trait InboxContextExt {
    /// Begins a transaction of sqlx within the message's transaction, for functions that take a `&mut sqlx::Transaction<'_, Sqlite>`. Its commit
    /// makes what was written in it part of the message's transaction; its rollback undoes that and nothing else, and so does dropping it.
    ///
    /// ```
    /// use omni_box_core::InboxContext;
    /// use omni_box_sqlite::{InboxContextExt, SqliteStore};
    /// use sqlx::{Sqlite, Transaction};
    ///
    /// async fn reserve(tx: &mut Transaction<'_, Sqlite>) -> sqlx::Result<()> {
    ///     sqlx::query("update stock set reserved = reserved + 1").execute(&mut **tx).await?;
    ///     Ok(())
    /// }
    ///
    /// async fn ship(mut cx: InboxContext<'_, SqliteStore>) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    ///     let mut tx = cx.savepoint().await?;
    ///     reserve(&mut tx).await?;
    ///     tx.commit().await?;
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    /// [`NoTransaction`](omni_box_core::ErrorKind::NoTransaction) when sqlx knows of no transaction on the connection (in a test, say, that
    /// has begun one by a statement of its own). Otherwise as the database says.
    ///
    /// # Cancel safety
    /// A savepoint that was set and not told is rolled back with the message's own.
    fn savepoint(&mut self) -> impl Future<Output = Result<Transaction<'_, Sqlite>>> + Send;
}

impl InboxContextExt for InboxContext<'_, SqliteStore> {
    async fn savepoint(&mut self) -> Result<Transaction<'_, Sqlite>> {
        let conn = self.conn();
        if !conn.is_in_transaction() {
            return Err(no_transaction());
        }
        conn.begin().await.map_err(failed("set a savepoint"))
    }
}
