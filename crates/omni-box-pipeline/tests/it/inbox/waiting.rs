//! A worker that has nothing to do sleeps.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use omni_box_core::{Attempt, EventStatus, HandlerOutcome};
use serde_json::json;

use super::memory::{Handler, Memory};
use super::service::Running;

#[tokio::test(start_paused = true)]
async fn a_message_that_is_due_behind_one_that_waits_does_not_keep_the_worker_awake() {
    let memory = Arc::new(Memory::new());
    let looks = Arc::new(Mutex::new(Vec::new()));
    let handler = {
        let (memory, looks) = (memory.clone(), looks.clone());
        Handler::new(move |id, call| {
            if id == "first" {
                looks.lock().unwrap().push(memory.looks());
            }
            async move {
                match (id.as_str(), call) {
                    ("first", 2) => {
                        let after = Duration::from_millis(300);
                        Ok(HandlerOutcome::retry("not yet", Attempt::Free, after))
                    }
                    // it takes too long: its failure is recorded, and those before it are done again
                    ("second", 1) => std::future::pending().await,
                    _ => Ok(HandlerOutcome::Completed),
                }
            }
        })
    };
    for (n, id) in ["first", "second"].into_iter().enumerate() {
        memory.broker.send(0, id, "k", json!({"n": n}));
    }
    let running = Running::new(memory.builder(&handler));
    memory.drained().await;
    running.stop().await;
    assert_eq!(memory.row("second"), Some((EventStatus::Completed, 1)));
    let looks = looks.lock().unwrap();
    let [_, before, after] = looks[..] else { panic!("{} calls of the first", looks.len()) };
    assert!(after - before < 20, "{} looks while there was nothing to do", after - before);
}
