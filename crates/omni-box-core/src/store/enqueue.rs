//! What can be enqueued in one call.

use serde::Serialize;

use crate::domain::OmniBoxDomainService;
use crate::error::Result;
use crate::event::{EventSchema, InboxEvent, NewOutboxEvent, OutboxEvent};

/// Becomes an outbox event: a reference to a value whose type is an [`EventSchema`], a [`NewOutboxEvent`], or an
/// [`OutboxEvent`].
///
/// - The first two are checked against the default [`EventLimits`](crate::EventLimits). For limits of your own, build an
///   [`OutboxEvent`] by an [`OmniBoxDomainService`].
/// - An [`OutboxEvent`] is taken as it is.
///
/// An application may implement it, for an enum of its events for example.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be enqueued",
    note = "pass a reference to a value whose type derives `EventSchema` and `Serialize`, a `NewOutboxEvent`, or an `OutboxEvent`"
)]
pub trait IntoOutboxEvent {
    /// Makes the event. `cause` is the message that is being handled, if there is one; see [`NewOutboxEvent::caused_by`].
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) naming the field, what it has and what is allowed.
    fn into_outbox_event(self, cause: Option<&InboxEvent>) -> Result<OutboxEvent>;
}

impl<T: EventSchema + Serialize> IntoOutboxEvent for &T {
    fn into_outbox_event(self, cause: Option<&InboxEvent>) -> Result<OutboxEvent> {
        self.event().into_outbox_event(cause)
    }
}

impl IntoOutboxEvent for NewOutboxEvent {
    /// A cause that the event names already stays.
    fn into_outbox_event(self, cause: Option<&InboxEvent>) -> Result<OutboxEvent> {
        let event = match cause {
            Some(message) if !self.has_cause() => self.caused_by(message),
            _ => self,
        };
        OmniBoxDomainService::default().create_outbox_event(event)
    }
}

impl IntoOutboxEvent for OutboxEvent {
    fn into_outbox_event(self, _cause: Option<&InboxEvent>) -> Result<OutboxEvent> {
        Ok(self)
    }
}

impl IntoOutboxEvent for &OutboxEvent {
    fn into_outbox_event(self, _cause: Option<&InboxEvent>) -> Result<OutboxEvent> {
        Ok(self.clone())
    }
}
