//! What a pipeline is built around.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use omni_box_core::{EventPublisher, InboxHandler, Store};

/// The handler of an inbox pipeline, and how long it may take for one event.
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
