//! The model of the inbox table: what has committed, and what open transactions have written on top of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use omni_box_core::{Event as _, EventId, EventStatus, Failure, InboxEvent, Received, Retry};

use crate::model::call::{Checked, mismatch};
use crate::model::clock::{MINUTE, Minute, SLOW};
use crate::model::failure::{charged, check_life, due};

/// A pending message that waits for an operator waits longer than this.
const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

#[derive(Debug, Clone)]
pub(super) struct Row {
    /// As it was received first.
    pub(super) event: InboxEvent,
    pub(super) status: EventStatus,
    attempts: u32,
    is_tried: bool,
    /// When it is tried again, after a failure; `Some(None)`: when an operator says so.
    #[expect(clippy::option_option, reason = "there are three cases")]
    again: Option<Option<Minute>>,
}

impl Row {
    pub(super) fn new(event: InboxEvent) -> Self {
        Self { event, status: EventStatus::Pending, attempts: 0, is_tried: false, again: None }
    }

    pub(super) fn is_pending(&self) -> bool {
        self.status == EventStatus::Pending
    }

    fn is_due(&self, now: Minute) -> bool {
        self.again.is_none_or(|until| until.is_some_and(|until| until <= now))
    }

    pub(super) fn complete(&mut self) {
        if self.is_pending() {
            self.status = EventStatus::Completed;
        }
    }

    pub(super) fn fail(&mut self, failure: &Failure, now: Minute) {
        if !self.is_pending() {
            return;
        }
        self.attempts = charged(self.attempts, self.event.lifecycle().max_attempts(), failure.attempt);
        self.is_tried = true;
        if failure.retry == Retry::Never {
            self.status = EventStatus::Failed;
        } else {
            self.again = Some(due(failure.retry, now));
        }
    }

    /// Compares it with what the store has.
    pub(super) fn compare(&self, stored: &InboxEvent) -> Checked {
        let given = &self.event;
        let name = given.message_id();
        check_life(name, stored.lifecycle(), self.status, self.attempts, self.is_tried)?;
        let fields = |event: &InboxEvent| {
            (
                (event.id(), event.message_id().to_owned(), event.source().to_owned()),
                (event.partition_key().map(str::to_owned), event.position().cloned()),
                (event.digest().map(<[u8]>::to_vec), event.content().clone()),
            )
        };
        if fields(stored) == fields(given) {
            return Ok(());
        }
        mismatch(format!("{name} is not stored as it was received first"))
    }

    /// Judges what a receive has said of it.
    pub(super) fn judge(&self, given: &InboxEvent, received: &Received, now: Minute) -> Checked {
        let name = given.message_id();
        let is_conflict = self.event.conflicts_with(given);
        let stored = match (received, self.status) {
            (Received::Conflict(row), _) if is_conflict => row,
            (Received::Pending { event, wait }, EventStatus::Pending) if !is_conflict => {
                self.check_wait(*wait, now)?;
                event
            }
            (Received::Completed(row), EventStatus::Completed) if !is_conflict => row,
            (Received::Failed(row), EventStatus::Failed) if !is_conflict => row,
            _ => {
                let kind = match received {
                    Received::New => "new",
                    Received::Pending { .. } => "pending",
                    Received::Completed(_) => "completed",
                    Received::Failed(_) => "failed",
                    Received::Conflict(_) => "a conflict",
                };
                let should = if is_conflict { "a conflict".into() } else { format!("{:?}", self.status) };
                return mismatch(format!("{name} is said to be {kind}, and is {should}"));
            }
        };
        self.compare(stored)
    }

    fn check_wait(&self, wait: Duration, now: Minute) -> Checked {
        let bounds = match self.again {
            Some(None) => YEAR..=Duration::MAX,
            Some(Some(until)) if until > now => {
                // it ends half a minute before
                let most = MINUTE * (until - now) as u32 - MINUTE / 2;
                most.saturating_sub(SLOW)..=most + Duration::from_secs(1)
            }
            _ => Duration::ZERO..=Duration::ZERO,
        };
        if bounds.contains(&wait) {
            return Ok(());
        }
        mismatch(format!("{} waits {wait:?}, and should wait {bounds:?}", self.event.message_id()))
    }
}

/// Rows and quarantine: of everybody, or what a transaction has changed of them.
#[derive(Debug, Clone, Default)]
pub(super) struct Table {
    /// By the message's number.
    pub(super) rows: BTreeMap<usize, Row>,
    /// What cannot be understood, by its number, with the reason.
    pub(super) quarantined: BTreeMap<usize, String>,
}

impl Table {
    /// Makes what a transaction has written everybody's.
    pub(super) fn commit(&mut self, written: Table) {
        self.rows.extend(written.rows);
        self.quarantined.extend(written.quarantined);
    }

    /// Pending messages of a partition behind an offset, in the order of their offsets.
    pub(super) fn pending_of(&self, partition: i32, after: Option<i64>, limit: u32) -> Vec<EventId> {
        let mut pending: Vec<(i64, EventId)> = self
            .pending()
            .filter_map(|row| Some((row.event.position()?, row)))
            .filter(|(at, _)| at.partition == partition && after.is_none_or(|after| at.offset > after))
            .map(|(at, row)| (at.offset, row.event.id()))
            .collect();
        pending.sort();
        pending.into_iter().map(|(_, id)| id).take(limit as usize).collect()
    }

    /// The lowest offset of each key of a partition, if it is due; a partition's messages without a key share one.
    pub(super) fn heads(&self, now: Minute) -> BTreeSet<EventId> {
        let mut heads: BTreeMap<(i32, Option<&str>), (i64, &Row)> = BTreeMap::new();
        for row in self.pending() {
            let Some(at) = row.event.position() else { continue };
            let head = heads.entry((at.partition, row.event.partition_key())).or_insert((at.offset, row));
            if at.offset < head.0 {
                *head = (at.offset, row);
            }
        }
        heads.into_values().filter(|(_, row)| row.is_due(now)).map(|(_, row)| row.event.id()).collect()
    }

    pub(super) fn pending(&self) -> impl Iterator<Item = &Row> {
        self.rows.values().filter(|row| row.is_pending())
    }
}
