//! Builders from settings.

use omni_box_core::{EventConsumer, EventPublisher, InboxRepository, OutboxRepository, Result};
use omni_box_pipeline::{
    InboxConsumerRunner, InboxConsumerRunnerBuilder, InboxWorker, InboxWorkerBuilder, OutboxRelay,
    OutboxRelayBuilder,
};

use crate::Settings;

/// A relay from settings.
///
/// ```
/// use omni_box_core::EnvelopeEventConverter;
/// use omni_box_pipeline::OutboxRelay;
/// use omni_box_settings::{RelayFromSettings, Settings};
/// use omni_box_testkit::{MemoryBroker, MemoryStore};
///
/// let settings = Settings::read(None, [("OMNI_OUTBOX_PROCESSOR__WORKER_ID".into(), "orders-1".into())])?;
/// let publisher = MemoryBroker::new().publisher(EnvelopeEventConverter);
/// let relay = OutboxRelay::from_settings(&settings, MemoryStore::new(), publisher)?.build()?;
/// # Ok::<(), omni_box_core::Error>(())
/// ```
pub trait RelayFromSettings<S>: Sized {
    /// A builder with `[outbox_processor]` and `[retry]`.
    ///
    /// # Errors
    /// As [`Settings::relay`].
    fn from_settings(
        settings: &Settings,
        store: S,
        publisher: impl EventPublisher,
    ) -> Result<OutboxRelayBuilder<S>>;
}

impl<S: OutboxRepository> RelayFromSettings<S> for OutboxRelay<S> {
    fn from_settings(
        settings: &Settings,
        store: S,
        publisher: impl EventPublisher,
    ) -> Result<OutboxRelayBuilder<S>> {
        Ok(Self::builder(store, publisher).config(settings.relay()?))
    }
}

/// A runner from settings, as [`RelayFromSettings`] has a relay.
pub trait RunnerFromSettings<S: InboxRepository>: Sized {
    /// A builder with `[inbox]` and `[retry]`.
    ///
    /// # Errors
    /// As [`Settings::inbox`].
    fn from_settings(
        settings: &Settings,
        consumer: impl EventConsumer,
        store: S,
    ) -> Result<InboxConsumerRunnerBuilder<S>>;
}

impl<S: InboxRepository> RunnerFromSettings<S> for InboxConsumerRunner<S> {
    fn from_settings(
        settings: &Settings,
        consumer: impl EventConsumer,
        store: S,
    ) -> Result<InboxConsumerRunnerBuilder<S>> {
        Ok(Self::builder(consumer, store).config(settings.inbox()?))
    }
}

/// A worker of stored messages from settings, as [`RelayFromSettings`] has a relay.
pub trait WorkerFromSettings<S: InboxRepository>: Sized {
    /// A builder with `[inbox_worker]`, the group of `[inbox]`, and `[retry]`.
    ///
    /// # Errors
    /// As [`Settings::inbox_worker`].
    fn from_settings(settings: &Settings, store: S) -> Result<InboxWorkerBuilder<S>>;
}

impl<S: InboxRepository> WorkerFromSettings<S> for InboxWorker<S> {
    fn from_settings(settings: &Settings, store: S) -> Result<InboxWorkerBuilder<S>> {
        Ok(Self::builder(store).config(settings.inbox_worker()?))
    }
}
