//! A message that holds its partition's offset back is named.

use std::time::Duration;

use omni_box_core::{Attempt, HandlerOutcome};
use omni_box_harness::{Log, eventually};
use serde_json::json;

use super::memory::{Handler, Memory};
use super::service::{LONG, Running};

const MANY: usize = 10_000;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

#[tokio::test(start_paused = true)]
async fn a_message_with_many_done_behind_it_is_named_once() {
    let memory = Memory::new();
    let handler = Handler::new(|id, _| async move {
        match id.as_str() {
            "waits" => Ok(HandlerOutcome::retry("as the test wants it", Attempt::Free, DAY)),
            _ => Ok(HandlerOutcome::Completed),
        }
    });
    let log = Log::listen();
    memory.broker.send(0, "waits", "waits", json!({}));
    for n in 0..MANY + 200 {
        memory.broker.send(0, &format!("m{n}"), &format!("k{}", n % 50), json!({}));
    }
    let running = Running::new(memory.builder(&handler));
    eventually(LONG, async || memory.completed() == MANY + 200).await;
    let named: Vec<_> = log.events().into_iter().filter(|event| event.contains_key("offset")).collect();
    assert_eq!(named.len(), 1, "{named:?}");
    assert_eq!(named[0]["message_id"], "waits");
    assert!(named[0]["message"].contains("holds its partition's offset back"), "{named:?}");
    running.stop().await;
}
