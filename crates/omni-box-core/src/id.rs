//! Identifiers and small values that are parsed once and valid ever after.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use uuid::Uuid;

use crate::error::{Error, Result};

/// Identifies an event; a UUIDv7, so ids made later sort later.
///
/// ```
/// use omni_box_core::EventId;
///
/// let id = EventId::generate();
/// assert_eq!(EventId::from(id.as_uuid()), id);
/// assert_eq!(id.to_string().len(), 36);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EventId(Uuid);

impl EventId {
    /// Draws a new id.
    pub fn generate() -> Self {
        Self(Uuid::now_v7())
    }

    /// The UUID itself.
    pub fn as_uuid(self) -> Uuid {
        self.0
    }
}

impl From<Uuid> for EventId {
    fn from(id: Uuid) -> Self {
        Self(id)
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Identifies one running relay: drawn anew per instance, so that two processes with one [`WorkerId`] never share a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OwnerId(Uuid);

impl OwnerId {
    /// Draws a new owner.
    pub fn generate() -> Self {
        Self(Uuid::new_v4())
    }

    /// The UUID itself.
    pub fn as_uuid(self) -> Uuid {
        self.0
    }
}

impl fmt::Display for OwnerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A lane: the unit of order, lease and fetch. Every `(topic, partition_key)` belongs to one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LaneId(u16);

impl LaneId {
    /// Names the lane of this number, counted from 0.
    pub const fn new(number: u16) -> Self {
        Self(number)
    }

    /// Its number, from 0.
    pub const fn number(self) -> u16 {
        self.0
    }
}

impl fmt::Display for LaneId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How many events one batch may hold: 1 to 10,000.
///
/// ```
/// use omni_box_core::BatchSize;
///
/// assert_eq!(BatchSize::new(500)?.get(), 500);
/// assert!(BatchSize::new(0).is_err() && BatchSize::new(10_001).is_err());
/// # Ok::<(), omni_box_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BatchSize(NonZeroU32);

impl BatchSize {
    /// The largest batch.
    pub const MAX: u32 = 10_000;

    /// Parses a batch size.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) outside 1 to 10,000.
    pub fn new(size: u32) -> Result<Self> {
        match NonZeroU32::new(size) {
            Some(size) if size.get() <= Self::MAX => Ok(Self(size)),
            _ => Err(Error::invalid(format!("batch size {size} is outside 1 to {}", Self::MAX))),
        }
    }

    /// The number of events.
    pub fn get(self) -> u32 {
        self.0.get()
    }
}

impl TryFrom<u32> for BatchSize {
    type Error = Error;

    fn try_from(size: u32) -> Result<Self> {
        Self::new(size)
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $type(Arc<str>);

        impl $type {
            /// Parses the name.
            ///
            /// # Errors
            /// [`Invalid`](crate::ErrorKind::Invalid) when empty, over 255 characters, or with a control character.
            pub fn new(name: impl AsRef<str>) -> Result<Self> {
                let name = name.as_ref();
                let length = name.chars().count();
                if length == 0 || length > 255 {
                    return Err(Error::invalid(format!(concat!($what, " has {} characters, needs 1 to 255"), length)));
                }
                if name.chars().any(char::is_control) {
                    return Err(Error::invalid(concat!($what, " has a control character")));
                }
                Ok(Self(name.into()))
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl TryFrom<&str> for $type {
            type Error = Error;

            fn try_from(name: &str) -> Result<Self> {
                Self::new(name)
            }
        }

        impl TryFrom<String> for $type {
            type Error = Error;

            fn try_from(name: String) -> Result<Self> {
                Self::new(name)
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
                Self::new(String::deserialize(deserializer)?).map_err(de::Error::custom)
            }
        }
    };
}

name! {
    /// A label for a worker in logs, metrics and `locked_by`. It identifies nothing: replicas may share it.
    WorkerId, "worker id"
}

name! {
    /// The consumer group: a message takes effect once per `(message_id, consumer_group)`.
    ConsumerGroup, "consumer group"
}

impl ConsumerGroup {
    /// Takes a name that a store returned. One bad row must never block a fetch, and a foreign writer may have stored what
    /// [`new`](Self::new) refuses. Control characters become U+FFFD, as does a name that is empty, and a long one is cut.
    ///
    /// ```
    /// use omni_box_core::ConsumerGroup;
    ///
    /// assert_eq!(ConsumerGroup::from_stored("shipping").as_str(), "shipping");
    /// assert_eq!(ConsumerGroup::from_stored("ship\nping").as_str(), "ship\u{fffd}ping");
    /// assert_eq!(ConsumerGroup::from_stored("").as_str(), "\u{fffd}");
    /// ```
    pub fn from_stored(name: &str) -> Self {
        let cleaned = || {
            let readable = |c: char| if c.is_control() { '\u{fffd}' } else { c };
            let name: String = name.chars().map(readable).take(255).collect();
            if name.is_empty() { "\u{fffd}".to_owned() } else { name }
        };
        Self::new(name).unwrap_or_else(|_| Self(cleaned().into()))
    }
}
