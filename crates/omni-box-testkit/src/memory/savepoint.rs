//! The savepoint of a message within its group.

use async_trait::async_trait;
use omni_box_core::{Error, ErrorKind, Result, Savepoints};

use super::transaction::Savepoint;
use super::{MemoryConn, MemoryStore};

impl MemoryConn {
    fn set_savepoint(&mut self) {
        let (view, writes) = (self.view.clone(), self.writes.clone());
        self.savepoint = Some(Savepoint { view, writes, locks: self.locks.len() });
    }

    fn no_savepoint() -> Error {
        Error::new(ErrorKind::NoTransaction, "no savepoint is set in this transaction")
    }
}

#[async_trait]
impl Savepoints<MemoryConn> for MemoryStore {
    async fn start(&self, conn: &mut MemoryConn) -> Result<()> {
        conn.check()?;
        conn.set_savepoint();
        Ok(())
    }

    async fn advance(&self, conn: &mut MemoryConn) -> Result<()> {
        conn.check()?;
        if conn.savepoint.is_none() {
            return conn.finish(Err(MemoryConn::no_savepoint()));
        }
        conn.set_savepoint();
        Ok(())
    }

    async fn rollback(&self, conn: &mut MemoryConn) -> Result<()> {
        let Some(savepoint) = conn.savepoint.take() else {
            return conn.finish(Err(MemoryConn::no_savepoint()));
        };
        conn.unlock_after(savepoint.locks);
        (conn.view, conn.writes) = (savepoint.view, savepoint.writes);
        conn.is_spoiled = false;
        conn.set_savepoint();
        Ok(())
    }
}
