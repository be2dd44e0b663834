//! A message to be appended.

use bytes::Bytes;
use omni_box_core::InboundMessage;

/// A message that a test puts on a topic of a [`MemoryBroker`](super::MemoryBroker). `Debug` shows where it goes, not what it holds.
#[derive(Clone)]
#[must_use = "pass it to `MemoryBroker::send` or `MemoryTransaction::send`"]
pub struct NewMessage {
    pub(super) topic: String,
    pub(super) partition: Option<i32>,
    pub(super) key: Option<Bytes>,
    pub(super) value: Option<Bytes>,
    pub(super) headers: Vec<(String, Option<Bytes>)>,
}

impl NewMessage {
    /// A message for a topic: no key, no value (a tombstone), no headers, and the partition that its key belongs to.
    pub fn to(topic: impl Into<String>) -> Self {
        Self { topic: topic.into(), partition: None, key: None, value: None, headers: Vec::new() }
    }

    /// A message with everything given, for the tests of consumers.
    pub fn from_parts<N: Into<String>, V: AsRef<[u8]>>(
        topic: impl Into<String>,
        partition: i32,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: impl IntoIterator<Item = (N, V)>,
    ) -> Self {
        let message = Self {
            key: key.map(Bytes::copy_from_slice),
            value: value.map(Bytes::copy_from_slice),
            ..Self::to(topic).partition(partition)
        };
        headers.into_iter().fold(message, |message, (name, value)| message.header(name, value))
    }

    /// The partition, whatever the key is.
    pub fn partition(mut self, partition: i32) -> Self {
        self.partition = Some(partition);
        self
    }

    /// The key.
    pub fn key(mut self, key: impl AsRef<[u8]>) -> Self {
        self.key = Some(Bytes::copy_from_slice(key.as_ref()));
        self
    }

    /// The value.
    pub fn value(mut self, value: impl AsRef<[u8]>) -> Self {
        self.value = Some(Bytes::copy_from_slice(value.as_ref()));
        self
    }

    /// One more header.
    pub fn header(mut self, name: impl Into<String>, value: impl AsRef<[u8]>) -> Self {
        self.headers.push((name.into(), Some(Bytes::copy_from_slice(value.as_ref()))));
        self
    }

    /// Bytes of key, value and headers.
    pub(super) fn size(&self) -> usize {
        let length = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
        let headers: usize = self.headers.iter().map(|(name, value)| name.len() + length(value)).sum();
        length(&self.key) + length(&self.value) + headers
    }

    /// As it is read; the log gives it its offset.
    pub(super) fn into_inbound(
        self,
        partition: i32,
        timestamp: chrono::DateTime<chrono::Utc>,
    ) -> InboundMessage {
        InboundMessage {
            topic: self.topic,
            partition,
            offset: 0,
            key: self.key,
            value: self.value,
            headers: self.headers,
            timestamp: Some(timestamp),
        }
    }
}

impl std::fmt::Debug for NewMessage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NewMessage({}, {} bytes)", self.topic, self.size())
    }
}
