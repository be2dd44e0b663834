//! What a step is told, and what it may keep with an event.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::fmt;

use omni_box_core::WorkerId;

/// What steps keep with one event, from its start to its end.
#[derive(Default)]
pub(crate) struct Kept(HashMap<TypeId, Box<dyn Any + Send>>);

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Kept").field(&self.0.len()).finish()
    }
}

/// One event on its way through the steps.
///
/// ```
/// use async_trait::async_trait;
/// use omni_box_core::Event;
/// use omni_box_pipeline::{Outcome, ProcessingContext, ProcessingStep};
/// use tokio::time::Instant;
///
/// /// Logs what takes longer than a second.
/// struct Slow;
///
/// #[async_trait]
/// impl<E: Event> ProcessingStep<E> for Slow {
///     fn on_event_start(&self, _event: &E, cx: &mut ProcessingContext<'_>) {
///         cx.insert(Instant::now());
///     }
///
///     fn on_event_end(&self, event: &E, outcome: Outcome, cx: &mut ProcessingContext<'_>) {
///         if let Some(begun) = cx.remove::<Instant>()
///             && begun.elapsed().as_secs() >= 1
///         {
///             println!("{}: {} took {:?}: {outcome:?}", cx.worker_id(), event.id(), begun.elapsed());
///         }
///     }
/// }
/// ```
#[derive(Debug)]
pub struct ProcessingContext<'a> {
    worker: &'a WorkerId,
    kept: &'a mut Kept,
    pub(super) is_free: bool,
}

impl<'a> ProcessingContext<'a> {
    pub(crate) fn new(worker: &'a WorkerId, kept: &'a mut Kept) -> Self {
        Self { worker, kept, is_free: false }
    }

    /// At the end of an event that is retried: whether that cost no attempt, as when a step or the handler has put it off.
    pub fn is_free(&self) -> bool {
        self.is_free
    }

    /// The worker that has the event.
    pub fn worker_id(&self) -> &WorkerId {
        self.worker
    }

    /// Keeps a value with the event until its end, in place of another one of the type.
    pub fn insert<T: Send + 'static>(&mut self, value: T) {
        self.kept.0.insert(TypeId::of::<T>(), Box::new(value));
    }

    /// A value that was kept.
    pub fn get<T: Send + 'static>(&self) -> Option<&T> {
        self.kept.0.get(&TypeId::of::<T>())?.downcast_ref()
    }

    /// Takes a value that was kept.
    pub fn remove<T: Send + 'static>(&mut self) -> Option<T> {
        Some(*self.kept.0.remove(&TypeId::of::<T>())?.downcast().ok()?)
    }
}

/// A batch: the events of one group (inbox) or of one submission (outbox).
///
/// ```
/// use async_trait::async_trait;
/// use omni_box_core::Event;
/// use omni_box_pipeline::{BatchContext, ProcessingStep, SettledEvent};
///
/// /// Tells how much of a batch was settled.
/// struct Tally;
///
/// #[async_trait]
/// impl<E: Event> ProcessingStep<E> for Tally {
///     async fn on_batch_end(&self, settled: &[SettledEvent<'_, E>], cx: &BatchContext<'_>) {
///         println!("{}: {} of {} events", cx.worker_id(), settled.len(), cx.events());
///     }
/// }
/// ```
#[derive(Debug, Clone, Copy)]
pub struct BatchContext<'a> {
    worker: &'a WorkerId,
    events: usize,
}

impl<'a> BatchContext<'a> {
    pub(crate) fn new(worker: &'a WorkerId, events: usize) -> Self {
        Self { worker, events }
    }

    /// The worker that has the batch.
    pub fn worker_id(&self) -> &WorkerId {
        self.worker
    }

    /// How many events it has. Those at its end may be left for a later batch.
    pub fn events(&self) -> usize {
        self.events
    }
}
