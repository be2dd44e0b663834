//! An event with which the broker cannot be used: its error is none that a publisher knows as the event's own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use omni_box_core::{
    BatchSize, DeliveryMode, Error, ErrorKind, EventPublisher, EventStatus, FetchFilters, Jitter, Reporter,
    RetryPolicy, SendOrder, WorkerId,
};
use omni_box_pipeline::OutboxPublisher;
use omni_box_testkit::{FaultyPublisher, MemoryPublisher};

use super::memory::{Memory, start};
use super::*;

const MODES: [DeliveryMode; 2] = [DeliveryMode::Lanes, DeliveryMode::Rows];
const ORDERS: [SendOrder; 2] = [SendOrder::Ordered, SendOrder::OnePerKey];
const POISON: &str = "poison";

/// A broker that answers the event of a key with an error of its own, and so everything behind it, until it is purged.
struct Poisoned {
    inner: FaultyPublisher<MemoryPublisher>,
    send_order: SendOrder,
    is_broken: AtomicBool,
}

impl Poisoned {
    fn new(memory: &Memory, send_order: SendOrder) -> Self {
        Self { inner: memory.publisher(), send_order, is_broken: AtomicBool::new(false) }
    }
}

#[async_trait]
impl EventPublisher for Poisoned {
    fn send_order(&self) -> SendOrder {
        self.send_order
    }

    async fn submit(&self, events: Vec<Arc<OutboxEvent>>, reporter: &Reporter) {
        let mut well = Vec::new();
        let mut refused = Vec::new();
        for event in events {
            if event.partition_key() == Some(POISON) {
                self.is_broken.store(true, Ordering::SeqCst);
            }
            if self.is_broken.load(Ordering::SeqCst) { refused.push(event.id()) } else { well.push(event) }
        }
        self.inner.submit(well, reporter).await;
        for id in refused {
            reporter.report(id, Err(Error::new(ErrorKind::Unavailable, "unknown server error")));
        }
    }

    async fn purge(&self) {
        self.is_broken.store(false, Ordering::SeqCst);
        self.inner.purge().await;
    }

    async fn check(&self) -> omni_box_core::Result<()> {
        self.inner.check().await
    }
}

fn poison(memory: &Memory) -> OutboxEvent {
    let events = memory.store.outbox_events();
    events.into_iter().find(|event| event.partition_key() == Some(POISON)).expect("it was enqueued")
}

/// Whether no other event was charged with anything.
fn others_are_well(memory: &Memory) -> bool {
    let events = memory.store.outbox_events();
    let mut others = events.iter().filter(|event| event.partition_key() != Some(POISON));
    others.all(|event| event.status() == EventStatus::Completed && event.lifecycle().attempts_made() == 0)
}

fn soon() -> Result<RetryPolicy> {
    Ok(RetryPolicy::new(Duration::from_secs(1), Duration::from_secs(2), Jitter::Equal)?)
}

#[tokio::test(start_paused = true)]
async fn is_found_failed_and_named_while_others_go_on() -> Result<()> {
    for (mode, send_order) in MODES.into_iter().flat_map(|mode| ORDERS.map(|order| (mode, order))) {
        let memory = Memory::new(mode);
        // the first of all, so that it is in front of everything
        memory.enqueue(&[POISON, "a", "b", "c"]).await?;
        let relay = OutboxRelay::builder(memory.store.clone(), Poisoned::new(&memory, send_order));
        let relay = relay.retry(soon()?).build()?;
        let (status, shutdown) = (relay.status(), CancellationToken::new());
        let running = Running { task: tokio::spawn(relay.run(shutdown.clone())), shutdown };
        for second in 1..=120 {
            let took = memory.marked(3 * second).await;
            assert!(took <= Duration::from_secs(5), "{took:?} in second {second}, {mode}, {send_order:?}");
            memory.enqueue(&["a", "b", "c"]).await?;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        memory.marked(3 * 121).await;
        let poison = poison(&memory);
        assert_eq!(poison.status(), EventStatus::Failed, "{mode}, {send_order:?}");
        let error = poison.lifecycle().last_error().expect("a reason");
        assert!(error.contains("unknown server error"), "{error}");
        assert!(others_are_well(&memory), "{mode}, {send_order:?}");
        eventually(SOON, async || status.now().is_ready()).await;
        running.stop().await?;
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn is_found_by_publish_batch_too() -> Result<()> {
    for (mode, send_order) in MODES.into_iter().flat_map(|mode| ORDERS.map(|order| (mode, order))) {
        let memory = Memory::new(mode);
        memory.enqueue(&[POISON, "a", "b", "c"]).await?;
        let outbox = OutboxPublisher::builder(memory.store.clone(), Poisoned::new(&memory, send_order));
        let outbox = outbox.retry(soon()?).build()?;
        let (worker, size) = (WorkerId::new("worker")?, BatchSize::new(100)?);
        for _call in 0..600 {
            outbox.publish_batch(&worker, size, &FetchFilters::default(), &CancellationToken::new()).await?;
            memory.enqueue(&["a"]).await?;
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        // in mode rows a batch has one event of a key
        let publish = async || {
            outbox.publish_batch(&worker, size, &FetchFilters::default(), &CancellationToken::new()).await
        };
        for _call in 0..600 {
            publish().await?;
        }
        assert_eq!(poison(&memory).status(), EventStatus::Failed, "{mode}, {send_order:?}");
        assert!(others_are_well(&memory), "{mode}, {send_order:?}");
        outbox.close().await?;
    }
    Ok(())
}

/// Nothing shows that it is one event's fault.
#[tokio::test(start_paused = true)]
async fn is_not_an_event_that_is_alone_with_an_outage() -> Result<()> {
    for (mode, send_order) in MODES.into_iter().flat_map(|mode| ORDERS.map(|order| (mode, order))) {
        let memory = Memory::new(mode);
        memory.enqueue(&[POISON]).await?;
        let relay = OutboxRelay::builder(memory.store.clone(), Poisoned::new(&memory, send_order));
        let running = start(relay);
        tokio::time::sleep(Duration::from_secs(600)).await;
        running.stop().await?;
        assert!(memory.is_untouched(), "{mode}, {send_order:?}");
    }
    Ok(())
}
