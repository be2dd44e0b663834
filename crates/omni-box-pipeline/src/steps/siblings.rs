//! Of messages with one idempotency key, the first is handled.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use omni_box_core::{Event, EventId};

use crate::outcome::Outcome;
use crate::step::{ProcessingContext, ProcessingStep, StepResult};

/// Most keys that are remembered.
const KEYS: usize = 10_000;

/// Completes an event, unhandled or unsent, when another one of its type and idempotency key was done before.
///
/// A received message has an idempotency key only if a decoder of one's own sets it.
///
/// The step remembers the last 10,000 keys in this process: it spares work, and promises nothing. What must not happen twice needs the
/// same message id (inbox) or a key at its creation (outbox), which the tables hold unique.
///
/// ```
/// use omni_box_core::EnvelopeEventConverter;
/// use omni_box_pipeline::{EventProcessorBuilder, PublisherExecutionStep, SiblingDeduplicationStep};
/// use omni_box_testkit::{MemoryBroker, MemoryStore};
///
/// let publisher = MemoryBroker::new().publisher(EnvelopeEventConverter);
/// let processor = EventProcessorBuilder::outbox(MemoryStore::new())
///     .add_step(SiblingDeduplicationStep::new())
///     .add_step(PublisherExecutionStep::new(publisher))
///     .build()?;
/// # drop(processor);
/// # Ok::<(), omni_box_core::Error>(())
/// ```
#[derive(Debug, Default)]
pub struct SiblingDeduplicationStep(Mutex<Done>);

type Key = (String, String);

#[derive(Debug, Default)]
struct Done {
    by_key: HashMap<Key, EventId>,
    order: VecDeque<Key>,
}

impl SiblingDeduplicationStep {
    /// Remembers nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    fn done(&self) -> MutexGuard<'_, Done> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key<E: Event>(event: &E) -> Option<Key> {
    Some((event.event_type().to_owned(), event.content().idempotency_key.clone()?))
}

#[async_trait]
impl<E: Event> ProcessingStep<E> for SiblingDeduplicationStep {
    async fn execute(&self, event: &E, _cx: &mut ProcessingContext<'_>) -> StepResult {
        let Some(key) = key(event) else { return StepResult::next() };
        match self.done().by_key.get(&key) {
            Some(id) if *id != event.id() => StepResult::complete(),
            _ => StepResult::next(),
        }
    }

    fn on_event_end(&self, event: &E, outcome: Outcome, _cx: &mut ProcessingContext<'_>) {
        let is_done = matches!(outcome, Outcome::Completed | Outcome::Published);
        let Some(key) = key(event).filter(|_| is_done) else { return };
        let mut done = self.done();
        if done.by_key.insert(key.clone(), event.id()).is_some() {
            return;
        }
        done.order.push_back(key);
        if done.order.len() > KEYS
            && let Some(oldest) = done.order.pop_front()
        {
            done.by_key.remove(&oldest);
        }
    }
}
