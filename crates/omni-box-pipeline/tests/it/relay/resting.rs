//! Topics that are away, and for how long their heads rest.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use omni_box_core::{DeliveryMode, Event, Jitter, RetryPolicy};
use omni_box_testkit::{FaultPlan, Faulty, Operation};
use tokio::time::sleep;

use super::memory::{Memory, start};
use super::topics::{AWAY, Counted};
use super::*;

fn named(prefix: &str, number: usize) -> Vec<String> {
    (0..number).map(|number| format!("{prefix}-{number}")).collect()
}

async fn enqueue(memory: &Memory, keys: &[String]) -> Result<()> {
    memory.enqueue_to(AWAY, &keys.iter().map(String::as_str).collect::<Vec<_>>()).await
}

fn counted(memory: &Memory) -> (Counted, Arc<AtomicUsize>) {
    let tried = Arc::new(AtomicUsize::new(0));
    (Counted { inner: memory.publisher(), tried: tried.clone() }, tried)
}

/// How many events of the topic have been refused, and that is written.
fn held(memory: &Memory) -> usize {
    let events = memory.store.outbox_events();
    events.iter().filter(|event| event.lifecycle().last_error().is_some()).count()
}

/// A new event waits for a moment at first. That says nothing of the topic.
#[tokio::test(start_paused = true)]
async fn new_events_of_a_topic_that_is_away_cut_its_rest_no_shorter() -> Result<()> {
    let memory = Memory::new(DeliveryMode::Lanes);
    let (publisher, tried) = counted(&memory);
    enqueue(&memory, &named("old", 1_000)).await?;
    let running = start(OutboxRelay::builder(memory.store.clone(), publisher));
    sleep(Duration::from_secs(300)).await;
    let before = tried.load(Ordering::SeqCst);
    for key in named("new", 60) {
        enqueue(&memory, &[key]).await?;
        sleep(Duration::from_secs(5)).await;
    }
    // a hundred each half minute, and the new ones
    let tried = tried.load(Ordering::SeqCst) - before;
    assert!((500..=60 + 100 * 14).contains(&tried), "{tried} were tried in 5 minutes");
    running.stop().await
}

#[tokio::test(start_paused = true)]
async fn a_topic_that_is_away_rests_for_a_second_whatever_the_policy_says() -> Result<()> {
    let memory = Memory::new(DeliveryMode::Lanes);
    let (publisher, tried) = counted(&memory);
    enqueue(&memory, &named("key", 300)).await?;
    let eager = RetryPolicy::new(Duration::from_millis(1), Duration::from_millis(5), Jitter::Equal)?;
    let running = start(OutboxRelay::builder(memory.store.clone(), publisher).retry(eager));
    sleep(Duration::from_secs(20)).await;
    let tried = tried.load(Ordering::SeqCst);
    assert!(tried <= 300 + 100 * 22, "{tried} were tried in 20 s");
    running.stop().await
}

/// Heads that were being read when the hundredth was refused rest too.
#[tokio::test(start_paused = true)]
async fn what_was_read_before_a_topic_began_to_rest_is_not_tried() -> Result<()> {
    let (memory, reads) = (Memory::new(DeliveryMode::Lanes), FaultPlan::new());
    let (publisher, tried) = counted(&memory);
    enqueue(&memory, &named("key", 99)).await?;
    let store = Faulty::new(memory.store.clone(), &reads);
    let running = start(OutboxRelay::builder(store, publisher));
    eventually(SOON, async || held(&memory) == 99).await;
    memory.plan.on(Operation::Deliver).freeze_before();
    enqueue(&memory, &named("last", 1)).await?;
    memory.plan.until_frozen().await;
    // the heads are due, and are read
    reads.on(Operation::FetchLanes).freeze_after();
    memory.store.clock().advance(Duration::from_secs(2));
    reads.until_frozen().await;
    memory.plan.release();
    eventually(SOON, async || held(&memory) == 100).await;
    let before = tried.load(Ordering::SeqCst);
    reads.release();
    sleep(Duration::from_millis(100)).await;
    assert_eq!(tried.load(Ordering::SeqCst) - before, 0);
    memory.broker.create_topic(AWAY, 2);
    memory.marked(100).await;
    assert!(memory.is_in_order(AWAY));
    running.stop().await
}
