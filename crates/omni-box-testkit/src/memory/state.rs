//! What all clones of a store share: the committed data, the locks of open transactions, the sequences.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};
use omni_box_core::{ClaimToken, Clock, DeliveryMode, EventId, OwnerId, Wake};
use tokio::sync::watch;

use super::breaker::Breaker;
use super::key::{LockKey, TxId};
use super::lane::Lane;
use super::members::Member;
use super::tables::Tables;
use crate::TestClock;

/// What the clones share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) clock: TestClock,
    state: Mutex<State>,
    /// Told when a transaction has ended, for those that wait for its locks.
    pub(super) ends: watch::Sender<()>,
    /// Called when there may be something to publish.
    pub(super) wake: Wake,
}

/// What is changed in one step at a time. The mutex around it is never held across an await.
#[derive(Debug)]
pub(super) struct State {
    pub(super) tables: Tables,
    pub(super) locks: HashMap<LockKey, TxId>,
    pub(super) lanes: Vec<Lane>,
    /// Until when each owner is alive.
    pub(super) relays: BTreeMap<OwnerId, DateTime<Utc>>,
    /// Owners of a group's partitions that have not detached.
    pub(super) partitions: BTreeMap<(String, String, i32), ClaimToken>,
    pub(super) members: BTreeMap<OwnerId, Member>,
    /// Failures that have a copy outside.
    pub(super) copied: HashMap<EventId, DateTime<Utc>>,
    pub(super) breakers: HashMap<String, Breaker>,
    pub(super) mode: DeliveryMode,
    commits: u64,
    transactions: u64,
    seq: i64,
}

impl Shared {
    pub(super) fn new(clock: TestClock, mode: DeliveryMode) -> Self {
        let state = State {
            tables: Tables::default(),
            locks: HashMap::new(),
            lanes: Lane::all(),
            relays: BTreeMap::new(),
            partitions: BTreeMap::new(),
            members: BTreeMap::new(),
            copied: HashMap::new(),
            breakers: HashMap::new(),
            mode,
            commits: 0,
            transactions: 0,
            seq: 0,
        };
        Self { clock, state: Mutex::new(state), ends: watch::Sender::new(()), wake: Wake::new() }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        // a panic under the lock fails its own test; others must not hang on it
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }
}

impl State {
    /// The next value of the sequence; it does not come back, whatever becomes of the transaction.
    pub(super) fn next_seq(&mut self) -> i64 {
        self.seq += 1;
        self.seq
    }

    pub(super) fn next_transaction(&mut self) -> TxId {
        self.transactions += 1;
        TxId(self.transactions)
    }

    pub(super) fn next_commit(&mut self) -> u64 {
        self.commits += 1;
        self.commits
    }
}
