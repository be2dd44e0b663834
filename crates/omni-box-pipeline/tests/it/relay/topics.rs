//! Topics that are missing, or take nothing.

use omni_box_core::{DeliveryMode, ErrorKind};
use omni_box_testkit::{Faulty, Operation};
use tokio::time::timeout;

use super::memory::{Memory, start};
use super::*;

#[tokio::test(start_paused = true)]
async fn a_topic_found_missing_stops_what_was_read_meanwhile() -> Result<()> {
    let memory = Memory::new(DeliveryMode::Lanes);
    // the answer comes with the end of the call, after the next event of the key was read
    memory.plan.on(Operation::Submit).freeze_before();
    memory.plan.on(Operation::Deliver).fail_before(ErrorKind::TopicUnavailable);
    memory.enqueue(&["a"]).await?;
    let mut running = start(memory.relay(Faulty::new(memory.store.clone(), &memory.plan)));
    memory.plan.until_frozen().await;
    memory.enqueue(&["a"]).await?;
    timeout(Duration::from_secs(3), &mut running.task).await.expect_err("the relay goes on");
    memory.plan.release();
    memory.completed(2).await;
    let enqueued: Vec<String> =
        memory.store.outbox_events().iter().map(|event| event.id().to_string()).collect();
    assert_eq!(memory.published_ids(), enqueued);
    assert_eq!(memory.attempts_made(), 0);
    running.stop().await
}
