//! Both tables: create, look up, fetch, claim, mark.

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use omni_box_core::{
    BatchSize, BulkOperations, ClaimToken, Created, DistributedLocking, EventId, EventRepository, Failure,
    FetchFilters, LifecycleRecord as Life, OutboxRepository, Result, Wakeup,
};
use redb::WriteTransaction;
use tokio::sync::watch;

use crate::failure::failed;
use crate::row::Kind;
use crate::store::RedbStore;
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
            due(&rows, &line, &tx.open_table(Tables::<E>::CLAIMS).map_err(failed)?, &asked, now)
        })
        .await
    }

    async fn mark_processing(&self, id: EventId, token: &ClaimToken) -> Result<bool> {
        let (mine, token) = (token.clone(), token.clone());
        let is_free = move |life: &Life| life.lock.is_none() || life.is_claimed_by(&mine);
        Ok(!self.change::<E>(&[id], is_free, move |life, now| life.claim(&token, now)).await?.is_empty())
    }

    async fn mark_completed(&self, id: EventId, token: &ClaimToken) -> Result<bool> {
        Ok(!self.change::<E>(&[id], claimed_by(token), Life::complete).await?.is_empty())
    }

    async fn mark_failed(&self, id: EventId, token: &ClaimToken, failure: &Failure) -> Result<bool> {
        let failure = failure.clone();
        let fail = move |life: &mut Life, now| life.fail(&failure, now);
        Ok(!self.change::<E>(&[id], claimed_by(token), fail).await?.is_empty())
    }

    fn bulk(&self) -> Option<&dyn BulkOperations<E>> {
        Some(self)
    }

    fn locking(&self) -> Option<&dyn DistributedLocking<E>> {
        Some(self)
    }
}

fn claimed_by(token: &ClaimToken) -> impl Fn(&Life) -> bool + Send + use<> {
    let token = token.clone();
    move |life| life.is_claimed_by(&token)
}

impl RedbStore {
    /// Changes those pending rows to which it applies, in one transaction; returns them.
    async fn change<E: Kind>(
        &self,
        ids: &[EventId],
        applies: impl Fn(&Life) -> bool + Send + 'static,
        change: impl Fn(&mut Life, DateTime<Utc>) + Send + 'static,
    ) -> Result<Vec<EventId>> {
        // one that is named twice is changed once
        let ids: BTreeSet<EventId> = ids.iter().copied().collect();
        self.write(move |tx, now| {
            let (mut tables, mut changed) = (Tables::<E>::open(tx)?, Vec::new());
            for id in ids {
                if tables.change(id, &applies, |life| change(life, now))? {
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
        self.change::<E>(ids, claimed_by(token), Life::complete).await
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
            Tables::open(tx)?.claim(&asked, |life| life.claim(&token, now), now)
        })
        .await
    }

    async fn refresh(&self, token: &ClaimToken, ids: &[EventId]) -> Result<Vec<EventId>> {
        let again = token.clone();
        self.change::<E>(ids, claimed_by(token), move |life, now| life.claim(&again, now)).await
    }

    async fn release(&self, token: &ClaimToken, ids: &[EventId]) -> Result<()> {
        self.change::<E>(ids, claimed_by(token), Life::release).await.map(drop)
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
        // an error means that the store is gone, and nothing is committed any more
        if self.0.changed().await.is_err() {
            std::future::pending().await
        }
    }
}
