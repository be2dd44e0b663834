//! Copies of events that were given up.

use std::error::Error as StdError;
use std::time::Duration;

use async_trait::async_trait;
use omni_box_core::{Backoff, Event, RetryPolicy};
use tokio::time::sleep;

use crate::outcome::Outcome;
use crate::step::{BatchContext, ProcessingStep, SettledEvent};

/// How often a copy is tried.
const TRIES: u32 = 4;

/// Where copies of events go that were given up.
#[async_trait]
pub trait DlqStorage<E: Event>: Send + Sync + 'static {
    /// Keeps an event with the reason. Called after the failure is in the event's own row, so at most once a failure; again only after an
    /// error of its own.
    ///
    /// # Errors
    /// Any. The call is repeated with growing delays, then logged.
    async fn move_to_dlq(&self, event: &E, error: &str) -> Result<(), Box<dyn StdError + Send + Sync>>;
}

/// Copies events that were given up into a storage of one's own.
///
/// The event's row, which is `failed` and holds the reason, is the dead letter: nothing is lost when a copy fails, or when the
/// process ends between the two. What costs no attempt is never given up, and gets no copy.
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

#[async_trait]
impl<E: Event, D: DlqStorage<E>> ProcessingStep<E> for DlqStep<D> {
    async fn on_batch_end(&self, settled: &[SettledEvent<'_, E>], _cx: &BatchContext<'_>) {
        for SettledEvent { event, error, .. } in
            settled.iter().filter(|settled| settled.outcome == Outcome::Failed)
        {
            let mut backoff = Backoff::new(
                RetryPolicy::default().at_most(Duration::from_millis(100), Duration::from_secs(2)),
            );
            for try_number in 1..=TRIES {
                let Err(failure) = self.0.move_to_dlq(event, error.unwrap_or_default()).await else { break };
                if try_number == TRIES {
                    tracing::error!(
                        event_id = %event.id(), event_type = event.event_type(), error = %failure,
                        "dead letter was not copied; its row stays",
                    );
                    break;
                }
                sleep(backoff.next_delay()).await;
            }
        }
    }
}
