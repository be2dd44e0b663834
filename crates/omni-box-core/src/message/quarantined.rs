//! A message that is kept as raw bytes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::InboundMessage;
use crate::error::{Error, ErrorKind, Result};
use crate::id::ConsumerGroup;

/// A message that is kept as raw bytes because it could not be decoded, or because its id belongs to another message.
#[derive(Debug, Clone)]
pub struct QuarantinedMessage {
    /// The group that received it.
    pub consumer_group: ConsumerGroup,
    /// The message itself.
    pub message: InboundMessage,
    /// Why it is here.
    pub error: String,
}

/// A message in quarantine, as a store without columns keeps it; bytes are base64.
#[derive(Serialize, Deserialize)]
struct Kept {
    group: String,
    topic: String,
    partition: i32,
    offset: i64,
    key: Option<String>,
    value: Option<String>,
    headers: Vec<(String, Option<String>)>,
    timestamp: Option<DateTime<Utc>>,
    error: String,
}

impl QuarantinedMessage {
    /// What it is kept once by: its group, its place in the broker and its [fingerprint](InboundMessage::fingerprint).
    pub fn identity(&self) -> Vec<u8> {
        let Self { consumer_group, message, .. } = self;
        let place = (consumer_group.as_str(), &message.topic, message.partition, message.offset);
        let mut identity = serde_json::json!(place).to_string().into_bytes();
        identity.extend(message.fingerprint());
        identity
    }

    /// All of it as JSON, for a store without columns. A store with columns has [`InboundMessage::raw_headers`].
    ///
    /// ```
    /// use omni_box_core::{ConsumerGroup, InboundMessage, QuarantinedMessage};
    ///
    /// let message = InboundMessage {
    ///     topic: "orders".into(),
    ///     partition: 3,
    ///     offset: 17,
    ///     key: Some(vec![0xff].into()),
    ///     value: None,
    ///     headers: vec![("trace".into(), Some(vec![0].into())), ("trace".into(), None)],
    ///     timestamp: None,
    /// };
    /// let consumer_group = ConsumerGroup::new("shipping")?;
    /// let kept = QuarantinedMessage { consumer_group, message, error: "no value".into() };
    ///
    /// let read = QuarantinedMessage::from_json(&kept.to_json()?)?;
    /// assert_eq!(read.message.fingerprint(), kept.message.fingerprint(), "to the byte");
    /// assert_eq!(read.identity(), kept.identity());
    /// # Ok::<(), omni_box_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Internal`](ErrorKind::Internal) when it cannot be written.
    pub fn to_json(&self) -> Result<Vec<u8>> {
        let Self { consumer_group, message, error } = self;
        let text = |bytes: &Option<Bytes>| bytes.as_ref().map(|bytes| BASE64.encode(bytes));
        let kept = Kept {
            group: consumer_group.to_string(),
            topic: message.topic.clone(),
            partition: message.partition,
            offset: message.offset,
            key: text(&message.key),
            value: text(&message.value),
            headers: message.headers.iter().map(|(name, value)| (name.clone(), text(value))).collect(),
            timestamp: message.timestamp,
            error: error.clone(),
        };
        let error = |_| Error::new(ErrorKind::Internal, "a message in quarantine cannot be written");
        serde_json::to_vec(&kept).map_err(error)
    }

    /// Reads what [`to_json`](Self::to_json) has written.
    ///
    /// # Errors
    /// [`Decode`](ErrorKind::Decode) for anything else. The error quotes nothing of it.
    pub fn from_json(json: &[u8]) -> Result<Self> {
        let unread = || Error::new(ErrorKind::Decode, "a message in quarantine cannot be read");
        let kept: Kept = serde_json::from_slice(json).map_err(|_| unread())?;
        let Kept { group, topic, partition, offset, key, value, headers, timestamp, error } = kept;
        let bytes = |text: Option<String>| -> Result<Option<Bytes>> {
            let bytes = text.map(|text| BASE64.decode(text)).transpose();
            Ok(bytes.map_err(|_| unread())?.map(Bytes::from))
        };
        let header = |(name, value)| Ok((name, bytes(value)?));
        let headers = headers.into_iter().map(header).collect::<Result<_>>()?;
        let (key, value) = (bytes(key)?, bytes(value)?);
        let message = InboundMessage { topic, partition, offset, key, value, headers, timestamp };
        Ok(Self { consumer_group: ConsumerGroup::new(group)?, message, error })
    }
}
