//! What an application does at the beginning of each transaction.

use std::error::Error as StdError;
use std::future::Future;

use async_trait::async_trait;
use sqlx::SqliteConnection;

/// Why a hook failed. An [`Error`](omni_box_core::Error) of omni-box and a [`sqlx::Error`] keep their meaning; others count as faults of
/// the program.
pub type HookError = Box<dyn StdError + Send + Sync>;

/// What runs at the beginning of every transaction that the engine opens; see [`SqliteStore::on_begin`](crate::SqliteStore::on_begin).
///
/// Functions are hooks: `async fn(&mut SqliteConnection) -> Result<(), E>` with an error of any type, and async closures that capture
/// nothing. A hook with values of its own is a type that implements this trait:
///
/// ```
/// use omni_box_sqlite::{BeginHook, HookError};
/// use sqlx::SqliteConnection;
///
/// struct Note(String);
///
/// impl BeginHook for Note {
///     async fn begin(&self, conn: &mut SqliteConnection) -> Result<(), HookError> {
///         sqlx::query("insert into log (worker) values (?1)").bind(&self.0).execute(conn).await?;
///         Ok(())
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not begin transactions",
    label = "not a hook",
    note = "write `async fn(conn: &mut SqliteConnection) -> Result<(), E>`, or implement `BeginHook` for a type that holds what the hook needs"
)]
pub trait BeginHook: Send + Sync + 'static {
    /// Prepares a transaction that has just begun.
    ///
    /// # Errors
    /// The transaction is not used then, and the call that needed it fails.
    ///
    /// # Cancel safety
    /// It may be dropped at any point; the transaction goes with it.
    fn begin(&self, conn: &mut SqliteConnection) -> impl Future<Output = Result<(), HookError>> + Send;
}

impl<F> BeginHook for F
where
    F: for<'a> form::HookFn<'a> + 'static,
{
    async fn begin(&self, conn: &mut SqliteConnection) -> Result<(), HookError> {
        form::HookFn::call(self, conn).await.map_err(Into::into)
    }
}

/// What the compiler needs to know of a function of one lifetime; no user writes this.
mod form {
    use super::{Future, HookError, SqliteConnection};

    pub trait HookFn<'a>: Send + Sync {
        type Error: Into<HookError>;
        type Future: Future<Output = Result<(), Self::Error>> + Send + 'a;
        fn call(&self, conn: &'a mut SqliteConnection) -> Self::Future;
    }

    impl<'a, E, F, Fut> HookFn<'a> for F
    where
        E: Into<HookError>,
        F: Fn(&'a mut SqliteConnection) -> Fut + Send + Sync,
        Fut: Future<Output = Result<(), E>> + Send + 'a,
    {
        type Error = E;
        type Future = Fut;

        fn call(&self, conn: &'a mut SqliteConnection) -> Fut {
            self(conn)
        }
    }
}

/// A hook whose type does not matter.
#[async_trait]
pub(crate) trait DynHook: Send + Sync {
    async fn run(&self, conn: &mut SqliteConnection) -> Result<(), HookError>;
}

#[async_trait]
impl<H: BeginHook> DynHook for H {
    async fn run(&self, conn: &mut SqliteConnection) -> Result<(), HookError> {
        self.begin(conn).await
    }
}
