//! `OutboxPublisher::publish_batch` on the store and the broker in memory: what one call leaves for the next.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use omni_box_core::{
    BatchSize, DeliveryMode, Error, ErrorKind, EventPublisher, EventStatus, FetchFilters, NewOutboxEvent,
    OutboxEvent, OutboxExt, OutboxMetrics, Reporter, Retry, Store, WorkerId,
};
use omni_box_pipeline::{
    BatchProcessingResult, EventFailure, OutboxPublisher, ProcessingContext, ProcessingStep, StepResult,
};
use omni_box_testkit::{Faulty, MemoryStore, Operation};

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

/// What a publisher answers by the event's type, and the most that it had in its hands.
#[derive(Clone, Default)]
struct ByType(Arc<Mutex<(usize, usize, Vec<String>)>>);

#[async_trait]
impl EventPublisher for ByType {
    async fn submit(&self, events: Vec<Arc<OutboxEvent>>, reporter: &Reporter) {
        {
            let mut seen = self.0.lock().expect("no test panics with it");
            seen.0 += events.len();
            seen.1 = seen.1.max(seen.0);
            seen.2.extend(events.iter().map(|event| event.event_type().to_owned()));
        }
        let (seen, reporter) = (self.0.clone(), reporter.clone());
        // one after the other, as a broker would
        tokio::spawn(async move {
            for event in events {
                tokio::time::sleep(Duration::from_millis(10)).await;
                let error = match event.event_type() {
                    "missing" => Some(ErrorKind::TopicUnavailable),
                    "odd" => Some(ErrorKind::Handler),
                    "wrong" => Some(ErrorKind::Rejected),
                    _ => None,
                };
                seen.lock().expect("no test panics with it").0 -= 1;
                let result = error.map_or(Ok(()), |kind| Err(Error::new(kind, "as the test wants it")));
                reporter.report(event.id(), result);
            }
        });
    }

    async fn purge(&self) {}

    async fn check(&self) -> omni_box_core::Result<()> {
        Ok(())
    }
}

async fn enqueue_types(store: &MemoryStore, types: &[&str]) -> Result<Vec<EventId>> {
    let mut tx = store.begin().await?;
    let mut ids = Vec::new();
    for event_type in types {
        let event = NewOutboxEvent::new(*event_type, "events", &serde_json::json!({"n": 1}));
        ids.push(store.enqueue(&mut tx, event.partition_key(*event_type)).await?.into_event().id());
    }
    store.commit(tx).await?;
    Ok(ids)
}

#[tokio::test(start_paused = true)]
async fn a_result_tells_each_failure_with_its_error_and_its_retry() -> Result<()> {
    for mode in [DeliveryMode::Lanes, DeliveryMode::Rows] {
        let memory = Memory::new(mode);
        let ids = enqueue_types(&memory.store, &["good", "missing", "odd", "wrong"]).await?;
        let outbox = OutboxPublisher::builder(memory.store.clone(), ByType::default()).build()?;
        let result = call(&outbox, 100).await?;
        assert_eq!(result.processed_event_ids, ids[..1], "mode {mode}");
        assert_eq!(result.failed_event_ids, ids[3..], "mode {mode}");
        assert_eq!(result.remaining().count() + result.commit_failed_event_ids.len(), 0, "mode {mode}");
        let mut counted: Vec<&EventFailure> = result.failures_counted().collect();
        counted.sort_by_key(|failure| failure.event_id);
        assert_eq!(
            counted.iter().map(|failure| failure.event_id).collect::<Vec<_>>(),
            ids[2..],
            "mode {mode}"
        );
        assert!(matches!(counted[0].retry, Retry::After(_)), "mode {mode}: {counted:?}");
        assert_eq!(counted[1].retry, Retry::Never, "mode {mode}");
        let free: Vec<&EventFailure> = result.failures_not_counted().collect();
        assert_eq!(free.iter().map(|failure| failure.event_id).collect::<Vec<_>>(), ids[1..2], "mode {mode}");
        assert!(free[0].error.contains("as the test wants it"), "mode {mode}: {}", free[0].error);
        // when it is due again is what the row says
        let row = memory.store.outbox_events().into_iter().find(|row| row.id() == ids[1]).unwrap();
        let Retry::After(delay) = free[0].retry else { panic!("mode {mode}: {:?}", free[0].retry) };
        assert!(!delay.is_zero(), "mode {mode}");
        assert_eq!(row.lifecycle().attempts_made(), 0, "mode {mode}");
    }
    Ok(())
}

/// What was published while another worker took it over is neither processed nor lost from sight.
#[tokio::test(start_paused = true)]
async fn a_completion_that_comes_too_late_is_told() -> Result<()> {
    for mode in [DeliveryMode::Lanes, DeliveryMode::Rows] {
        let memory = Memory::new(mode);
        let ids = enqueue_types(&memory.store, &["good", "wrong"]).await?;
        let outbox = OutboxPublisher::builder(memory.store.clone(), ByType::default()).build()?;
        let other = OutboxPublisher::builder(memory.store.clone(), ByType::default()).build()?;
        // what was acknowledged is written after the lease has ended by the store's clock, and another one has it
        let written =
            if mode == DeliveryMode::Lanes { Operation::SettleLanes } else { Operation::CompleteMany };
        let slow = Faulty::new(memory.store.clone(), &memory.plan);
        memory.plan.on(written).nth(1).delay(Duration::from_secs(1));
        drop(outbox);
        let outbox = OutboxPublisher::builder(slow, ByType::default()).build()?;
        let (worker, size) = (WorkerId::new("worker")?, BatchSize::new(100)?);
        let (filters, stop) = (FetchFilters::default(), CancellationToken::new());
        let late = outbox.publish_batch(&worker, size, &filters, &stop);
        let meanwhile = async {
            eventually(Duration::from_secs(60), async || memory.plan.calls(written) == 1).await;
            memory.store.clock().advance(Duration::from_secs(60));
            call(&other, 100).await
        };
        let (late, meanwhile) = tokio::join!(late, meanwhile);
        let (late, meanwhile) = (late?, meanwhile?);
        assert_eq!(late.processed_event_ids, [], "mode {mode}");
        assert_eq!(late.commit_failed_event_ids, ids[..1], "mode {mode}: {late:?}");
        assert_eq!(meanwhile.processed_event_ids, ids[..1], "mode {mode}");
        assert_eq!(memory.store.outbox_events()[0].status(), EventStatus::Completed, "mode {mode}");
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn so_many_events_are_in_flight_at_once() -> Result<()> {
    for mode in [DeliveryMode::Lanes, DeliveryMode::Rows] {
        let memory = Memory::new(mode);
        let types: Vec<String> = (0..50).map(|n| format!("e{n}")).collect();
        let types: Vec<&str> = types.iter().map(String::as_str).collect();
        enqueue_types(&memory.store, &types).await?;
        let broker = ByType::default();
        let outbox =
            OutboxPublisher::builder(memory.store.clone(), broker.clone()).concurrency_limit(7).build()?;
        let mut published = 0;
        while published < 50 {
            published += call(&outbox, 100).await?.processed_event_ids.len();
        }
        let (left, most, sent) = broker.0.lock().unwrap().clone();
        assert_eq!((left, most, sent.len()), (0, 7, 50), "mode {mode}");
    }
    let none = OutboxPublisher::builder(MemoryStore::new(), ByType::default()).concurrency_limit(0).build();
    assert!(none.unwrap_err().to_string().contains("concurrency_limit 0"));
    Ok(())
}

/// Completes what no consumer wants.
struct Unwanted;

#[async_trait]
impl ProcessingStep<OutboxEvent> for Unwanted {
    async fn execute(&self, event: &OutboxEvent, _cx: &mut ProcessingContext<'_>) -> StepResult {
        if event.event_type() == "unwanted" { StepResult::complete() } else { StepResult::next() }
    }
}

/// Statuses that were told, and how many events were measured.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<(Vec<String>, usize)>>);

impl OutboxMetrics for Told {
    fn event_published(&self, event_type: &str, status: &'static str) {
        self.0.lock().expect("no test panics with it").0.push(format!("{event_type} {status}"));
    }

    fn publish_duration(&self, _event_type: &str, _elapsed: Duration) {
        self.0.lock().expect("no test panics with it").1 += 1;
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_step_completes_is_skipped_and_not_published() -> Result<()> {
    for mode in [DeliveryMode::Lanes, DeliveryMode::Rows] {
        let (memory, told, broker) = (Memory::new(mode), Told::default(), ByType::default());
        let ids = enqueue_types(&memory.store, &["unwanted", "good"]).await?;
        let outbox = OutboxPublisher::builder(memory.store.clone(), broker.clone())
            .step(Unwanted)
            .metrics(told.clone())
            .build()?;
        let mut processed = call(&outbox, 100).await?.processed_event_ids;
        processed.sort();
        assert_eq!(processed, ids, "mode {mode}");
        assert!(memory.store.outbox_events().iter().all(|row| row.status() == EventStatus::Completed));
        assert_eq!(broker.0.lock().unwrap().2, ["good"], "mode {mode}");
        let (mut statuses, measured) = told.0.lock().unwrap().clone();
        statuses.sort();
        assert_eq!(
            (statuses, measured),
            (vec!["good published".into(), "unwanted skipped".into()], 1),
            "mode {mode}"
        );
    }
    Ok(())
}
