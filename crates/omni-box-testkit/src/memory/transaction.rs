//! Transactions: a snapshot, what was written on it, and the locks that go with it.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

use omni_box_core::event::Identity;
use omni_box_core::{Error, ErrorKind, Result};

use super::key::{LockKey, TxId};
use super::lock::LONGEST_WAIT;
use super::state::{Shared, State};
use super::tables::{Stored, Tables, Writes};

/// An open transaction of a [`MemoryStore`](super::MemoryStore), usable wherever a `&mut MemoryConn` is. Dropping it rolls back.
pub struct MemoryTx {
    conn: MemoryConn,
}

/// The connection of a [`MemoryTx`], as handlers get it. There is none without a transaction.
///
/// Beside the events of omni-box it holds rows of the application, for the effects of handlers: see [`insert`](Self::insert),
/// [`put`](Self::put), [`delete`](Self::delete), [`get`](Self::get) and [`scan`](Self::scan).
///
/// - It sees what had committed when its transaction began, and what it has written itself. What it locks ([`receive`], a message
///   that is there already) it sees as it is at that moment.
/// - As in PostgreSQL, a statement that failed spoils the transaction. Everything after it fails, up to and including the commit, until
///   it is rolled back (to a savepoint).
/// - A call whose future is dropped has written nothing.
///
/// [`receive`]: omni_box_core::InboxRepository::receive
pub struct MemoryConn {
    pub(super) shared: Arc<Shared>,
    pub(super) tx: TxId,
    /// What had committed when the transaction began.
    pub(super) snapshot: Tables,
    /// The same with what was written since.
    pub(super) view: Tables,
    pub(super) writes: Writes,
    /// In the order in which they were taken.
    pub(super) locks: Vec<LockKey>,
    pub(super) savepoint: Option<Savepoint>,
    pub(super) is_spoiled: bool,
    pub(super) longest_wait: Duration,
}

/// Where a transaction stood when its savepoint was set.
pub(super) struct Savepoint {
    pub(super) view: Tables,
    pub(super) writes: Writes,
    pub(super) locks: usize,
}

impl MemoryTx {
    pub(super) fn begin(shared: &Arc<Shared>, longest_wait: Duration) -> Self {
        let mut state = shared.state();
        let conn = MemoryConn {
            shared: Arc::clone(shared),
            tx: state.next_transaction(),
            snapshot: state.tables.clone(),
            view: state.tables.clone(),
            writes: Writes::default(),
            locks: Vec::new(),
            savepoint: None,
            is_spoiled: false,
            longest_wait: longest_wait.min(LONGEST_WAIT),
        };
        Self { conn }
    }

    /// Shows what was written to all. No other transaction can have changed it: it is locked.
    pub(super) fn commit(self) -> Result<()> {
        self.conn.check()?;
        let MemoryConn { shared, view, writes, .. } = &self.conn;
        let mut state = shared.state();
        let version = state.next_commit();
        let tables = &mut state.tables;
        for row in writes.outbox.iter().filter_map(|id| view.outbox.by_id(*id)) {
            tables.outbox.put(row.clone());
        }
        for row in writes.inbox.iter().filter_map(|id| view.inbox.by_id(*id)) {
            tables.inbox.put(row.clone());
        }
        for place in &writes.quarantine {
            match view.quarantine.get(place) {
                Some(kept) => tables.quarantine.insert_mut(place.clone(), kept.clone()),
                None => {
                    tables.quarantine.remove_mut(place);
                }
            }
        }
        for key in &writes.records {
            match view.records.get(key) {
                Some(record) => tables.records.insert_mut(key.clone(), record.committed(version)),
                None => {
                    tables.records.remove_mut(key);
                }
            }
        }
        drop(state);
        if !writes.outbox.is_empty() {
            shared.wake.wake();
        }
        Ok(())
    }
}

impl MemoryConn {
    /// Refuses to go on after a failed statement.
    pub(super) fn check(&self) -> Result<()> {
        if self.is_spoiled {
            return Err(Error::new(
                ErrorKind::Internal,
                "an earlier statement of this transaction failed: roll it back, or back to the savepoint",
            ));
        }
        Ok(())
    }

    /// Notes whether a statement has failed.
    pub(super) fn finish<T>(&mut self, result: Result<T>) -> Result<T> {
        self.is_spoiled |= result.is_err();
        result
    }

    /// Waits until no other transaction has `key`, and keeps it from then on; whether it was not kept before.
    pub(super) async fn lock(&mut self, key: LockKey) -> Result<bool> {
        let tx = self.tx;
        let is_new = self.shared.wait_for(self.longest_wait, |state| state.try_lock(&key, tx)).await?;
        if is_new {
            self.locks.push(key);
        }
        Ok(is_new)
    }

    /// Locks the row of an identity, or its place, and sees it from then on as it is now.
    pub(super) async fn lock_identity<R: Stored>(&mut self, identity: &Identity) -> Result<()> {
        if self.lock(LockKey::Identity(identity.clone())).await? {
            self.refresh::<R>(identity);
        }
        Ok(())
    }

    /// The same, unless the row is there already: then it is only seen as it is now.
    pub(super) async fn find_or_lock<R: Stored>(&mut self, identity: &Identity) -> Result<()> {
        let (tx, key) = (self.tx, LockKey::Identity(identity.clone()));
        let attempt = |state: &mut State| {
            if R::table(&state.tables).by_identity(identity).is_some() && state.locks.get(&key) != Some(&tx) {
                return Some(None);
            }
            state.try_lock(&key, tx).map(Some)
        };
        let is_new = self.shared.wait_for(self.longest_wait, attempt).await?;
        if is_new == Some(true) {
            self.locks.push(key);
        }
        if is_new != Some(false) {
            self.refresh::<R>(identity);
        }
        Ok(())
    }

    fn refresh<R: Stored>(&mut self, identity: &Identity) {
        let state = self.shared.state();
        R::table_mut(&mut self.view).refresh(identity, R::table(&state.tables));
    }

    /// Gives back the locks that were taken after the first `keep`.
    pub(super) fn unlock_after(&mut self, keep: usize) {
        let mut state = self.shared.state();
        for key in self.locks.drain(keep..) {
            state.locks.remove(&key);
        }
        drop(state);
        self.shared.ends.send_replace(());
    }
}

impl Drop for MemoryConn {
    fn drop(&mut self) {
        self.unlock_after(0);
    }
}

impl Deref for MemoryTx {
    type Target = MemoryConn;

    fn deref(&self) -> &MemoryConn {
        &self.conn
    }
}

impl DerefMut for MemoryTx {
    fn deref_mut(&mut self) -> &mut MemoryConn {
        &mut self.conn
    }
}

impl fmt::Debug for MemoryTx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MemoryTx")
    }
}

impl fmt::Debug for MemoryConn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MemoryConn")
    }
}
