//! Upkeep of the tables: claims of dead workers and old events.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use omni_box_core::{
    Backoff, BatchSize, Error, ErrorKind, Event, EventId, EventRepository, FetchFilters, InboxEvent,
    InboxRepository, OutboxEvent, OutboxRepository, Result, RetryPolicy,
};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::deadline::within;
use crate::settings::{check_durations, misconfigured};

/// How long some statements may take together.
const CALL: Duration = Duration::from_secs(60);
/// Events deleted by one statement.
const BATCH: u32 = 1_000;
/// Statements of one call, of which each begins where the one before has ended.
const STATEMENTS: u32 = 20;

/// Gives the claims of dead workers back, and deletes what was completed long ago. It does so once, by a call, or again and again, by
/// [`run`](Self::run) or [`Workers::maintenance`](crate::Workers::maintenance).
///
/// - Pending and failed events are never deleted.
/// - Each statement deletes at most 1,000 events, and 20 of them have a minute, so that the workers beside it are not held up.
/// - What a row was known by goes with it. Let `retention` be longer than the broker keeps messages, or a producer or client may repeat
///   one. [`RetentionPolicies`](omni_box_core::RetentionPolicies) says more.
///
/// ```
/// use std::time::Duration;
///
/// use omni_box_pipeline::OmniBoxMaintenanceService;
/// use omni_box_testkit::MemoryStore;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> omni_box_core::Result<()> {
/// let store = MemoryStore::new();
/// let maintenance = OmniBoxMaintenanceService::new().outbox(store.clone()).inbox(store);
/// maintenance.release_stale_locks(Duration::from_secs(300)).await?;
/// let deleted = maintenance.cleanup_old_events(Duration::from_secs(14 * 24 * 60 * 60)).await?;
/// assert_eq!(deleted, 0);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use = "does nothing before it is called or run"]
pub struct OmniBoxMaintenanceService {
    tables: Vec<Arc<dyn Table>>,
    interval: Duration,
    stale_after: Duration,
    retention: Duration,
}

impl Default for OmniBoxMaintenanceService {
    fn default() -> Self {
        Self {
            tables: Vec::new(),
            interval: Duration::from_secs(60 * 60),
            stale_after: Duration::from_secs(5 * 60),
            retention: Duration::from_secs(14 * 24 * 60 * 60),
        }
    }
}

impl OmniBoxMaintenanceService {
    /// Looks after nothing yet; each hour, claims of 5 minutes and events of 14 days.
    pub fn new() -> Self {
        Self::default()
    }

    /// Looks after a store's outbox.
    pub fn outbox<S: OutboxRepository>(mut self, store: S) -> Self {
        self.tables.push(Arc::new(TableOf::<S, OutboxEvent> { store, name: "outbox", events: PhantomData }));
        self
    }

    /// Looks after a store's inbox.
    pub fn inbox<S: InboxRepository>(mut self, store: S) -> Self {
        self.tables.push(Arc::new(TableOf::<S, InboxEvent> { store, name: "inbox", events: PhantomData }));
        self
    }

    /// How long [`run`](Self::run) rests between two passes.
    pub fn interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// How old a claim is when [`run`](Self::run) gives it back. It must be longer than the `lease_ttl` of every relay and worker on the
    /// table, or it takes their claims away.
    pub fn stale_after(mut self, age: Duration) -> Self {
        self.stale_after = age;
        self
    }

    /// How long ago an event was completed when [`run`](Self::run) deletes it.
    pub fn retention(mut self, age: Duration) -> Self {
        self.retention = age;
        self
    }

    /// Gives back claims older than `older_than`, without counting an attempt; returns how many.
    ///
    /// # Errors
    /// [`Unsupported`](ErrorKind::Unsupported) when a store has no [`retention`](EventRepository::retention), naming the table.
    /// When the database fails: what was given back before stays so.
    pub async fn release_stale_locks(&self, older_than: Duration) -> Result<u64> {
        let mut released = 0;
        for table in &self.tables {
            released += within(CALL, table.release(older_than)).await?;
        }
        Ok(released)
    }

    /// Deletes events that were completed longer than `retention` ago, until none is left; returns how many.
    ///
    /// # Errors
    /// As [`release_stale_locks`](Self::release_stale_locks).
    ///
    /// # Cancel safety
    /// When the future is dropped, the batches deleted before stay deleted.
    pub async fn cleanup_old_events(&self, retention: Duration) -> Result<u64> {
        let batch = BatchSize::new(BATCH)?;
        let mut deleted = 0;
        for table in &self.tables {
            loop {
                let gone = within(CALL, table.clean(retention, batch)).await?;
                deleted += gone;
                if gone < u64::from(BATCH) * u64::from(STATEMENTS) {
                    break;
                }
            }
        }
        Ok(deleted)
    }

    /// Makes events that were given up pending again, those that failed first, at most `limit` of each table; returns how many. See
    /// [`DeadLetters::requeue`](omni_box_core::store::DeadLetters::requeue).
    ///
    /// # Errors
    /// [`Unsupported`](ErrorKind::Unsupported) when a store has no [`dead_letters`](EventRepository::dead_letters), naming the table. When the
    /// database fails: what was requeued before stays so.
    pub async fn requeue_failed(&self, limit: BatchSize) -> Result<u64> {
        let mut requeued = 0;
        for table in &self.tables {
            requeued += within(CALL, table.requeue(limit)).await?;
        }
        Ok(requeued)
    }

    /// Does both now and after each interval, until `shutdown` is cancelled. A pass that fails is logged, and done again after a
    /// growing delay.
    ///
    /// # Errors
    /// At once: [`Misconfigured`](ErrorKind::Misconfigured) when there is no table, no interval, or a duration above a year;
    /// [`Unsupported`](ErrorKind::Unsupported) when a store has no [`retention`](EventRepository::retention).
    ///
    /// # Cancel safety
    /// Dropping the future ends it as `shutdown` does: between two statements, or in the middle of one, which is rolled back.
    pub async fn run(self, shutdown: CancellationToken) -> Result<()> {
        self.check()?;
        let mut backoff =
            Backoff::new(RetryPolicy::default().at_most(Duration::from_secs(10), self.interval));
        loop {
            let rest = tokio::select! {
                biased;
                () = shutdown.cancelled() => return Ok(()),
                pass = self.pass() => match pass {
                    Ok(()) => {
                        backoff.reset();
                        self.interval
                    }
                    Err(error) => {
                        let delay = backoff.next_delay();
                        tracing::warn!(error = error.chain(), ?delay, "upkeep failed, it is tried again");
                        delay
                    }
                },
            };
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return Ok(()),
                () = sleep(rest) => {}
            }
        }
    }

    fn check(&self) -> Result<()> {
        if self.tables.is_empty() {
            return Err(misconfigured("upkeep has no table: call `outbox` or `inbox`"));
        }
        if self.interval.is_zero() {
            return Err(misconfigured("interval is zero: it is how long upkeep rests"));
        }
        check_durations([
            ("interval", self.interval),
            ("stale_after", self.stale_after),
            ("retention", self.retention),
        ])?;
        self.tables.iter().try_for_each(|table| table.check())
    }

    async fn pass(&self) -> Result<()> {
        let released = self.release_stale_locks(self.stale_after).await?;
        let deleted = self.cleanup_old_events(self.retention).await?;
        if released + deleted > 0 {
            tracing::info!(released, deleted, "upkeep done");
        }
        Ok(())
    }
}

impl fmt::Debug for OmniBoxMaintenanceService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tables, interval, stale_after, retention } = self;
        let tables: Vec<&str> = tables.iter().map(|table| table.name()).collect();
        f.debug_struct("OmniBoxMaintenanceService")
            .field("tables", &tables)
            .field("interval", interval)
            .field("stale_after", stale_after)
            .field("retention", retention)
            .finish()
    }
}

/// A table to look after, of whatever store.
#[async_trait]
trait Table: Send + Sync {
    fn name(&self) -> &'static str;

    fn check(&self) -> Result<()>;

    async fn release(&self, older_than: Duration) -> Result<u64>;

    async fn requeue(&self, limit: BatchSize) -> Result<u64>;

    /// Some batches.
    async fn clean(&self, retention: Duration, batch: BatchSize) -> Result<u64>;
}

struct TableOf<S, E> {
    store: S,
    name: &'static str,
    events: PhantomData<fn() -> E>,
}

impl<S, E> TableOf<S, E> {
    fn unsupported(&self) -> Error {
        let text = format!("the store of the {} offers no retention, which upkeep needs", self.name);
        Error::new(ErrorKind::Unsupported, text)
    }
}

#[async_trait]
impl<S: EventRepository<E>, E: Event> Table for TableOf<S, E> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn check(&self) -> Result<()> {
        self.store.retention().map(|_| ()).ok_or_else(|| self.unsupported())
    }

    async fn release(&self, older_than: Duration) -> Result<u64> {
        let retention = self.store.retention().ok_or_else(|| self.unsupported())?;
        retention.release_stale_locks(older_than).await
    }

    async fn requeue(&self, limit: BatchSize) -> Result<u64> {
        let letters = self.store.dead_letters().ok_or_else(|| {
            let text =
                format!("the store of the {} lists no failed events, which requeue_failed needs", self.name);
            Error::new(ErrorKind::Unsupported, text)
        })?;
        let failed = letters.list(&FetchFilters::new(), None, limit).await?;
        let ids: Vec<EventId> = failed.iter().map(Event::id).collect();
        Ok(letters.requeue(&ids).await?.len() as u64)
    }

    async fn clean(&self, retention: Duration, batch: BatchSize) -> Result<u64> {
        let policies = self.store.retention().ok_or_else(|| self.unsupported())?;
        policies.cleanup_old_events(retention, batch, STATEMENTS).await
    }
}
