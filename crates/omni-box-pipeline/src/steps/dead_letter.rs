//! Copies of events that were given up.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use omni_box_core::Event;
use tokio::sync::Notify;

use crate::outcome::Outcome;
use crate::step::{BatchContext, DlqStorage, Feed, ProcessingStep, SettledEvent};

/// Copies events that were given up into a storage of one's own.
///
/// The event's row, which is `failed` and holds the reason, is the dead letter, and also notes whether that failure has a copy. The relay, publisher,
/// runner or worker with this step looks for failed rows without one, and copies them by itself:
///
/// - At least once: after the failure is committed, whatever ends a process in between, and however long the storage was away. What was
///   given up before the step was added is copied too.
/// - As soon as something is given up, else every 30 s. A storage that fails is tried again after a growing delay of at most 30 s. An event that it
///   refuses stands in the way of no other.
/// - An event that is requeued and given up again is copied again. What costs no attempt is never given up, and gets no copy.
/// - A runner or worker copies what its group has given up, a relay or publisher what the outbox has.
///
/// Several such steps of one worker each get a copy. Replicas share the note, so that all of them need the same storage.
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
pub struct DlqStep<D> {
    storage: Arc<D>,
    wake: Arc<Notify>,
}

impl<D> DlqStep<D> {
    /// Copies into `storage`.
    pub fn new(storage: D) -> Self {
        Self { storage: Arc::new(storage), wake: Arc::default() }
    }
}

impl<D> fmt::Debug for DlqStep<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DlqStep")
    }
}

#[async_trait]
impl<E: Event, D: DlqStorage<E>> ProcessingStep<E> for DlqStep<D> {
    async fn on_batch_end(&self, settled: &[SettledEvent<'_, E>], _cx: &BatchContext<'_>) {
        if settled.iter().any(|settled| settled.outcome == Outcome::Failed) {
            self.wake.notify_one();
        }
    }

    fn feed(&self) -> Option<Feed<E>> {
        Some(Feed { storage: self.storage.clone(), wake: self.wake.clone() })
    }
}
