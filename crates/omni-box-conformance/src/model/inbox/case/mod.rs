//! A case: the store, the model, and those who work on it.

mod transaction;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use omni_box_core::{
    BatchSize, ClaimToken, Event as _, EventId, EventRepository as _, FetchFilters, InboxRepository,
    PartitionEnd, Store as _, TopicPartition,
};

use self::transaction::{Open, Savepoint};
use super::operation::{Delivery, Operation, Outcome, Variant};
use super::table::Table;
use super::{Inbox, attach, group, owner};
use crate::InboxFixture;
use crate::model::call::{self, Checked, Cut, begin, cannot, mismatch, retried};
use crate::model::clock::{MINUTE, Minute};
use crate::model::runner::Trace;

pub(super) struct Case<'a, F: InboxFixture> {
    ground: &'a mut Inbox<F>,
    trace: &'a Trace,
    /// What has committed.
    table: Table,
    now: Minute,
    open: Vec<Open<F::Store>>,
    transactions: usize,
    reasons: usize,
    /// Ids of all messages that were made, whatever became of them.
    drawn: Vec<EventId>,
    /// The case's own.
    topic: String,
    /// Partitions with an owner that has not detached.
    attached: BTreeMap<i32, ClaimToken>,
}

impl<'a, F: InboxFixture<Store: InboxRepository>> Case<'a, F> {
    pub(super) fn new(ground: &'a mut Inbox<F>, trace: &'a Trace) -> Self {
        let topic = format!("orders-{}", ground.cases);
        Self {
            ground,
            trace,
            table: Table::default(),
            now: 0,
            open: Vec::new(),
            transactions: 0,
            reasons: 0,
            drawn: Vec::new(),
            topic,
            attached: BTreeMap::new(),
        }
    }

    pub(super) async fn step(&mut self, operation: &Operation) -> Checked {
        match operation {
            Operation::Begin => self.begin().await,
            Operation::Receive { tx, messages, other_commits, cut } => {
                self.receive(*tx, messages, *other_commits, *cut).await
            }
            Operation::Settle { tx, outcomes } => self.settle(*tx, outcomes).await,
            Operation::SetSavepoint { tx } => self.savepoint(*tx, Savepoint::Set).await,
            Operation::AdvanceSavepoint { tx } => self.savepoint(*tx, Savepoint::Advance).await,
            Operation::RollBackToSavepoint { tx } => self.savepoint(*tx, Savepoint::RollBack).await,
            Operation::Quarantine { tx, messages, other_commits, cut } => {
                self.quarantine(*tx, messages, *other_commits, *cut).await
            }
            Operation::Commit { tx } => self.commit(*tx).await,
            Operation::CommitUnknown { tx, cut } => self.commit_unknown(*tx, *cut).await,
            Operation::Rollback { tx } => self.rollback(*tx, false).await,
            Operation::Drop { tx } => self.rollback(*tx, true).await,
            Operation::PendingOf { partition, after, limit } => {
                self.pending_of(*partition, *after, *limit).await
            }
            Operation::FetchPending => self.fetch_pending().await,
            Operation::Attach { partition, cut } => self.attach(*partition, *cut).await,
            Operation::Detach { partition, cut } => self.detach(*partition, *cut).await,
            Operation::Advance { minutes } => {
                self.trace.note(format!("{minutes} minutes go by"));
                self.advance(*minutes).await
            }
        }
    }

    async fn advance(&mut self, minutes: u8) -> Checked {
        // a store may take the time of an open transaction for that of its beginning
        self.end_open().await?;
        self.ground.fixture.advance(MINUTE * u32::from(minutes)).await;
        self.now += u64::from(minutes);
        Ok(())
    }

    /// Commits whatever is open.
    async fn end_open(&mut self) -> Checked {
        while !self.open.is_empty() {
            self.commit(0).await?;
        }
        Ok(())
    }

    /// Before one writes whom open transactions would keep waiting.
    async fn make_way(&mut self) -> Checked {
        if F::SINGLE_WRITER { self.end_open().await } else { Ok(()) }
    }

    fn take(&mut self, tx: usize) -> Option<Open<F::Store>> {
        (!self.open.is_empty()).then(|| self.open.remove(tx % self.open.len()))
    }

    async fn commit(&mut self, tx: usize) -> Checked {
        let Some(open) = self.take(tx) else { return Ok(()) };
        self.trace.note(format!("{} commits", open.name));
        call::commit(&self.ground.store, open.tx).await?;
        self.table.commit(open.work.written);
        self.compare().await
    }

    async fn commit_unknown(&mut self, tx: usize, cut: Cut) -> Checked {
        let Some(open) = self.take(tx) else { return Ok(()) };
        self.trace.note(format!("{} commits, cut off {cut:?}", open.name));
        let answer = cut.off(self.ground.store.commit(open.tx)).await;
        self.ground.fixture.quiet(self.open.len()).await;
        let before = self.table.clone();
        self.table.commit(open.work.written);
        let happened = self.compare().await;
        if happened.is_ok() || matches!(answer, Some(Ok(()))) {
            self.trace.note("  it has committed".into());
            return happened;
        }
        self.table = before;
        self.trace.note("  it has not committed".into());
        self.compare().await
    }

    async fn rollback(&mut self, tx: usize, is_dropped: bool) -> Checked {
        let Some(open) = self.take(tx) else { return Ok(()) };
        if is_dropped {
            self.trace.note(format!("{} is dropped", open.name));
            drop(open.tx);
            self.ground.fixture.quiet(self.open.len()).await;
        } else {
            self.trace.note(format!("{} rolls back", open.name));
            call::rollback(&self.ground.store, open.tx).await?;
        }
        self.compare().await
    }

    /// Compares everything that has committed.
    async fn compare(&self) -> Checked {
        let store = &self.ground.elsewhere;
        let mut tx = begin(store).await?;
        for id in &self.drawn {
            let stored = store.get_by_id(&mut tx, *id).await;
            let stored = stored.or_else(|error| cannot("look a message up", &error))?;
            let row = self.table.rows.values().find(|row| row.event.id() == *id);
            match (stored, row) {
                (Some(stored), Some(row)) => row.compare(&stored)?,
                (None, None) => {}
                (Some(stored), None) => {
                    return mismatch(format!(
                        "a row of {} is there, and has not committed",
                        stored.message_id()
                    ));
                }
                (None, Some(row)) => {
                    return mismatch(format!("{} has committed, and is not there", row.event.message_id()));
                }
            }
        }
        call::rollback(store, tx).await?;
        let kept: BTreeMap<usize, String> = self
            .ground
            .fixture
            .quarantined()
            .await
            .into_iter()
            .filter(|kept| kept.message.topic == self.topic)
            .map(|kept| (usize::try_from(kept.message.offset).unwrap_or(usize::MAX), kept.error))
            .collect();
        if kept != self.table.quarantined {
            return mismatch(format!(
                "in quarantine are {kept:?}, and should be {:?}",
                self.table.quarantined
            ));
        }
        Ok(())
    }

    fn partition(&self, partition: i32) -> TopicPartition {
        TopicPartition { topic: self.topic.clone(), partition }
    }

    async fn pending_of(&mut self, partition: i32, after: Option<i64>, limit: u32) -> Checked {
        self.trace.note(format!("{limit} pending of partition {partition} behind {after:?}"));
        let (store, of, group) = (&self.ground.elsewhere, self.partition(partition), group());
        let pending = retried("fetch pending messages of a partition", async || {
            store.pending_of(&group, &of, after, limit).await
        })
        .await?;
        let ids: Vec<EventId> = pending.iter().map(|event| event.id()).collect();
        let expected = self.table.pending_of(partition, after, limit);
        self.compare_ids(&ids, &expected)
    }

    async fn fetch_pending(&mut self) -> Checked {
        self.trace.note("fetch pending".into());
        let store = &self.ground.elsewhere;
        let size = BatchSize::new(1000).expect("a valid batch size");
        let filters = FetchFilters::new();
        let pending =
            retried("fetch pending messages", async || store.fetch_pending(size, &filters).await).await?;
        let ids: BTreeSet<EventId> = pending.iter().map(|event| event.id()).collect();
        let expected = self.table.heads(self.now);
        self.compare_ids(&Vec::from_iter(ids), &Vec::from_iter(expected))
    }

    fn compare_ids(&self, ids: &[EventId], expected: &[EventId]) -> Checked {
        if ids == expected {
            return Ok(());
        }
        let names = |ids: &[EventId]| -> Vec<String> {
            let name = |id: &EventId| {
                let row = self.table.rows.values().find(|row| row.event.id() == *id);
                row.map_or("?".into(), |row| row.event.message_id().to_owned())
            };
            ids.iter().map(name).collect()
        };
        mismatch(format!("they are {:?}, and should be {:?}", names(ids), names(expected)))
    }

    async fn attach(&mut self, partition: i32, cut: Cut) -> Checked {
        self.make_way().await?;
        self.trace.note(format!("a worker attaches to partition {partition}, cut off {cut:?}"));
        let of = self.partition(partition);
        let (store, owner) = (&self.ground.elsewhere, owner());
        let is_cut = match cut.off(attach(store, &of, &owner)).await {
            Some(end) => {
                self.check_end(partition, end?)?;
                false
            }
            None => true,
        };
        if is_cut {
            self.ground.fixture.quiet(self.open.len()).await;
            // if it has happened, that worker never detaches
            let end = attach(store, &of, &owner).await?;
            if end == PartitionEnd::Clean {
                self.check_end(partition, end)?;
            }
        }
        self.attached.insert(partition, owner);
        Ok(())
    }

    fn check_end(&self, partition: i32, end: PartitionEnd) -> Checked {
        let is_unclean = self.ground.remembers && self.attached.contains_key(&partition);
        if is_unclean == (end == PartitionEnd::Unclean) {
            return Ok(());
        }
        mismatch(format!("the owner before of partition {partition} is said to have ended {end:?}"))
    }

    async fn detach(&mut self, partition: i32, cut: Cut) -> Checked {
        self.make_way().await?;
        self.trace.note(format!("a worker detaches from partition {partition}, cut off {cut:?}"));
        let (store, of, group) = (&self.ground.elsewhere, self.partition(partition), group());
        let owner = self.attached.remove(&partition).unwrap_or_else(owner);
        if cut.off(store.detach(&group, &of, &owner)).await.is_none() {
            self.ground.fixture.quiet(self.open.len()).await;
        }
        // twice is once
        retried("detach", async || store.detach(&group, &of, &owner).await).await?;
        Ok(())
    }

    /// Completes all that is left, and empties the table.
    pub(super) async fn clean_up(&mut self) -> Checked {
        self.end_open().await?;
        let usual = |message: &usize| Delivery { message: *message, variant: Variant::WithoutDigest };
        let left: Vec<Delivery> = self
            .table
            .rows
            .iter()
            .filter(|(_, row)| row.is_pending())
            .map(|(message, _)| usual(message))
            .collect();
        self.trace.note("all that is left is completed".into());
        if !left.is_empty() {
            self.receive(0, &left, true, Cut::NEVER).await?;
            self.settle(0, &vec![Outcome::Completed; left.len()]).await?;
            self.end_open().await?;
        }
        self.fetch_pending().await?;
        self.advance(3).await?;
        if let Some(retention) = self.ground.store.retention() {
            let (old, size) = (Duration::from_secs(30), BatchSize::new(1000).expect("a valid batch size"));
            retried("clean up", async || retention.cleanup_old_events(old, size, 100).await).await?;
        }
        Ok(())
    }
}
