//! What the metrics are told of the outbox, by the relay in each mode and by `publish_batch`.

use std::fmt;
use std::sync::Arc;

use omni_box_core::{DeliveryMode, Event, OutboxMetrics};

use super::answer::Answer;
use crate::gate::GateStatus;
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

    /// Tells that nothing is due.
    pub(crate) fn idle(&self) {
        self.0.progressed();
    }

    /// Tells what became of an event that was handed to the broker.
    pub(crate) fn settled(&self, answer: &Answer) {
        let Answer { event, outcome, sent_at, answered_at, due, held } = answer;
        let event_type = event.event_type();
        let elapsed = answered_at.saturating_duration_since(*sent_at);
        self.0.event_published(event_type, outcome.as_str());
        self.0.event_answered(event.topic(), event_type, outcome.as_str(), elapsed);
        if *outcome == Outcome::Published {
            self.0.publish_duration(event_type, elapsed);
            if let Some(due) = due {
                self.0.publish_delay(event.topic(), due.until(*answered_at));
            }
            self.0.progressed();
        }
        if let Some(reason) = held {
            self.0.key_held(reason);
        }
    }

    /// Tells that a lease went to another relay.
    pub(crate) fn lease_lost(&self) {
        self.0.lease_lost();
    }
}

/// What the gauges were told of one relay. Dropped, it opens the gates; a relay that ends has nothing else left.
pub(super) struct Gauges {
    metrics: Arc<dyn OutboxMetrics>,
    mode: Option<DeliveryMode>,
    in_flight: usize,
    lanes: usize,
    closed: Vec<&'static str>,
}

impl fmt::Debug for Gauges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gauges")
    }
}

impl Gauges {
    pub(super) fn new(observer: &Observer) -> Self {
        Self { metrics: observer.0.clone(), mode: None, in_flight: 0, lanes: 0, closed: Vec::new() }
    }

    /// Tells what has changed.
    pub(super) fn show(
        &mut self,
        mode: Option<DeliveryMode>,
        in_flight: usize,
        lanes: usize,
        gates: &[GateStatus],
    ) {
        if let Some(mode) = mode.filter(|mode| self.mode != Some(*mode)) {
            self.mode = Some(mode);
            self.metrics.delivery_mode(mode);
        }
        if let Some(by) = change(&mut self.in_flight, in_flight) {
            self.metrics.events_in_flight(by);
        }
        if let Some(by) = change(&mut self.lanes, lanes) {
            self.metrics.owned_lanes(by);
        }
        for gate in gates {
            let was_closed = self.closed.contains(&gate.name);
            if was_closed == gate.is_open() {
                self.metrics.gate(gate.name, !was_closed);
                match was_closed {
                    true => self.closed.retain(|closed| *closed != gate.name),
                    false => self.closed.push(gate.name),
                }
            }
        }
    }
}

impl Drop for Gauges {
    fn drop(&mut self) {
        for gate in std::mem::take(&mut self.closed) {
            self.metrics.gate(gate, false);
        }
    }
}

/// By how much a number differs from what was told before; `None` if it does not.
fn change(told: &mut usize, now: usize) -> Option<i64> {
    let before = std::mem::replace(told, now);
    (before != now).then(|| now as i64 - before as i64)
}
