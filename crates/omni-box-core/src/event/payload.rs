//! An event's JSON body, kept as the text it came in.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::value::{RawValue, Value, to_raw_value};

use crate::error::{Error, ErrorKind, Result};

/// Deepest nesting stored; what serde_json reads back by default.
const MAX_DEPTH: usize = 127;

/// JSON text that a store can keep: valid, at most 127 levels deep, without `\u0000` or a lone surrogate.
///
/// The text is kept as it is and never serialized again, so key order and numbers beyond 2^53 survive. Cloning is cheap.
/// `Debug` shows the size only. Inside a value that `serde_json` writes and reads, it stands as it is, to the byte.
#[derive(Clone)]
pub struct Payload(Arc<RawValue>);

impl Payload {
    /// Serializes a value.
    ///
    /// # Errors
    /// [`Invalid`](ErrorKind::Invalid) when it cannot be serialized (what the value's own `Serialize` said is the source) or the
    /// text is not storable.
    pub fn new<T: Serialize + ?Sized>(value: &T) -> Result<Self> {
        let text = serde_json::to_string(value)
            .map_err(|error| Error::invalid("payload cannot be serialized as JSON").with_source(error))?;
        Self::from_text(text)
    }

    /// Takes JSON text as it is (white space around it is dropped).
    ///
    /// ```
    /// use omni_box_core::Payload;
    ///
    /// let payload = Payload::from_text(r#" {"z": 9007199254740993, "a": 1.50} "#)?;
    /// assert_eq!(payload.as_str(), r#"{"z": 9007199254740993, "a": 1.50}"#);
    /// assert_eq!(format!("{payload:?}"), "Payload(34 bytes)");
    /// # Ok::<(), omni_box_core::Error>(())
    /// ```
    ///
    ///
    /// # Errors
    /// [`Invalid`](ErrorKind::Invalid) when it is not JSON, too deep, or holds what a database refuses.
    pub fn from_text(text: impl Into<String>) -> Result<Self> {
        // the source names position and syntax, and never quotes the text
        let raw = RawValue::from_string(text.into())
            .map_err(|error| Error::invalid("payload is not valid JSON").with_source(error))?;
        Self::from_raw(raw)
    }

    /// Takes what is known to be JSON.
    pub(crate) fn from_raw(raw: Box<RawValue>) -> Result<Self> {
        check_storable(raw.get())?;
        Ok(Self(raw.into()))
    }

    /// Takes text that a store returned. It is trusted: what [`from_text`](Self::from_text) checks is not checked again. One bad row must
    /// never block a fetch, so JSON that cannot be read although a database took it becomes a JSON string.
    ///
    /// ```
    /// use omni_box_core::Payload;
    ///
    /// let json = r#"{"z": 9007199254740993, "a": "\u0000"}"#;
    /// assert_eq!(Payload::from_stored(json).as_str(), json);
    /// assert_eq!(Payload::from_stored("NaN").as_str(), r#""NaN""#);
    /// ```
    pub fn from_stored(text: &str) -> Self {
        let raw = serde_json::from_str(text).or_else(|_| to_raw_value(text));
        let raw: Box<RawValue> = raw.expect("text can be written as a JSON string");
        Self(raw.into())
    }

    /// JSON `null`: the payload of a message without a value (a tombstone).
    pub fn null() -> Self {
        Self(RawValue::NULL.to_owned().into())
    }

    /// The JSON text.
    pub fn as_str(&self) -> &str {
        self.0.get()
    }

    /// The JSON text as a value that serializes to itself.
    pub fn as_raw(&self) -> &RawValue {
        &self.0
    }

    /// Whether it is JSON `null`.
    pub fn is_null(&self) -> bool {
        self.as_str() == "null"
    }

    /// Reads it as a type.
    ///
    /// # Errors
    /// [`Decode`](ErrorKind::Decode) when the JSON does not fit the type; the text is not repeated in the error.
    pub fn deserialize<'a, T: Deserialize<'a>>(&'a self) -> Result<T> {
        serde_json::from_str(self.as_str()).map_err(|error| {
            // serde's own message may quote values from the payload; position and category do not
            Error::new(
                ErrorKind::Decode,
                format!(
                    "payload does not fit {} ({:?} error at line {} column {})",
                    std::any::type_name::<T>(),
                    error.classify(),
                    error.line(),
                    error.column()
                ),
            )
        })
    }

    pub(crate) fn check_object(&self) -> Result<()> {
        let inner = self.as_str().strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
        match inner {
            None => Err(Error::invalid("payload is not a JSON object")),
            Some(inner) if inner.trim().is_empty() => {
                Err(Error::invalid("payload is an empty JSON object, needs at least one member"))
            }
            Some(_) => Ok(()),
        }
    }
}

impl Payload {
    /// Whether both are objects or arrays, and the same ones, however they are written: with other spaces or escapes, or with members in
    /// another order. JSON that is nested very deeply, or has numbers that lose digits when they are read, is the same as no other.
    pub(crate) fn is_same_json(&self, other: &Self) -> bool {
        let read = |payload: &Self| serde_json::from_str::<Value>(payload.as_str());
        let (Ok(one), Ok(two)) = (read(self), read(other)) else { return false };
        (one.is_object() || one.is_array()) && one == two && is_exact(&one)
    }
}

/// Whether no number has lost digits that an application may need. Parsing has bounded how deep this goes.
fn is_exact(value: &Value) -> bool {
    /// From here on not each whole number has a float of its own.
    const WHOLE: f64 = 9_007_199_254_740_992.0;
    match value {
        Value::Number(number) if number.is_f64() => number.as_f64().is_some_and(|float| float.abs() < WHOLE),
        Value::Array(items) => items.iter().all(is_exact),
        Value::Object(members) => members.values().all(is_exact),
        _ => true,
    }
}

impl PartialEq for Payload {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Serialize for Payload {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Payload {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        Self::from_raw(Box::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Payload({} bytes)", self.as_str().len())
    }
}

/// Walks valid JSON once: nesting depth, and the escapes that PostgreSQL's `jsonb` refuses.
fn check_storable(text: &str) -> Result<()> {
    let bytes = text.as_bytes();
    let (mut depth, mut in_string, mut at) = (0usize, false, 0usize);
    while at < bytes.len() {
        match bytes[at] {
            b'"' => in_string = !in_string,
            b'\\' if in_string => {
                if bytes[at + 1] == b'u' {
                    at = check_unicode_escape(bytes, at)?;
                    continue;
                }
                at += 1;
            }
            b'{' | b'[' if !in_string => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return Err(Error::invalid(format!("payload is nested deeper than {MAX_DEPTH} levels")));
                }
            }
            b'}' | b']' if !in_string => depth -= 1,
            _ => {}
        }
        at += 1;
    }
    Ok(())
}

/// Checks the escape at `at` (a surrogate pair counts as one) and returns where the text goes on.
fn check_unicode_escape(bytes: &[u8], at: usize) -> Result<usize> {
    let unit = |at: usize| -> Option<u32> {
        let digits = bytes.get(at..at + 6)?.strip_prefix(b"\\u")?;
        u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
    };
    match unit(at) {
        Some(0) => Err(Error::invalid("payload contains \\u0000, which a database cannot store")),
        Some(0xD800..=0xDBFF) => match unit(at + 6) {
            Some(0xDC00..=0xDFFF) => Ok(at + 12),
            _ => Err(Error::invalid("payload contains half a surrogate pair, which is not a character")),
        },
        Some(0xDC00..=0xDFFF) => {
            Err(Error::invalid("payload contains half a surrogate pair, which is not a character"))
        }
        _ => Ok(at + 6),
    }
}
