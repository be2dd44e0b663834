//! What may cross threads and be printed, says so.

use std::fmt::Debug;

use omni_box_core::*;

fn value<T: Send + Sync + Debug + 'static>() {}
fn shared<T: Send + Sync + ?Sized + 'static>() {}
fn sent<T: Send + ?Sized + 'static>() {}

macro_rules! all {
    ($check:ident: $($type:ty),* $(,)?) => { $($check::<$type>();)* };
}

#[test]
fn send_sync_debug() {
    all!(value:
        OutboxEvent, InboxEvent, NewOutboxEvent, NewInboxEvent, OutboxRecord, InboxRecord, EventContent, Headers,
        Payload, Lifecycle, LifecycleRecord, Lock, EventStatus, SourcePosition, EventId, OwnerId, LaneId, WorkerId,
        ConsumerGroup, BatchSize, EventLimits, OmniBoxDomainService, Error, ErrorKind, FailureClass, HandlerError,
        HandlerOutcome, TransientError, Attempt, RetryPolicy, Backoff, Jitter, Encoded<'static>, RawEventConverter,
        SchemaVersionedConverter, EnvelopeEventConverter, InboundMessage, QuarantinedMessage, DecodeError,
        TopicPartition, DefaultMessageDecoder, DeliveryReport, broker::Placed, Reporter, SendOrder, AssignedPartition, NullAckHandle,
        Box<dyn AckHandle>, NoMetrics, ClaimToken, Created<OutboxEvent>, Failure, Retry, FetchFilters, DeliveryMode, Lease,
        LeaseRequest, LaneShare, LaneRead, LaneEvent, LaneHold, LaneSettlement, Settled, KeyRef, Activity, Received,
        InboxSettlement, PartitionEnd, SchemaRegistry, SchemaRegistryBuilder, Upcast<()>, OffsetTracker, Wake, Sample, OutboxSample,
        GroupSample, Count,
        Waiter, CloudEventsConverter, TraceContext, PerTopic, Tombstones<RawEventConverter>,
        PublisherFn<()>,
    );
    all!(shared:
        dyn EventPublisher, dyn EventConverter, dyn MessageDecoder, dyn AckHandle, dyn OrderedLanes,
        dyn BulkOperations<OutboxEvent>, dyn DistributedLocking<InboxEvent>, dyn RetentionPolicies<InboxEvent>,
        dyn Savepoints<()>, dyn Inspection, dyn OutboxMetrics, dyn InboxMetrics,
    );
    all!(sent: dyn EventConsumer, dyn Wakeup);
}
