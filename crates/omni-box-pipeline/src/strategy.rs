//! How a pipeline claims and commits.

/// How rows are claimed.
///
/// ```
/// use omni_box_core::InboxContext;
/// use omni_box_pipeline::{EventProcessorBuilder, FetchStrategy, HandlerExecutionStep, on};
/// use omni_box_testkit::MemoryStore;
///
/// async fn ship(_cx: InboxContext<'_, MemoryStore>) {}
///
/// let worker = EventProcessorBuilder::inbox(MemoryStore::new(), "shipping")
///     .add_step(HandlerExecutionStep::new(on("order.placed", ship)))
///     .with_fetch_strategy(FetchStrategy::OptimisticLocking)
///     .build()?;
/// # drop(worker);
/// # Ok::<(), omni_box_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FetchStrategy {
    /// A batch at once, of which other workers take nothing. What a store with [`locking`](omni_box_core::EventRepository::locking) does by itself.
    DistributedLocking,
    /// One row after the other, found first and claimed then: another worker may be faster. What a store without
    /// [`locking`](omni_box_core::EventRepository::locking) does by itself.
    OptimisticLocking,
}

/// How many events share a transaction.
///
/// ```
/// use omni_box_core::InboxContext;
/// use omni_box_pipeline::{CommitStrategy, EventProcessorBuilder, HandlerExecutionStep, on};
/// use omni_box_testkit::MemoryStore;
///
/// async fn ship(_cx: InboxContext<'_, MemoryStore>) {}
///
/// let worker = EventProcessorBuilder::inbox(MemoryStore::new(), "shipping")
///     .add_step(HandlerExecutionStep::new(on("order.placed", ship)))
///     .with_commit_strategy(CommitStrategy::Single)
///     .build()?;
/// # drop(worker);
/// # Ok::<(), omni_box_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CommitStrategy {
    /// A group of events; the default. A transaction after the batch would lose the tie between an event's effect and its outcome.
    Bulk,
    /// One event.
    Single,
}
