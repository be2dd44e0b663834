//! At most once: what has begun is covered by the committed position.

use std::sync::{Arc, Mutex};

use omni_box_core::{Error, ErrorKind, EventStatus, HandlerOutcome};
use omni_box_harness::eventually;
use omni_box_pipeline::AckStrategy;
use serde_json::json;

use super::memory::{Handler, Memory};
use super::service::{LONG, Running};

/// `b` waits behind `a`, which met contention, and `c` has another key: what is committed when `c` begins includes `b`, which is stored.
#[tokio::test(start_paused = true)]
async fn a_message_that_overtakes_another_key_begins_when_its_offset_is_committed() {
    let memory = Arc::new(Memory::new());
    let begun = Arc::new(Mutex::new(Vec::new()));
    let handler = {
        let (memory, begun) = (memory.clone(), begun.clone());
        Handler::new(move |id, call| {
            let stored = memory.row("b").map(|(status, _)| status);
            begun.lock().unwrap().push((id.clone(), memory.broker.committed(0), stored));
            async move {
                if id == "a" && call < 3 {
                    return Err(Error::new(ErrorKind::Contention, "as the test wants it").into());
                }
                Ok(HandlerOutcome::Completed)
            }
        })
    };
    memory.broker.send(0, "a", "one", json!({}));
    let running = Running::new(memory.builder(&handler).ack_strategy(AckStrategy::AtMostOnce));
    eventually(LONG, async || handler.calls("a") == 1).await;
    memory.broker.send(0, "b", "one", json!({}));
    memory.broker.send(0, "c", "two", json!({}));
    eventually(LONG, async || memory.completed() == 3).await;
    running.stop().await;
    let begun = begun.lock().unwrap();
    let (_, committed, stored) = begun.iter().find(|(id, ..)| id == "c").unwrap();
    assert_eq!((*committed, *stored), (3, Some(EventStatus::Pending)), "{begun:?}");
    // in the order of its key, and once
    let order: Vec<&str> = begun.iter().map(|(id, ..)| id.as_str()).filter(|id| *id != "c").collect();
    assert_eq!(order, ["a", "a", "a", "b"]);
    assert_eq!(memory.row("b"), Some((EventStatus::Completed, 0)));
}
