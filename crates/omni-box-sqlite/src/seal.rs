//! The seal of a transaction: SQLite asks before it commits, and tells when it rolls back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use sqlx::SqliteConnection;

/// What a connection's hooks know of its sealed transaction.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seal(Arc<AtomicU8>);

impl Seal {
    const SET: u8 = 0;
    const LIFTED: u8 = 1;
    const BROKEN: u8 = 2;

    /// Sets the hooks, in place of any that the connection has.
    pub(crate) async fn set(conn: &mut SqliteConnection) -> sqlx::Result<Self> {
        let seal = Self::default();
        let mut handle = conn.lock_handle().await?;
        let (committing, rolled_back) = (seal.clone(), seal.clone());
        handle.set_commit_hook(move || {
            // a commit that is refused becomes a rollback
            committing.0.load(Ordering::SeqCst) == Self::LIFTED || committing.has_broken()
        });
        handle.set_rollback_hook(move || {
            rolled_back.has_broken();
        });
        drop(handle);
        Ok(seal)
    }

    /// Notes that a statement has ended the transaction; whether what asks may commit.
    fn has_broken(&self) -> bool {
        self.0.store(Self::BROKEN, Ordering::SeqCst);
        false
    }

    /// Lets the transaction be committed, unless it was ended before.
    pub(crate) fn lift(&self) -> bool {
        self.0.compare_exchange(Self::SET, Self::LIFTED, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// Takes the hooks away.
    pub(crate) async fn remove(conn: &mut SqliteConnection) -> sqlx::Result<()> {
        let mut handle = conn.lock_handle().await?;
        handle.remove_commit_hook();
        handle.remove_rollback_hook();
        Ok(())
    }
}
