//! Topics that are missing, or take nothing.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use omni_box_core::{DeliveryMode, Error, ErrorKind, EventPublisher, EventStatus, Reporter, SendOrder};
use omni_box_testkit::{FaultPlan, Faulty, FaultyPublisher, MemoryPublisher, Operation};
use tokio::time::{Instant, timeout};

use super::memory::{Memory, TOPIC, start};
use super::*;

#[tokio::test(start_paused = true)]
async fn a_topic_found_missing_stops_what_was_read_meanwhile() -> Result<()> {
    let memory = Memory::new(DeliveryMode::Lanes);
    // the answer comes with the end of the call, after the next event of the key was read
    memory.plan.on(Operation::Submit).freeze_before();
    memory.plan.on(Operation::Deliver).fail_before(ErrorKind::TopicUnavailable);
    memory.enqueue(&["a"]).await?;
    let mut running = start(memory.relay(Faulty::new(memory.store.clone(), &memory.plan)));
    memory.plan.until_frozen().await;
    memory.enqueue(&["a"]).await?;
    timeout(Duration::from_secs(3), &mut running.task).await.expect_err("the relay goes on");
    memory.plan.release();
    memory.completed(2).await;
    assert!(memory.is_in_order(TOPIC));
    assert_eq!(memory.attempts_made(), 0);
    running.stop().await
}

const STUCK: &str = "stuck";

/// A broker that has one topic without enough replicas, as a client sees it that tries without end: no event of the topic is
/// reported before a purge. All others, and the broker itself, are well.
struct OneTopicStuck {
    inner: FaultyPublisher<MemoryPublisher>,
    send_order: SendOrder,
    is_stuck: Arc<AtomicBool>,
    waiting: Mutex<Vec<(EventId, Reporter)>>,
}

impl OneTopicStuck {
    fn new(memory: &Memory, send_order: SendOrder, is_stuck: Arc<AtomicBool>) -> Self {
        Self { inner: memory.publisher(), send_order, is_stuck, waiting: Mutex::default() }
    }
}

/// A broker with one partition that takes nothing: events of the key `moves` are reported, all others of the topic are not.
struct HalfStuck(OneTopicStuck);

impl HalfStuck {
    fn new(memory: &Memory) -> Self {
        Self(OneTopicStuck::new(memory, SendOrder::Ordered, Arc::new(AtomicBool::new(true))))
    }
}

#[async_trait]
impl EventPublisher for HalfStuck {
    fn send_order(&self) -> SendOrder {
        self.0.send_order()
    }

    async fn submit(&self, events: Vec<Arc<OutboxEvent>>, reporter: &Reporter) {
        let (well, stuck): (Vec<_>, Vec<_>) =
            events.into_iter().partition(|event| event.partition_key() == Some("moves"));
        let stuck = stuck.iter().map(|event| (event.id(), reporter.clone()));
        self.0.waiting.lock().expect("nobody panics").extend(stuck);
        self.0.inner.submit(well, reporter).await;
    }

    async fn purge(&self) {
        self.0.purge().await;
    }

    async fn check(&self) -> omni_box_core::Result<()> {
        self.0.check().await
    }
}

#[async_trait]
impl EventPublisher for OneTopicStuck {
    fn send_order(&self) -> SendOrder {
        self.send_order
    }

    async fn submit(&self, events: Vec<Arc<OutboxEvent>>, reporter: &Reporter) {
        let is_stuck = self.is_stuck.load(Ordering::SeqCst);
        let (stuck, well): (Vec<_>, Vec<_>) =
            events.into_iter().partition(|event| is_stuck && event.topic() == STUCK);
        self.waiting
            .lock()
            .expect("nobody panics")
            .extend(stuck.iter().map(|event| (event.id(), reporter.clone())));
        self.inner.submit(well, reporter).await;
    }

    async fn purge(&self) {
        for (id, reporter) in self.waiting.lock().expect("nobody panics").drain(..) {
            reporter.report(id, Err(Error::new(ErrorKind::Unavailable, "purged")));
        }
        self.inner.purge().await;
    }

    async fn check(&self) -> omni_box_core::Result<()> {
        self.inner.check().await
    }
}

#[tokio::test(start_paused = true)]
async fn a_topic_that_takes_nothing_stops_no_other() -> Result<()> {
    for send_order in [SendOrder::Ordered, SendOrder::OnePerKey] {
        let memory = Memory::new(DeliveryMode::Lanes);
        memory.broker.create_topic(STUCK, 2);
        let is_stuck = Arc::new(AtomicBool::new(true));
        let publisher = OneTopicStuck::new(&memory, send_order, is_stuck.clone());
        // the first of every lane, and more than fits into the window
        let keys: Vec<String> = (0..64).map(|number| format!("key-{number}")).collect();
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        for _round in 0..3 {
            memory.enqueue_to(STUCK, &keys).await?;
        }
        let relay = OutboxRelay::builder(memory.store.clone(), publisher).batch_size(20);
        let mut running = start(relay);
        for round in 1..=10 {
            memory.enqueue(&["a", "b", "c"]).await?;
            let took = memory.completed(3 * round).await;
            assert!(took <= Duration::from_secs(30), "{took:?} in round {round}");
            timeout(Duration::from_secs(60), &mut running.task).await.expect_err("the relay goes on");
        }
        assert_eq!(memory.attempts_made(), 0);
        assert_eq!(memory.broker.records(STUCK).len(), 0);

        is_stuck.store(false, Ordering::SeqCst);
        memory.marked(3 * 10 + 3 * 64).await;
        assert!(memory.is_in_order(TOPIC) && memory.is_in_order(STUCK));
        running.stop().await?;
    }
    Ok(())
}

/// Of a stop in the middle of everything: a settlement is under way, and the broker's client does not let go of a topic that is stuck.
#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_let_go_keeps_what_it_has_and_nothing_else() -> Result<()> {
    let (memory, database) = (Memory::new(DeliveryMode::Lanes), FaultPlan::new());
    memory.broker.create_topic(STUCK, 2);
    let publisher = OneTopicStuck::new(&memory, SendOrder::Ordered, Arc::new(AtomicBool::new(true)));
    memory.plan.on(Operation::Purge).always().freeze_before();
    database.on(Operation::SettleLanes).delay(Duration::from_secs(4));
    memory.enqueue(&["a", "b", "c", "d"]).await?;
    memory.enqueue_to(STUCK, &["a"]).await?;
    let store = Faulty::new(memory.store.clone(), &database);
    let relay = OutboxRelay::builder(store, publisher).drain_deadline(Duration::from_secs(2)).build()?;
    let shutdown = CancellationToken::new();
    let running = Running { task: tokio::spawn(relay.run(shutdown.clone())), shutdown };
    eventually(SOON, async || memory.published() == 4).await;
    running.stop().await?;
    let events = memory.store.outbox_events();
    let completed = events.iter().filter(|event| event.status() == EventStatus::Completed).count();
    assert_eq!(completed, 4, "what was acknowledged is marked");

    memory.plan.clear();
    let next = memory.relay(memory.store.clone()).build()?;
    let (status, shutdown) = (next.status(), CancellationToken::new());
    let next = Running { task: tokio::spawn(next.run(shutdown.clone())), shutdown };
    let begun = Instant::now();
    // the first counts as alive for as long as a lease lives, so that half of the lanes is the other's share
    eventually(SOON, async || status.now().lanes.len() >= 8).await;
    let took = begun.elapsed();
    assert!(took <= Duration::from_secs(1), "{took:?} until idle lanes have their next owner");
    next.stop().await
}

pub(super) const AWAY: &str = "away";

/// Counts what of the topic that is away is tried.
pub(super) struct Counted {
    pub(super) inner: FaultyPublisher<MemoryPublisher>,
    pub(super) tried: Arc<AtomicUsize>,
}

#[async_trait]
impl EventPublisher for Counted {
    fn send_order(&self) -> SendOrder {
        self.inner.send_order()
    }

    async fn submit(&self, events: Vec<Arc<OutboxEvent>>, reporter: &Reporter) {
        let tried = events.iter().filter(|event| event.topic() == AWAY).count();
        self.tried.fetch_add(tried, Ordering::SeqCst);
        self.inner.submit(events, reporter).await;
    }

    async fn purge(&self) {
        self.inner.purge().await;
    }

    async fn check(&self) -> omni_box_core::Result<()> {
        self.inner.check().await
    }
}

/// A few heads are tried for all of them, those of good topics are not delayed, and all go as soon as the topic is there.
#[tokio::test(start_paused = true)]
async fn a_topic_that_is_away_is_tried_by_a_few_of_its_keys() -> Result<()> {
    let memory = Memory::new(DeliveryMode::Lanes);
    let tried = Arc::new(AtomicUsize::new(0));
    let keys: Vec<String> = (0..2000).map(|number| format!("key-{number}")).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    memory.enqueue_to(AWAY, &keys).await?;
    let publisher = Counted { inner: memory.publisher(), tried: tried.clone() };
    let mut running = start(OutboxRelay::builder(memory.store.clone(), publisher));
    let minutes = 10;
    for minute in 1..=minutes {
        memory.enqueue(&["a", "b"]).await?;
        let took = memory.completed(2 * minute).await;
        assert!(took <= Duration::from_secs(2), "{took:?} in minute {minute}");
        timeout(Duration::from_secs(60), &mut running.task).await.expect_err("the relay goes on");
    }
    // each once, a hundred at a time while the pause grows, and a hundred each half minute, where all of them would be 40,000
    let tried = tried.load(Ordering::SeqCst);
    assert!(tried <= 2000 + 100 * (10 + 3 * minutes), "{tried} were tried in {minutes} minutes");
    assert!(tried >= 2000 + 100 * minutes, "{tried} were tried in {minutes} minutes");
    assert_eq!(memory.attempts_made(), 0);

    memory.broker.create_topic(AWAY, 2);
    let took = memory.marked(2 * minutes + 2000).await;
    assert!(took <= Duration::from_secs(40), "{took:?} after the topic came back");
    assert!(memory.is_in_order(TOPIC) && memory.is_in_order(AWAY));
    running.stop().await
}

const KEYS: [&str; 26] = [
    "a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p", "q", "r", "s", "t", "u",
    "v", "w", "x", "y", "z",
];

/// Whether each event of the topic that is stuck is held, at no attempt's cost.
fn are_held(memory: &Memory) -> bool {
    let events = memory.store.outbox_events();
    let mut stuck = events.iter().filter(|event| event.topic() == STUCK).map(Event::lifecycle);
    stuck.all(|life| life.last_error().is_some() && life.attempts_made() == 0)
}

#[tokio::test(start_paused = true)]
async fn a_topic_that_takes_nothing_is_found_while_others_go_on() -> Result<()> {
    for send_order in [SendOrder::Ordered, SendOrder::OnePerKey] {
        let memory = Memory::new(DeliveryMode::Lanes);
        memory.broker.create_topic(STUCK, 2);
        // something else is in flight most of the time
        memory.plan.on(Operation::Deliver).always().delay(Duration::from_millis(300));
        let publisher = OneTopicStuck::new(&memory, send_order, Arc::new(AtomicBool::new(true)));
        memory.enqueue_to(STUCK, &KEYS).await?;
        let mut running = start(OutboxRelay::builder(memory.store.clone(), publisher));
        for step in 1..=150 {
            memory.enqueue(&[KEYS[step % KEYS.len()]]).await?;
            timeout(Duration::from_millis(400), &mut running.task).await.expect_err("the relay goes on");
            let (published, second) = (memory.published(), step * 2 / 5);
            assert!(published + 8 >= step, "{published} of {step} events in second {second}, {send_order:?}");
            assert!(second < 15 || are_held(&memory), "second {second}, {send_order:?}");
        }
        memory.completed(150).await;
        assert!(memory.is_in_order(TOPIC), "nothing was sent twice, {send_order:?}");
        running.stop().await?;
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_relay_that_starts_while_a_topic_is_stuck_stops_no_key() -> Result<()> {
    for send_order in [SendOrder::Ordered, SendOrder::OnePerKey] {
        let memory = Memory::new(DeliveryMode::Lanes);
        memory.broker.create_topic(STUCK, 2);
        let is_stuck = Arc::new(AtomicBool::new(true));
        let relay = || {
            let publisher = OneTopicStuck::new(&memory, send_order, is_stuck.clone());
            OutboxRelay::builder(memory.store.clone(), publisher)
        };
        memory.enqueue_to(STUCK, &KEYS).await?;
        let first = start(relay());
        for second in 1..=30 {
            memory.enqueue(&KEYS).await?;
            memory.completed(26 * second).await;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        // what is tried again is in flight when the lanes are divided anew
        let second = start(relay());
        for round in 31..=90 {
            memory.enqueue(&KEYS).await?;
            let took = memory.completed(26 * round).await;
            assert!(took <= Duration::from_secs(30), "{took:?} in round {round}, {send_order:?}");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        assert!(memory.is_in_order(TOPIC), "{send_order:?}");
        first.stop().await?;
        second.stop().await?;
    }
    Ok(())
}

/// It goes on by half, so that it is not taken for one that is stuck.
#[tokio::test(start_paused = true)]
async fn an_event_that_stands_still_keeps_no_lane_from_its_next_owner() -> Result<()> {
    let (memory, plan) = (Memory::new(DeliveryMode::Lanes), FaultPlan::new());
    let publisher = HalfStuck::new(&memory);
    let relay = OutboxRelay::builder(memory.store.clone(), publisher).build()?;
    let (status, shutdown) = (relay.status(), CancellationToken::new());
    let first = Running { task: tokio::spawn(relay.run(shutdown.clone())), shutdown };
    memory.enqueue(&KEYS).await?;
    memory.enqueue(&["moves"]).await?;
    eventually(SOON, async || status.now().in_flight == 26 && memory.published() == 1).await;
    let second = start(memory.relay(Faulty::new(memory.store.clone(), &plan)));
    let begun = Instant::now();
    while status.now().lanes.len() > 8 {
        memory.enqueue(&["moves"]).await?;
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert!(begun.elapsed() <= Duration::from_secs(30), "{} lanes are kept", status.now().lanes.len());
    }
    first.stop().await?;
    second.stop().await
}
