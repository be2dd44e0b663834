//! Transactions of a whole group.

use std::time::Duration;

use async_trait::async_trait;
use omni_box_core::store::SealedTransactions;
use omni_box_core::{Event, EventId, InboxEvent, InboxRepository, InboxSettlement, Received, Result};

use super::flaw::Flaw;
use super::{Broken, BrokenTx};

#[async_trait]
impl<S: InboxRepository> SealedTransactions<Self> for Broken<S> {
    async fn begin_sealed(&self, timeout: Duration) -> Result<BrokenTx<S>> {
        Ok(self.wrap(self.inner.sealed().unwrap().begin_sealed(timeout).await?))
    }

    async fn receive_completed(&self, conn: &mut S::Conn, events: &[&InboxEvent]) -> Result<Vec<Received>> {
        let sealed = self.inner.sealed().unwrap();
        self.notes().created.extend(events.iter().map(|event| event.id()));
        self.notes().sealed.extend(events.iter().map(|event| event.id()));
        match self.flaw {
            Some(Flaw::CompletesNothingUpFront) => {
                let events: Vec<InboxEvent> = events.iter().map(|event| (*event).clone()).collect();
                self.inner.receive(conn, &events).await
            }
            Some(Flaw::CompletesUpFrontWhatIsThere) => {
                let received = sealed.receive_completed(conn, events).await?;
                let completed = events.iter().map(|event| event.id()).collect();
                let settlement = InboxSettlement { completed, failures: Vec::new() };
                InboxRepository::settle(&self.inner, conn, &settlement).await?;
                Ok(received)
            }
            Some(Flaw::ReceivesOutsideTheSealedTransaction) => {
                let mut tx = sealed.begin_sealed(Duration::from_secs(1)).await?;
                let received = sealed.receive_completed(&mut tx, events).await?;
                self.inner.commit(tx).await?;
                Ok(received)
            }
            _ => sealed.receive_completed(conn, events).await,
        }
    }

    async fn set_back(&self, conn: &mut S::Conn, ids: &[EventId]) -> Result<()> {
        let received = self.notes().sealed.clone();
        let ids = match (self.flaw, ids) {
            (Some(Flaw::NothingIsSetBack), _) => &[],
            (Some(Flaw::SetsBackAllButTheLast), [rest @ .., _]) => rest,
            (Some(Flaw::SetsBackTheWholeGroup), _) => &received,
            _ => ids,
        };
        self.inner.sealed().unwrap().set_back(conn, ids).await
    }
}
