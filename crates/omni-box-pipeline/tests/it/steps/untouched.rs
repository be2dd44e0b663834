//! Without steps, a batch reaches the broker as it was fetched.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use omni_box_core::{
    EventPublisher, NewOutboxEvent, OutboxEvent, OutboxExt, RawEventConverter, Reporter, Result, SendOrder,
    Store,
};
use omni_box_harness::eventually;
use omni_box_pipeline::OutboxRelay;
use omni_box_testkit::{MemoryBroker, MemoryStore};
use tokio_util::sync::CancellationToken;

use super::rule::{Rule, Ruled};
use super::side::LONG;

/// Notes how many events each submission has.
struct Counting<P>(P, Arc<Mutex<Vec<usize>>>);

#[async_trait]
impl<P: EventPublisher> EventPublisher for Counting<P> {
    fn send_order(&self) -> SendOrder {
        self.0.send_order()
    }

    async fn submit(&self, events: Vec<Arc<OutboxEvent>>, reporter: &Reporter) {
        self.1.lock().unwrap().push(events.len());
        self.0.submit(events, reporter).await;
    }

    async fn purge(&self) {
        self.0.purge().await;
    }

    async fn check(&self) -> Result<()> {
        self.0.check().await
    }
}

#[tokio::test]
async fn without_steps_a_batch_passes_untouched() {
    for has_steps in [false, true] {
        let (store, broker, sizes) = (MemoryStore::new(), MemoryBroker::new(), Arc::default());
        broker.create_topic("events", 1);
        let mut tx = store.begin().await.unwrap();
        for n in 0..20 {
            let event = NewOutboxEvent::new(format!("e{n}"), "events", &serde_json::json!({"n": n}));
            store.enqueue(&mut tx, event.partition_key("key")).await.unwrap();
        }
        store.commit(tx).await.unwrap();
        let publisher = Counting(broker.publisher(RawEventConverter), Arc::clone(&sizes));
        let relay = OutboxRelay::builder(store, publisher)
            .poll_interval(Duration::from_millis(5), Duration::from_millis(50));
        let relay = if has_steps { relay.step(Ruled::new(Rule::Next)) } else { relay };
        let stop = CancellationToken::new();
        let running = tokio::spawn(relay.build().unwrap().run(stop.clone()));
        eventually(LONG, async || broker.records("events").len() == 20).await;
        stop.cancel();
        running.await.unwrap().unwrap();
        let sizes = sizes.lock().unwrap();
        let expected = if has_steps { vec![1; 20] } else { vec![20] };
        assert_eq!(*sizes, expected, "with steps, one event of a key is in flight at a time");
    }
}
