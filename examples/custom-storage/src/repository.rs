//! Both tables: create, look up, fetch, claim, mark.

use std::time::Duration;

use async_trait::async_trait;
use omni_box_core::{
    BatchSize, BulkOperations, ClaimToken, Created, DistributedLocking, EventId, EventRepository, Failure,
    FetchFilters, LifecycleRecord, OutboxRepository, Result, Wakeup,
};
use redb::WriteTransaction;
use tokio::sync::watch;

use crate::row::Kind;
use crate::store::{RedbStore, failed};
use crate::table::{Asked, Tables, due};

impl<E: Kind> EventRepository<E> for RedbStore {
    async fn create(&self, conn: &mut WriteTransaction, event: &E) -> Result<Created<E>> {
        Tables::open(conn)?.create(event, self.now())
    }

    async fn get_by_id(&self, conn: &mut WriteTransaction, id: EventId) -> Result<Option<E>> {
        Ok(Tables::open(conn)?.get(id)?.map(|row| row.event()))
    }

    async fn fetch_pending(&self, limit: BatchSize, filters: &FetchFilters) -> Result<Vec<E>> {
        let asked = Asked { limit, filters: filters.clone(), fresh_since: None };
        self.read(move |tx, now| {
            let rows = tx.open_table(Tables::<E>::ROWS).map_err(failed)?;
            let line = tx.open_table(Tables::<E>::LINE).map_err(failed)?;
            due(&rows, &line, &asked, now)
        })
        .await
    }

    async fn mark_processing(&self, id: EventId, token: &ClaimToken) -> Result<bool> {
        let token = token.clone();
        self.write(move |tx, now| {
            let is_free = |life: &LifecycleRecord| life.lock.is_none() || life.is_claimed_by(&token);
            Tables::<E>::open(tx)?.change(id, is_free, |life| life.claim(&token, now))
        })
        .await
    }

    async fn mark_completed(&self, id: EventId, token: &ClaimToken) -> Result<bool> {
        Ok(!BulkOperations::<E>::complete_many(self, &[id], token).await?.is_empty())
    }

    async fn mark_failed(&self, id: EventId, token: &ClaimToken, failure: &Failure) -> Result<bool> {
        let (token, failure) = (token.clone(), failure.clone());
        self.write(move |tx, now| {
            let is_mine = |life: &LifecycleRecord| life.is_claimed_by(&token);
            Tables::<E>::open(tx)?.change(id, is_mine, |life| life.fail(&failure, now))
        })
        .await
    }

    fn bulk(&self) -> Option<&dyn BulkOperations<E>> {
        Some(self)
    }

    fn locking(&self) -> Option<&dyn DistributedLocking<E>> {
        Some(self)
    }
}

impl OutboxRepository for RedbStore {
    fn wakeup(&self) -> Option<Box<dyn Wakeup>> {
        Some(Box::new(Commits(self.commits.subscribe())))
    }
}

struct Commits(watch::Receiver<()>);

#[async_trait]
impl Wakeup for Commits {
    async fn wait(&mut self) {
        // an error means that the store is gone, and nobody commits any more
        if self.0.changed().await.is_err() {
            std::future::pending().await
        }
    }
}

impl RedbStore {
    /// Changes those of a token's claims that are among `ids`, and returns them.
    async fn change_claimed<E: Kind>(
        &self,
        ids: &[EventId],
        token: &ClaimToken,
        change: impl Fn(&mut LifecycleRecord, chrono::DateTime<chrono::Utc>) + Send + 'static,
    ) -> Result<Vec<EventId>> {
        let (mut ids, token) = (ids.to_vec(), token.clone());
        self.write(move |tx, now| {
            let mut tables = Tables::<E>::open(tx)?;
            let mut changed = Vec::with_capacity(ids.len());
            for id in ids.drain(..) {
                if tables.change(id, |life| life.is_claimed_by(&token), |life| change(life, now))? {
                    changed.push(id);
                }
            }
            Ok(changed)
        })
        .await
    }
}

#[async_trait]
impl<E: Kind> BulkOperations<E> for RedbStore {
    async fn complete_many(&self, ids: &[EventId], token: &ClaimToken) -> Result<Vec<EventId>> {
        self.change_claimed::<E>(ids, token, LifecycleRecord::complete).await
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
            let asked = Asked { limit, filters, fresh_since: Some(now - ttl) };
            let mut tables = Tables::<E>::open(tx)?;
            let mut claimed = Vec::new();
            for event in tables.due(&asked, now)? {
                tables.change(event.id(), |_| true, |life| life.claim(&token, now))?;
                claimed.extend(tables.get(event.id())?.map(|row| row.event()));
            }
            Ok(claimed)
        })
        .await
    }

    async fn refresh(&self, token: &ClaimToken, ids: &[EventId]) -> Result<Vec<EventId>> {
        let again = token.clone();
        self.change_claimed::<E>(ids, token, move |life, now| life.claim(&again, now)).await
    }

    async fn release(&self, token: &ClaimToken, ids: &[EventId]) -> Result<()> {
        self.change_claimed::<E>(ids, token, LifecycleRecord::release).await.map(drop)
    }
}
