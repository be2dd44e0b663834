//! What the metrics are told of the inbox.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use omni_box_core::{ConsumerGroup, Event, InboxEvent, InboxMetrics, TopicPartition};
use tokio::time::Instant;

use super::message::{Body, Item};
use crate::outcome::Outcome;

/// The one place that tells the metrics, so that they mean the same wherever a message comes from.
#[derive(Clone, Copy)]
pub(crate) struct Observer<'a>(&'a Arc<dyn InboxMetrics>);

impl<'a> Observer<'a> {
    pub(crate) fn new(metrics: &'a Arc<dyn InboxMetrics>) -> Self {
        Self(metrics)
    }

    /// Tells that the broker has delivered a message.
    pub(crate) fn received(self, group: &ConsumerGroup, topic: &str) {
        self.0.message_consumed();
        self.0.message_received(group.as_str(), topic);
    }

    /// Tells how long a handler ran, however it ended.
    pub(crate) fn handled(self, event: &InboxEvent, is_success: bool, took: Duration) {
        let event_type = event.event_type();
        let topic = event.position().map_or(event.source(), |position| &position.topic);
        self.0.handler_duration(event_type, took);
        self.0.message_handled(event.consumer_group().as_str(), topic, event_type, is_success, took);
    }

    /// Tells that a transaction was committed that took so many messages further.
    pub(crate) fn group(self, messages: usize) {
        if messages > 0 {
            self.0.group_committed(messages);
        }
    }

    /// Tells what became of a message, once that is committed.
    pub(crate) fn settled(self, item: &Item, outcome: Outcome) {
        match outcome {
            Outcome::Duplicate => self.0.message_duplicate(),
            Outcome::Quarantined => self.0.message_quarantined(quarantine_reason(item)),
            Outcome::Persisted => {}
            outcome => {
                let event_type = item.event().map_or("", |event| event.event_type());
                self.0.event_processed(event_type, outcome.as_str());
            }
        }
        if matches!(outcome, Outcome::Completed | Outcome::Skipped | Outcome::Stale)
            && let Some(message) = &item.message
            && let Some(sent) = message.timestamp
        {
            // clocks differ: a message is never told to have come before it was sent
            self.0.delivery_delay(&message.topic, (Utc::now() - sent).to_std().unwrap_or_default());
        }
    }

    /// Tells that offsets of so many messages were committed.
    pub(crate) fn acknowledged(self, messages: usize) {
        if messages > 0 {
            self.0.messages_committed(messages);
        }
    }

    /// Tells that offsets were not committed.
    pub(crate) fn not_acknowledged(self) {
        self.0.commit_failed();
    }

    /// Tells that a partition was assigned, until what is returned is dropped.
    pub(crate) fn assigned(self, group: &ConsumerGroup, partition: &TopicPartition) -> Watch {
        self.0.assigned_partitions(1);
        Watch { metrics: self.0.clone(), group: group.clone(), partition: partition.clone(), first: None }
    }

    /// Tells how many messages a worker has in memory, until what is returned is dropped.
    pub(crate) fn in_memory(self) -> InMemory {
        InMemory { metrics: self.0.clone(), messages: 0 }
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
    }
}

/// How many messages of one worker the gauge was told of. Dropped, it takes them back.
pub(crate) struct InMemory {
    metrics: Arc<dyn InboxMetrics>,
    messages: usize,
}

impl InMemory {
    pub(crate) fn show(&mut self, messages: usize) {
        let before = std::mem::replace(&mut self.messages, messages);
        if before != messages {
            self.metrics.messages_in_flight(messages as i64 - before as i64);
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
