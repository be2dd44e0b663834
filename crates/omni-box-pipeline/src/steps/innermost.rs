//! What a pipeline is built around.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use omni_box_core::{EventPublisher, InboxHandler, Store};

/// The handler of an inbox pipeline, and how long it may take for one event.
///
/// ```
/// use std::time::Duration;
///
/// use omni_box_core::InboxContext;
/// use omni_box_pipeline::{EventProcessorBuilder, HandlerExecutionStep, on};
/// use omni_box_testkit::MemoryStore;
///
/// async fn ship(_cx: InboxContext<'_, MemoryStore>) {}
///
/// let handler = HandlerExecutionStep::new(on("order.placed", ship)).timeout(Duration::from_secs(5));
/// let worker = EventProcessorBuilder::inbox(MemoryStore::new(), "shipping").add_step(handler).build()?;
/// # drop(worker);
/// # Ok::<(), omni_box_core::Error>(())
/// ```
pub struct HandlerExecutionStep<S: Store> {
    pub(crate) handler: Arc<dyn InboxHandler<S>>,
    pub(crate) timeout: Option<Duration>,
}

impl<S: Store> HandlerExecutionStep<S> {
    /// Runs `handler`.
    pub fn new(handler: impl InboxHandler<S>) -> Self {
        Self { handler: Arc::new(handler), timeout: None }
    }

    /// How long it may take; 30 s by default.
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout: Some(timeout), ..self }
    }
}

impl<S: Store> fmt::Debug for HandlerExecutionStep<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandlerExecutionStep").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

/// The broker of an outbox pipeline, and how long it may take for one batch.
///
/// ```
/// use std::time::Duration;
///
/// use omni_box_core::EnvelopeEventConverter;
/// use omni_box_pipeline::{EventProcessorBuilder, PublisherExecutionStep};
/// use omni_box_testkit::{MemoryBroker, MemoryStore};
///
/// let broker = MemoryBroker::new();
/// let publisher = PublisherExecutionStep::new(broker.publisher(EnvelopeEventConverter)).timeout(Duration::from_secs(5));
/// let processor = EventProcessorBuilder::outbox(MemoryStore::new()).add_step(publisher).build()?;
/// # drop(processor);
/// # Ok::<(), omni_box_core::Error>(())
/// ```
pub struct PublisherExecutionStep {
    pub(crate) publisher: Arc<dyn EventPublisher>,
    pub(crate) timeout: Option<Duration>,
}

impl PublisherExecutionStep {
    /// Sends by `publisher`.
    pub fn new(publisher: impl EventPublisher) -> Self {
        Self { publisher: Arc::new(publisher), timeout: None }
    }

    /// How long a batch may take to be acknowledged; as long as a lease lives by default.
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout: Some(timeout), ..self }
    }
}

impl fmt::Debug for PublisherExecutionStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PublisherExecutionStep").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}
