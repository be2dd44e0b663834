//! What the metrics and the status are told of the inbox.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use omni_box_core::{ConsumerGroup, Event, InboxEvent, InboxMetrics, TopicPartition};
use tokio::time::Instant;

use super::message::{Body, Item};
use crate::outcome::Outcome;
use crate::status::InboxStatus;

/// The one place that tells the metrics, so that they mean the same wherever a message comes from.
#[derive(Clone, Copy)]
pub(crate) struct Observer<'a> {
    metrics: &'a Arc<dyn InboxMetrics>,
    status: &'a InboxStatus,
}

impl<'a> Observer<'a> {
    pub(crate) fn new(metrics: &'a Arc<dyn InboxMetrics>, status: &'a InboxStatus) -> Self {
        Self { metrics, status }
    }

    /// Tells that the broker has delivered a message.
    pub(crate) fn received(self, group: &ConsumerGroup, topic: &str) {
        self.metrics.message_consumed();
        self.metrics.message_received(group.as_str(), topic);
    }

    /// Tells how long a handler ran, however it ended.
    pub(crate) fn handled(self, event: &InboxEvent, is_success: bool, took: Duration) {
        let event_type = event.event_type();
        let topic = event.position().map_or(event.source(), |position| &position.topic);
        self.metrics.handler_duration(event_type, took);
        self.metrics.message_handled(event.consumer_group().as_str(), topic, event_type, is_success, took);
    }

    /// Tells that a transaction was committed that took so many messages further.
    pub(crate) fn group(self, messages: usize) {
        if messages > 0 {
            self.metrics.group_committed(messages);
            self.status.progressed();
        }
    }

    /// Tells that nothing is due.
    pub(crate) fn idle(self) {
        self.status.progressed();
    }

    /// Tells what became of a message, once that is committed.
    pub(crate) fn settled(self, item: &Item, outcome: Outcome) {
        match outcome {
            Outcome::Duplicate => self.metrics.message_duplicate(),
            Outcome::Quarantined => self.metrics.message_quarantined(quarantine_reason(item)),
            Outcome::Persisted => {}
            outcome => {
                let event_type = item.event().map_or("", |event| event.event_type());
                self.metrics.event_processed(event_type, outcome.as_str());
            }
        }
        if matches!(outcome, Outcome::Completed | Outcome::Skipped | Outcome::Stale)
            && let Some(message) = &item.message
            && let Some(sent) = message.timestamp
        {
            // clocks differ: a message is never told to have come before it was sent
            self.metrics.delivery_delay(&message.topic, (Utc::now() - sent).to_std().unwrap_or_default());
        }
    }

    /// Tells that offsets of so many messages were committed.
    pub(crate) fn acknowledged(self, messages: usize) {
        if messages > 0 {
            self.metrics.messages_committed(messages);
        }
    }

    /// Tells that offsets were not committed.
    pub(crate) fn not_acknowledged(self) {
        self.metrics.commit_failed();
    }

    /// Tells that a partition was assigned, until what is returned is dropped.
    pub(crate) fn assigned(self, group: &ConsumerGroup, partition: &TopicPartition) -> Watch {
        self.metrics.assigned_partitions(1);
        self.status.assigned(partition);
        let (metrics, status) = (self.metrics.clone(), self.status.clone());
        Watch { metrics, status, group: group.clone(), partition: partition.clone(), first: None }
    }

    /// Tells how many messages a worker has in memory, until what is returned is dropped.
    pub(crate) fn in_memory(self) -> InMemory {
        InMemory { metrics: self.metrics.clone(), status: self.status.clone(), messages: 0 }
    }
}

/// Why a message was kept as raw bytes.
fn quarantine_reason(item: &Item) -> &'static str {
    match (&item.body, &item.refused) {
        (Body::Event(_), _) => "conflict",
        (Body::Refused(_), Some(_)) => "invalid",
        (Body::Refused(_), None) => "decode",
    }
}

/// What the gauges were told of one partition. Dropped, it takes everything back.
pub(crate) struct Watch {
    metrics: Arc<dyn InboxMetrics>,
    status: InboxStatus,
    group: ConsumerGroup,
    partition: TopicPartition,
    /// The first offset that is not done.
    first: Option<i64>,
}

impl Watch {
    /// Tells the first offset that is not done, if it is another one than before.
    pub(crate) fn show(&mut self, first: Option<i64>) {
        if self.first != first {
            self.first = first;
            let since = first.map(|_| Instant::now());
            self.metrics.watermark(self.group.as_str(), &self.partition, since);
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.show(None);
        self.metrics.assigned_partitions(-1);
        self.status.let_go(&self.partition);
    }
}

/// How many messages of one worker the gauge was told of. Dropped, it takes them back.
pub(crate) struct InMemory {
    metrics: Arc<dyn InboxMetrics>,
    status: InboxStatus,
    messages: usize,
}

impl InMemory {
    pub(crate) fn show(&mut self, messages: usize) {
        let before = std::mem::replace(&mut self.messages, messages);
        if before != messages {
            self.metrics.messages_in_flight(messages as i64 - before as i64);
            self.status.in_memory(before, messages);
        }
    }
}

impl Drop for InMemory {
    fn drop(&mut self) {
        self.show(0);
    }
}

impl fmt::Debug for InMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InMemory").field("messages", &self.messages).finish_non_exhaustive()
    }
}
