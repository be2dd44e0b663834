//! Messages as the judge sees them.

use anyhow::Result;

use crate::topic::{Isolation, Record, read_topic};

/// A message that is on a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Header `message_id` or `event_id`, else `topic:partition:offset` and, where it has one, `:` and its time in milliseconds.
    pub id: String,
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
    /// The key's bytes.
    pub key: Option<Vec<u8>>,
}

impl Message {
    /// `topic:partition:offset`.
    pub fn position(&self) -> String {
        format!("{}:{}:{}", self.topic, self.partition, self.offset)
    }

    fn new(topic: &str, record: Record) -> Self {
        let mut message = Self {
            id: String::new(),
            topic: topic.to_owned(),
            partition: record.partition,
            offset: record.offset,
            key: record.key,
        };
        let header = |wanted: &str| {
            let (_, value) = record.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted))?;
            std::str::from_utf8(value.as_deref()?).ok().filter(|text| !text.is_empty()).map(str::to_owned)
        };
        let of_last_resort = || match record.timestamp_ms {
            Some(time) => format!("{}:{time}", message.position()),
            None => message.position(),
        };
        message.id = header("message_id").or_else(|| header("event_id")).unwrap_or_else(of_last_resort);
        message
    }
}

/// Reads topics from beginning to end as a `read_committed` consumer sees them, each partition in its order.
///
/// # Errors
/// When a topic does not exist or cannot be read to its end.
pub async fn read_topics(brokers: &str, topics: &[String]) -> Result<Vec<Message>> {
    let mut messages = Vec::new();
    for topic in topics {
        let records = read_topic(brokers, topic, Isolation::ReadCommitted).await?;
        messages.extend(records.into_iter().map(|record| Message::new(topic, record)));
    }
    Ok(messages)
}
