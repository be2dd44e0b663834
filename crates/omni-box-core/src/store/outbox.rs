//! The outbox table as a whole.

use std::fmt;
use std::future::Future;
use std::str::FromStr;

use async_trait::async_trait;

use super::{EventRepository, OrderedLanes};
use crate::error::{Error, Result};
use crate::event::OutboxEvent;

/// How events leave a table. One mode per table: two at once would break order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeliveryMode {
    /// Relays own lanes by lease; fast and ordered.
    Lanes,
    /// Relays claim rows, which relays of the Python library omni-box can share.
    Rows,
    /// Lanes with transactional, fenced publishing.
    Fenced,
}

impl DeliveryMode {
    /// The text in the control row.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Lanes => "lanes",
            Self::Rows => "rows",
            Self::Fenced => "fenced",
        }
    }
}

impl fmt::Display for DeliveryMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for DeliveryMode {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        [Self::Lanes, Self::Rows, Self::Fenced]
            .into_iter()
            .find(|mode| mode.as_str() == text)
            .ok_or_else(|| Error::invalid(format!("delivery mode {text:?} is none of lanes, rows, fenced")))
    }
}

/// Waits until there may be something to publish. A hint only: relays poll as well.
#[async_trait]
pub trait Wakeup: Send {
    /// Resolves when something may have been enqueued; never fails (it reconnects by itself, and polling is the backstop).
    ///
    /// # Cancel safety
    /// A wake-up that arrives while no task waits is kept for the next call.
    async fn wait(&mut self);
}

/// A store of outbox events.
pub trait OutboxRepository: EventRepository<OutboxEvent> {
    /// The table's delivery mode.
    ///
    /// # Errors
    /// [`Misconfigured`](crate::ErrorKind::Misconfigured) when the schema is not there or of another version.
    fn delivery_mode(&self) -> impl Future<Output = Result<DeliveryMode>> + Send {
        std::future::ready(Ok(DeliveryMode::Rows))
    }

    /// Lanes and their leases. Required by the mode [`Lanes`](DeliveryMode::Lanes).
    fn lanes(&self) -> Option<&dyn OrderedLanes> {
        None
    }

    /// A source of wake-ups; without one, relays poll.
    fn wakeup(&self) -> Option<Box<dyn Wakeup>> {
        None
    }
}
