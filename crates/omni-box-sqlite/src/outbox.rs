//! The outbox table: create, look up, and the marks of the mode `rows`.

use omni_box_core::store::DeadLetters;
use omni_box_core::{
    BatchSize, BulkOperations, ClaimToken, Created, DeliveryMode, DistributedLocking, Event, EventId,
    EventRepository, Failure, FetchFilters, OrderedLanes, OutboxEvent, OutboxRepository, Result,
    RetentionPolicies, Store, Wakeup,
};
use omni_box_sql::{Outcome, StoredEvent, by_mode, check_drained, delivery_mode, micros, moment, stored};
use sqlx::sqlite::SqliteRow;
use sqlx::{Executor, SqliteConnection};
use uuid::Uuid;

use crate::SqliteStore;
use crate::error::failed;
use crate::migrations::MIGRATIONS;
use crate::query::{Queries, array};
use crate::row::Reader;
use crate::transaction::require_transaction;
use crate::wakeup::SqliteWakeup;

impl EventRepository<OutboxEvent> for SqliteStore {
    async fn create(&self, conn: &mut SqliteConnection, event: &OutboxEvent) -> Result<Created<OutboxEvent>> {
        require_transaction(conn).await?;
        self.insert(conn, event).await
    }

    /// A statement for each: in the same process, a statement costs what a row of a larger one would.
    async fn create_many(
        &self,
        conn: &mut SqliteConnection,
        events: &[OutboxEvent],
    ) -> Result<Vec<Created<OutboxEvent>>> {
        require_transaction(conn).await?;
        let mut created = Vec::with_capacity(events.len());
        for event in events {
            created.push(self.insert(conn, event).await?);
        }
        Ok(created)
    }

    async fn get_by_id(&self, conn: &mut SqliteConnection, id: EventId) -> Result<Option<OutboxEvent>> {
        let row = sqlx::query(self.queries.outbox_events.get.sql())
            .bind(id.to_string())
            .fetch_optional(conn)
            .await
            .map_err(failed("look an event up"))?;
        row.as_ref().map(outbox_event).transpose()
    }

    async fn fetch_pending(&self, limit: BatchSize, filters: &FetchFilters) -> Result<Vec<OutboxEvent>> {
        OutboxEvent::check_filters(filters)?;
        let mut reader = self.reader().await?;
        let mode: Option<String> = sqlx::query_scalar(self.queries.control_mode.sql())
            .fetch_optional(&mut *reader)
            .await
            .map_err(failed("read the delivery mode"))?;
        if mode.is_some_and(|mode| mode == DeliveryMode::Rows.as_str()) {
            let found = self.due_rows::<OutboxEvent>(&mut reader, limit, filters, None).await?;
            let rows = sqlx::query(self.queries.outbox_read.sql())
                .bind(array(found))
                .fetch_all(&mut *reader)
                .await
                .map_err(failed("fetch pending events"))?;
            return outbox_events(&rows);
        }
        let [topics, aggregate_types, aggregate_ids] = filter_arrays(filters);
        let rows = sqlx::query(self.queries.outbox_fetch.sql())
            .bind(i64::from(limit.get()))
            .bind(topics)
            .bind(aggregate_types)
            .bind(aggregate_ids)
            .fetch_all(&mut *reader)
            .await
            .map_err(failed("fetch pending events"))?;
        outbox_events(&rows)
    }

    async fn mark_processing(&self, id: EventId, token: &ClaimToken) -> Result<bool> {
        let mut tx = self.begin().await?;
        let done = sqlx::query(self.queries.outbox_events.claim_one.sql())
            .bind(id.to_string())
            .bind(token.as_str())
            .execute(&mut *tx)
            .await
            .map_err(failed("claim an event"))?;
        tx.commit().await?;
        Ok(done.rows_affected() == 1)
    }

    async fn mark_completed(&self, id: EventId, token: &ClaimToken) -> Result<bool> {
        Ok(!BulkOperations::<OutboxEvent>::complete_many(self, &[id], token).await?.is_empty())
    }

    async fn mark_failed(&self, id: EventId, token: &ClaimToken, failure: &Failure) -> Result<bool> {
        let Outcome { charge, kind, delay } = Outcome::from(failure);
        let mut tx = self.begin().await?;
        let done = sqlx::query(self.queries.outbox_fail.sql())
            .bind(id.to_string())
            .bind(token.as_str())
            .bind(charge)
            .bind(failure.error())
            .bind(kind)
            .bind(micros(delay))
            .execute(&mut *tx)
            .await
            .map_err(failed("record a failure"))?;
        tx.commit().await?;
        Ok(done.rows_affected() == 1)
    }

    fn bulk(&self) -> Option<&dyn BulkOperations<OutboxEvent>> {
        Some(self)
    }

    fn locking(&self) -> Option<&dyn DistributedLocking<OutboxEvent>> {
        Some(self)
    }

    fn dead_letters(&self) -> Option<&dyn DeadLetters<OutboxEvent>> {
        Some(self)
    }

    fn retention(&self) -> Option<&dyn RetentionPolicies<OutboxEvent>> {
        Some(self)
    }
}

impl OutboxRepository for SqliteStore {
    async fn delivery_mode(&self) -> Result<DeliveryMode> {
        let mut reader = self.reader().await?;
        let row: Option<(String, i64, Option<i64>)> = sqlx::query_as(self.queries.control_mode.sql())
            .fetch_optional(&mut *reader)
            .await
            .map_err(failed("read the delivery mode"))?;
        delivery_mode(&*self.config, &MIGRATIONS, row)
    }

    fn lanes(&self) -> Option<&dyn OrderedLanes> {
        Some(self)
    }

    fn wakeup(&self) -> Option<Box<dyn Wakeup>> {
        Some(Box::new(SqliteWakeup::new(self)))
    }
}

impl SqliteStore {
    /// Changes the table's delivery mode.
    ///
    /// # Errors
    /// [`Misconfigured`](omni_box_core::ErrorKind::Misconfigured) while lanes are leased or events claimed. Stop the relays first: what
    /// they hold is given back at once, or within a lease's time after a crash. [`Unsupported`](omni_box_core::ErrorKind::Unsupported) for
    /// the mode `fenced`.
    pub async fn set_delivery_mode(&self, mode: DeliveryMode) -> Result<()> {
        let Queries { control_no_rows_indexes, control_rows_indexes, .. } = &*self.queries;
        let indexes = by_mode(mode, control_no_rows_indexes, control_rows_indexes)?;
        let mut tx = self.begin().await?;
        let (leased, claimed): (i64, i64) = sqlx::query_as(self.queries.control_undrained.sql())
            .fetch_one(&mut *tx)
            .await
            .map_err(failed("look for relays at work"))?;
        check_drained(leased, claimed)?;
        sqlx::query(self.queries.control_free_lanes.sql())
            .execute(&mut *tx)
            .await
            .map_err(failed("end leases that ran out"))?;
        sqlx::query(self.queries.control_set_mode.sql())
            .bind(mode.as_str())
            .execute(&mut *tx)
            .await
            .map_err(failed("change the delivery mode"))?;
        tx.execute(sqlx::raw_sql(indexes.sql())).await.map_err(failed("change the indexes"))?;
        tx.commit().await
    }

    async fn insert(&self, conn: &mut SqliteConnection, event: &OutboxEvent) -> Result<Created<OutboxEvent>> {
        let content = event.content();
        let times: Option<(i64, i64)> = sqlx::query_as(self.queries.outbox_create.sql())
            .bind(event.id().to_string())
            .bind(event.event_type())
            .bind(event.aggregate_type())
            .bind(event.aggregate_id().map(|id| id.to_string()))
            .bind(event.topic())
            .bind(event.partition_key())
            .bind(event.payload().as_str())
            .bind(event.headers().to_json())
            .bind(content.trace_id.as_deref())
            .bind(content.correlation_id.as_deref())
            .bind(content.causation_id.as_deref())
            .bind(content.idempotency_key.as_deref())
            .bind(content.schema_version.as_deref())
            .bind(i64::from(event.lifecycle().max_attempts()))
            .bind(event.lifecycle().scheduled_at().map(|at| at.timestamp_micros()))
            .fetch_optional(&mut *conn)
            .await
            .map_err(failed("store an event"))?;
        match times {
            Some((scheduled_at, created_at)) => {
                Ok(Created::New(stored(event, moment(scheduled_at), moment(created_at))))
            }
            None => self.existing(conn, event).await,
        }
    }

    /// The event whose idempotency key was there already.
    async fn existing(
        &self,
        conn: &mut SqliteConnection,
        event: &OutboxEvent,
    ) -> Result<Created<OutboxEvent>> {
        let row = sqlx::query(self.queries.outbox_by_key.sql())
            .bind(event.content().idempotency_key.as_deref())
            .fetch_one(conn)
            .await
            .map_err(failed("look an idempotency key up"))?;
        Ok(Created::Existing(outbox_event(&row)?))
    }
}

/// Topics, types and ids of aggregates as statements take them.
pub(crate) fn filter_arrays(filters: &FetchFilters) -> [String; 3] {
    [
        array(filters.topics.iter().map(String::as_str)),
        array(filters.aggregate_types.iter().map(String::as_str)),
        array(filters.aggregate_ids.iter().map(Uuid::to_string)),
    ]
}

fn outbox_event(row: &SqliteRow) -> Result<OutboxEvent> {
    OutboxEvent::read(&mut Reader::new(row)).map_err(failed("read an event"))
}

pub(crate) fn outbox_events(rows: &[SqliteRow]) -> Result<Vec<OutboxEvent>> {
    rows.iter().map(outbox_event).collect()
}
