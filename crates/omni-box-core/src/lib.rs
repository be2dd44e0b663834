//! Domain, contracts and traits of omni-box.
//!
//! This crate knows what an event is, which limits it obeys, how a failure is classified, and what a store and a broker
//! must promise. It talks to no database and no broker: adapters (`omni-box-postgres`, `omni-box-kafka`, your own)
//! implement its traits, and `omni-box-pipeline` runs on them.

mod broker;
mod clock;
mod converter;
mod domain;
mod error;
mod event;
mod handler;
mod hidden;
mod id;
mod inbound;
mod limits;
mod metrics;
mod retry;
mod store;
mod tracker;
mod wake;

pub use broker::{
    AckHandle, AssignedPartition, DeliveryReport, EventConsumer, EventPublisher, NullAckHandle, Reporter,
    SendOrder,
};
pub use clock::{Clock, SystemClock};
pub use converter::{
    Encoded, EnvelopeEventConverter, EventConverter, RawEventConverter, SchemaVersionedConverter,
    message_headers,
};
pub use domain::OmniBoxDomainService;
pub use error::{Error, ErrorKind, FailureClass, Result};
pub use event::{
    Event, EventContent, EventStatus, Headers, InboxEvent, InboxRecord, Lifecycle, LifecycleRecord, Lock,
    NewInboxEvent, NewOutboxEvent, OutboxEvent, OutboxRecord, Payload, SourcePosition,
};
pub use event::{EventSchema, SchemaRegistry, SchemaRegistryBuilder, Upcast};
pub use handler::{
    Attempt, EventFn, FromRef, HandlerError, HandlerOutcome, InboxContext, InboxHandler, IntoHandlerResult,
    PermanentError, State, TransientError,
};
pub use id::{BatchSize, ConsumerGroup, EventId, LaneId, OwnerId, WorkerId};
pub use inbound::{
    DecodeError, DefaultMessageDecoder, InboundMessage, MessageDecoder, QuarantinedMessage, TopicPartition,
};
pub use limits::EventLimits;
pub use metrics::{InboxMetrics, NoMetrics, OutboxMetrics};
pub use retry::{Backoff, Jitter, RetryPolicy};
pub use store::{
    Activity, BulkOperations, ClaimToken, Created, DeliveryMode, DistributedLocking, EventRepository,
    Failure, FetchFilters, InboxRepository, InboxSettlement, KeyRef, LaneEvent, LaneHold, LaneRead,
    LaneSettlement, LaneShare, Lease, LeaseRequest, OrderedLanes, OutboxRepository, PartitionEnd, Received,
    RetentionPolicies, Retry, Savepoints, Settled, Store, Wakeup,
};
pub use store::{EventView, InboxExt, IntoOutboxEvent, OutboxExt};
pub use tracker::OffsetTracker;
pub use wake::{Waiter, Wake};
