//! Storages outside are fed from failed rows, at least once, whatever happens in between.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use omni_box_core::{
    Attempt, BatchSize, ClaimToken, ConsumerGroup, Event, EventContent, EventRepository, EventStatus,
    Failure, FetchFilters, InboxContext, InboxExt, NewInboxEvent, NewOutboxEvent, OmniBoxDomainService,
    OutboxEvent, OutboxExt, OwnerId, Payload, PermanentError, RawEventConverter, Retry, Store, WorkerId,
};
use omni_box_harness::eventually;
use omni_box_pipeline::{
    DlqStep, DlqStorage, InboxConsumerRunner, InboxWorker, OutboxPublisher, OutboxRelay, StepResult, on,
};
use omni_box_testkit::{FaultPlan, Faulty, MemoryBroker, MemoryStore, NewMessage, Operation};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::side::{LONG, group, short};

type Refused = Box<dyn std::error::Error + Send + Sync>;

/// Keeps what it is given by its type, with how often that was; fails, stands still, or refuses one type, as a test says.
#[derive(Clone, Default)]
struct Outside(Arc<State>);

#[derive(Default)]
struct State {
    kept: Mutex<BTreeMap<String, (String, usize)>>,
    /// How many calls fail from now on.
    failures: Mutex<usize>,
    /// Never takes events of this type.
    refuses: Mutex<Option<String>>,
    /// Stands still from the next call on.
    stands_still: Mutex<bool>,
    called: Notify,
}

impl Outside {
    fn kept(&self) -> BTreeMap<String, (String, usize)> {
        self.0.kept.lock().unwrap().clone()
    }

    fn count(&self) -> usize {
        self.kept().len()
    }
}

#[async_trait]
impl<E: Event> DlqStorage<E> for Outside {
    async fn move_to_dlq(&self, event: &E, error: &str) -> Result<(), Refused> {
        let name = event.event_type().to_owned();
        let stands_still = *self.0.stands_still.lock().unwrap();
        self.0.called.notify_one();
        if stands_still {
            std::future::pending::<()>().await;
        }
        {
            let mut failures = self.0.failures.lock().unwrap();
            if *failures > 0 {
                *failures -= 1;
                return Err("away".into());
            }
        }
        if self.0.refuses.lock().unwrap().as_ref() == Some(&name) {
            return Err("unwanted".into());
        }
        let mut kept = self.0.kept.lock().unwrap();
        kept.entry(name).or_insert((error.to_owned(), 0)).1 += 1;
        Ok(())
    }
}

/// Stores a message of this type and gives it up, as a process that is gone by now.
pub(super) async fn give_up(store: &MemoryStore, name: &str) {
    give_up_of(&group(), store, name).await;
}

/// The same for a group.
pub(super) async fn give_up_of(group: &ConsumerGroup, store: &MemoryStore, name: &str) {
    let token = ClaimToken::new(&WorkerId::new("gone").unwrap(), OwnerId::generate());
    let content = EventContent::new(name, Payload::from_text(r#"{"a": 1}"#).unwrap());
    let message = NewInboxEvent::new(format!("message {name}"), group.clone(), "shop", content);
    let message = OmniBoxDomainService::default().create_inbox_event(message).unwrap();
    let mut tx = store.begin().await.unwrap();
    store.create(&mut tx, &message).await.unwrap();
    store.commit(tx).await.unwrap();
    let failure = Failure::new("no stock", Attempt::Counted, Retry::Never);
    assert!(store.inbox().mark_processing(message.id(), &token).await.unwrap());
    assert!(store.inbox().mark_failed(message.id(), &token, &failure).await.unwrap());
}

async fn nothing<S: Store>(_cx: InboxContext<'_, S>) {}

/// A worker with the storage.
fn worker(store: &MemoryStore, plan: &FaultPlan, outside: &Outside) -> InboxWorker<Faulty<MemoryStore>> {
    InboxWorker::builder(Faulty::new(store.clone(), plan))
        .consumer_group(group())
        .poll(Duration::from_millis(5), Duration::from_millis(50))
        .step(DlqStep::new(outside.clone()))
        .handler(on("any", nothing))
        .build()
        .unwrap()
}

/// Runs a worker until a condition holds.
async fn run_until(worker: InboxWorker<Faulty<MemoryStore>>, condition: impl Fn() -> bool) {
    let stop = CancellationToken::new();
    let running = tokio::spawn(worker.run(stop.clone()));
    eventually(LONG, async || condition()).await;
    stop.cancel();
    running.await.unwrap().unwrap();
}

pub(super) async fn uncopied(store: &MemoryStore) -> usize {
    let letters = store.inbox().dead_letters().unwrap();
    letters.list_uncopied(&FetchFilters::new(), None, BatchSize::new(1_000).unwrap()).await.unwrap().len()
}

#[tokio::test(start_paused = true)]
async fn what_a_process_gave_up_before_it_ended_is_copied_by_the_next() {
    let (store, outside) = (MemoryStore::new(), Outside::default());
    for n in 0..120 {
        give_up(&store, &format!("e{n:03}")).await;
    }
    run_until(worker(&store, &FaultPlan::new(), &outside), || outside.count() == 120).await;
    eventually(LONG, async || uncopied(&store).await == 0).await;
    for (name, (error, times)) in outside.kept() {
        assert_eq!((error.as_str(), times), ("no stock", 1), "{name}");
    }
    // what has a copy is not copied again
    let again = Outside::default();
    give_up(&store, "late").await;
    run_until(worker(&store, &FaultPlan::new(), &again), || again.count() > 0).await;
    assert_eq!(again.kept().into_keys().collect::<Vec<_>>(), ["late"]);
}

/// A worker is gone at each point between the copy and its note: the next one copies.
#[tokio::test(start_paused = true)]
async fn a_copy_outlives_a_crash_at_each_point() {
    // in the middle of a copy
    let (store, outside) = (MemoryStore::new(), Outside::default());
    give_up(&store, "order").await;
    *outside.0.stands_still.lock().unwrap() = true;
    let gone = tokio::spawn(worker(&store, &FaultPlan::new(), &outside).run(CancellationToken::new()));
    outside.0.called.notified().await;
    gone.abort();
    assert!(gone.await.unwrap_err().is_cancelled());
    *outside.0.stands_still.lock().unwrap() = false;
    assert_eq!((outside.count(), uncopied(&store).await), (0, 1), "it has no copy, and its row says so");
    run_until(worker(&store, &FaultPlan::new(), &outside), || outside.count() == 1).await;

    // between the copy and its note, and behind the note
    type Stand = fn(&FaultPlan);
    let stands: [(Stand, usize); 2] = [
        (|plan| plan.on(Operation::MarkCopied).nth(1).freeze_before(), 2),
        (|plan| plan.on(Operation::MarkCopied).nth(1).freeze_after(), 1),
    ];
    for (stand, times) in stands {
        let (store, outside, plan) = (MemoryStore::new(), Outside::default(), FaultPlan::new());
        give_up(&store, "order").await;
        stand(&plan);
        let gone = tokio::spawn(worker(&store, &plan, &outside).run(CancellationToken::new()));
        plan.until_frozen().await;
        gone.abort();
        assert!(gone.await.unwrap_err().is_cancelled());
        assert_eq!(outside.kept()["order"].1, 1);
        give_up(&store, "another").await;
        run_until(worker(&store, &FaultPlan::new(), &outside), || outside.count() == 2).await;
        assert_eq!(outside.kept()["order"].1, times, "at least once, and once where it was noted");
        eventually(LONG, async || uncopied(&store).await == 0).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_storage_that_was_away_gets_everything_once() {
    let (store, outside) = (MemoryStore::new(), Outside::default());
    for n in 0..70 {
        give_up(&store, &format!("e{n:03}")).await;
    }
    *outside.0.failures.lock().unwrap() = 40;
    *outside.0.refuses.lock().unwrap() = Some("e007".to_owned());
    run_until(worker(&store, &FaultPlan::new(), &outside), || outside.count() == 69).await;
    assert_eq!(uncopied(&store).await, 1, "what is refused stands in no other's way");
    *outside.0.refuses.lock().unwrap() = None;
    run_until(worker(&store, &FaultPlan::new(), &outside), || outside.count() == 70).await;
    assert!(outside.kept().values().all(|(_, times)| *times == 1), "{:?}", outside.kept());
}

#[tokio::test(start_paused = true)]
async fn what_is_requeued_and_given_up_again_is_copied_again() {
    let (store, outside) = (MemoryStore::new(), Outside::default());
    give_up(&store, "any").await;
    let refusing = || {
        let refuse =
            async |_cx: InboxContext<'_, MemoryStore>| Err::<(), _>(PermanentError::new("no such order"));
        InboxWorker::builder(store.clone())
            .consumer_group(group())
            .step(DlqStep::new(outside.clone()))
            .handler(on("any", refuse))
            .build()
            .unwrap()
    };
    let (worker, size) = (refusing(), BatchSize::new(10).unwrap());
    worker.process_batch(size).await.unwrap();
    assert_eq!(outside.kept()["any"].1, 1, "a batch ends with what was given up before");
    let letters = store.inbox().dead_letters().unwrap();
    store.clock().advance(Duration::from_secs(1));
    letters.requeue(&[store.inbox_events()[0].id()]).await.unwrap();
    let result = worker.process_batch(size).await.unwrap();
    assert_eq!(result.failed_event_ids.len(), 1);
    assert_eq!(outside.kept()["any"].1, 2);
    worker.process_batch(size).await.unwrap();
    assert_eq!(outside.kept()["any"].1, 2, "each failure once");
}

/// Gives everything up.
struct Refusing;

#[async_trait]
impl<E: Event> omni_box_pipeline::ProcessingStep<E> for Refusing {
    async fn execute(&self, _: &E, _: &mut omni_box_pipeline::ProcessingContext<'_>) -> StepResult {
        StepResult::fail("unwanted")
    }
}

/// A relay in both modes, a publisher of batches and a runner feed a storage too.
#[tokio::test]
async fn every_worker_feeds_its_storage() {
    for rows in [false, true] {
        let builder = MemoryStore::builder();
        let store = if rows { builder.rows().build() } else { builder.build() };
        let (broker, outside) = (MemoryBroker::new(), Outside::default());
        broker.create_topic("events", 1);
        let add = async |name: &str| {
            let mut tx = store.begin().await.unwrap();
            let event = NewOutboxEvent::new(name, "events", &serde_json::json!({"a": 1}));
            store.enqueue(&mut tx, event).await.unwrap();
            store.commit(tx).await.unwrap();
        };
        add("relay").await;
        let relay = OutboxRelay::builder(store.clone(), broker.publisher(RawEventConverter))
            .poll_interval(Duration::from_millis(5), Duration::from_millis(50))
            .step(DlqStep::new(outside.clone()))
            .step(Refusing);
        let stop = CancellationToken::new();
        let running = tokio::spawn(relay.build().unwrap().run(stop.clone()));
        eventually(LONG, async || outside.count() == 1).await;
        stop.cancel();
        running.await.unwrap().unwrap();

        add("batch").await;
        let publisher = OutboxPublisher::builder(store.clone(), broker.publisher(RawEventConverter))
            .step(DlqStep::new(outside.clone()))
            .step(Refusing)
            .build()
            .unwrap();
        let (worker, size) = (WorkerId::new("worker").unwrap(), BatchSize::new(10).unwrap());
        eventually(LONG, async || {
            publisher.publish_batch(&worker, size, &FetchFilters::new(), &stop_never()).await.unwrap();
            outside.count() == 2
        })
        .await;
        publisher.close().await.unwrap();
        let failed = |event: &OutboxEvent| event.status() == EventStatus::Failed;
        assert!(store.outbox_events().iter().all(failed));
        assert!(outside.kept()["batch"].0.contains("unwanted"), "{:?}", outside.kept());
    }

    let (store, broker, outside) = (MemoryStore::new(), MemoryBroker::new(), Outside::default());
    broker.create_topic("events", 1);
    broker.send(NewMessage::to("events").key("k").header("event_type", "any").value("{}"));
    let mut runner = InboxConsumerRunner::builder(broker.consumer(&group(), ["events"]), store.clone())
        .retry(short())
        .step(DlqStep::new(outside.clone()))
        .step(Refusing)
        .handler(on("any", nothing))
        .build()
        .unwrap();
    eventually(LONG, async || {
        let deadline = tokio::time::Instant::now() + Duration::from_millis(50);
        runner.process_one(deadline).await.unwrap();
        outside.count() == 1
    })
    .await;
    runner.stop().await.unwrap();
}

fn stop_never() -> CancellationToken {
    CancellationToken::new()
}
