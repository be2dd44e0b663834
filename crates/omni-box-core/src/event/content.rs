//! What an event carries.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Headers, Payload};
use crate::error::{Error, Result};
use crate::hidden::Hidden;
use crate::limits::{EventLimits, check_optional, check_text, fits};

/// Version of an event that names none; what [`EnvelopeEventConverter`](crate::EnvelopeEventConverter) writes for it.
pub(super) const DEFAULT_VERSION: &str = "1.0.0";

/// What an event carries, whichever way it travels. Plain data: it is checked when an event is built from it, and an event
/// hands it out for reading only. `Debug` shows neither payload, headers' values nor the idempotency key.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct EventContent {
    /// Its type, such as `order.placed`.
    pub event_type: String,
    /// The JSON body.
    pub payload: Payload,
    /// An outbox event's headers of its own, beside those that omni-box sets; all text headers of a received message.
    pub headers: Headers,
    /// Trace it belongs to.
    pub trace_id: Option<String>,
    /// Business conversation it belongs to.
    pub correlation_id: Option<String>,
    /// The event or command that caused it.
    pub causation_id: Option<String>,
    /// Enqueuing twice with one key stores one event.
    pub idempotency_key: Option<String>,
    /// Version of the payload's schema.
    pub schema_version: Option<String>,
}

impl fmt::Debug for EventContent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            event_type,
            payload,
            headers,
            trace_id,
            correlation_id,
            causation_id,
            idempotency_key,
            schema_version,
        } = self;
        f.debug_struct("EventContent")
            .field("event_type", event_type)
            .field("payload", payload)
            .field("headers", headers)
            .field("trace_id", trace_id)
            .field("correlation_id", correlation_id)
            .field("causation_id", causation_id)
            .field("idempotency_key", &idempotency_key.as_ref().map(Hidden::new))
            .field("schema_version", schema_version)
            .finish()
    }
}

impl EventContent {
    /// Content of a type with a payload and nothing else.
    pub fn new(event_type: impl Into<String>, payload: Payload) -> Self {
        Self {
            event_type: event_type.into(),
            payload,
            headers: Headers::default(),
            trace_id: None,
            correlation_id: None,
            causation_id: None,
            idempotency_key: None,
            schema_version: None,
        }
    }

    /// The version of its payload: [`schema_version`](Self::schema_version), or 1.0.0 if there is none, as
    /// [`EnvelopeEventConverter`](crate::EnvelopeEventConverter) writes it.
    pub fn version(&self) -> &str {
        self.schema_version.as_deref().unwrap_or(DEFAULT_VERSION)
    }

    /// Drops what describes a received message but does not fit its column: it must not cost the message.
    pub(crate) fn fit(&mut self, limits: &EventLimits) {
        self.drop_unfit_ids(limits);
        for (field, limit) in [
            (&mut self.idempotency_key, limits.idempotency_key),
            (&mut self.schema_version, limits.schema_version),
        ] {
            field.take_if(|text| !fits(text, limit));
        }
        self.headers.retain_storable();
    }

    /// Drops ids of a trace, a conversation or a cause that do not fit their columns. Often a stranger chose them, and they must not cost
    /// the event.
    pub(crate) fn drop_unfit_ids(&mut self, limits: &EventLimits) {
        for id in [&mut self.trace_id, &mut self.correlation_id, &mut self.causation_id] {
            id.take_if(|text| !fits(text, limits.trace_id));
        }
    }

    /// The rule for what we send, once ids that do not fit are dropped. The payload is a JSON object with at least one member, within the size limit.
    pub(crate) fn check(&self, limits: &EventLimits) -> Result<()> {
        check_text("event_type", &self.event_type, limits.event_type)?;
        check_optional("idempotency_key", self.idempotency_key.as_deref(), limits.idempotency_key)?;
        check_optional("schema_version", self.schema_version.as_deref(), limits.schema_version)?;
        self.headers.check(limits)?;
        let size = self.payload.as_str().len();
        if size > limits.payload_bytes {
            return Err(Error::invalid(format!(
                "payload has {size} bytes, at most {} are allowed",
                limits.payload_bytes
            )));
        }
        self.payload.check_object()
    }
}
