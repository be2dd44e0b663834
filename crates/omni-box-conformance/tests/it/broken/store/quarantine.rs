//! What is kept as raw bytes.

use std::time::Duration;

use async_trait::async_trait;
use omni_box_core::store::{Quarantine, QuarantineEntry};
use omni_box_core::{BatchSize, ConsumerGroup, InboundMessage, InboxRepository, QuarantinedMessage, Result};
use uuid::Uuid;

use super::Broken;
use super::flaw::Flaw;

#[async_trait]
impl<S: InboxRepository> Quarantine<S::Conn> for Broken<S> {
    async fn list(
        &self,
        group: &ConsumerGroup,
        after: Option<&QuarantineEntry>,
        limit: BatchSize,
    ) -> Result<Vec<QuarantineEntry>> {
        let after = after.filter(|_| !self.has(Flaw::EveryPageOfTheQuarantineIsTheFirst));
        self.inner.in_quarantine().unwrap().list(group, after, limit).await
    }

    async fn show(&self, id: Uuid) -> Result<Option<QuarantinedMessage>> {
        let shown = self.inner.in_quarantine().unwrap().show(id).await?;
        Ok(shown.map(|kept| match self.flaw {
            Some(Flaw::ShowsAMessageWithoutItsTime) => {
                QuarantinedMessage { message: InboundMessage { timestamp: None, ..kept.message }, ..kept }
            }
            _ => kept,
        }))
    }

    async fn remove(&self, conn: &mut S::Conn, ids: &[Uuid]) -> Result<Vec<Uuid>> {
        let quarantine = self.inner.in_quarantine().unwrap();
        match self.flaw {
            Some(Flaw::TakesOutOutsideTheTransaction) => {
                let mut tx = self.inner.begin().await?;
                let removed = quarantine.remove(&mut tx, ids).await?;
                self.inner.commit(tx).await.map(|()| removed)
            }
            Some(Flaw::TakesNothingOut) => Ok(ids.to_vec()),
            _ => quarantine.remove(conn, ids).await,
        }
    }

    async fn purge(&self, group: &ConsumerGroup, older_than: Duration, limit: BatchSize) -> Result<u64> {
        let age = if self.has(Flaw::DeletesAYoungQuarantine) { Duration::ZERO } else { older_than };
        let limit = self.limit(Flaw::DeletesTheQuarantineWithoutBound, limit);
        self.inner.in_quarantine().unwrap().purge(group, age, limit).await
    }
}
