//! What a transaction does to the inbox: receive and settle.

use omni_box_core::{Event, EventId, InboxEvent, InboxSettlement, Received, Result};

use crate::memory::MemoryConn;
use crate::memory::key::LockKey;
use crate::memory::table::{InboxRow, Row};

impl MemoryConn {
    /// All waiting comes first, in an order that all transactions keep, so that two of them do not wait for each other.
    pub(super) async fn try_receive(&mut self, events: &[&InboxEvent]) -> Result<Vec<Received>> {
        let mut ordered = events.to_vec();
        ordered.sort_by_key(|event| (event.message_id(), event.consumer_group()));
        for event in ordered {
            if let Some(identity) = InboxRow::identity_of(event) {
                self.lock_identity::<InboxRow>(&identity).await?;
            }
            if self.existing::<InboxRow>(event).is_none() {
                self.lock(LockKey::Id(event.id())).await?;
            }
        }
        let now = self.shared.now();
        for event in events {
            let again =
                self.existing::<InboxRow>(event).filter(|row| row.is_sent_again_by(event)).map(Row::id);
            if let Some(id) = again {
                self.view.inbox.change(id, |row| {
                    row.reopen(event, now);
                    true
                });
                self.writes.inbox.insert(id);
            }
        }
        events
            .iter()
            .map(|event| match self.existing::<InboxRow>(event) {
                Some(row) => Ok(row.judge(event, now)),
                None => self.store::<InboxRow>(event).map(|_| Received::New),
            })
            .collect()
    }

    /// The same, and what is new is completed at once.
    pub(in crate::memory) async fn try_receive_completed(
        &mut self,
        events: &[&InboxEvent],
    ) -> Result<Vec<Received>> {
        let received = self.try_receive(events).await?;
        let now = self.shared.now();
        for (event, _) in events.iter().zip(&received).filter(|(_, received)| **received == Received::New) {
            self.view.inbox.change(event.id(), |row| {
                row.complete(now);
                true
            });
        }
        Ok(received)
    }

    /// Makes messages pending that were stored as completed.
    pub(in crate::memory) fn set_back(&mut self, ids: &[EventId]) {
        for id in ids {
            if self.view.inbox.change(*id, InboxRow::set_back) {
                self.writes.inbox.insert(*id);
            }
        }
    }

    pub(super) async fn try_settle(&mut self, settlement: &InboxSettlement) -> Result<()> {
        let InboxSettlement { completed, failures } = settlement;
        for id in completed.iter().chain(failures.iter().map(|(id, _)| id)) {
            let row = self.view.inbox.by_id(*id).cloned();
            let row = row.or_else(|| self.shared.state().tables.inbox.by_id(*id).cloned());
            if let Some(row) = row {
                self.lock_identity::<InboxRow>(&row.message()).await?;
            }
        }
        let now = self.shared.now();
        let outcomes = completed.iter().map(|id| (id, None));
        for (id, failure) in outcomes.chain(failures.iter().map(|(id, failure)| (id, Some(failure)))) {
            let is_changed = self.view.inbox.change(*id, |row| {
                let is_pending = row.is_pending();
                match failure {
                    _ if !is_pending => {}
                    None => row.complete(now),
                    Some(failure) => row.fail(failure, now),
                }
                is_pending
            });
            if is_changed {
                self.writes.inbox.insert(*id);
            }
        }
        Ok(())
    }
}
