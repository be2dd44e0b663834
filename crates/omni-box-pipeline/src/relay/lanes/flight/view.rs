//! What the engine asks about what is in flight.

use std::collections::HashSet;

use omni_box_core::{EventId, LaneId};
use tokio::time::Instant;

use super::{Entry, Flight, State};

impl Flight {
    /// Events in flight, in any state.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Payload bytes in flight.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Events handed to the publisher and not reported.
    pub(crate) fn sent(&self) -> usize {
        self.sent
    }

    /// Those of some topics that were handed to the publisher by a time and are not reported.
    pub(crate) fn sent_by(&self, time: Instant, topics: &HashSet<String>) -> Vec<EventId> {
        let is_old = |entry: &Entry| matches!(entry.state, State::Sent(sent_at) if sent_at <= time);
        let is_meant = |entry: &Entry| is_old(entry) && topics.contains(entry.event.topic());
        self.entries.iter().filter(|(_, entry)| is_meant(entry)).map(|(id, _)| *id).collect()
    }

    /// Since when the topic that is silent for longest has been, of those that the publisher has events of.
    pub(crate) fn silent_since(&self) -> Option<Instant> {
        self.topics.values().map(|topic| topic.heard_at).min()
    }

    /// Topics of which the publisher has events and has reported none since a time.
    pub(crate) fn silent_topics(&self, since: Instant) -> HashSet<String> {
        let silent = self.topics.iter().filter(|(_, topic)| topic.heard_at <= since);
        silent.map(|(name, _)| name.clone()).collect()
    }

    /// Events handed to the publisher and not reported, of other topics than these.
    pub(crate) fn sent_beside(&self, topics: &HashSet<String>) -> usize {
        let others = self.topics.iter().filter(|(name, _)| !topics.contains(*name));
        others.map(|(_, topic)| topic.sent).sum()
    }

    /// Whether the publisher has events of some lanes.
    pub(crate) fn has_sent(&self, of: impl Fn(LaneId) -> bool) -> bool {
        self.entries.values().any(|entry| matches!(entry.state, State::Sent(_)) && of(entry.lane))
    }

    /// Events of a lane in flight.
    pub(crate) fn of_lane(&self, lane: LaneId) -> usize {
        self.per_lane.get(&lane).copied().unwrap_or(0)
    }

    /// What a fetch must leave out.
    pub(crate) fn ids(&self) -> Vec<EventId> {
        self.entries.keys().copied().collect()
    }
}
