//! Events that were given up.

use std::time::Duration;

use async_trait::async_trait;
use omni_box_core::store::{DeadLetters, Replayed};
use omni_box_core::{BatchSize, Event, EventId, EventStatus, FetchFilters, InboxEvent, OutboxEvent, Result};

use super::MemoryStore;
use super::lock::LONGEST_WAIT;
use super::state::State;
use super::table::{InboxRow, OutboxRow, Row, before};
use super::tables::Stored;

fn is_failed<R: Row>(row: &R) -> bool {
    row.life().status == EventStatus::Failed
}

/// The failed ones among `ids`, each once and in the order of the table. `None`: a transaction works on one of them.
fn failed_rows<R: Stored>(state: &State, ids: &[EventId]) -> Option<Vec<(i64, EventId)>> {
    let table = R::table(&state.tables);
    let mut chosen: Vec<(i64, EventId)> = ids
        .iter()
        .filter_map(|id| table.by_id(*id))
        .filter(|row| is_failed(*row))
        .map(|row| (row.seq(), row.id()))
        .collect();
    chosen.sort_unstable();
    chosen.dedup();
    let mut locks = chosen.iter().filter_map(|(_, id)| table.by_id(*id)?.row_lock());
    let is_locked = locks.any(|lock| state.locks.contains_key(&lock));
    (!is_locked).then_some(chosen)
}

impl MemoryStore {
    fn failed<R: Stored>(
        &self,
        filters: &FetchFilters,
        after: Option<&R::Event>,
        limit: BatchSize,
        is_listed: impl Fn(&R) -> bool,
    ) -> Result<Vec<R::Event>> {
        R::Event::check_filters(filters)?;
        let place = |event: &R::Event| (event.lifecycle().updated_at(), event.id());
        let after = after.map(place);
        let tables = self.committed();
        let mut failed: Vec<R::Event> = R::table(&tables)
            .rows()
            .filter(|row| is_failed(*row) && is_listed(row))
            .map(R::event)
            .filter(|event| event.passes(filters) && after.is_none_or(|after| place(event) > after))
            .collect();
        failed.sort_by_key(place);
        failed.truncate(limit.get() as usize);
        Ok(failed)
    }

    fn uncopied<R: Stored>(
        &self,
        filters: &FetchFilters,
        after: Option<&R::Event>,
        limit: BatchSize,
    ) -> Result<Vec<R::Event>> {
        let copied = self.shared.state().copied.clone();
        let has_none = |row: &R| copied.get(&row.id()) != Some(&row.life().updated_at);
        self.failed::<R>(filters, after, limit, has_none)
    }

    fn note_copied<E: Event>(&self, events: &[E]) {
        let copies = events.iter().map(|event| (event.id(), event.lifecycle().updated_at()));
        self.shared.state().copied.extend(copies);
    }

    async fn requeue_failed<R: Stored>(&self, ids: &[EventId]) -> Result<Vec<EventId>> {
        let attempt = |state: &mut State| {
            let chosen = failed_rows::<R>(state, ids)?;
            let now = self.shared.now();
            for (_, id) in &chosen {
                let seq = state.next_seq();
                R::table_mut(&mut state.tables).change(*id, |row| {
                    row.requeue(seq, now);
                    true
                });
            }
            Some(chosen.into_iter().map(|(_, id)| id).collect())
        };
        let requeued = self.shared.wait_for(LONGEST_WAIT, attempt).await?;
        self.shared.wake.wake();
        Ok(requeued)
    }

    async fn replay_failed<R: Stored>(&self, ids: &[EventId]) -> Result<Vec<Replayed>> {
        let attempt = |state: &mut State| {
            let chosen = failed_rows::<R>(state, ids)?;
            let now = self.shared.now();
            let mut replayed = Vec::with_capacity(chosen.len());
            for (_, failed) in chosen {
                let seq = state.next_seq();
                let by = EventId::generate();
                let table = R::table_mut(&mut state.tables);
                let Some(mut row) = table.by_id(failed).cloned() else { continue };
                let fresh = R::new(&R::renewed(&row, by), seq, now);
                row.complete(now);
                table.put(row);
                table.put(fresh);
                replayed.push(Replayed { failed, by });
            }
            Some(replayed)
        };
        let replayed = self.shared.wait_for(LONGEST_WAIT, attempt).await?;
        self.shared.wake.wake();
        Ok(replayed)
    }

    fn purge_failed<R: Stored>(&self, older_than: Duration, limit: BatchSize) -> u64 {
        let cutoff = before(self.shared.now(), older_than);
        self.delete(limit.get().into(), |row: &R| is_failed(row) && row.life().updated_at < cutoff)
    }
}

#[async_trait]
impl DeadLetters<OutboxEvent> for MemoryStore {
    async fn list(
        &self,
        filters: &FetchFilters,
        after: Option<&OutboxEvent>,
        limit: BatchSize,
    ) -> Result<Vec<OutboxEvent>> {
        self.failed::<OutboxRow>(filters, after, limit, |_| true)
    }

    async fn list_uncopied(
        &self,
        filters: &FetchFilters,
        after: Option<&OutboxEvent>,
        limit: BatchSize,
    ) -> Result<Vec<OutboxEvent>> {
        self.uncopied::<OutboxRow>(filters, after, limit)
    }

    async fn mark_copied(&self, events: &[OutboxEvent]) -> Result<()> {
        self.note_copied(events);
        Ok(())
    }

    async fn requeue(&self, ids: &[EventId]) -> Result<Vec<EventId>> {
        self.requeue_failed::<OutboxRow>(ids).await
    }

    async fn replay_as_new(&self, ids: &[EventId]) -> Result<Vec<Replayed>> {
        self.replay_failed::<OutboxRow>(ids).await
    }

    async fn purge(&self, older_than: Duration, limit: BatchSize) -> Result<u64> {
        Ok(self.purge_failed::<OutboxRow>(older_than, limit))
    }
}

#[async_trait]
impl DeadLetters<InboxEvent> for MemoryStore {
    async fn list(
        &self,
        filters: &FetchFilters,
        after: Option<&InboxEvent>,
        limit: BatchSize,
    ) -> Result<Vec<InboxEvent>> {
        self.failed::<InboxRow>(filters, after, limit, |_| true)
    }

    async fn list_uncopied(
        &self,
        filters: &FetchFilters,
        after: Option<&InboxEvent>,
        limit: BatchSize,
    ) -> Result<Vec<InboxEvent>> {
        self.uncopied::<InboxRow>(filters, after, limit)
    }

    async fn mark_copied(&self, events: &[InboxEvent]) -> Result<()> {
        self.note_copied(events);
        Ok(())
    }

    async fn requeue(&self, ids: &[EventId]) -> Result<Vec<EventId>> {
        self.requeue_failed::<InboxRow>(ids).await
    }

    async fn replay_as_new(&self, ids: &[EventId]) -> Result<Vec<Replayed>> {
        self.replay_failed::<InboxRow>(ids).await
    }

    async fn purge(&self, older_than: Duration, limit: BatchSize) -> Result<u64> {
        Ok(self.purge_failed::<InboxRow>(older_than, limit))
    }
}
