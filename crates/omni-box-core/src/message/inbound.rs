//! A message as a broker delivers it.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};

use crate::event::SourcePosition;

/// A topic and one of its partitions.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicPartition {
    /// The topic.
    pub topic: String,
    /// The partition's number.
    pub partition: i32,
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic, self.partition)
    }
}

/// A message as the broker delivered it. `Debug` shows where it is, not what it holds.
#[derive(Clone)]
pub struct InboundMessage {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
    /// The key's bytes.
    pub key: Option<Bytes>,
    /// The value's bytes; `None` is a tombstone.
    pub value: Option<Bytes>,
    /// Headers in order; a value may be null and need not be text.
    pub headers: Vec<(String, Option<Bytes>)>,
    /// The broker's timestamp.
    pub timestamp: Option<DateTime<Utc>>,
}

impl InboundMessage {
    /// The text of a header, found without regard to case; of one that is repeated, the last.
    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().rev().find(|(key, _)| key.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(value.as_deref()?).ok()
    }

    /// Its headers as a store keeps them in quarantine: a JSON list of `[name, base64 of the value, or null]`. Names may repeat, and values
    /// need not be text. A NUL in a name, which no database stores, becomes U+FFFD.
    ///
    /// ```
    /// use omni_box_core::InboundMessage;
    ///
    /// let message = InboundMessage {
    ///     topic: "orders".into(),
    ///     partition: 3,
    ///     offset: 17,
    ///     key: None,
    ///     value: None,
    ///     headers: vec![("trace".into(), Some(vec![0xff, 0].into())), ("trace".into(), None)],
    ///     timestamp: None,
    /// };
    /// assert_eq!(message.raw_headers().to_string(), r#"[["trace","/wA="],["trace",null]]"#);
    /// assert_eq!(InboundMessage::headers_of_raw(&message.raw_headers().to_string()), message.headers);
    /// ```
    pub fn raw_headers(&self) -> serde_json::Value {
        let pair = |(name, value): &(String, Option<Bytes>)| {
            let value = value.as_ref().map(|bytes| BASE64.encode(bytes));
            serde_json::json!([name.replace('\0', "\u{fffd}"), value])
        };
        self.headers.iter().map(pair).collect()
    }

    /// Reads headers back from the text of what [`raw_headers`](Self::raw_headers) has written. What has another form, as from a foreign
    /// writer, is left out.
    pub fn headers_of_raw(raw: &str) -> Vec<(String, Option<Bytes>)> {
        let raw: serde_json::Value = serde_json::from_str(raw).unwrap_or_default();
        let pair = |pair: &serde_json::Value| {
            let name = pair.get(0)?.as_str()?.to_owned();
            let value = match pair.get(1)? {
                serde_json::Value::Null => None,
                value => Some(BASE64.decode(value.as_str()?).ok()?.into()),
            };
            Some((name, value))
        };
        raw.as_array().into_iter().flatten().filter_map(pair).collect()
    }

    /// `topic:partition:offset`.
    pub fn coordinates(&self) -> String {
        format!("{}:{}:{}", self.topic, self.partition, self.offset)
    }

    /// The message id of last resort: `topic:partition:offset:time`, the time in milliseconds where the broker tells one.
    ///
    /// Offsets begin again when a topic is deleted and created, and in another cluster; the time does not. The SHA-256 of a topic's
    /// name stands for a name with which the id would be longer than the 255 characters that a store takes.
    pub fn last_resort_id(&self) -> String {
        let time = self.timestamp.map(|at| format!(":{}", at.timestamp_millis())).unwrap_or_default();
        let id = format!("{}{time}", self.coordinates());
        if id.chars().count() <= 255 {
            return id;
        }
        let topic: String = Sha256::digest(&self.topic).iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{topic}:{}:{}{time}", self.partition, self.offset)
    }

    /// SHA-256 of its key, headers, value and time: tells it from another message that was at its place in the broker.
    ///
    /// ```
    /// # let message = omni_box_core::InboundMessage {
    /// #     topic: "orders".into(), partition: 3, offset: 17, key: None, value: None, headers: vec![], timestamp: None,
    /// # };
    /// let empty = omni_box_core::InboundMessage { value: Some("".into()), ..message.clone() };
    /// assert_eq!(message.fingerprint(), message.clone().fingerprint());
    /// assert_ne!(message.fingerprint(), empty.fingerprint());
    /// ```
    pub fn fingerprint(&self) -> [u8; 32] {
        let mut digest = Sha256::new();
        let mut add = |bytes: Option<&[u8]>| {
            // each length first: no two messages read the same
            digest.update(bytes.map_or(-1, |bytes| bytes.len() as i64).to_be_bytes());
            digest.update(bytes.unwrap_or_default());
        };
        add(self.key.as_deref());
        add(self.value.as_deref());
        for (name, value) in &self.headers {
            add(Some(name.as_bytes()));
            add(value.as_deref());
        }
        digest.update(self.timestamp.map_or(i64::MIN, |at| at.timestamp_millis()).to_be_bytes());
        digest.finalize().into()
    }

    /// Where it came from.
    pub fn position(&self) -> SourcePosition {
        SourcePosition { topic: self.topic.clone(), partition: self.partition, offset: self.offset }
    }
}

impl fmt::Debug for InboundMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "InboundMessage({}, {} bytes, {} headers)",
            self.coordinates(),
            self.value.as_ref().map_or(0, Bytes::len),
            self.headers.len()
        )
    }
}
