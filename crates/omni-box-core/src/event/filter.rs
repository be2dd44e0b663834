//! Which events a fetch returns.

use uuid::Uuid;

use crate::id::ConsumerGroup;

/// Narrows a fetch. Conditions are combined by "and", the values of one by "or".
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FetchFilters {
    /// `topic` of outbox events.
    pub topics: Vec<String>,
    /// `source` of inbox events.
    pub sources: Vec<String>,
    /// `consumer_group` of inbox events.
    pub consumer_groups: Vec<ConsumerGroup>,
    /// `aggregate_type` of outbox events.
    pub aggregate_types: Vec<String>,
    /// `aggregate_id` of outbox events.
    pub aggregate_ids: Vec<Uuid>,
}

impl FetchFilters {
    /// Everything.
    pub fn new() -> Self {
        Self::default()
    }

    /// Only this topic (or one of several, when called again).
    #[must_use]
    pub fn topic(mut self, topic: impl Into<String>) -> Self {
        self.topics.push(topic.into());
        self
    }

    /// Only this source (or one of several).
    #[must_use]
    pub fn source(mut self, source: impl Into<String>) -> Self {
        self.sources.push(source.into());
        self
    }

    /// Only this consumer group (or one of several).
    #[must_use]
    pub fn consumer_group(mut self, group: ConsumerGroup) -> Self {
        self.consumer_groups.push(group);
        self
    }

    /// Only this aggregate type (or one of several).
    #[must_use]
    pub fn aggregate_type(mut self, aggregate_type: impl Into<String>) -> Self {
        self.aggregate_types.push(aggregate_type.into());
        self
    }

    /// Only this aggregate (or one of several).
    #[must_use]
    pub fn aggregate_id(mut self, id: Uuid) -> Self {
        self.aggregate_ids.push(id);
        self
    }

    /// Whether it lets everything through.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
