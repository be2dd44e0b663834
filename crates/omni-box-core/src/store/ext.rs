//! What every store offers beyond its contract.

use std::future::Future;

use super::{Created, EventView, InboxRepository, IntoOutboxEvent, OutboxRepository};
use crate::error::{Error, Result};
use crate::event::{InboxEvent, OutboxEvent};

/// Conveniences of every [`OutboxRepository`], which has them by itself.
pub trait OutboxExt: OutboxRepository {
    /// Checks an event and stores it in the caller's transaction.
    ///
    /// ```
    /// # use omni_box_core::{Created, EventSchema, OutboxEvent, OutboxExt, OutboxRepository, Result};
    /// # async fn run<S: OutboxRepository>(store: S) -> Result<()> {
    /// #[derive(serde::Serialize)]
    /// struct OrderPlaced {
    ///     id: u64,
    /// }
    ///
    /// impl EventSchema for OrderPlaced {
    ///     const EVENT_TYPE: &'static str = "order.placed";
    ///     const TOPIC: Option<&'static str> = Some("orders");
    /// }
    ///
    /// let placed = OrderPlaced { id: 7 };
    /// let mut tx = store.begin().await?;
    /// store.enqueue(&mut tx, &placed).await?;
    /// store.enqueue(&mut tx, placed.event().idempotency_key("order-7")).await?;
    /// store.commit(tx).await
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) when the event breaks a limit or has no topic; nothing is stored then. Otherwise
    /// as [`create`](super::EventRepository::create).
    fn enqueue<E: IntoOutboxEvent>(
        &self,
        conn: &mut Self::Conn,
        event: E,
    ) -> impl Future<Output = Result<Created<OutboxEvent>>> + Send {
        let event = event.into_outbox_event(None);
        async move { self.create(conn, &event?).await }
    }

    /// Checks several events and stores them in order, in the caller's transaction.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) when one breaks a limit or has no topic, saying which; nothing is stored then.
    /// Otherwise as [`create_many`](super::EventRepository::create_many).
    fn enqueue_many<I>(
        &self,
        conn: &mut Self::Conn,
        events: I,
    ) -> impl Future<Output = Result<Vec<Created<OutboxEvent>>>> + Send
    where
        I: IntoIterator<Item: IntoOutboxEvent>,
    {
        let events: Result<Vec<OutboxEvent>> = events.into_iter().enumerate().map(built).collect();
        async move { self.create_many(conn, &events?).await }
    }

    /// The outbox alone, for a store that keeps both.
    ///
    /// ```
    /// # use omni_box_core::{EventId, OutboxEvent, OutboxExt, OutboxRepository, Result};
    /// # async fn run<S: OutboxRepository>(store: S, id: EventId) -> Result<Option<OutboxEvent>> {
    /// let mut tx = store.begin().await?;
    /// store.outbox().get_by_id(&mut tx, id).await
    /// # }
    /// ```
    fn outbox(&self) -> EventView<'_, Self, OutboxEvent> {
        EventView::new(self)
    }
}

fn built((at, event): (usize, impl IntoOutboxEvent)) -> Result<OutboxEvent> {
    event.into_outbox_event(None).map_err(|error| {
        Error::new(error.kind(), format!("event {at} (from 0) of a batch")).with_source(error)
    })
}

impl<S: OutboxRepository> OutboxExt for S {}

/// Conveniences of every [`InboxRepository`], which has them by itself.
pub trait InboxExt: InboxRepository {
    /// The inbox alone, for a store that keeps both.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// # use omni_box_core::{BatchSize, InboxExt, InboxRepository, Result};
    /// # async fn run<S: InboxRepository>(store: S) -> Result<()> {
    /// if let Some(retention) = store.inbox().retention() {
    ///     let two_weeks = Duration::from_secs(14 * 24 * 60 * 60);
    ///     retention.cleanup_old_events(two_weeks, BatchSize::new(1_000)?, 100).await?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    fn inbox(&self) -> EventView<'_, Self, InboxEvent> {
        EventView::new(self)
    }
}

impl<S: InboxRepository> InboxExt for S {}
