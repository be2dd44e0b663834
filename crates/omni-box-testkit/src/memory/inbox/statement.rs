//! What a transaction does to the inbox: receive and settle.

use omni_box_core::{Event, EventId, InboxEvent, InboxSettlement, Received, Result};

use crate::memory::MemoryConn;
use crate::memory::key::LockKey;
use crate::memory::table::{InboxRow, Row, message, set_back};

impl MemoryConn {
    /// All waiting comes first, in an order that all transactions keep, so that two of them do not wait for each other.
    pub(super) async fn try_receive(&mut self, events: &[&InboxEvent]) -> Result<Vec<Received>> {
        let mut ordered = events.to_vec();
        ordered.sort_by_key(|event| (event.message_id(), event.consumer_group()));
        for event in ordered {
            if let Some(identity) = event.identity() {
                self.lock_identity::<InboxRow>(&identity).await?;
            }
            if self.existing::<InboxRow>(event).is_none() {
                self.lock(LockKey::Id(event.id())).await?;
            }
        }
        let now = self.shared.now();
        events
            .iter()
            .map(|event| {
                let Some(mut row) = self.existing::<InboxRow>(event).cloned() else {
                    return self.store::<InboxRow>(event).map(|_| Received::New);
                };
                let received = row.receive(event, now);
                let is_sent_again =
                    self.existing::<InboxRow>(event).is_some_and(|before| before.life() != row.life());
                if is_sent_again {
                    self.writes.inbox.insert(Row::id(&row));
                    self.view.inbox.put(row);
                }
                Ok(received)
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
            if self.view.inbox.change(*id, set_back) {
                self.writes.inbox.insert(*id);
            }
        }
    }

    pub(super) async fn try_settle(&mut self, settlement: &InboxSettlement) -> Result<()> {
        for (id, _) in settlement.outcomes() {
            let row = self.view.inbox.by_id(id).cloned();
            let row = row.or_else(|| self.shared.state().tables.inbox.by_id(id).cloned());
            if let Some(row) = row {
                self.lock_identity::<InboxRow>(&message(&row)).await?;
            }
        }
        let now = self.shared.now();
        for (id, failure) in settlement.outcomes() {
            if self.view.inbox.change(id, |row| row.settle(failure, now)) {
                self.writes.inbox.insert(id);
            }
        }
        Ok(())
    }
}
