//! The publisher.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use omni_box_core::{
    Encoded, Error, ErrorKind, Event, EventConverter, EventPublisher, OutboxEvent, Reporter, Result,
    SendOrder,
};

use super::state::queue::{Queue, Waiting};
use super::{MemoryBroker, NewMessage};

/// Events that may be in flight; `submit` waits for room beyond.
const QUEUE: usize = 10_000;

/// Publishes events to a [`MemoryBroker`].
///
/// - Messages have the headers of [`Encoded::wire_headers`], and the partition key as key.
/// - An event is delivered as soon as it is submitted; while the broker is [cut off](MemoryBroker::cut) it waits.
/// - After a failure that is not one event's own it sends nothing more. Then [`submit`](EventPublisher::submit) reports
///   [`Unavailable`](ErrorKind::Unavailable), until [`purge`](EventPublisher::purge) or [`check`](EventPublisher::check) was called, as
///   with Kafka's.
/// - Dropping it gives up what is in flight without a report, as the end of its process does.
pub struct MemoryPublisher {
    broker: MemoryBroker,
    converter: Arc<dyn EventConverter>,
    send_order: SendOrder,
    id: u64,
}

impl MemoryPublisher {
    pub(super) fn new(broker: &MemoryBroker, converter: impl EventConverter) -> Self {
        let send_order = SendOrder::Ordered;
        let id = broker.update(|state| {
            let id = state.next_id();
            state.queues.insert(id, Queue::new(send_order));
            id
        });
        Self { broker: broker.clone(), converter: Arc::new(converter), send_order, id }
    }

    /// Promises no order of what is in flight, and keeps none: it is delivered from the last to the first.
    #[must_use]
    pub fn one_per_key(mut self) -> Self {
        self.send_order = SendOrder::OnePerKey;
        self.broker.update(|state| state.queues.insert(self.id, Queue::new(self.send_order)));
        self
    }

    fn encode(&self, event: &OutboxEvent) -> Result<NewMessage> {
        let encoded = Encoded::of(event, &*self.converter)?;
        let mut message = NewMessage::to(event.topic());
        if let Some(body) = &encoded.body {
            message = message.value(body);
        }
        for (name, value) in encoded.wire_headers(event) {
            message = message.header(name, value.as_bytes());
        }
        Ok(match event.partition_key() {
            Some(key) => message.key(key),
            None => message,
        })
    }

    async fn has_room(&self) {
        let waiting = || self.broker.state().queues.get(&self.id).map_or(0, |queue| queue.waiting.len());
        self.broker.until(|| (waiting() < QUEUE).then_some(())).await;
    }
}

#[async_trait]
impl EventPublisher for MemoryPublisher {
    fn send_order(&self) -> SendOrder {
        self.send_order
    }

    async fn submit(&self, events: Vec<Arc<OutboxEvent>>, reporter: &Reporter) {
        for event in &events {
            self.has_room().await;
            let message = match self.encode(event) {
                Ok(message) => message,
                Err(error) => {
                    reporter.report(event.id(), Err(error));
                    continue;
                }
            };
            let waiting = Waiting { id: event.id(), message, reporter: reporter.clone() };
            self.broker.update(|state| {
                let Some(queue) = state.queues.get_mut(&self.id) else { return };
                queue.waiting.push_back(waiting);
                let is_full = queue.waiting.len() >= QUEUE;
                if queue.is_broken {
                    queue.give_up("an event before this one was not delivered");
                }
                if is_full {
                    state.deliver();
                }
            });
        }
        self.broker.update(super::state::State::deliver);
    }

    async fn purge(&self) {
        self.broker.update(|state| {
            if let Some(queue) = state.queues.get_mut(&self.id) {
                queue.give_up("the event was purged before it was delivered");
                queue.is_broken = false;
            }
        });
    }

    async fn check(&self) -> Result<()> {
        self.broker.update(|state| {
            if state.is_cut {
                return Err(Error::new(ErrorKind::Unavailable, "the broker is cut off"));
            }
            if let Some(queue) = state.queues.get_mut(&self.id) {
                queue.is_broken = false;
            }
            Ok(())
        })
    }
}

impl Drop for MemoryPublisher {
    fn drop(&mut self) {
        self.broker.update(|state| state.queues.remove(&self.id));
    }
}

impl fmt::Debug for MemoryPublisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryPublisher").field("send_order", &self.send_order).finish_non_exhaustive()
    }
}
