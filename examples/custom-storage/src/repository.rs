//! Both tables: create, look up, fetch, claim, mark.

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;
use omni_box_core::event::Mark;
use omni_box_core::store::Due;
use omni_box_core::{
    BatchSize, BulkOperations, ClaimToken, Created, DistributedLocking, EventId, EventRepository, Failure,
    FetchFilters, OutboxRepository, Result, Wakeup,
};
use redb::WriteTransaction;

use crate::failure::failed;
use crate::store::RedbStore;
use crate::table::{Kind, Tables, choose};

impl<E: Kind> EventRepository<E> for RedbStore {
    async fn create(&self, conn: &mut WriteTransaction, event: &E) -> Result<Created<E>> {
        Tables::open(conn)?.create(event, self.now())
    }

    async fn get_by_id(&self, conn: &mut WriteTransaction, id: EventId) -> Result<Option<E>> {
        Ok(Tables::open(conn)?.get(id)?.map(|row| row.event()))
    }

    async fn fetch_pending(&self, limit: BatchSize, filters: &FetchFilters) -> Result<Vec<E>> {
        let filters = filters.clone();
        self.read(move |tx, now| {
            let rows = tx.open_table(Tables::<E>::ROWS).map_err(failed)?;
            let line = tx.open_table(Tables::<E>::LINE).map_err(failed)?;
            let claims = tx.open_table(Tables::<E>::CLAIMS).map_err(failed)?;
            choose(Due::new(limit, &filters, now)?, &rows, &line, &claims)
        })
        .await
    }

    async fn mark_processing(&self, id: EventId, token: &ClaimToken) -> Result<bool> {
        Ok(!self.mark::<E>(&[id], Mark::Claim, token).await?.is_empty())
    }

    async fn mark_completed(&self, id: EventId, token: &ClaimToken) -> Result<bool> {
        Ok(!self.mark::<E>(&[id], Mark::Complete, token).await?.is_empty())
    }

    async fn mark_failed(&self, id: EventId, token: &ClaimToken, failure: &Failure) -> Result<bool> {
        Ok(!self.mark::<E>(&[id], Mark::Fail(failure.clone()), token).await?.is_empty())
    }

    fn bulk(&self) -> Option<&dyn BulkOperations<E>> {
        Some(self)
    }

    fn locking(&self) -> Option<&dyn DistributedLocking<E>> {
        Some(self)
    }
}

impl RedbStore {
    /// Marks events in one transaction; returns those to which the mark applied.
    async fn mark<E: Kind>(&self, ids: &[EventId], mark: Mark, token: &ClaimToken) -> Result<Vec<EventId>> {
        // an id that is given twice is marked once
        let (ids, token) = (BTreeSet::from_iter(ids.iter().copied()), token.clone());
        self.write(move |tx, now| {
            let (mut tables, mut marked) = (Tables::<E>::open(tx)?, Vec::new());
            for id in ids {
                if tables.change(id, |row| row.mark(&mark, &token, now))? == Some(true) {
                    marked.push(id);
                }
            }
            Ok(marked)
        })
        .await
    }
}

#[async_trait]
impl<E: Kind> BulkOperations<E> for RedbStore {
    async fn complete_many(&self, ids: &[EventId], token: &ClaimToken) -> Result<Vec<EventId>> {
        self.mark::<E>(ids, Mark::Complete, token).await
    }
}

#[async_trait]
impl<E: Kind> DistributedLocking<E> for RedbStore {
    async fn claim(
        &self,
        token: &ClaimToken,
        limit: BatchSize,
        ttl: Duration,
        filters: &FetchFilters,
    ) -> Result<Vec<E>> {
        let (token, filters) = (token.clone(), filters.clone());
        self.write(move |tx, now| {
            let due = Due::new(limit, &filters, now)?.taking_over(ttl);
            Tables::open(tx)?.claim(due, &token, now)
        })
        .await
    }

    async fn refresh(&self, token: &ClaimToken, ids: &[EventId]) -> Result<Vec<EventId>> {
        self.mark::<E>(ids, Mark::Refresh, token).await
    }

    async fn release(&self, token: &ClaimToken, ids: &[EventId]) -> Result<()> {
        self.mark::<E>(ids, Mark::Release, token).await.map(drop)
    }
}

impl OutboxRepository for RedbStore {
    fn wakeup(&self) -> Option<Box<dyn Wakeup>> {
        Some(Box::new(self.commits.waiter()))
    }
}
