//! Claims of batches, and upkeep.

use std::time::Duration;

use async_trait::async_trait;
use omni_box_core::store::{DeadLetters, Replayed};
use omni_box_core::{
    BatchSize, BulkOperations, ClaimToken, DistributedLocking, EventId, EventRepository, EventStatus,
    FetchFilters, Result, RetentionPolicies,
};

use super::Broken;
use super::flaw::Flaw;
use super::kind::{Kind, failed_life};

#[async_trait]
impl<E: Kind, S: EventRepository<E>> BulkOperations<E> for Broken<S> {
    async fn complete_many(&self, ids: &[EventId], token: &ClaimToken) -> Result<Vec<EventId>> {
        let bulk = self.inner.bulk().unwrap();
        match (self.flaw, ids) {
            (Some(Flaw::CompletesABatchButItsLast), [rest @ .., last]) => {
                let mut completed = bulk.complete_many(rest, token).await?;
                completed.push(*last);
                Ok(completed)
            }
            (Some(Flaw::CompletesABatchOfOthers), _) => {
                let mut completed = Vec::new();
                for id in ids {
                    let latest = self.notes().claims.get(id).and_then(|claims| claims.last().cloned());
                    completed.extend(bulk.complete_many(&[*id], &latest.unwrap_or(token.clone())).await?);
                }
                Ok(completed)
            }
            _ => bulk.complete_many(ids, token).await,
        }
    }
}

#[async_trait]
impl<E: Kind, S: EventRepository<E>> DistributedLocking<E> for Broken<S> {
    async fn claim(
        &self,
        token: &ClaimToken,
        limit: BatchSize,
        ttl: Duration,
        filters: &FetchFilters,
    ) -> Result<Vec<E>> {
        let ttl = if self.has(Flaw::ClaimsNeverExpire) { Duration::from_secs(1 << 32) } else { ttl };
        let limit = self.limit(Flaw::AClaimIgnoresItsLimit, limit);
        let filters = if self.has(Flaw::AClaimIgnoresFilters) { &FetchFilters::new() } else { filters };
        let mut claimed: Vec<E> = self.inner.locking().unwrap().claim(token, limit, ttl, filters).await?;
        if self.has(Flaw::ClaimsWhatIsClaimed) {
            let known: Vec<EventId> = claimed.iter().map(E::id).collect();
            let rows: Vec<E> = self.rows().await?;
            let is_others = |row: &E| row.lifecycle().lock().is_some() && !known.contains(&row.id());
            claimed.extend(rows.into_iter().filter(is_others));
        }
        if matches!(self.flaw, Some(Flaw::ClaimsWholeKeys | Flaw::ClaimsTheUncommitted)) {
            for row in self.rows::<E>().await? {
                let is_free = row.status() == EventStatus::Pending && row.lifecycle().lock().is_none();
                if is_free && self.inner.mark_processing(row.id(), token).await? {
                    claimed.push(row);
                }
            }
        }
        if self.has(Flaw::ClaimsBeforeWhatIsClaimed)
            && let Some(first) = self.first_free::<E>().await?
            && self.inner.mark_processing(first.id(), token).await?
        {
            claimed.push(first);
        }
        for event in &claimed {
            self.note_claim(event.id(), token);
        }
        Ok(claimed)
    }

    async fn refresh(&self, token: &ClaimToken, ids: &[EventId]) -> Result<Vec<EventId>> {
        if self.has(Flaw::ARenewalDoesNothing) {
            let mut kept = Vec::new();
            for id in ids {
                let row = self.row::<E>(*id).await?;
                let lock = row.as_ref().and_then(|row| row.lifecycle().lock());
                kept.extend(lock.filter(|lock| lock.by.as_str() == token.as_str()).map(|_| *id));
            }
            return Ok(kept);
        }
        self.inner.locking().unwrap().refresh(token, ids).await
    }

    async fn release(&self, token: &ClaimToken, ids: &[EventId]) -> Result<()> {
        let locking = self.inner.locking().unwrap();
        match self.flaw {
            Some(Flaw::AReleaseKeepsTheClaims) => Ok(()),
            Some(Flaw::ReleasesTheClaimsOfOthers) => {
                for id in ids {
                    let latest = self.notes().claims.get(id).and_then(|claims| claims.last().cloned());
                    locking.release(&latest.unwrap_or(token.clone()), &[*id]).await?;
                }
                Ok(())
            }
            _ => locking.release(token, ids).await,
        }
    }
}

#[async_trait]
impl<E: Kind, S: EventRepository<E>> DeadLetters<E> for Broken<S> {
    async fn list(&self, filters: &FetchFilters, after: Option<&E>, limit: BatchSize) -> Result<Vec<E>> {
        let after = after.filter(|_| !self.has(Flaw::EveryPageIsTheFirst));
        let everything = FetchFilters::new();
        let filters = if self.has(Flaw::AListIgnoresFilters) { &everything } else { filters };
        let mut failed = self.inner.dead_letters().unwrap().list(filters, after, limit).await?;
        if self.has(Flaw::ListsTheLastFirst) {
            failed.reverse();
        }
        Ok(failed)
    }

    async fn list_uncopied(
        &self,
        filters: &FetchFilters,
        after: Option<&E>,
        limit: BatchSize,
    ) -> Result<Vec<E>> {
        let letters = self.inner.dead_letters().unwrap();
        if self.has(Flaw::OneCopyIsForAllFailures) {
            let mut failed = letters.list(filters, after, limit).await?;
            let copied = self.notes().copied.clone();
            failed.retain(|event| !copied.contains(&event.id()));
            return Ok(failed);
        }
        letters.list_uncopied(filters, after, limit).await
    }

    async fn mark_copied(&self, events: &[E]) -> Result<()> {
        self.notes().copied.extend(events.iter().map(E::id));
        match self.has(Flaw::ACopyIsForgotten) {
            true => Ok(()),
            false => self.inner.dead_letters().unwrap().mark_copied(events).await,
        }
    }

    async fn requeue(&self, ids: &[EventId]) -> Result<Vec<EventId>> {
        let requeued = self.inner.dead_letters().unwrap().requeue(ids).await?;
        Ok(if self.has(Flaw::RequeuesAllAgain) { ids.to_vec() } else { requeued })
    }

    async fn replay_as_new(&self, ids: &[EventId]) -> Result<Vec<Replayed>> {
        let letters = self.inner.dead_letters().unwrap();
        if self.has(Flaw::RequeuesWhatIsReplayed) {
            let requeued = letters.requeue(ids).await?;
            return Ok(requeued.into_iter().map(|id| Replayed { failed: id, by: id }).collect());
        }
        let mut lives = Vec::new();
        if self.has(Flaw::AReplayLeavesTheFailedOne) {
            for id in ids {
                lives
                    .extend(self.row::<E>(*id).await?.as_ref().and_then(failed_life).map(|life| (*id, life)));
            }
        }
        let replayed = letters.replay_as_new(ids).await?;
        self.notes().lives.extend(lives);
        Ok(replayed)
    }

    async fn purge(&self, older_than: Duration, limit: BatchSize) -> Result<u64> {
        let age = if self.has(Flaw::DeletesYoungDeadLetters) { Duration::ZERO } else { older_than };
        let limit = self.limit(Flaw::DeletesDeadLettersWithoutBound, limit);
        self.inner.dead_letters().unwrap().purge(age, limit).await
    }
}

#[async_trait]
impl<E: Kind, S: EventRepository<E>> RetentionPolicies<E> for Broken<S> {
    async fn release_stale_locks(&self, older_than: Duration) -> Result<u64> {
        let older_than = if self.has(Flaw::ReleasesYoungClaims) { Duration::ZERO } else { older_than };
        self.inner.retention().unwrap().release_stale_locks(older_than).await
    }

    async fn cleanup_old_events(
        &self,
        retention: Duration,
        batch: BatchSize,
        max_iterations: u32,
    ) -> Result<u64> {
        let age = if self.has(Flaw::DeletesWhatIsYoung) { Duration::ZERO } else { retention };
        let most = if self.has(Flaw::DeletesWithoutBound) { u32::MAX } else { max_iterations };
        let mut deleted = self.inner.retention().unwrap().cleanup_old_events(age, batch, most).await?;
        if self.has(Flaw::DeletesFailedEvents) {
            let rows: Vec<E> = self.rows().await?;
            let failed = rows.iter().filter(|row| row.status() == EventStatus::Failed).map(E::id);
            let failed: Vec<EventId> = failed.collect();
            deleted += failed.len() as u64;
            self.notes().deleted.extend(failed);
        }
        Ok(deleted)
    }
}
