//! The outbox table: create, look up, and the marks of the mode `rows`.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use omni_box_core::store::DeadLetters;
use omni_box_core::{
    BatchSize, BulkOperations, ClaimToken, Created, DeliveryMode, DistributedLocking, Error, ErrorKind,
    Event, EventId, EventRepository, Failure, FetchFilters, LaneId, OrderedLanes, OutboxEvent,
    OutboxRepository, Result, RetentionPolicies, Wakeup,
};
use omni_box_sql::{
    Columns, Outcome, StoredEvent, by_mode, check_drained, delivery_mode, no_transaction, stored,
};
use sqlx::postgres::PgRow;
use sqlx::{Connection, Executor, PgConnection};

use crate::PgStore;
use crate::connection::mend;
use crate::error::failed;
use crate::migrations::MIGRATIONS;
use crate::query::Queries;
use crate::row::Reader;
use crate::sequence::Waiting;
use crate::store::interval;

impl EventRepository<OutboxEvent> for PgStore {
    async fn create(&self, conn: &mut PgConnection, event: &OutboxEvent) -> Result<Created<OutboxEvent>> {
        let mut created = self.create_many(conn, std::slice::from_ref(event)).await?;
        Ok(created.pop().expect("one for each event"))
    }

    async fn create_many(
        &self,
        conn: &mut PgConnection,
        events: &[OutboxEvent],
    ) -> Result<Vec<Created<OutboxEvent>>> {
        let created = self.create_all(conn, events).await;
        if let Err(error) = &created {
            mend(conn, error).await;
        }
        created
    }

    async fn get_by_id(&self, conn: &mut PgConnection, id: EventId) -> Result<Option<OutboxEvent>> {
        let row = sqlx::query(self.queries.outbox_events.get.sql())
            .bind(id.as_uuid())
            .fetch_optional(conn)
            .await
            .map_err(self.failed("look an event up"))?;
        row.as_ref().map(outbox_event).transpose()
    }

    async fn fetch_pending(&self, limit: BatchSize, filters: &FetchFilters) -> Result<Vec<OutboxEvent>> {
        OutboxEvent::check_filters(filters)?;
        let mut session = self.session().await?;
        let mode: Option<String> = sqlx::query_scalar(self.queries.control_mode.sql())
            .fetch_optional(&mut *session)
            .await
            .map_err(self.failed("read the delivery mode"))?;
        if mode.is_some_and(|mode| mode == DeliveryMode::Rows.as_str()) {
            return self.due(session, limit, filters, None).await;
        }
        let rows = sqlx::query(self.queries.outbox_fetch.sql())
            .bind(i64::from(limit.get()))
            .bind(&filters.topics)
            .bind(&filters.aggregate_types)
            .bind(&filters.aggregate_ids)
            .fetch_all(&mut *session)
            .await
            .map_err(self.failed("fetch pending events"))?;
        session.finish().await?;
        outbox_events(&rows)
    }

    async fn mark_processing(&self, id: EventId, token: &ClaimToken) -> Result<bool> {
        let mut session = self.session().await?;
        let done = sqlx::query(self.queries.outbox_events.claim_one.sql())
            .bind(id.as_uuid())
            .bind(token.as_str())
            .execute(&mut *session)
            .await
            .map_err(self.failed("claim an event"))?;
        session.finish().await?;
        Ok(done.rows_affected() == 1)
    }

    async fn mark_completed(&self, id: EventId, token: &ClaimToken) -> Result<bool> {
        Ok(!BulkOperations::<OutboxEvent>::complete_many(self, &[id], token).await?.is_empty())
    }

    async fn mark_failed(&self, id: EventId, token: &ClaimToken, failure: &Failure) -> Result<bool> {
        let Outcome { charge, kind, delay } = Outcome::from(failure);
        let mut session = self.session().await?;
        let done = sqlx::query(self.queries.outbox_fail.sql())
            .bind(id.as_uuid())
            .bind(token.as_str())
            .bind(charge)
            .bind(failure.error())
            .bind(kind)
            .bind(interval(delay))
            .execute(&mut *session)
            .await
            .map_err(self.failed("record a failure"))?;
        session.finish().await?;
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

impl OutboxRepository for PgStore {
    /// [`Misconfigured`](ErrorKind::Misconfigured), too, where the sequence of events is behind one that waits, as after a restore or a
    /// cut-over that left it out. New events would be sent before older ones.
    async fn delivery_mode(&self) -> Result<DeliveryMode> {
        let mut session = self.session().await?;
        let row: Option<(String, i32, Option<i64>)> = sqlx::query_as(self.queries.control_mode.sql())
            .fetch_optional(&mut *session)
            .await
            .map_err(self.failed("read the delivery mode"))?;
        let mode = delivery_mode(&*self.config, &MIGRATIONS, row);
        let behind =
            if mode.is_ok() { self.sequence_behind(&mut session, Waiting::Due).await? } else { None };
        session.finish().await?;
        behind.map_or(mode, |behind| Err(Error::new(ErrorKind::Misconfigured, behind.to_string())))
    }

    fn lanes(&self) -> Option<&dyn OrderedLanes> {
        Some(self)
    }

    fn wakeup(&self) -> Option<Box<dyn Wakeup>> {
        Some(Box::new(self.new_wakeup()))
    }
}

impl PgStore {
    /// Changes the table's delivery mode.
    ///
    /// # Errors
    /// [`Misconfigured`](ErrorKind::Misconfigured) while lanes are leased or events claimed. Stop the relays first: what they hold is given
    /// back at once, or within a lease's time after a crash. [`Unsupported`](ErrorKind::Unsupported) for the mode `fenced`.
    pub async fn set_delivery_mode(&self, mode: DeliveryMode) -> Result<()> {
        let Queries { control_no_rows_indexes, control_rows_indexes, .. } = &*self.queries;
        let indexes = by_mode(mode, control_no_rows_indexes, control_rows_indexes)?;
        let mut tx = omni_box_core::Store::begin(self).await?;
        // indexes take their time; locks of others must not
        tx.execute("set local lock_timeout = 10000")
            .await
            .map_err(self.failed("limit the wait for a lock"))?;
        let (leased, claimed): (i64, i64) = sqlx::query_as(self.queries.control_undrained.sql())
            .fetch_one(&mut *tx)
            .await
            .map_err(self.failed("look for relays at work"))?;
        check_drained(leased, claimed)?;
        sqlx::query(self.queries.control_free_lanes.sql())
            .execute(&mut *tx)
            .await
            .map_err(self.failed("end leases that ran out"))?;
        sqlx::query(self.queries.control_set_mode.sql())
            .bind(mode.as_str())
            .execute(&mut *tx)
            .await
            .map_err(self.failed("change the delivery mode"))?;
        tx.execute(sqlx::raw_sql(indexes.sql())).await.map_err(self.failed("change the indexes"))?;
        tx.commit_checked().await
    }

    async fn create_all(
        &self,
        conn: &mut PgConnection,
        events: &[OutboxEvent],
    ) -> Result<Vec<Created<OutboxEvent>>> {
        require_transaction(conn).await?;
        let is_keyed = events.iter().any(|event| event.content().idempotency_key.is_some());
        let new = match events {
            [] => return Ok(Vec::new()),
            [event] if !is_keyed => {
                let StoredTimes { scheduled_at, created_at } = self.insert_one(conn, event).await?;
                return Ok(vec![Created::New(stored(event, scheduled_at, created_at))]);
            }
            _ => self.insert(conn, events, is_keyed).await?,
        };
        let mut met = HashSet::new();
        // an event that is named twice is stored by its first place
        let stored_times: Vec<Option<&StoredTimes>> =
            events.iter().map(|event| new.get(&event.id()).filter(|_| met.insert(event.id()))).collect();
        let repeated = events.iter().zip(&stored_times).filter(|(_, times)| times.is_none());
        let existing = self.existing(conn, repeated.map(|(event, _)| event)).await?;
        events
            .iter()
            .zip(stored_times)
            .map(|(event, times)| match times {
                Some(times) => Ok(Created::New(stored(event, times.scheduled_at, times.created_at))),
                None => existing_of(event, &existing),
            })
            .collect()
    }

    /// Stores an event without an idempotency key.
    async fn insert_one(&self, conn: &mut PgConnection, event: &OutboxEvent) -> Result<StoredTimes> {
        let content = event.content();
        let row = sqlx::query(self.queries.outbox_create_one.sql())
            .bind(event.id().as_uuid())
            .bind(event.event_type())
            .bind(event.aggregate_type())
            .bind(event.aggregate_id())
            .bind(event.topic())
            .bind(event.partition_key())
            .bind(event.payload().as_str())
            .bind(event.headers().to_json())
            .bind(content.trace_id.as_deref())
            .bind(content.correlation_id.as_deref())
            .bind(content.causation_id.as_deref())
            .bind(content.schema_version.as_deref())
            .bind(i32::try_from(event.lifecycle().max_attempts()).unwrap_or(i32::MAX))
            .bind(event.lifecycle().scheduled_at())
            .bind(self.config.wakes().then(|| self.config.channel()))
            .fetch_one(conn)
            .await
            .map_err(self.failed("store an event"))?;
        let mut read = Reader::new(&row);
        let mut times = || Ok(StoredTimes { scheduled_at: read.time()?, created_at: read.time()? });
        times().map_err(self.failed("read what was stored"))
    }

    /// Stores events; with `is_keyed`, those whose idempotency key is not there yet.
    async fn insert(
        &self,
        conn: &mut PgConnection,
        events: &[OutboxEvent],
        is_keyed: bool,
    ) -> Result<HashMap<EventId, StoredTimes>> {
        fn column<'a, T>(events: &'a [OutboxEvent], get: impl Fn(&'a OutboxEvent) -> T) -> Vec<T> {
            events.iter().map(get).collect()
        }
        let statement =
            if is_keyed { &self.queries.outbox_create } else { &self.queries.outbox_create_plain };
        let mut query = sqlx::query(statement.sql())
            .bind(column(events, |e| e.id().as_uuid()))
            .bind(column(events, |e| e.event_type()))
            .bind(column(events, OutboxEvent::aggregate_type))
            .bind(column(events, OutboxEvent::aggregate_id))
            .bind(column(events, OutboxEvent::topic))
            .bind(column(events, OutboxEvent::partition_key))
            .bind(column(events, |e| e.payload().as_str()))
            .bind(column(events, |e| e.headers().to_json()))
            .bind(column(events, |e| e.content().trace_id.as_deref()))
            .bind(column(events, |e| e.content().correlation_id.as_deref()))
            .bind(column(events, |e| e.content().causation_id.as_deref()));
        if is_keyed {
            query = query.bind(column(events, |e| e.content().idempotency_key.as_deref()));
        }
        let rows = query
            .bind(column(events, |e| e.content().schema_version.as_deref()))
            .bind(column(events, |e| i32::try_from(e.lifecycle().max_attempts()).unwrap_or(i32::MAX)))
            .bind(column(events, |e| e.lifecycle().scheduled_at()))
            .bind(self.config.wakes().then(|| self.config.channel()))
            .fetch_all(conn)
            .await
            .map_err(self.failed("store events"))?;
        rows.iter()
            .map(|row| {
                let mut read = Reader::new(row);
                let id = EventId::from(read.uuid()?);
                let [scheduled_at, created_at] = [read.time()?, read.time()?];
                Ok((id, StoredTimes { scheduled_at, created_at }))
            })
            .collect::<Result<_, sqlx::Error>>()
            .map_err(self.failed("read what was stored"))
    }

    /// The events whose idempotency key was there already, by key. A statement of its own: the insert waited for the transaction that stored
    /// it, and could not see it.
    async fn existing(
        &self,
        conn: &mut PgConnection,
        events: impl Iterator<Item = &OutboxEvent>,
    ) -> Result<HashMap<String, OutboxEvent>> {
        let keys: Vec<&str> = events.filter_map(|event| event.content().idempotency_key.as_deref()).collect();
        if keys.is_empty() {
            return Ok(HashMap::new());
        }
        let rows = sqlx::query(self.queries.outbox_by_keys.sql())
            .bind(keys)
            .fetch_all(conn)
            .await
            .map_err(self.failed("look idempotency keys up"))?;
        rows.iter()
            .map(|row| {
                let event = outbox_event(row)?;
                Ok((event.content().idempotency_key.clone().unwrap_or_default(), event))
            })
            .collect()
    }
}

/// What the database's clock said when an event was stored.
struct StoredTimes {
    scheduled_at: DateTime<Utc>,
    created_at: DateTime<Utc>,
}

fn existing_of(event: &OutboxEvent, existing: &HashMap<String, OutboxEvent>) -> Result<Created<OutboxEvent>> {
    let key = event.content().idempotency_key.as_deref().unwrap_or_default();
    match existing.get(key) {
        Some(event) => Ok(Created::Existing(event.clone())),
        None => Err(Error::new(
            ErrorKind::Contention,
            "the event with this idempotency key was deleted meanwhile, run the transaction again",
        )),
    }
}

/// Refuses a connection that would commit each statement by itself. sqlx counts only transactions that were begun through it. The server
/// knows of the others, and a refused SAVEPOINT leaves the connection as it was.
pub(crate) async fn require_transaction(conn: &mut PgConnection) -> Result<()> {
    const NO_ACTIVE_TRANSACTION: &str = "25P01";
    if conn.is_in_transaction() {
        return Ok(());
    }
    let probe = sqlx::raw_sql("savepoint omni_box_probe; release savepoint omni_box_probe");
    match conn.execute(probe).await {
        Ok(_) => Ok(()),
        Err(sqlx::Error::Database(error))
            if error.code().is_some_and(|code| code == NO_ACTIVE_TRANSACTION) =>
        {
            Err(no_transaction())
        }
        Err(error) => Err(failed("find out whether a transaction is open")(error)),
    }
}

fn outbox_event(row: &PgRow) -> Result<OutboxEvent> {
    OutboxEvent::read(&mut Reader::new(row)).map_err(failed("read an event"))
}

pub(crate) fn outbox_events(rows: &[PgRow]) -> Result<Vec<OutboxEvent>> {
    rows.iter().map(outbox_event).collect()
}

/// A lane as its column has it.
pub(crate) fn lane_number(lane: LaneId) -> i16 {
    i16::try_from(lane.number()).unwrap_or(i16::MAX)
}
