//! Domain, contracts and traits of omni-box.
//!
//! This crate knows what an event is, which limits it obeys, how a failure is classified, and what a store and a broker
//! must promise. It talks to no database and no broker: adapters (`omni-box-postgres`, `omni-box-kafka`, your own)
//! implement its traits, and `omni-box-pipeline` runs on them.

pub mod broker;
pub mod clock;
mod domain;
mod error;
pub mod event;
pub mod handler;
mod hidden;
pub mod id;
mod limits;
pub mod message;
pub mod metrics;
pub mod retry;
pub mod store;

pub use broker::{
    AckHandle, AssignedPartition, DeliveryReport, EventConsumer, EventPublisher, NullAckHandle,
    OffsetTracker, PublisherFn, Reporter, SendOrder, publisher_fn,
};
pub use clock::{Clock, SystemClock};
pub use domain::OmniBoxDomainService;
pub use error::{Error, ErrorKind, FailureClass, Result};
pub use event::{
    Attempt, ClaimToken, Event, EventContent, EventSchema, EventStatus, Failure, FetchFilters, Headers,
    InboxEvent, InboxRecord, Lifecycle, LifecycleRecord, Lock, NewInboxEvent, NewOutboxEvent, OutboxEvent,
    OutboxRecord, Payload, Propagation, Retry, SchemaRegistry, SchemaRegistryBuilder, SourcePosition,
    TraceContext, Upcast, set_propagation, trace_of,
};
pub use handler::{
    BatchFn, EventFn, FromRef, HandlerError, HandlerOutcome, InboxBatch, InboxContext, InboxHandler,
    IntoHandlerResult, PermanentError, State, TransientError,
};
pub use id::{BatchSize, ConsumerGroup, EventId, LaneId, OwnerId, WorkerId};
pub use limits::EventLimits;
pub use message::{
    CloudEventsConverter, ConverterFn, DecodeError, DecoderFn, DefaultMessageDecoder, Encoded,
    EnvelopeEventConverter, EventConverter, InboundMessage, MessageDecoder, PerTopic, QuarantinedMessage,
    RawEventConverter, SchemaVersionedConverter, Tombstones, TopicPartition, converter_fn, decoder_fn,
    message_headers,
};
pub use metrics::{InboxMetrics, NoMetrics, OutboxMetrics};
pub use retry::{Backoff, Jitter, RetryPolicy};
pub use store::{
    Activity, BulkOperations, Count, Created, DeliveryMode, DistributedLocking, EventRepository, EventView,
    GroupSample, InboxExt, InboxRepository, InboxSettlement, Inspection, IntoOutboxEvent, KeyRef, LaneEvent,
    LaneFetch, LaneHold, LaneRead, LaneSettlement, LaneShare, Lease, LeaseRequest, OrderedLanes, OutboxExt,
    OutboxRepository, OutboxSample, PartitionEnd, Received, RetentionPolicies, Sample, Savepoints, Settled,
    Store, Waiter, Wake, Wakeup,
};
