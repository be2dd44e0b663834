//! What a broker must promise: a publisher, a consumer, and acknowledgement.

mod ack;
mod consumer;
mod publisher;
mod publisher_fn;
mod tracker;

pub use ack::{AckHandle, NullAckHandle};
pub use consumer::{AssignedPartition, EventConsumer, Leaver};
pub use publisher::{DeliveryReport, EventPublisher, Placed, Reporter, SendOrder};
pub use publisher_fn::{PublisherFn, publisher_fn};
pub use tracker::OffsetTracker;
