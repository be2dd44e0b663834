//! Several runners in one process: of one group and of two, on one store.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use omni_box_core::{
    ConsumerGroup, Event, EventStatus, HandlerError, HandlerOutcome, InboxContext, InboxHandler, Result,
};
use omni_box_harness::eventually;
use omni_box_pipeline::{InboxConsumerRunner, InboxStatus};
use omni_box_testkit::{MemoryBroker, MemoryStore, NewMessage};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::service::LONG;

/// A group, and a key of its messages.
type GroupKey = (String, String);

/// Notes which messages took effect, by group and key.
#[derive(Clone, Default)]
struct Notes(Arc<Mutex<HashMap<GroupKey, Vec<String>>>>);

#[async_trait::async_trait]
impl InboxHandler<MemoryStore> for Notes {
    async fn handle(&self, cx: InboxContext<'_, MemoryStore>) -> Result<HandlerOutcome, HandlerError> {
        let key = cx.event.partition_key().unwrap_or_default().to_owned();
        let of = (cx.event.consumer_group().to_string(), key);
        self.0.lock().unwrap().entry(of).or_default().push(cx.event.message_id().to_owned());
        tokio::task::yield_now().await;
        Ok(HandlerOutcome::Completed)
    }
}

struct Runner {
    status: InboxStatus,
    stop: CancellationToken,
    task: JoinHandle<Result<()>>,
}

impl Runner {
    fn start(store: &MemoryStore, broker: &MemoryBroker, group: &str, notes: &Notes) -> Self {
        let consumer = broker.consumer(&ConsumerGroup::new(group).unwrap(), ["orders"]);
        let runner =
            InboxConsumerRunner::builder(consumer, store.clone()).handler(notes.clone()).build().unwrap();
        let (status, stop) = (runner.status(), CancellationToken::new());
        Self { status, task: tokio::spawn(runner.run(stop.clone())), stop }
    }

    fn partitions(&self) -> usize {
        self.status.now().partitions.len()
    }

    async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap().unwrap();
    }
}

const KEYS: usize = 10;

fn send(broker: &MemoryBroker, from: usize, to: usize) {
    for n in from..to {
        let (id, key) = (format!("m{n:03}"), format!("k{}", n % KEYS));
        let message = NewMessage::to("orders").key(key).header("event_id", id);
        broker.send(message.header("event_type", "order.placed").value("{}"));
    }
}

/// Each group handles each message once, a key in order, however its runners share the partitions and come and go.
#[tokio::test(start_paused = true)]
async fn runners_of_a_process_share_the_messages_of_their_group() {
    let (store, broker, notes) = (MemoryStore::new(), MemoryBroker::new(), Notes::default());
    broker.create_topic("orders", 6);
    let start = |group| Runner::start(&store, &broker, group, &notes);
    let drained = async || {
        eventually(LONG, async || {
            ["shipping", "billing"]
                .iter()
                .all(|group| broker.lag(&ConsumerGroup::new(*group).unwrap(), "orders") == 0)
        })
        .await;
    };
    let shipping = [start("shipping"), start("shipping"), start("shipping")];
    let billing = start("billing");
    let shares = || shipping.iter().map(Runner::partitions).collect::<Vec<_>>();
    eventually(LONG, async || shares() == [2, 2, 2] && billing.partitions() == 6).await;
    send(&broker, 0, 200);
    drained().await;

    // one goes in good order, one joins, and one is gone at once
    let [first, second, third] = shipping;
    send(&broker, 200, 300);
    first.stop().await;
    let fourth = start("shipping");
    send(&broker, 300, 400);
    drained().await;
    third.task.abort();
    assert!(third.task.await.unwrap_err().is_cancelled());
    eventually(LONG, async || second.partitions() + fourth.partitions() == 6).await;
    send(&broker, 400, 500);
    drained().await;
    for runner in [second, fourth, billing] {
        runner.stop().await;
    }

    let rows = store.inbox_events();
    assert_eq!(rows.len(), 1_000, "a row for each message and group");
    assert!(rows.iter().all(|row| row.lifecycle().status() == EventStatus::Completed));
    // after a runner that was gone at once, an attempt is counted before its handler
    assert!(rows.iter().all(|row| row.lifecycle().attempts_made() <= 1));
    let notes = notes.0.lock().unwrap();
    assert_eq!(notes.len(), 2 * KEYS);
    for (of, handled) in &*notes {
        assert!(handled.is_sorted() && handled.len() == 500 / KEYS, "{of:?}: {handled:?}");
    }
}
