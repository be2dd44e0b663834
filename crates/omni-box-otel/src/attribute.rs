//! Names of OpenTelemetry's semantic conventions 1.44, where all of messaging is still in development.

pub(crate) const SYSTEM: &str = "messaging.system";
pub(crate) const OPERATION_NAME: &str = "messaging.operation.name";
pub(crate) const OPERATION_TYPE: &str = "messaging.operation.type";
pub(crate) const DESTINATION: &str = "messaging.destination.name";
pub(crate) const PARTITION: &str = "messaging.destination.partition.id";
pub(crate) const OFFSET: &str = "messaging.kafka.offset";
pub(crate) const CLIENT: &str = "messaging.client.id";
pub(crate) const GROUP: &str = "messaging.consumer.group.name";
pub(crate) const MESSAGE_ID: &str = "messaging.message.id";
pub(crate) const CONVERSATION: &str = "messaging.message.conversation_id";
pub(crate) const ERROR_TYPE: &str = "error.type";

/// Of a resource, by the conventions; of a span where one process is several services.
pub(crate) const SERVICE: &str = "service.name";

pub(crate) const EVENT_TYPE: &str = "omni_box.event_type";
pub(crate) const ATTEMPT: &str = "omni_box.attempt";
pub(crate) const LANE: &str = "omni_box.lane";
pub(crate) const HELD: &str = "omni_box.held";
pub(crate) const OUTCOME: &str = "omni_box.outcome";
pub(crate) const STATUS: &str = "omni_box.status";
pub(crate) const REASON: &str = "omni_box.reason";
