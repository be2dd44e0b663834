//! Events that were given up.

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use async_trait::async_trait;
use omni_box_core::store::{DeadLetters, Replayed};
use omni_box_core::{
    BatchSize, ConsumerGroup, Event, EventId, FetchFilters, InboxEvent, OutboxEvent, Result, Store,
};
use omni_box_sql::{Query, renewed};
use serde_json::json;
use uuid::Uuid;

use crate::error::failed;
use crate::inbox::inbox_events;
use crate::outbox::outbox_events;
use crate::query::{EventQueries, array, ids};
use crate::{SqliteStore, outbox};

/// Where the page before has ended.
fn place<E: Event>(after: Option<&E>) -> (Option<i64>, Option<String>) {
    let at = after.map(|event| event.lifecycle().updated_at().timestamp_micros());
    (at, after.map(|event| event.id().to_string()))
}

impl SqliteStore {
    async fn requeue_by(&self, query: &Query, events: &[EventId]) -> Result<Vec<EventId>> {
        let mut tx = self.begin().await?;
        let requeued: Vec<String> = sqlx::query_scalar(query.sql())
            .bind(ids(events))
            .fetch_all(&mut *tx)
            .await
            .map_err(failed("requeue events"))?;
        tx.commit().await?;
        let requeued = requeued.iter().filter_map(|id| id.parse::<Uuid>().ok());
        Ok(requeued.map(EventId::from).collect())
    }
}

impl SqliteStore {
    async fn mark_copied_by<E: Event>(&self, query: &Query, events: &[E]) -> Result<()> {
        let failures = events
            .iter()
            .map(|event| json!([event.id().to_string(), event.lifecycle().updated_at().timestamp_micros()]));
        let mut tx = self.begin().await?;
        sqlx::query(query.sql())
            .bind(array(failures))
            .execute(&mut *tx)
            .await
            .map_err(failed("note what has a copy"))?;
        tx.commit().await
    }
}

impl SqliteStore {
    async fn renew_by(&self, queries: &EventQueries, events: &[EventId]) -> Result<Vec<Replayed>> {
        let renewed = renewed(events);
        let pairs = array(renewed.iter().map(|pair| json!([pair.failed.to_string(), pair.by.to_string()])));
        let doing = "store events anew";
        let mut tx = self.begin().await?;
        let stored: Vec<String> = sqlx::query_scalar(queries.renew.sql())
            .bind(pairs)
            .fetch_all(&mut *tx)
            .await
            .map_err(failed(doing))?;
        let stored: HashSet<String> = stored.into_iter().collect();
        let renewed: Vec<Replayed> =
            renewed.into_iter().filter(|pair| stored.contains(&pair.by.to_string())).collect();
        sqlx::query(queries.renewed.sql())
            .bind(array(renewed.iter().map(|pair| pair.failed.to_string())))
            .execute(&mut *tx)
            .await
            .map_err(failed(doing))?;
        tx.commit().await?;
        Ok(renewed)
    }
}

impl SqliteStore {
    async fn outbox_failures(
        &self,
        query: &Query,
        filters: &FetchFilters,
        after: Option<&OutboxEvent>,
        limit: BatchSize,
    ) -> Result<Vec<OutboxEvent>> {
        OutboxEvent::check_filters(filters)?;
        let (at, id) = place(after);
        let [topics, aggregate_types, aggregate_ids] = outbox::filter_arrays(filters);
        let mut reader = self.reader().await?;
        let rows = sqlx::query(query.sql())
            .bind(i64::from(limit.get()))
            .bind(at)
            .bind(id)
            .bind(topics)
            .bind(aggregate_types)
            .bind(aggregate_ids)
            .fetch_all(&mut *reader)
            .await
            .map_err(failed("list failed events"))?;
        outbox_events(&rows)
    }
}

#[async_trait]
impl DeadLetters<OutboxEvent> for SqliteStore {
    async fn list(
        &self,
        filters: &FetchFilters,
        after: Option<&OutboxEvent>,
        limit: BatchSize,
    ) -> Result<Vec<OutboxEvent>> {
        self.outbox_failures(&self.queries.outbox_events.failed, filters, after, limit).await
    }

    async fn list_uncopied(
        &self,
        filters: &FetchFilters,
        after: Option<&OutboxEvent>,
        limit: BatchSize,
    ) -> Result<Vec<OutboxEvent>> {
        self.outbox_failures(&self.queries.outbox_events.uncopied, filters, after, limit).await
    }

    async fn mark_copied(&self, events: &[OutboxEvent]) -> Result<()> {
        self.mark_copied_by(&self.queries.outbox_events.mark_copied, events).await
    }

    async fn requeue(&self, ids: &[EventId]) -> Result<Vec<EventId>> {
        self.requeue_by(&self.queries.outbox_events.requeue, ids).await
    }

    async fn replay_as_new(&self, ids: &[EventId]) -> Result<Vec<Replayed>> {
        self.renew_by(&self.queries.outbox_events, ids).await
    }

    async fn purge(&self, older_than: Duration, limit: BatchSize) -> Result<u64> {
        self.cleanup(&self.queries.outbox_events.purge_failed, older_than, limit, 1).await
    }
}

impl SqliteStore {
    /// `groups` as the query takes them.
    async fn inbox_failures(
        &self,
        query: &Query,
        filters: &FetchFilters,
        groups: &str,
        after: Option<&InboxEvent>,
        limit: BatchSize,
    ) -> Result<Vec<InboxEvent>> {
        let (at, id) = place(after);
        let mut reader = self.reader().await?;
        let rows = sqlx::query(query.sql())
            .bind(i64::from(limit.get()))
            .bind(at)
            .bind(id)
            .bind(array(filters.sources.iter().map(String::as_str)))
            .bind(groups)
            .fetch_all(&mut *reader)
            .await
            .map_err(failed("list failed messages"))?;
        inbox_events(&rows)
    }
}

#[async_trait]
impl DeadLetters<InboxEvent> for SqliteStore {
    async fn list(
        &self,
        filters: &FetchFilters,
        after: Option<&InboxEvent>,
        limit: BatchSize,
    ) -> Result<Vec<InboxEvent>> {
        InboxEvent::check_filters(filters)?;
        if filters.consumer_groups.is_empty() {
            return self.inbox_failures(&self.queries.inbox_events.failed, filters, "[]", after, limit).await;
        }
        let groups: BTreeSet<&str> = filters.consumer_groups.iter().map(ConsumerGroup::as_str).collect();
        let mut failures = Vec::new();
        for group in groups {
            let of_group = &self.queries.inbox_failed_of;
            failures.extend(self.inbox_failures(of_group, filters, group, after, limit).await?);
        }
        failures.sort_by_cached_key(|event| place(Some(event)));
        failures.truncate(limit.get() as usize);
        Ok(failures)
    }

    async fn list_uncopied(
        &self,
        filters: &FetchFilters,
        after: Option<&InboxEvent>,
        limit: BatchSize,
    ) -> Result<Vec<InboxEvent>> {
        InboxEvent::check_filters(filters)?;
        let groups = array(filters.consumer_groups.iter().map(ConsumerGroup::as_str));
        self.inbox_failures(&self.queries.inbox_events.uncopied, filters, &groups, after, limit).await
    }

    async fn mark_copied(&self, events: &[InboxEvent]) -> Result<()> {
        self.mark_copied_by(&self.queries.inbox_events.mark_copied, events).await
    }

    async fn requeue(&self, ids: &[EventId]) -> Result<Vec<EventId>> {
        self.requeue_by(&self.queries.inbox_events.requeue, ids).await
    }

    async fn replay_as_new(&self, ids: &[EventId]) -> Result<Vec<Replayed>> {
        self.renew_by(&self.queries.inbox_events, ids).await
    }

    async fn purge(&self, older_than: Duration, limit: BatchSize) -> Result<u64> {
        self.cleanup(&self.queries.inbox_events.purge_failed, older_than, limit, 1).await
    }
}
