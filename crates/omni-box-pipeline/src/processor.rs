//! A pipeline of one's own: steps around a handler or a broker.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use omni_box_core::{
    Error, ErrorKind, EventPublisher, EventRepository, InboxEvent, InboxMetrics, InboxRepository,
    OutboxEvent, OutboxMetrics, OutboxRepository, Result, RetryPolicy,
};

use crate::layer::{HandlerLayer, Layered};
use crate::relay::OutboxPublisher;
use crate::settings::misconfigured;
use crate::step::ProcessingStep;
use crate::steps::{HandlerExecutionStep, PublisherExecutionStep};
use crate::strategy::{CommitStrategy, FetchStrategy};
use crate::worker::{InboxWorker, InboxWorkerBuilder};

/// Builds a pipeline; compatible with the Python library omni-box.
///
/// ```
/// use std::time::Duration;
///
/// use async_trait::async_trait;
/// use omni_box_core::{
///     BatchSize, ConsumerGroup, EventContent, EventRepository, InboxContext, InboxEvent, NewInboxEvent, NoMetrics,
///     OmniBoxDomainService, Payload, PermanentError, Store,
/// };
/// use omni_box_pipeline::{
///     CircuitBreakerStep, CommitStrategy, DlqStep, DlqStorage, EventProcessorBuilder, FetchStrategy,
///     HandlerExecutionStep, SiblingDeduplicationStep, on,
/// };
/// use omni_box_testkit::MemoryStore;
///
/// async fn ship(_cx: InboxContext<'_, MemoryStore>) -> Result<(), PermanentError> {
///     Err(PermanentError::new("no such order"))
/// }
///
/// /// Keeps what was given up in a table of the application.
/// struct Letters(MemoryStore);
///
/// #[async_trait]
/// impl DlqStorage<InboxEvent> for Letters {
///     async fn move_to_dlq(
///         &self,
///         event: &InboxEvent,
///         error: &str,
///     ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
///         let mut tx = self.0.begin().await?;
///         tx.insert("letters", event.message_id(), &error).await?;
///         Ok(self.0.commit(tx).await?)
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> omni_box_core::Result<()> {
/// let store = MemoryStore::new();
/// let processor = EventProcessorBuilder::inbox(store.clone(), "shipping")
///     .with_job_name("shipping-1")
///     .with_lease_ttl(Duration::from_secs(300))
///     .with_metrics(NoMetrics)
///     .add_step(CircuitBreakerStep::new().failure_threshold(5).recovery_timeout(Duration::from_secs(60)))
///     .add_step(DlqStep::new(Letters(store.clone())))
///     .add_step(SiblingDeduplicationStep::new())
///     .add_step(HandlerExecutionStep::new(on("order.placed", ship)).timeout(Duration::from_secs(30)))
///     .with_fetch_strategy(FetchStrategy::DistributedLocking)
///     .with_commit_strategy(CommitStrategy::Bulk)
///     .build()?;
///
/// let content = EventContent::new("order.placed", Payload::from_text(r#"{"order": 7}"#)?);
/// let message = NewInboxEvent::new("message-1", ConsumerGroup::new("shipping")?, "orders", content);
/// let message = OmniBoxDomainService::default().create_inbox_event(message)?;
/// let mut tx = store.begin().await?;
/// store.create(&mut tx, &message).await?;
/// store.commit(tx).await?;
///
/// let result = processor.process_batch(BatchSize::new(50)?).await?;
/// assert!(result.failures[0].error.contains("no such order"));
/// assert_eq!(store.scan::<String>("letters")?.len(), 1);
/// # Ok(())
/// # }
/// ```
///
/// By default the store decides, so that the calls of `with_fetch_strategy` and `with_commit_strategy` may be left out.
/// With [`outbox`](Self::outbox) and a [`PublisherExecutionStep`] the same builds an [`OutboxPublisher`]. Steps of a relay or a runner are
/// added by their own builders' `step`.
#[derive(Debug, Clone, Copy)]
pub struct EventProcessorBuilder;

impl EventProcessorBuilder {
    /// A pipeline for stored messages of a group.
    pub fn inbox<S: InboxRepository>(
        store: S,
        consumer_group: impl fmt::Display,
    ) -> InboxProcessorBuilder<S> {
        let has_locking = EventRepository::<InboxEvent>::locking(&store).is_some();
        let worker = InboxWorker::builder(store).consumer_group(consumer_group);
        InboxProcessorBuilder { worker, has_locking, layers: Vec::new(), handlers: Vec::new(), fetch: None }
    }

    /// A pipeline for events of an outbox.
    pub fn outbox<S: OutboxRepository>(store: S) -> OutboxProcessorBuilder<S> {
        OutboxProcessorBuilder {
            store,
            steps: Vec::new(),
            publishers: Vec::new(),
            around: Vec::new(),
            metrics: None,
            lease_ttl: None,
            retry: None,
        }
    }
}

/// What can be added to a pipeline for stored messages: a [`ProcessingStep`], a [`HandlerLayer`] or a [`HandlerExecutionStep`]. The marker
/// is inferred.
///
/// ```
/// use omni_box_core::{HandlerOutcome, InboxContext};
/// use omni_box_pipeline::{EventProcessorBuilder, HandlerExecutionStep, InboxStep, Next, SiblingDeduplicationStep, on};
/// use omni_box_testkit::MemoryStore;
///
/// async fn ship(_cx: InboxContext<'_, MemoryStore>) {}
///
/// async fn timed(cx: InboxContext<'_, MemoryStore>, next: Next<'_, MemoryStore>) -> Result<HandlerOutcome, omni_box_core::HandlerError> {
///     let begun = std::time::Instant::now();
///     let result = next.run(cx).await;
///     println!("{:?}", begun.elapsed());
///     result
/// }
///
/// /// Any of the three.
/// fn pipeline<M>(step: impl InboxStep<MemoryStore, M>) -> omni_box_core::Result<()> {
///     let handler = HandlerExecutionStep::new(on("order.placed", ship));
///     EventProcessorBuilder::inbox(MemoryStore::new(), "shipping").add_step(step).add_step(handler).build().map(drop)
/// }
///
/// pipeline(SiblingDeduplicationStep::new())?;
/// pipeline(timed)?;
/// assert!(pipeline(HandlerExecutionStep::new(on("order.placed", ship))).is_err(), "one handler only");
/// # Ok::<(), omni_box_core::Error>(())
/// ```
pub trait InboxStep<S: InboxRepository, M> {
    /// Adds itself.
    #[doc(hidden)]
    fn add_to(self, builder: InboxProcessorBuilder<S>) -> InboxProcessorBuilder<S>;
}

/// What can be added to a pipeline for an outbox. It is a [`ProcessingStep`], a [`PublisherExecutionStep`], or what puts a publisher around that of
/// the pipeline by [`OutboxProcessorBuilder::around_publisher`]. The marker is inferred.
///
/// ```
/// use omni_box_core::EnvelopeEventConverter;
/// use omni_box_pipeline::{CircuitBreakerStep, EventProcessorBuilder, OutboxStep, PublisherExecutionStep};
/// use omni_box_testkit::{MemoryBroker, MemoryStore};
///
/// fn pipeline<M>(step: impl OutboxStep<MemoryStore, M>) -> omni_box_core::Result<()> {
///     let publisher = PublisherExecutionStep::new(MemoryBroker::new().publisher(EnvelopeEventConverter));
///     EventProcessorBuilder::outbox(MemoryStore::new()).add_step(step).add_step(publisher).build().map(drop)
/// }
///
/// pipeline(CircuitBreakerStep::new())?;
/// # Ok::<(), omni_box_core::Error>(())
/// ```
pub trait OutboxStep<S: OutboxRepository, M> {
    /// Adds itself.
    #[doc(hidden)]
    fn add_to(self, builder: OutboxProcessorBuilder<S>) -> OutboxProcessorBuilder<S>;
}

/// Tells steps before the innermost one from it, for the compiler.
#[derive(Debug)]
pub enum Before {}

/// Tells what is around the innermost step, for the compiler.
#[derive(Debug)]
pub enum Around {}

/// Tells the innermost step, for the compiler.
#[derive(Debug)]
pub enum Innermost {}

impl<S: InboxRepository, P: ProcessingStep<InboxEvent>> InboxStep<S, Before> for P {
    fn add_to(self, mut builder: InboxProcessorBuilder<S>) -> InboxProcessorBuilder<S> {
        builder.worker = builder.worker.step(self);
        builder
    }
}

impl<S: InboxRepository, L: HandlerLayer<S>> InboxStep<S, Around> for L {
    fn add_to(self, mut builder: InboxProcessorBuilder<S>) -> InboxProcessorBuilder<S> {
        builder.layers.push(Arc::new(self));
        builder
    }
}

impl<S: InboxRepository> InboxStep<S, Innermost> for HandlerExecutionStep<S> {
    fn add_to(self, mut builder: InboxProcessorBuilder<S>) -> InboxProcessorBuilder<S> {
        builder.handlers.push(self);
        builder
    }
}

impl<S: OutboxRepository, P: ProcessingStep<OutboxEvent>> OutboxStep<S, Before> for P {
    fn add_to(self, mut builder: OutboxProcessorBuilder<S>) -> OutboxProcessorBuilder<S> {
        builder.steps.push(Arc::new(self));
        builder
    }
}

impl<S: OutboxRepository> OutboxStep<S, Innermost> for PublisherExecutionStep {
    fn add_to(self, mut builder: OutboxProcessorBuilder<S>) -> OutboxProcessorBuilder<S> {
        builder.publishers.push(self);
        builder
    }
}

/// Builds an [`InboxWorker`] from steps; made by [`EventProcessorBuilder::inbox`].
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
/// let worker = EventProcessorBuilder::inbox(MemoryStore::new(), "shipping")
///     .add_step(HandlerExecutionStep::new(on("order.placed", ship)))
///     .with_job_name("shipping-1")
///     .with_lease_ttl(Duration::from_secs(300))
///     .with_source("shop")
///     .build()?;
/// # drop(worker);
/// let without_handler = EventProcessorBuilder::inbox(MemoryStore::new(), "shipping").build();
/// assert!(without_handler.is_err());
/// # Ok::<(), omni_box_core::Error>(())
/// ```
#[must_use = "call build"]
pub struct InboxProcessorBuilder<S: InboxRepository> {
    worker: InboxWorkerBuilder<S>,
    has_locking: bool,
    layers: Vec<Arc<dyn HandlerLayer<S>>>,
    handlers: Vec<HandlerExecutionStep<S>>,
    fetch: Option<FetchStrategy>,
}

impl<S: InboxRepository> fmt::Debug for InboxProcessorBuilder<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InboxProcessorBuilder").field("worker", &self.worker).finish_non_exhaustive()
    }
}

impl<S: InboxRepository> InboxProcessorBuilder<S> {
    /// Adds a step, behind those that were added before. The [`HandlerExecutionStep`] is the innermost one, wherever it was added, and a
    /// [`HandlerLayer`] is around it, inside the layers that were added before.
    pub fn add_step<M>(self, step: impl InboxStep<S, M>) -> Self {
        step.add_to(self)
    }

    /// Sets [`InboxWorkerConfig::worker_id`](crate::InboxWorkerConfig::worker_id).
    pub fn with_job_name(mut self, name: impl fmt::Display) -> Self {
        self.worker = self.worker.worker_id(name);
        self
    }

    /// Sets [`InboxWorkerConfig::lease_ttl`](crate::InboxWorkerConfig::lease_ttl).
    pub fn with_lease_ttl(mut self, ttl: Duration) -> Self {
        self.worker = self.worker.lease_ttl(ttl);
        self
    }

    /// Counts and measures; nothing by default.
    pub fn with_metrics(mut self, metrics: impl InboxMetrics) -> Self {
        self.worker = self.worker.metrics(metrics);
        self
    }

    /// Sets [`InboxWorkerConfig::retry`](crate::InboxWorkerConfig::retry).
    pub fn with_retry(mut self, retry: RetryPolicy) -> Self {
        self.worker = self.worker.retry(retry);
        self
    }

    /// Only messages of this source (or one of several, when called again).
    pub fn with_source(mut self, source: impl Into<String>) -> Self {
        self.worker = self.worker.source(source);
        self
    }

    /// Sends what is given up to a topic as well: [`InboxWorkerBuilder::dead_letter_topic`].
    pub fn with_dead_letter_topic(mut self, topic: impl Into<String>) -> Self
    where
        S: OutboxRepository,
    {
        self.worker = self.worker.dead_letter_topic(topic);
        self
    }

    /// How rows are claimed; by default as the store can.
    pub fn with_fetch_strategy(mut self, strategy: FetchStrategy) -> Self {
        self.fetch = Some(strategy);
        self
    }

    /// How many events share a transaction; [`CommitStrategy::Bulk`] by default.
    pub fn with_commit_strategy(mut self, strategy: CommitStrategy) -> Self {
        if strategy == CommitStrategy::Single {
            self.worker = self.worker.group_size(1);
        }
        self
    }

    /// Builds the worker.
    ///
    /// # Errors
    /// [`Misconfigured`](ErrorKind::Misconfigured) when there is no [`HandlerExecutionStep`], or more than one; [`Unsupported`](ErrorKind::Unsupported)
    /// for a strategy that the store cannot serve; else as [`InboxWorkerBuilder::build`].
    pub fn build(self) -> Result<InboxWorker<S>> {
        let HandlerExecutionStep { handler, timeout } = only("HandlerExecutionStep", self.handlers)?;
        let mut worker = match self.layers.is_empty() {
            true => self.worker.handler(handler),
            false => self.worker.handler(Layered { layers: self.layers, handler }),
        };
        if let Some(timeout) = timeout {
            worker = worker.process_timeout(timeout);
        }
        match self.fetch {
            Some(FetchStrategy::DistributedLocking) if !self.has_locking => Err(Error::new(
                ErrorKind::Unsupported,
                "FetchStrategy::DistributedLocking needs a store with locking; this one has none",
            )),
            Some(FetchStrategy::OptimisticLocking) => worker.optimistic().build(),
            _ => worker.build(),
        }
    }
}

/// Puts a publisher around another one.
type Wrap = Box<dyn FnOnce(Box<dyn EventPublisher>) -> Box<dyn EventPublisher> + Send>;

/// Builds an [`OutboxPublisher`] from steps; made by [`EventProcessorBuilder::outbox`].
///
/// ```
/// use std::time::Duration;
///
/// use omni_box_core::{BatchSize, EnvelopeEventConverter, FetchFilters, WorkerId};
/// use omni_box_pipeline::{EventProcessorBuilder, PublisherExecutionStep};
/// use omni_box_testkit::{MemoryBroker, MemoryStore};
/// use tokio_util::sync::CancellationToken;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> omni_box_core::Result<()> {
/// let publisher = MemoryBroker::new().publisher(EnvelopeEventConverter);
/// let processor = EventProcessorBuilder::outbox(MemoryStore::new())
///     .add_step(PublisherExecutionStep::new(publisher))
///     .with_lease_ttl(Duration::from_secs(60))
///     .build()?;
///
/// let (worker, batch, stop) = (WorkerId::new("cron")?, BatchSize::new(100)?, CancellationToken::new());
/// let result = processor.publish_batch(&worker, batch, &FetchFilters::new(), &stop).await?;
/// assert!(result.is_empty(), "nothing was enqueued");
/// processor.close().await
/// # }
/// ```
#[must_use = "call build"]
pub struct OutboxProcessorBuilder<S> {
    store: S,
    steps: Vec<Arc<dyn ProcessingStep<OutboxEvent>>>,
    publishers: Vec<PublisherExecutionStep>,
    around: Vec<Wrap>,
    metrics: Option<Arc<dyn OutboxMetrics>>,
    lease_ttl: Option<Duration>,
    retry: Option<RetryPolicy>,
}

impl<S> fmt::Debug for OutboxProcessorBuilder<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let steps: Vec<&str> = self.steps.iter().map(|step| step.name()).collect();
        f.debug_struct("OutboxProcessorBuilder").field("steps", &steps).finish_non_exhaustive()
    }
}

impl<S: OutboxRepository> OutboxProcessorBuilder<S> {
    /// Adds a step, behind those that were added before. The [`PublisherExecutionStep`] is the innermost one, wherever it was added.
    pub fn add_step<M>(self, step: impl OutboxStep<S, M>) -> Self {
        step.add_to(self)
    }

    /// Puts a publisher around that of the [`PublisherExecutionStep`], inside those that were put around it before.
    pub fn around_publisher(
        mut self,
        wrap: impl FnOnce(Box<dyn EventPublisher>) -> Box<dyn EventPublisher> + Send + 'static,
    ) -> Self {
        self.around.push(Box::new(wrap));
        self
    }

    /// Sets [`OutboxPublisherBuilder::lease_ttl`](crate::OutboxPublisherBuilder::lease_ttl).
    pub fn with_lease_ttl(mut self, ttl: Duration) -> Self {
        self.lease_ttl = Some(ttl);
        self
    }

    /// Counts and measures; nothing by default.
    pub fn with_metrics(mut self, metrics: impl OutboxMetrics) -> Self {
        self.metrics = Some(Arc::new(metrics));
        self
    }

    /// Sets [`OutboxPublisherBuilder::retry`](crate::OutboxPublisherBuilder::retry).
    pub fn with_retry(mut self, retry: RetryPolicy) -> Self {
        self.retry = Some(retry);
        self
    }

    /// Builds the publisher.
    ///
    /// # Errors
    /// [`Misconfigured`](ErrorKind::Misconfigured) when there is no [`PublisherExecutionStep`], or more than one; else as
    /// [`OutboxPublisherBuilder::build`](crate::OutboxPublisherBuilder::build).
    pub fn build(self) -> Result<OutboxPublisher<S>> {
        let PublisherExecutionStep { publisher, timeout } = only("PublisherExecutionStep", self.publishers)?;
        let innermost: Box<dyn EventPublisher> = Box::new(publisher);
        let publisher = self.around.into_iter().rev().fold(innermost, |publisher, wrap| wrap(publisher));
        let mut builder = OutboxPublisher::builder(self.store, publisher).steps(self.steps);
        if let Some(timeout) = timeout {
            builder = builder.publish_timeout(timeout);
        }
        if let Some(ttl) = self.lease_ttl {
            builder = builder.lease_ttl(ttl);
        }
        if let Some(metrics) = self.metrics {
            builder = builder.metrics(metrics);
        }
        if let Some(retry) = self.retry {
            builder = builder.retry(retry);
        }
        builder.build()
    }
}

/// The innermost step, of which a pipeline has exactly one.
fn only<T>(name: &str, innermost: Vec<T>) -> Result<T> {
    <[T; 1]>::try_from(innermost).map(|[only]| only).map_err(|innermost| match innermost.len() {
        0 => misconfigured(format!("a pipeline needs one {name}: add it by `add_step`")),
        count => misconfigured(format!("a pipeline has one {name}, not {count}")),
    })
}
