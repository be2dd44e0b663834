//! What the metrics are told of the inbox.

use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use omni_box_core::{ConsumerGroup, Event, InboxMetrics, TopicPartition};
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
    pub(crate) fn received(self) {
        self.0.message_consumed();
    }

    /// Tells how long a handler ran, however it ended.
    pub(crate) fn handled(self, event_type: &str, took: Duration) {
        self.0.handler_duration(event_type, took);
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
        Watch {
            metrics: self.0.clone(),
            group: group.clone(),
            partition: partition.clone(),
            in_flight: 0,
            first: None,
        }
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
    in_flight: usize,
    /// The first offset that is not done.
    first: Option<i64>,
}

impl Watch {
    /// Tells what has changed: so many messages are in memory, and this is the first offset that is not done.
    pub(crate) fn show(&mut self, in_flight: usize, first: Option<i64>) {
        let before = std::mem::replace(&mut self.in_flight, in_flight);
        if before != in_flight {
            self.metrics.messages_in_flight(in_flight as i64 - before as i64);
        }
        if self.first != first {
            self.first = first;
            let since = first.map(|_| Instant::now());
            self.metrics.watermark(self.group.as_str(), &self.partition, since);
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.show(0, None);
        self.metrics.assigned_partitions(-1);
    }
}
