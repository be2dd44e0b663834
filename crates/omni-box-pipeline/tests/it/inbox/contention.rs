//! A message that meets others who are in the way.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use omni_box_core::{Error, ErrorKind, EventStatus, HandlerOutcome, RetryPolicy};
use serde_json::json;
use tokio::time::Instant;

use super::memory::{Handler, Memory};
use super::service::Running;

/// One message that meets contention in so many calls; returns its row and how much time lay between its calls.
async fn contended(calls: u32) -> (Option<(EventStatus, u32)>, Vec<Duration>) {
    let memory = Memory::new();
    let begun = Arc::new(Mutex::new(Vec::new()));
    let times = begun.clone();
    let handler = Handler::new(move |_, call| {
        times.lock().unwrap().push(Instant::now());
        async move {
            if call <= calls {
                return Err(Error::new(ErrorKind::Contention, "as the test wants it").into());
            }
            Ok(HandlerOutcome::Completed)
        }
    });
    memory.broker.send(0, "m", "k", json!({}));
    let running = Running::new(memory.builder(&handler).retry(RetryPolicy::default()));
    memory.drained().await;
    running.stop().await;
    let begun = begun.lock().unwrap();
    (memory.row("m"), begun.windows(2).map(|two| two[1] - two[0]).collect())
}

#[tokio::test(start_paused = true)]
async fn contention_is_tried_again_sooner_than_a_failure_and_for_free() {
    let (row, waits) = contended(20).await;
    assert_eq!(row, Some((EventStatus::Completed, 0)));
    assert_eq!(waits.len(), 20);
    // a timer has whole milliseconds
    let tick = Duration::from_millis(1);
    let longest = [100, 200, 400, 800, 1600, 3200, 5000].map(Duration::from_millis);
    for (n, wait) in waits.into_iter().enumerate() {
        let longest = longest[n.min(longest.len() - 1)];
        assert!(wait >= longest / 2 && wait <= longest + tick, "{wait:?} after {} failures", n + 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_that_never_gets_past_contention_is_given_up_in_the_end() {
    let (row, waits) = contended(u32::MAX).await;
    assert_eq!(row, Some((EventStatus::Failed, 6)));
    assert_eq!(waits.len() + 1, 6 * 21, "twenty for free before each attempt");
    let spent: Duration = waits.iter().sum();
    // six times twenty waits for free, and five between the attempts; a wait takes between half of itself and the whole
    let free = 6 * (100 + 200 + 400 + 800 + 1600 + 3200 + 14 * 5000);
    let attempts = 10_000 + 20_000 + 40_000 + 80_000 + 160_000;
    let longest = Duration::from_millis(free + attempts);
    let ticks = Duration::from_millis(6 * 21);
    assert!(spent >= longest / 2 && spent <= longest + ticks, "{spent:?} of {longest:?}");
}
