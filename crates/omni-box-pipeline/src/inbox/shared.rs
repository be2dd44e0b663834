//! What all partitions of a runner share.

use std::sync::Arc;
use std::time::Duration;

use omni_box_core::{InboxEvent, InboxRepository, MessageDecoder};
use tokio::sync::Semaphore;

use crate::copies::Copies;
use crate::membership::Membership;
use crate::transact::Context;

/// Parts of one runner that each partition's worker uses.
pub(super) struct Shared<S: InboxRepository> {
    pub(super) context: Arc<Context<S>>,
    /// Of a runner with a handler.
    pub(super) membership: Option<Membership<S>>,
    pub(super) copies: Option<Arc<Copies<S, InboxEvent>>>,
    pub(super) decoder: Arc<dyn MessageDecoder>,
    pub(super) drain_deadline: Duration,
    pub(super) stuck_after: Duration,
    /// Most messages of a partition in memory.
    pub(super) window: usize,
    /// How many partitions work in the database at once.
    pub(super) permits: Semaphore,
    /// Of partitions whose messages go one at a time, one works at once: should the process end of a message, no other one has begun.
    pub(super) careful: Semaphore,
}
