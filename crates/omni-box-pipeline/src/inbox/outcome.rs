//! What `process_one` returns.

use omni_box_core::EventId;

use crate::outcome::Outcome;

/// The result of [`process_one`](super::InboxConsumerRunner::process_one).
///
/// ```
/// use omni_box_core::{ConsumerGroup, InboxContext, Result};
/// use omni_box_pipeline::{InboxConsumerRunner, Outcome, on};
/// use omni_box_testkit::{MemoryBroker, MemoryStore, NewMessage};
/// use tokio::time::{Duration, Instant};
///
/// async fn ship(_cx: InboxContext<'_, MemoryStore>) {}
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<()> {
/// let broker = MemoryBroker::new();
/// broker.create_topic("orders", 1);
/// broker.send(NewMessage::to("orders").header("event_type", "order.placed").header("event_id", "m-1").value("{}"));
/// let consumer = broker.consumer(&ConsumerGroup::new("shipping")?, ["orders"]);
/// let runner = InboxConsumerRunner::builder(consumer, MemoryStore::new()).handler(on("order.placed", ship));
/// let mut runner = runner.build()?;
/// let result = runner.process_one(Instant::now() + Duration::from_secs(1)).await?.expect("a message came");
/// assert_eq!((result.outcome, result.committed), (Outcome::Completed, true));
/// runner.stop().await
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct InboxConsumeResult {
    /// The id of the message's row, also of one that was stored before; `None` for what is kept as raw bytes.
    pub event_id: Option<EventId>,
    /// The message's id; for one that could not be decoded, `topic:partition:offset`.
    pub message_id: String,
    /// What became of it.
    pub outcome: Outcome,
    /// Whether the broker has taken note of everything that was acknowledged so far. `false` after an outcome that is not acknowledged,
    /// and when the commit failed (it is tried again).
    pub committed: bool,
}
