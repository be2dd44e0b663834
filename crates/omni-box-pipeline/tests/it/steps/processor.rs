//! Pipelines that are built from steps.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use omni_box_core::{
    Attempt, BatchSize, Error, ErrorKind, Event, EventContent, EventRepository, FetchFilters, HandlerError,
    HandlerOutcome, InboxBatch, InboxContext, InboxEvent, InboxHandler, InboxMetrics, NewInboxEvent,
    NewOutboxEvent, OmniBoxDomainService, OutboxEvent, OutboxExt, Payload, PermanentError, RawEventConverter,
    Retry, Store, WorkerId,
};
use omni_box_harness::eventually;
use omni_box_pipeline::{
    CircuitBreakerStep, CommitStrategy, DlqStep, DlqStorage, EventProcessorBuilder, EventRouter,
    FetchStrategy, HandlerExecutionStep, InboxConsumerRunner, OutboxProcessorOptions, ProcessingContext,
    ProcessingStep, ProcessorOptions, PublisherExecutionStep, SharedBreaker, SiblingDeduplicationStep,
    StepResult, create_dispatching_processor_with, create_inbox_processor, create_outbox_processor_with, on,
};
use omni_box_postgres::{PgConfig, PgStore};
use omni_box_testkit::{Capability, FaultPlan, MemoryBroker, MemoryStore, NewMessage};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::rule::{Rule, Ruled};
use super::side::{LONG, group};
use crate::inbox::batch::Sees;
use crate::inbox::faults::FaultyStore;

/// A store with messages of one group.
async fn stored(messages: usize) -> MemoryStore {
    let (store, broker) = (MemoryStore::new(), MemoryBroker::new());
    broker.create_topic("events", 1);
    let mut runner =
        InboxConsumerRunner::builder(broker.consumer(&group(), ["events"]), store.clone()).build().unwrap();
    for n in 0..messages {
        broker.send(
            NewMessage::to("events").key(format!("k{n}")).header("event_type", format!("e{n}")).value("{}"),
        );
        let stored = runner.process_one(Instant::now() + Duration::from_secs(30)).await.unwrap();
        assert!(stored.is_some());
    }
    runner.stop().await.unwrap();
    store
}

fn handler(calls: &Arc<Mutex<Vec<String>>>) -> HandlerExecutionStep<MemoryStore> {
    let calls = calls.clone();
    let note = move |cx: InboxContext<'_, MemoryStore>| {
        calls.lock().unwrap().push(cx.event.event_type().to_owned());
        async {}
    };
    let router = (0..3).fold(omni_box_pipeline::EventRouter::new(), |router, n| {
        router.on("events", format!("e{n}"), note.clone())
    });
    HandlerExecutionStep::new(router).timeout(Duration::from_secs(5))
}

#[tokio::test]
async fn a_pipeline_of_all_steps_handles_a_batch() {
    for (fetch, commit) in [
        (FetchStrategy::DistributedLocking, CommitStrategy::Bulk),
        (FetchStrategy::OptimisticLocking, CommitStrategy::Single),
    ] {
        let (store, calls, rule) = (stored(3).await, Arc::default(), Ruled::new(Rule::Next));
        let processor = EventProcessorBuilder::inbox(store, group())
            .with_job_name("job")
            .add_step(CircuitBreakerStep::new())
            .add_step(rule.clone())
            .add_step(handler(&calls))
            .add_step(SiblingDeduplicationStep::new())
            .with_fetch_strategy(fetch)
            .with_commit_strategy(commit)
            .build()
            .unwrap();
        let result = processor.process_batch(BatchSize::new(50).unwrap()).await.unwrap();
        assert_eq!(result.processed_event_ids.len(), 3, "{fetch:?}");
        assert_eq!(*calls.lock().unwrap(), ["e0", "e1", "e2"]);
        let batches = if commit == CommitStrategy::Single { 3 } else { 1 };
        assert_eq!((rule.batch_starts(), rule.batch_ends()), (batches, 3));
    }
}

/// Takes all messages together; notes how many.
struct Together(Arc<Mutex<Vec<usize>>>);

#[async_trait]
impl<S: Store> InboxHandler<S> for Together {
    async fn handle(&self, _cx: InboxContext<'_, S>) -> Result<HandlerOutcome, HandlerError> {
        self.0.lock().unwrap().push(1);
        Ok(HandlerOutcome::Completed)
    }

    fn batch_of(&self, _event: &InboxEvent) -> Option<usize> {
        Some(0)
    }

    async fn handle_batch(&self, batch: InboxBatch<'_, S>) -> Result<(), HandlerError> {
        self.0.lock().unwrap().push(batch.events.len());
        Ok(())
    }
}

#[tokio::test]
async fn layers_of_a_pipeline_let_batches_through_if_all_take_them() {
    for (layers, expected) in [([true, true], vec![1, 3]), ([true, false], vec![1; 4])] {
        let (store, calls) = (stored(4).await, Arc::default());
        let [outer, inner] = layers.map(Sees::new);
        let processor = EventProcessorBuilder::inbox(store, group())
            .add_step(outer)
            .add_step(inner)
            .add_step(HandlerExecutionStep::new(Together(Arc::clone(&calls))))
            .build()
            .unwrap();
        // the first group of a worker has savepoints
        for limit in [1, 10] {
            processor.process_batch(BatchSize::new(limit).unwrap()).await.unwrap();
        }
        assert_eq!(*calls.lock().unwrap(), expected, "{layers:?}");
    }
}

/// Notes its name in front of each event.
struct Noting(&'static str, Arc<Mutex<Vec<String>>>);

#[async_trait]
impl<E: Event> ProcessingStep<E> for Noting {
    async fn execute(&self, _event: &E, _cx: &mut ProcessingContext<'_>) -> StepResult {
        self.1.lock().unwrap().push(self.0.to_owned());
        StepResult::next()
    }
}

#[async_trait]
impl DlqStorage<InboxEvent> for Noting {
    async fn move_to_dlq(
        &self,
        event: &InboxEvent,
        _error: &str,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        self.1.lock().unwrap().push(format!("{} {}", self.0, event.event_type()));
        Ok(())
    }
}

/// Counts outcomes.
struct Counting(Arc<Mutex<Vec<String>>>);

impl InboxMetrics for Counting {
    fn event_processed(&self, event_type: &str, status: &'static str) {
        self.0.lock().unwrap().push(format!("{event_type} {status}"));
    }
}

#[tokio::test]
async fn a_factory_takes_steps_and_metrics() {
    let (store, calls, counts) = (stored(2).await, Arc::<Mutex<Vec<String>>>::default(), Arc::default());
    let noting = |name| Noting(name, calls.clone());
    let breaker = CircuitBreakerStep::new().failure_threshold(1).recovery_timeout(Duration::from_secs(3600));
    let options = ProcessorOptions::new()
        .after(noting("after"))
        .before(noting("before"))
        .metrics(Counting(Arc::clone(&counts)))
        .breaker(breaker)
        .dlq(noting("given up"));
    async fn refuse(_cx: InboxContext<'_, MemoryStore>) -> omni_box_core::Result<()> {
        Err(omni_box_core::Error::new(ErrorKind::Rejected, "no such order"))
    }
    let router = omni_box_pipeline::EventRouter::new().on("events", "e0", refuse).on("events", "e1", refuse);
    let processor = create_dispatching_processor_with(store, group(), router, options).unwrap();
    let batch = BatchSize::new(1).unwrap();
    assert_eq!(processor.process_batch(batch).await.unwrap().failed_event_ids.len(), 1);
    assert_eq!(*calls.lock().unwrap(), ["before", "after", "given up e0"]);
    assert_eq!(*counts.lock().unwrap(), ["e0 failed"]);
    // the breaker is open: it stands behind the first step and before the last
    assert_eq!(processor.process_batch(batch).await.unwrap().released_event_ids.len(), 1);
    assert_eq!(*calls.lock().unwrap(), ["before", "after", "given up e0", "before"]);
}

#[tokio::test]
async fn a_pipeline_of_an_outbox_publishes_a_batch() {
    let (store, broker) = (MemoryStore::new(), MemoryBroker::new());
    broker.create_topic("events", 1);
    let mut tx = store.begin().await.unwrap();
    for n in 0..3 {
        let event = NewOutboxEvent::new(format!("e{n}"), "events", &serde_json::json!({"n": n}));
        store.enqueue(&mut tx, event).await.unwrap();
    }
    store.commit(tx).await.unwrap();
    let rule = Ruled::new(Rule::Next);
    let publisher = EventProcessorBuilder::outbox(store)
        .add_step(rule.clone())
        .add_step(PublisherExecutionStep::new(broker.publisher(RawEventConverter)))
        .build()
        .unwrap();
    let (worker, batch) = (WorkerId::new("worker").unwrap(), BatchSize::new(50).unwrap());
    let stop = CancellationToken::new();
    let result = publisher.publish_batch(&worker, batch, &FetchFilters::new(), &stop).await.unwrap();
    assert_eq!(result.processed_event_ids.len(), 3);
    assert_eq!(broker.records("events").len(), 3);
}

#[tokio::test]
async fn a_pipeline_without_one_innermost_step_is_refused_by_name() {
    let calls = Arc::default();
    let inbox = || EventProcessorBuilder::inbox(MemoryStore::new(), group());
    let none = inbox().add_step(CircuitBreakerStep::new()).build().unwrap_err();
    assert_eq!(none.kind(), ErrorKind::Misconfigured);
    assert!(none.to_string().contains("needs one HandlerExecutionStep"), "{none}");
    let two = inbox().add_step(handler(&calls)).add_step(handler(&calls)).build().unwrap_err();
    assert!(two.to_string().contains("one HandlerExecutionStep, not 2"), "{two}");
    let long = handler(&calls).timeout(Duration::from_secs(60));
    let above = inbox().add_step(long).with_lease_ttl(Duration::from_secs(30)).build().unwrap_err();
    assert!(above.to_string().contains("process_timeout 60s"), "{above}");
    assert!(above.to_string().contains("lease_ttl 30s"), "{above}");
    let none = EventProcessorBuilder::outbox(MemoryStore::new()).build().unwrap_err();
    assert!(none.to_string().contains("needs one PublisherExecutionStep"), "{none}");
}

/// What a batch of stored messages tells of its failures: the error, whether it cost an attempt, and the next retry.
#[tokio::test]
async fn a_batch_of_stored_messages_tells_each_failure() {
    let store = MemoryStore::new();
    let mut ids = Vec::new();
    for name in ["good", "broken", "later", "refused"] {
        let content = EventContent::new(name, Payload::from_text(r#"{"a": 1}"#).unwrap());
        let message = NewInboxEvent::new(name, group(), "shop", content).partition_key(name);
        let message = OmniBoxDomainService::default().create_inbox_event(message).unwrap();
        let mut tx = store.begin().await.unwrap();
        store.create(&mut tx, &message).await.unwrap();
        store.commit(tx).await.unwrap();
        ids.push(message.id());
    }
    async fn fail(cx: InboxContext<'_, MemoryStore>) -> Result<HandlerOutcome, HandlerError> {
        match cx.event.event_type() {
            "broken" => Err(Error::new(ErrorKind::Handler, "no stock").into()),
            "later" => Ok(HandlerOutcome::retry("not today", Attempt::Free, None)),
            "refused" => Err(PermanentError::new("no such order").into()),
            _ => Ok(HandlerOutcome::Completed),
        }
    }
    let router = ["good", "broken", "later", "refused"]
        .into_iter()
        .fold(EventRouter::new(), |router, name| router.on("shop", name, fail));
    let processor = create_inbox_processor(store.clone(), group(), router).unwrap();
    let result = processor.process_batch(BatchSize::new(10).unwrap()).await.unwrap();
    assert_eq!(result.processed_event_ids, [ids[0]], "{result:?}");
    let retried: BTreeSet<_> = result.retried_event_ids.iter().collect();
    assert_eq!(retried, BTreeSet::from([&ids[1], &ids[2]]), "in the order in which their keys ended");
    assert_eq!(result.failed_event_ids, [ids[3]]);
    let mut counted: Vec<_> = result.failures_counted().collect();
    counted.sort_by_key(|failure| ids.iter().position(|id| *id == failure.event_id));
    let [broken, refused] = &counted[..] else { panic!("{:?}", result.failures) };
    assert!(broken.event_id == ids[1] && broken.error.contains("no stock"), "{broken:?}");
    assert!(matches!(broken.retry, Retry::After(delay) if !delay.is_zero()), "{broken:?}");
    assert!(refused.event_id == ids[3] && refused.error.contains("no such order"), "{refused:?}");
    assert_eq!(refused.retry, Retry::Never);
    let [later] = &result.failures_not_counted().collect::<Vec<_>>()[..] else {
        panic!("{:?}", result.failures)
    };
    assert!(later.event_id == ids[2] && later.error.contains("not today"), "{later:?}");
    assert!(matches!(later.retry, Retry::After(_)), "{later:?}");
    assert_eq!(result.remaining().count(), 0);
}

/// Keeps the types of what was given up.
#[derive(Clone, Default)]
struct Letters(Arc<Mutex<Vec<String>>>);

#[async_trait]
impl DlqStorage<OutboxEvent> for Letters {
    async fn move_to_dlq(
        &self,
        event: &OutboxEvent,
        _error: &str,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        self.0.lock().unwrap().push(event.event_type().to_owned());
        Ok(())
    }
}

/// Gives one type up.
struct Unwanted;

#[async_trait]
impl ProcessingStep<OutboxEvent> for Unwanted {
    async fn execute(&self, event: &OutboxEvent, _cx: &mut ProcessingContext<'_>) -> StepResult {
        if event.event_type() == "bad" { StepResult::fail("unwanted") } else { StepResult::next() }
    }
}

#[tokio::test]
async fn a_factory_of_an_outbox_takes_steps_dead_letters_and_a_breaker() {
    let (store, broker) = (MemoryStore::new(), MemoryBroker::new());
    broker.create_topic("orders", 1);
    for name in ["good", "bad"] {
        let mut tx = store.begin().await.unwrap();
        let event = NewOutboxEvent::new(name, "orders", &serde_json::json!({"a": 1}));
        store.enqueue(&mut tx, event).await.unwrap();
        store.commit(tx).await.unwrap();
    }
    let (names, letters) = (Arc::<Mutex<Vec<String>>>::default(), Letters::default());
    let options = OutboxProcessorOptions::new()
        .after(Noting("after", names.clone()))
        .after(Unwanted)
        .dlq(letters.clone())
        .breaker(SharedBreaker::new(store.clone(), "orders").unwrap())
        .before(Noting("before", names.clone()));
    let publisher = broker.publisher(RawEventConverter);
    let processor = create_outbox_processor_with(store.clone(), publisher, options).unwrap();
    let (worker, size, stop) = (worker_id(), BatchSize::new(10).unwrap(), CancellationToken::new());
    eventually(LONG, async || {
        processor.publish_batch(&worker, size, &FetchFilters::new(), &stop).await.unwrap();
        !letters.0.lock().unwrap().is_empty()
    })
    .await;
    processor.close().await.unwrap();
    assert_eq!(*letters.0.lock().unwrap(), ["bad"]);
    assert_eq!(broker.records("orders").len(), 1);
    assert_eq!(names.lock().unwrap()[..2], ["before".to_owned(), "after".to_owned()]);
}

fn worker_id() -> WorkerId {
    WorkerId::new("worker").unwrap()
}

/// A store that lacks what is asked for is refused, and what is asked for has its name.
#[tokio::test]
async fn what_the_store_cannot_serve_is_refused_by_name() {
    let pool = sqlx::PgPool::connect_lazy("postgres://127.0.0.1/nowhere").unwrap();
    let store = FaultyStore::new(PgStore::new(pool, PgConfig::default()), &FaultPlan::new());
    for capability in [Capability::Locking, Capability::DeadLetters, Capability::Breakers] {
        store.plan().hide(capability);
    }
    let inbox = || {
        let handler = on("any", async |_: InboxContext<'_, FaultyStore>| {});
        EventProcessorBuilder::inbox(store.clone(), group()).add_step(HandlerExecutionStep::new(handler))
    };
    let strategy = inbox().with_fetch_strategy(FetchStrategy::DistributedLocking).build().unwrap_err();
    assert_eq!(strategy.kind(), ErrorKind::Unsupported);
    assert!(
        strategy.to_string().contains("FetchStrategy::DistributedLocking needs a store with locking"),
        "{strategy}"
    );
    inbox().with_fetch_strategy(FetchStrategy::OptimisticLocking).build().unwrap();
    inbox().build().unwrap();
    let letters = Noting("letters", Arc::default());
    let dlq = inbox().add_step(DlqStep::new(letters)).build().unwrap_err();
    assert_eq!(dlq.kind(), ErrorKind::Unsupported);
    assert!(dlq.to_string().contains("a DlqStep needs a store that lists failed events"), "{dlq}");
    let breaker = SharedBreaker::new(store, "orders").unwrap_err();
    assert_eq!(breaker.kind(), ErrorKind::Unsupported);
    assert!(breaker.to_string().contains("SharedBreaker"), "{breaker}");
}
