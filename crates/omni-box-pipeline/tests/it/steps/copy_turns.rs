//! When storages outside are fed, and with what: whose rows, in which turns, and how soon.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use omni_box_core::{
    BatchSize, ConsumerGroup, Event, EventContent, EventRepository, HandlerError, HandlerOutcome,
    InboxContext, InboxHandler, NewInboxEvent, OmniBoxDomainService, Payload, PermanentError, Result, Store,
};
use omni_box_harness::eventually;
use omni_box_pipeline::{DlqStep, DlqStorage, InboxConsumerRunner, InboxWorker};
use omni_box_testkit::{MemoryBroker, MemoryStore};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::copies::{give_up, give_up_of, uncopied};
use super::side::{LONG, group};

type Choice = Box<dyn Fn(&str) -> bool + Send>;

/// Notes when it was called with what, by the event's type, and refuses what a test says.
#[derive(Clone)]
struct Diary(Arc<Mutex<Pages>>);

struct Pages {
    calls: Vec<(Instant, String)>,
    refuses: Choice,
}

impl Diary {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(Pages { calls: Vec::new(), refuses: Box::new(|_| false) })))
    }

    fn refuse(&self, choice: impl Fn(&str) -> bool + Send + 'static) {
        self.0.lock().unwrap().refuses = Box::new(choice);
    }

    fn calls(&self) -> Vec<(Instant, String)> {
        self.0.lock().unwrap().calls.clone()
    }

    fn names(&self) -> Vec<String> {
        self.calls().into_iter().map(|(_, name)| name).collect()
    }

    /// What it was called with at one time of a paused clock, and that time.
    fn turns(&self) -> Vec<(Instant, Vec<String>)> {
        let mut turns: Vec<(Instant, Vec<String>)> = Vec::new();
        for (time, name) in self.calls() {
            match turns.last_mut().filter(|(last, _)| *last == time) {
                Some((_, names)) => names.push(name),
                None => turns.push((time, vec![name])),
            }
        }
        turns
    }
}

#[async_trait]
impl<E: Event> DlqStorage<E> for Diary {
    async fn move_to_dlq(
        &self,
        event: &E,
        _error: &str,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let mut pages = self.0.lock().unwrap();
        let name = event.event_type().to_owned();
        let is_refused = (pages.refuses)(&name);
        pages.calls.push((Instant::now(), name));
        if is_refused { Err("unwanted".into()) } else { Ok(()) }
    }
}

/// Gives up whatever comes.
struct Refusing;

#[async_trait]
impl InboxHandler<MemoryStore> for Refusing {
    async fn handle(&self, _: InboxContext<'_, MemoryStore>) -> Result<HandlerOutcome, HandlerError> {
        Err(PermanentError::new("no stock").into())
    }
}

fn worker(store: &MemoryStore, diary: &Diary) -> InboxWorker<MemoryStore> {
    InboxWorker::builder(store.clone())
        .consumer_group(group())
        .poll(Duration::from_millis(5), Duration::from_millis(50))
        .step(DlqStep::new(diary.clone()))
        .handler(Refusing)
        .build()
        .unwrap()
}

struct Running {
    stop: CancellationToken,
    task: JoinHandle<Result<()>>,
}

impl Running {
    fn start(worker: InboxWorker<MemoryStore>) -> Self {
        let stop = CancellationToken::new();
        Self { task: tokio::spawn(worker.run(stop.clone())), stop }
    }

    async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap().unwrap();
    }
}

/// Stores a message that no worker has seen yet.
async fn store_message(store: &MemoryStore, name: &str) {
    let content = EventContent::new(name, Payload::from_text("{}").unwrap());
    let message = NewInboxEvent::new(format!("message {name}"), group(), "shop", content);
    let message = OmniBoxDomainService::default().create_inbox_event(message).unwrap();
    let mut tx = store.begin().await.unwrap();
    store.create(&mut tx, &message).await.unwrap();
    store.commit(tx).await.unwrap();
}

/// Gives so many up, and returns their names in order.
async fn give_up_many(store: &MemoryStore, number: usize) -> Vec<String> {
    let names: Vec<String> = (0..number).map(|n| format!("e{n:03}")).collect();
    for name in &names {
        give_up(store, name).await;
    }
    names
}

#[tokio::test(start_paused = true)]
async fn what_another_group_has_given_up_is_left_to_it() {
    let (store, diary) = (MemoryStore::new(), Diary::new());
    let another = ConsumerGroup::new("another").unwrap();
    give_up_of(&another, &store, "theirs").await;
    give_up(&store, "of a worker").await;
    let running = Running::start(worker(&store, &diary));
    eventually(LONG, async || !diary.calls().is_empty()).await;
    running.stop().await;

    give_up(&store, "of a runner").await;
    let broker = MemoryBroker::new();
    broker.create_topic("events", 1);
    let mut runner = InboxConsumerRunner::builder(broker.consumer(&group(), ["events"]), store.clone())
        .step(DlqStep::new(diary.clone()))
        .handler(Refusing)
        .build()
        .unwrap();
    runner.process_one(Instant::now()).await.unwrap();
    runner.stop().await.unwrap();
    assert_eq!(diary.names(), ["of a worker", "of a runner"]);
    assert_eq!(uncopied(&store).await, 1, "theirs waits for a worker of its group");
}

#[tokio::test(start_paused = true)]
async fn a_turn_ends_with_five_refusals_and_the_next_begins_behind_them() {
    let (store, diary) = (MemoryStore::new(), Diary::new());
    let names = give_up_many(&store, 12).await;
    diary.refuse(|_| true);
    let running = Running::start(worker(&store, &diary));
    eventually(LONG, async || diary.turns().len() > 3).await;
    let turns = diary.turns();
    let tried: Vec<&[String]> = turns.iter().map(|(_, names)| names.as_slice()).collect();
    // once all were refused, the first are tried again
    assert_eq!(tried[..4], [&names[..5], &names[5..10], &names[10..], &names[..5]]);
    let pause = turns[1].0 - turns[0].0;
    assert!(pause >= Duration::from_millis(50), "{pause:?} between two turns");

    diary.refuse(|_| false);
    eventually(LONG, async || uncopied(&store).await == 0).await;
    running.stop().await;
}

/// It stands in the way of no other, however many such there are.
#[tokio::test(start_paused = true)]
async fn what_a_storage_never_takes_holds_nothing_up() {
    let (store, diary) = (MemoryStore::new(), Diary::new());
    let names = give_up_many(&store, 30).await;
    // four of five: never five in a row
    diary.refuse(|name| !name.ends_with('0') && !name.ends_with('5'));
    let running = Running::start(worker(&store, &diary));
    eventually(LONG, async || diary.calls().len() >= 30).await;
    assert_eq!(diary.turns()[0].1, names, "one turn");
    eventually(LONG, async || uncopied(&store).await == 24).await;
    running.stop().await;

    // the first ten never: what comes behind them is copied, and they are tried again by the same worker
    let (store, diary) = (MemoryStore::new(), Diary::new());
    let names = give_up_many(&store, 11).await;
    diary.refuse(|name| name < "e010");
    let running = Running::start(worker(&store, &diary));
    eventually(LONG, async || diary.names().contains(&names[10])).await;
    diary.refuse(|_| false);
    eventually(LONG, async || uncopied(&store).await == 0).await;
    assert_eq!(diary.names().iter().filter(|name| **name == names[10]).count(), 1);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_worker_copies_page_after_page_and_a_single_batch_one_page() {
    let (store, diary) = (MemoryStore::new(), Diary::new());
    let names = give_up_many(&store, 120).await;
    let running = Running::start(worker(&store, &diary));
    eventually(LONG, async || uncopied(&store).await == 0).await;
    running.stop().await;
    assert_eq!(diary.turns()[0].1, names, "nothing is waited for between two pages");

    let (store, diary) = (MemoryStore::new(), Diary::new());
    give_up_many(&store, 120).await;
    let worker = worker(&store, &diary);
    for copied in [50, 100, 120, 120] {
        worker.process_batch(BatchSize::new(1).unwrap()).await.unwrap();
        assert_eq!(diary.calls().len(), copied);
    }
    worker.close().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_is_given_up_now_is_copied_now() {
    let (store, diary) = (MemoryStore::new(), Diary::new());
    let running = Running::start(worker(&store, &diary));
    for name in ["first", "second", "third", "fourth"] {
        // with nothing to copy it looks less and less often
        sleep(Duration::from_secs(200)).await;
        store_message(&store, name).await;
        let stored = Instant::now();
        eventually(LONG, async || diary.names().iter().any(|copied| copied == name)).await;
        let took = diary.calls().last().unwrap().0 - stored;
        assert!(took < Duration::from_secs(1), "the copy of the {name} took {took:?}");
    }
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn single_batches_keep_to_the_turns_too() {
    let (store, diary) = (MemoryStore::new(), Diary::new());
    give_up_many(&store, 12).await;
    diary.refuse(|_| true);
    let worker = worker(&store, &diary);
    for turns in [1, 2] {
        for _ in 0..100 {
            worker.process_batch(BatchSize::new(1).unwrap()).await.unwrap();
        }
        assert_eq!(diary.calls().len(), 5 * turns);
        sleep(Duration::from_secs(1)).await;
    }
    worker.close().await.unwrap();
}

/// A storage that is away is not asked more often because more is given up.
#[tokio::test(start_paused = true)]
async fn what_is_given_up_while_a_storage_is_away_wakes_no_turn() {
    let (store, diary) = (MemoryStore::new(), Diary::new());
    give_up_many(&store, 200).await;
    diary.refuse(|_| true);
    let running = Running::start(worker(&store, &diary));
    // by now it waits for 15 s at least
    eventually(LONG, async || diary.turns().len() == 11).await;
    let begun = Instant::now();
    for second in 0..20 {
        store_message(&store, &format!("late {second}")).await;
        sleep(Duration::from_secs(1)).await;
    }
    let turns = diary.turns().into_iter().filter(|(time, _)| *time > begun).count();
    assert!(turns <= 2, "{turns} turns in 20 s");
    diary.refuse(|_| false);
    eventually(LONG, async || uncopied(&store).await == 0).await;
    running.stop().await;
}
