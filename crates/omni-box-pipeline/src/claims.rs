//! Claims of rows, with whatever a store offers for them.

use std::marker::PhantomData;
use std::time::Duration;

use omni_box_core::{
    Attempt, BatchSize, ClaimToken, Error, Event, EventId, EventRepository, Failure, FetchFilters, Result,
    Retry,
};
use tokio::sync::Mutex;
use tokio::time::Instant;

/// The claims of one worker on a table of events.
///
/// No call has a deadline: the caller knows how long it may take.
pub(crate) struct Claims<E> {
    token: ClaimToken,
    ttl: Duration,
    is_row_by_row: bool,
    events: PhantomData<fn() -> E>,
}

/// When claims of workers that died are given back next, on a store where no worker can take them over.
#[derive(Debug, Default)]
pub(crate) struct Stale(Mutex<Option<Instant>>);

impl<E: Event> Claims<E> {
    /// Claims last for `ttl` unless they are renewed.
    pub(crate) fn new(token: ClaimToken, ttl: Duration) -> Self {
        Self { token, ttl, is_row_by_row: false, events: PhantomData }
    }

    /// Whether rows are claimed one by one, also where the store could claim a batch.
    pub(crate) fn row_by_row(self, is_row_by_row: bool) -> Self {
        Self { is_row_by_row, ..self }
    }

    /// Claims what is due, at most one event of a key.
    pub(crate) async fn take<S: EventRepository<E>>(
        &self,
        store: &S,
        limit: BatchSize,
        filters: &FetchFilters,
        stale: &Stale,
    ) -> Result<Vec<E>> {
        if let Some(locking) = store.locking().filter(|_| !self.is_row_by_row) {
            return locking.claim(&self.token, limit, self.ttl, filters).await;
        }
        self.release_stale(store, stale).await?;
        let mut claimed = Vec::new();
        for event in store.fetch_pending(limit, filters).await? {
            if store.mark_processing(event.id(), &self.token).await? {
                claimed.push(event);
            }
        }
        Ok(claimed)
    }

    /// Renews claims; returns those that are left.
    pub(crate) async fn refresh<S: EventRepository<E>>(
        &self,
        store: &S,
        ids: &[EventId],
    ) -> Result<Vec<EventId>> {
        if let Some(locking) = store.locking() {
            return locking.refresh(&self.token, ids).await;
        }
        let mut kept = Vec::with_capacity(ids.len());
        for id in ids {
            if store.mark_processing(*id, &self.token).await? {
                kept.push(*id);
            }
        }
        Ok(kept)
    }

    /// Completes events; returns those whose claims were left.
    pub(crate) async fn complete<S: EventRepository<E>>(
        &self,
        store: &S,
        ids: &[EventId],
    ) -> Result<Vec<EventId>> {
        if let Some(bulk) = store.bulk() {
            return bulk.complete_many(ids, &self.token).await;
        }
        let mut completed = Vec::with_capacity(ids.len());
        for id in ids {
            if store.mark_completed(*id, &self.token).await? {
                completed.push(*id);
            }
        }
        Ok(completed)
    }

    /// Gives claims back without counting an attempt; `reason` is noted where the store can give back by a failure only.
    pub(crate) async fn release<S: EventRepository<E>>(
        &self,
        store: &S,
        ids: &[EventId],
        reason: Option<&Error>,
    ) -> Result<()> {
        if ids.is_empty() {
            return Ok(());
        }
        if let Some(locking) = store.locking() {
            return locking.release(&self.token, ids).await;
        }
        // a failure that costs nothing and is tried again at once gives a claim back on any store
        let text = reason.map_or_else(|| "given back".to_owned(), Error::chain);
        let failure = Failure::new(&text, Attempt::Free, Retry::After(Duration::ZERO));
        for id in ids {
            store.mark_failed(*id, &self.token, &failure).await?;
        }
        Ok(())
    }

    async fn release_stale<S: EventRepository<E>>(&self, store: &S, stale: &Stale) -> Result<()> {
        let mut due = stale.0.lock().await;
        let now = Instant::now();
        if due.is_some_and(|due| now < due) {
            return Ok(());
        }
        match store.retention() {
            Some(retention) => {
                let released = retention.release_stale_locks(self.ttl).await?;
                if released > 0 {
                    tracing::info!(released, "events given back that a worker had claimed and left");
                }
            }
            None if due.is_none() => tracing::warn!(
                "the store offers neither locking nor retention: unless it ends old claims by itself, what a worker has claimed \
                 when it dies is never taken again"
            ),
            None => {}
        }
        *due = Some(now + self.ttl / 4);
        Ok(())
    }
}
