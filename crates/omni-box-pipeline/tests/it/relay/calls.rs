//! `OutboxPublisher::publish_batch` on the store and the broker in memory: what one call leaves for the next.

use omni_box_core::{BatchSize, DeliveryMode, ErrorKind, FetchFilters, WorkerId};
use omni_box_pipeline::{BatchProcessingResult, OutboxPublisher};
use omni_box_testkit::{MemoryStore, Operation};

use super::memory::Memory;
use super::*;

fn outbox(memory: &Memory) -> OutboxPublisher<MemoryStore> {
    OutboxPublisher::builder(memory.store.clone(), memory.publisher()).build().expect("settings are valid")
}

async fn call(outbox: &OutboxPublisher<MemoryStore>, size: u32) -> Result<BatchProcessingResult> {
    let (worker, size) = (WorkerId::new("worker")?, BatchSize::new(size)?);
    Ok(outbox.publish_batch(&worker, size, &FetchFilters::default(), &CancellationToken::new()).await?)
}

#[tokio::test(start_paused = true)]
async fn a_failure_of_the_broker_ends_with_its_call() -> Result<()> {
    for mode in [DeliveryMode::Lanes, DeliveryMode::Rows] {
        let memory = Memory::new(mode);
        memory.enqueue(&["a", "b", "c"]).await?;
        let outbox = outbox(&memory);
        memory.plan.on(Operation::Deliver).nth(2).fail_before(ErrorKind::Unavailable);
        let failed = call(&outbox, 100).await?;
        assert_eq!(
            (failed.processed_event_ids.len(), failed.released_event_ids.len()),
            (1, 2),
            "mode {mode}"
        );
        let next = call(&outbox, 100).await?;
        assert_eq!((next.processed_event_ids.len(), next.released_event_ids.len()), (2, 0), "mode {mode}");
        assert!(call(&outbox, 100).await?.is_empty());
        assert_eq!((memory.published(), memory.attempts_made()), (3, 0), "mode {mode}");
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn no_lane_waits_until_those_before_it_are_empty() -> Result<()> {
    // both leave a remainder: the sixteen lanes cannot have equal parts of a batch
    for (size, most_calls) in [(5, 32), (100, 4)] {
        let memory = Memory::new(DeliveryMode::Lanes);
        let outbox = outbox(&memory);
        let keys: Vec<String> = (0..64).map(|number| format!("key-{number}")).collect();
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        for _round in 0..16 {
            memory.enqueue(&keys).await?;
        }
        let mut oldest: Vec<EventId> = memory.store.outbox_events().iter().take(64).map(Event::id).collect();
        for _call in 0..most_calls {
            let published = call(&outbox, size).await?.processed_event_ids;
            assert_eq!(published.len(), size as usize);
            oldest.retain(|id| !published.contains(id));
        }
        assert_eq!(oldest.len(), 0, "old events that wait after {most_calls} calls of {size}");
    }
    Ok(())
}
