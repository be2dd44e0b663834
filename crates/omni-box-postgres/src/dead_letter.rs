//! Events that were given up.

use std::collections::HashSet;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use omni_box_core::store::{DeadLetters, Replayed};
use omni_box_core::{BatchSize, Event, EventId, FetchFilters, InboxEvent, OutboxEvent, Result};
use omni_box_sql::{Query, renewed};
use uuid::Uuid;

use crate::PgStore;
use crate::inbox::{group_names, inbox_events};
use crate::outbox::outbox_events;
use crate::row::uuids;

/// Where the page before has ended.
fn place<E: Event>(after: Option<&E>) -> (Option<DateTime<Utc>>, Option<Uuid>) {
    (after.map(|event| event.lifecycle().updated_at()), after.map(|event| event.id().as_uuid()))
}

impl PgStore {
    async fn requeue_by(&self, query: &Query, ids: &[EventId]) -> Result<Vec<EventId>> {
        let mut session = self.session().await?;
        let ids: Vec<Uuid> = sqlx::query_scalar(query.sql())
            .bind(uuids(ids))
            .fetch_all(&mut *session)
            .await
            .map_err(self.failed("requeue events"))?;
        session.finish().await?;
        Ok(ids.into_iter().map(EventId::from).collect())
    }
}

impl PgStore {
    async fn mark_copied_by<E: Event>(&self, query: &Query, events: &[E]) -> Result<()> {
        let mut session = self.session().await?;
        sqlx::query(query.sql())
            .bind(events.iter().map(|event| event.id().as_uuid()).collect::<Vec<_>>())
            .bind(events.iter().map(|event| event.lifecycle().updated_at()).collect::<Vec<_>>())
            .execute(&mut *session)
            .await
            .map_err(self.failed("note what has a copy"))?;
        session.finish().await
    }
}

impl PgStore {
    async fn renew_by(&self, query: &Query, ids: &[EventId]) -> Result<Vec<Replayed>> {
        let renewed = renewed(ids);
        let mut session = self.session().await?;
        let stored: Vec<Uuid> = sqlx::query_scalar(query.sql())
            .bind(renewed.iter().map(|pair| pair.failed.as_uuid()).collect::<Vec<_>>())
            .bind(renewed.iter().map(|pair| pair.by.as_uuid()).collect::<Vec<_>>())
            .fetch_all(&mut *session)
            .await
            .map_err(self.failed("store events anew"))?;
        session.finish().await?;
        let stored: HashSet<Uuid> = stored.into_iter().collect();
        Ok(renewed.into_iter().filter(|pair| stored.contains(&pair.by.as_uuid())).collect())
    }
}

impl PgStore {
    async fn outbox_failures(
        &self,
        query: &Query,
        filters: &FetchFilters,
        after: Option<&OutboxEvent>,
        limit: BatchSize,
    ) -> Result<Vec<OutboxEvent>> {
        OutboxEvent::check_filters(filters)?;
        let (at, id) = place(after);
        let mut session = self.session().await?;
        let rows = sqlx::query(query.sql())
            .bind(i64::from(limit.get()))
            .bind(at)
            .bind(id)
            .bind(&filters.topics)
            .bind(&filters.aggregate_types)
            .bind(&filters.aggregate_ids)
            .fetch_all(&mut *session)
            .await
            .map_err(self.failed("list failed events"))?;
        session.finish().await?;
        outbox_events(&rows)
    }
}

#[async_trait]
impl DeadLetters<OutboxEvent> for PgStore {
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
        self.renew_by(&self.queries.outbox_events.renew, ids).await
    }

    async fn purge(&self, older_than: Duration, limit: BatchSize) -> Result<u64> {
        self.cleanup(&self.queries.outbox_events.purge_failed, older_than, limit, 1).await
    }
}

impl PgStore {
    async fn inbox_failures(
        &self,
        query: &Query,
        filters: &FetchFilters,
        after: Option<&InboxEvent>,
        limit: BatchSize,
    ) -> Result<Vec<InboxEvent>> {
        InboxEvent::check_filters(filters)?;
        let (at, id) = place(after);
        let mut session = self.session().await?;
        let rows = sqlx::query(query.sql())
            .bind(i64::from(limit.get()))
            .bind(at)
            .bind(id)
            .bind(&filters.sources)
            .bind(group_names(filters))
            .fetch_all(&mut *session)
            .await
            .map_err(self.failed("list failed messages"))?;
        session.finish().await?;
        inbox_events(&rows)
    }
}

#[async_trait]
impl DeadLetters<InboxEvent> for PgStore {
    async fn list(
        &self,
        filters: &FetchFilters,
        after: Option<&InboxEvent>,
        limit: BatchSize,
    ) -> Result<Vec<InboxEvent>> {
        self.inbox_failures(&self.queries.inbox_events.failed, filters, after, limit).await
    }

    async fn list_uncopied(
        &self,
        filters: &FetchFilters,
        after: Option<&InboxEvent>,
        limit: BatchSize,
    ) -> Result<Vec<InboxEvent>> {
        self.inbox_failures(&self.queries.inbox_events.uncopied, filters, after, limit).await
    }

    async fn mark_copied(&self, events: &[InboxEvent]) -> Result<()> {
        self.mark_copied_by(&self.queries.inbox_events.mark_copied, events).await
    }

    async fn requeue(&self, ids: &[EventId]) -> Result<Vec<EventId>> {
        self.requeue_by(&self.queries.inbox_events.requeue, ids).await
    }

    async fn replay_as_new(&self, ids: &[EventId]) -> Result<Vec<Replayed>> {
        self.renew_by(&self.queries.inbox_events.renew, ids).await
    }

    async fn purge(&self, older_than: Duration, limit: BatchSize) -> Result<u64> {
        self.cleanup(&self.queries.inbox_events.purge_failed, older_than, limit, 1).await
    }
}
