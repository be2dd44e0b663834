//! Copies of events that were given up.

use std::error::Error as StdError;
use std::time::Duration;

use async_trait::async_trait;
use omni_box_core::{
    Backoff, BatchSize, Error, ErrorKind, Event, EventRepository, FetchFilters, Result, RetryPolicy,
};
use tokio::time::sleep;

use crate::outcome::Outcome;
use crate::step::{BatchContext, ProcessingStep, SettledEvent};

/// How often a copy is tried.
const TRIES: u32 = 4;
/// How many failed events are read at once.
const PAGE: u32 = 100;

/// Where copies of events go that were given up.
#[async_trait]
pub trait DlqStorage<E: Event>: Send + Sync + 'static {
    /// Keeps an event with the reason, by its id. Called after the failure is in the event's own row; again after an error, and by
    /// [`DlqStep::refill`].
    ///
    /// # Errors
    /// Any. The call is repeated with growing delays, then logged.
    async fn move_to_dlq(
        &self,
        event: &E,
        error: &str,
    ) -> std::result::Result<(), Box<dyn StdError + Send + Sync>>;
}

/// Copies events that were given up into a storage of one's own.
///
/// The event's row, which is `failed` and holds the reason, is the dead letter: nothing is lost when a copy fails, or when the
/// process ends between the two: [`refill`](Self::refill) copies from the rows what has no copy. What costs no attempt is never given up, and gets no copy.
///
/// ```
/// use async_trait::async_trait;
/// use omni_box_core::{Event, InboxEvent};
/// use omni_box_pipeline::{DlqStep, DlqStorage};
///
/// struct Mail;
///
/// #[async_trait]
/// impl DlqStorage<InboxEvent> for Mail {
///     async fn move_to_dlq(
///         &self,
///         event: &InboxEvent,
///         error: &str,
///     ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
///         println!("{} was given up: {error}", event.id());
///         Ok(())
///     }
/// }
///
/// let step = DlqStep::new(Mail);
/// ```
#[derive(Debug)]
pub struct DlqStep<D>(D);

impl<D> DlqStep<D> {
    /// Copies into `storage`.
    pub fn new(storage: D) -> Self {
        Self(storage)
    }
}

impl<D> DlqStep<D> {
    /// Gives every failed event that passes the filters to the storage, page by page, in the order in which they failed; returns how many.
    ///
    /// A copy is missing where the process ended between the failed mark and the copy, or every try failed. So call this at the start of
    /// a service, and when the storage has been away: each failed row is then copied at least once, until it is requeued or purged. What the
    /// storage has by its id it is given again.
    ///
    /// # Errors
    /// [`Unsupported`](ErrorKind::Unsupported) when the store has no [`dead_letters`](EventRepository::dead_letters). When the database
    /// fails, or the storage; what came before is copied then. May be repeated.
    ///
    /// # Cancel safety
    /// The event that is under way when the future is dropped may have been copied.
    pub async fn refill<E, S>(&self, store: &S, filters: &FetchFilters) -> Result<u64>
    where
        E: Event,
        S: EventRepository<E>,
        D: DlqStorage<E>,
    {
        let letters = store
            .dead_letters()
            .ok_or_else(|| Error::new(ErrorKind::Unsupported, "the store cannot list what has failed"))?;
        let page = BatchSize::new(PAGE)?;
        let (mut copied, mut last) = (0, None);
        loop {
            let failed = letters.list(filters, last.as_ref(), page).await?;
            for event in &failed {
                let error = event.lifecycle().last_error().unwrap_or_default();
                self.copy(event, error).await.map_err(|failure| {
                    let text = format!("dead letter {} was not copied", event.id());
                    Error::new(ErrorKind::Unavailable, text).with_source(failure)
                })?;
                copied += 1;
            }
            match failed.into_iter().last() {
                Some(event) => last = Some(event),
                None => return Ok(copied),
            }
        }
    }

    /// Copies an event, in several tries.
    async fn copy<E: Event>(
        &self,
        event: &E,
        error: &str,
    ) -> std::result::Result<(), Box<dyn StdError + Send + Sync>>
    where
        D: DlqStorage<E>,
    {
        let mut backoff =
            Backoff::new(RetryPolicy::default().at_most(Duration::from_millis(100), Duration::from_secs(2)));
        for _ in 1..TRIES {
            if self.0.move_to_dlq(event, error).await.is_ok() {
                return Ok(());
            }
            sleep(backoff.next_delay()).await;
        }
        self.0.move_to_dlq(event, error).await
    }
}

#[async_trait]
impl<E: Event, D: DlqStorage<E>> ProcessingStep<E> for DlqStep<D> {
    async fn on_batch_end(&self, settled: &[SettledEvent<'_, E>], _cx: &BatchContext<'_>) {
        for SettledEvent { event, error, .. } in
            settled.iter().filter(|settled| settled.outcome == Outcome::Failed)
        {
            if let Err(failure) = self.copy(*event, error.unwrap_or_default()).await {
                tracing::error!(
                    event_id = %event.id(), event_type = event.event_type(), error = %failure,
                    "dead letter was not copied; its row stays",
                );
            }
        }
    }
}
