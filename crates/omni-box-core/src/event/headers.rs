//! An event's own headers.

use std::collections::HashSet;
use std::fmt;

use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{Error, Result};
use crate::limits::EventLimits;

/// Header names that omni-box sets itself from an event's fields.
pub(crate) const RESERVED: [&str; 6] =
    ["event_id", "event_type", "schema_version", "trace_id", "correlation_id", "causation_id"];

/// Text headers in the order they were added. Serialized as a JSON object. `Debug` shows the keys only.
///
/// A received message may repeat a header. The last one counts, as in a JSON object that a database reads (`jsonb` keeps nothing else). So
/// an event has the same headers before and after it was stored.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Headers(Vec<(String, String)>);

impl Headers {
    /// No headers.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes JSON text that a store returned. It is trusted: no limit is checked. One bad row must never block a fetch. So a value
    /// that is not a string becomes its JSON text, and anything but a JSON object holds no headers.
    ///
    /// ```
    /// use omni_box_core::Headers;
    ///
    /// let headers = Headers::from_stored(r#"{"tenant": "blue", "retries": 3}"#);
    /// assert_eq!((headers.get("tenant"), headers.get("retries")), (Some("blue"), Some("3")));
    /// assert_eq!(Headers::from_stored(&headers.to_json()), headers);
    /// assert!(Headers::from_stored("[1, 2").is_empty());
    /// ```
    pub fn from_stored(json: &str) -> Self {
        serde_json::from_str(json).unwrap_or_default()
    }

    /// A JSON object, as a store keeps them.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a map of texts can be written as JSON")
    }

    /// Adds a header. What it may be is checked when the event is built.
    pub fn push(&mut self, key: impl Into<String>, value: impl Into<String>) {
        self.0.push((key.into(), value.into()));
    }

    /// The value of a header, without regard to case; of one that is repeated, the last.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.iter().rev().find(|(name, _)| name.eq_ignore_ascii_case(key)).map(|(_, value)| value)
    }

    /// Key and value of each, in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Leaves out what a database cannot store as text.
    pub(crate) fn retain_storable(&mut self) {
        self.0.retain(|(key, value)| !key.contains('\0') && !value.contains('\0'));
    }

    pub(crate) fn check(&self, limits: &EventLimits) -> Result<()> {
        if self.len() > limits.headers {
            return Err(Error::invalid(format!(
                "{} headers, at most {} are allowed",
                self.len(),
                limits.headers
            )));
        }
        let mut seen = HashSet::new();
        for (key, value) in self.iter() {
            let length = key.chars().count();
            if length == 0 || length > limits.header_key {
                return Err(Error::invalid(format!(
                    "a header key has {length} characters, needs 1 to {}",
                    limits.header_key
                )));
            }
            if key.chars().chain(value.chars()).any(char::is_control) {
                return Err(Error::invalid(format!("header {key:?} or its value has a control character")));
            }
            let length = value.chars().count();
            if length > limits.header_value {
                return Err(Error::invalid(format!(
                    "the value of header {key:?} has {length} characters, at most {} are allowed",
                    limits.header_value
                )));
            }
            let folded = key.to_lowercase();
            if RESERVED.contains(&folded.as_str()) {
                return Err(Error::invalid(format!(
                    "header {key:?} is set from the event's field of that name"
                )));
            }
            if !seen.insert(folded) {
                return Err(Error::invalid(format!("header {key:?} appears twice (case does not count)")));
            }
        }
        Ok(())
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Headers {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(iter: I) -> Self {
        Self(iter.into_iter().map(|(key, value)| (key.into(), value.into())).collect())
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(|(key, _)| key)).finish()
    }
}

impl Serialize for Headers {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.len()))?;
        for (key, value) in self.iter() {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Headers {
    /// Reads a JSON object. A foreign writer's row is never refused. A value that is not a string becomes its JSON text, and
    /// anything but an object holds no headers.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Headers;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object of headers")
            }

            fn visit_unit<E>(self) -> std::result::Result<Headers, E> {
                Ok(Headers::default())
            }

            fn visit_bool<E>(self, _: bool) -> std::result::Result<Headers, E> {
                Ok(Headers::default())
            }

            fn visit_i64<E>(self, _: i64) -> std::result::Result<Headers, E> {
                Ok(Headers::default())
            }

            fn visit_u64<E>(self, _: u64) -> std::result::Result<Headers, E> {
                Ok(Headers::default())
            }

            fn visit_f64<E>(self, _: f64) -> std::result::Result<Headers, E> {
                Ok(Headers::default())
            }

            fn visit_str<E>(self, _: &str) -> std::result::Result<Headers, E> {
                Ok(Headers::default())
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> std::result::Result<Headers, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Headers::default())
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Headers, A::Error> {
                let mut headers = Headers::default();
                while let Some((key, value)) = map.next_entry::<String, serde_json::Value>()? {
                    let value = match value {
                        serde_json::Value::String(text) => text,
                        other => other.to_string(),
                    };
                    headers.push(key, value);
                }
                Ok(headers)
            }
        }
        deserializer.deserialize_any(Entries)
    }
}
