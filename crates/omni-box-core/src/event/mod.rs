//! Events: what they carry, where they are in their life, and how they are built.

mod claim;
mod content;
mod failure;
mod filter;
mod headers;
mod inbox;
mod key;
mod lifecycle;
mod mark;
mod outbox;
mod payload;
mod schema;
mod trace;

#[doc(no_inline)]
pub use {chrono, uuid};

pub use claim::ClaimToken;
pub use content::EventContent;
pub use failure::{Attempt, Failure, Retry};
pub use filter::FetchFilters;
pub use headers::Headers;
pub use inbox::{InboxEvent, InboxRecord, NewInboxEvent, SourcePosition};
pub use key::{Identity, OrderKey};
pub use lifecycle::{EventStatus, Lifecycle, LifecycleRecord, Lock};
pub use mark::Mark;
pub use outbox::{NewOutboxEvent, OutboxEvent, OutboxRecord};
pub use payload::Payload;
pub use schema::{EventSchema, SchemaRegistry, SchemaRegistryBuilder, Upcast};
pub use trace::{Creation, Propagation, TraceContext, set_propagation, trace_of};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::Result;
use crate::id::EventId;

/// What outbox and inbox events have in common. Implemented by [`OutboxEvent`] and [`InboxEvent`] only.
///
/// ```
/// use omni_box_core::Event;
///
/// /// A line about an event of either kind.
/// fn line<E: Event>(event: &E) -> String {
///     let attempts = event.lifecycle().attempts_made();
///     format!("{} {} after {attempts} attempts: {:?}", event.event_type(), event.id(), event.status())
/// }
/// # let _ = line::<omni_box_core::OutboxEvent>;
/// ```
pub trait Event: sealed::LifecycleMut + Clone + Send + Sync + 'static {
    /// Its columns, its life apart: [`OutboxRecord`] or [`InboxRecord`].
    type Record: Serialize + DeserializeOwned + Clone + Send + Sync + 'static;

    /// Its columns, its life apart.
    fn record(&self) -> &Self::Record;

    /// Rebuilds an event from a row. It is trusted: no limit is checked.
    fn restore(record: Self::Record, lifecycle: Lifecycle) -> Self;

    /// Refuses filters by what events of this kind do not have.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid).
    fn check_filters(filters: &FetchFilters) -> Result<()>;

    /// Whether filters let it through; those for its kind only.
    fn passes(&self, filters: &FetchFilters) -> bool;

    /// What it is stored once by; `None`: it is stored whenever it is created.
    fn identity(&self) -> Option<Identity>;

    /// Whose order it keeps.
    fn order_key(&self) -> OrderKey;

    /// Its place in that order before the order of creation: an inbox event's offset. Of all others it is 0.
    fn offset(&self) -> i64 {
        0
    }

    /// Its id.
    fn id(&self) -> EventId;

    /// What it carries.
    fn content(&self) -> &EventContent;

    /// Where it is in its life.
    fn lifecycle(&self) -> &Lifecycle;

    /// Its type, such as `order.placed`.
    fn event_type(&self) -> &str {
        &self.content().event_type
    }

    /// Its payload.
    fn payload(&self) -> &Payload {
        &self.content().payload
    }

    /// Its own headers.
    fn headers(&self) -> &Headers {
        &self.content().headers
    }

    /// Its status.
    fn status(&self) -> EventStatus {
        self.lifecycle().status()
    }
}

pub(crate) mod sealed {
    /// Lets the domain service alone change where an event is in its life.
    pub trait LifecycleMut {
        fn lifecycle_mut(&mut self) -> &mut super::Lifecycle;
    }
}
