//! What every store offers beyond its contract.

use std::future::Future;

use uuid::Uuid;

use super::{Created, EventView, InboxRepository, IntoOutboxEvent, OutboxRepository, Readmission, Received};
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Event, InboxEvent, OutboxEvent};
use crate::message::MessageDecoder;

/// Conveniences of every [`OutboxRepository`], which has them by itself.
///
/// ```
/// use omni_box_core::{NewOutboxEvent, OutboxExt, OutboxRepository, Result};
///
/// async fn place<S: OutboxRepository>(store: S) -> Result<()> {
///     let mut tx = store.begin().await?;
///     store.enqueue(&mut tx, NewOutboxEvent::from_json("order.placed", "orders", r#"{"order": 7}"#)).await?;
///     store.commit(tx).await
/// }
/// ```
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
///
/// ```
/// use omni_box_core::{BatchSize, ConsumerGroup, DefaultMessageDecoder, InboxExt, InboxRepository, Result};
///
/// /// Takes messages of a group out of quarantine, by a decoder that was mended.
/// async fn readmit<S: InboxRepository>(store: S, group: &ConsumerGroup) -> Result<usize> {
///     let Some(quarantine) = store.in_quarantine() else { return Ok(0) };
///     let page = quarantine.list(group, None, BatchSize::new(100)?).await?;
///     let ids: Vec<_> = page.iter().map(|entry| entry.id).collect();
///     Ok(store.readmit(&ids, &DefaultMessageDecoder::new()).await?.len())
/// }
/// ```
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

    /// Decodes messages of the quarantine again, as with a decoder that was mended, and stores them in the inbox as pending. Returns what
    /// became of each, in the order given.
    ///
    /// - Each is stored and leaves the quarantine in one transaction of its own. A process that is killed leaves none lost and none twice,
    ///   and the call may be repeated.
    /// - A message is handled by a worker of its group, or by the next owner of its partition. The group's offsets stay.
    /// - What was handled before as the same message is not handled again.
    ///
    /// # Errors
    /// [`Unsupported`](crate::ErrorKind::Unsupported) when the store has no [`in_quarantine`](InboxRepository::in_quarantine). When the database
    /// fails; what came before is done then.
    ///
    /// # Cancel safety
    /// The message that is under way when the future is dropped stays in quarantine, or is whole in the inbox.
    fn readmit<D: MessageDecoder + ?Sized>(
        &self,
        ids: &[Uuid],
        decoder: &D,
    ) -> impl Future<Output = Result<Vec<Readmission>>> + Send {
        async move {
            let mut readmitted = Vec::with_capacity(ids.len());
            for id in ids {
                readmitted.push(readmit_one(self, *id, decoder).await?);
            }
            Ok(readmitted)
        }
    }
}

impl<S: InboxRepository> InboxExt for S {}

async fn readmit_one<S: InboxRepository, D: MessageDecoder + ?Sized>(
    store: &S,
    id: Uuid,
    decoder: &D,
) -> Result<Readmission> {
    let quarantine = store
        .in_quarantine()
        .ok_or_else(|| Error::new(ErrorKind::Unsupported, "the store cannot look into its quarantine"))?;
    let Some(kept) = quarantine.show(id).await? else { return Ok(Readmission::Missing) };
    let event = match decoder.decode(&kept.message, &kept.consumer_group) {
        Ok(event) => event,
        Err(reason) => return Ok(Readmission::Refused(reason)),
    };
    let mut tx = store.begin_brief().await?;
    let received = store.receive(&mut tx, std::slice::from_ref(&event)).await?.pop();
    let readmission = match received {
        Some(Received::New) => Readmission::Stored(event.id()),
        Some(Received::Pending { event: row, .. } | Received::Completed(row) | Received::Failed(row)) => {
            Readmission::Known(row.id())
        }
        Some(Received::Conflict(_)) => {
            store.rollback(tx).await?;
            return Ok(Readmission::Conflict);
        }
        None => return Err(Error::new(ErrorKind::Internal, "the store said nothing of a message")),
    };
    if quarantine.remove(&mut tx, &[id]).await?.is_empty() {
        // taken out by another call since it was shown
        store.rollback(tx).await?;
        return Ok(Readmission::Missing);
    }
    store.commit(tx).await?;
    Ok(readmission)
}
