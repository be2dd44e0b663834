//! What the metrics are told of the outbox, by the relay in each mode and by `publish_batch`.

use std::sync::Arc;
use std::time::Duration;

use omni_box_core::{Event, OutboxEvent, OutboxMetrics};

use crate::outcome::Outcome;

/// The one place that tells the metrics, so that they mean the same in every mode.
#[derive(Clone)]
pub(super) struct Observer(Arc<dyn OutboxMetrics>);

impl Observer {
    pub(super) fn new(metrics: Arc<dyn OutboxMetrics>) -> Self {
        Self(metrics)
    }

    /// Tells that so many events were taken from the table.
    pub(crate) fn taken(&self, events: usize) {
        self.0.batch_locked(events);
    }

    /// Tells what became of an event that was handed to the broker `took` ago. An event without a key holds no key back.
    pub(crate) fn settled(&self, event: &OutboxEvent, outcome: Outcome, took: Duration) {
        let event_type = event.event_type();
        self.0.event_published(event_type, outcome.as_str());
        match outcome {
            Outcome::Published => self.0.publish_duration(event_type, took),
            Outcome::Retried if event.partition_key().is_some() => self.0.key_held(),
            _ => {}
        }
    }

    /// Tells that a lease went to another relay.
    pub(crate) fn lease_lost(&self) {
        self.0.lease_lost();
    }
}
