//! Workers of one process end together.

#![allow(clippy::unwrap_used, reason = "helpers outside of test functions may fail a test too")]

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use omni_box_core::{
    ConsumerGroup, EnvelopeEventConverter, Error, ErrorKind, InboxContext, InboxHandler, NewOutboxEvent,
    OutboxExt, Result, Store,
};
use omni_box_pipeline::{InboxConsumerRunner, InboxWorker, OutboxRelay, Workers, on};
use omni_box_testkit::{FaultPlan, Faulty, MemoryBroker, MemoryStore, Operation};
use tokio::sync::oneshot;

/// A relay and an inbox on one store and broker.
fn both(store: &MemoryStore, handler: impl InboxHandler<MemoryStore>) -> Workers {
    let broker = MemoryBroker::new();
    broker.create_topic("orders", 1);
    let relay =
        OutboxRelay::builder(store.clone(), broker.publisher(EnvelopeEventConverter)).build().unwrap();
    let consumer = broker.consumer(&ConsumerGroup::new("shipping").unwrap(), ["orders"]);
    let inbox = InboxConsumerRunner::builder(consumer, store.clone()).handler(handler).build().unwrap();
    Workers::new().relay(relay).inbox(inbox)
}

async fn ship(mut cx: InboxContext<'_, MemoryStore>, order: u32) -> Result<()> {
    cx.conn().insert("shipments", &order.to_string(), &order).await
}

/// Adds a task that notes that it was told to stop.
fn watched(workers: Workers) -> (Workers, Arc<AtomicBool>) {
    let drained = Arc::new(AtomicBool::new(false));
    let note = Arc::clone(&drained);
    let workers = workers.task("watch", |stop| async move {
        stop.cancelled().await;
        note.store(true, Ordering::SeqCst);
        Ok::<_, io::Error>(())
    });
    (workers, drained)
}

#[tokio::test(start_paused = true)]
async fn a_stop_drains_all() {
    let (workers, drained) = watched(both(&MemoryStore::new(), on("order.placed", ship)));
    workers.run_until(async {}).await.unwrap();
    assert!(drained.load(Ordering::SeqCst));
}

#[tokio::test(start_paused = true)]
async fn a_probe_sees_whether_all_are_ready() {
    let workers = both(&MemoryStore::new(), on("order.placed", ship));
    let status = workers.status();
    assert!(!status.is_running() && !status.is_ready());
    let ready = async {
        while !status.is_ready() {
            tokio::task::yield_now().await;
        }
        assert!(status.is_running());
        assert_eq!((status.relays().len(), status.inboxes().len()), (1, 1));
    };
    workers.run_until(ready).await.unwrap();
    assert!(!status.is_running() && !status.is_ready());
}

#[tokio::test(start_paused = true)]
async fn the_first_failure_stops_the_others_and_is_named() {
    let (workers, drained) = watched(both(&MemoryStore::new(), on("order.placed", ship)));
    let workers = workers.task("http", |_| async { Err(io::Error::other("port is taken")) });
    let error = workers.run_until(std::future::pending()).await.unwrap_err();
    assert_eq!(error.chain(), r#"worker "http" failed: port is taken"#);
    assert!(drained.load(Ordering::SeqCst));
}

#[tokio::test(start_paused = true)]
async fn a_relay_that_ends_is_noticed() {
    let plan = FaultPlan::new();
    plan.on(Operation::DeliveryMode).fail_before(ErrorKind::Misconfigured);
    let store = Faulty::new(MemoryStore::new(), &plan);
    let broker = MemoryBroker::new();
    broker.create_topic("orders", 1);
    let relay = OutboxRelay::builder(store, broker.publisher(EnvelopeEventConverter)).build().unwrap();
    let (workers, drained) = watched(Workers::new().relay(relay));
    let error = workers.run_until(std::future::pending()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Misconfigured);
    assert!(error.to_string().contains(r#"worker "relay" failed"#), "{error}");
    assert!(drained.load(Ordering::SeqCst));
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_named_and_a_task_that_is_done_stops_nothing() {
    let (done, is_done) = oneshot::channel();
    let (workers, drained) = watched(Workers::new());
    let workers = workers
        .task("migration", |_| async {
            done.send(()).unwrap();
            Ok::<_, Error>(())
        })
        .task("broken", |_| async {
            is_done.await.unwrap();
            panic!("as the test wants it");
            #[expect(unreachable_code, reason = "says the type")]
            Ok::<_, Error>(())
        });
    let error = workers.run_until(std::future::pending()).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.to_string().as_str()),
        (ErrorKind::Internal, r#"worker "broken" panicked"#)
    );
    assert!(drained.load(Ordering::SeqCst));
}

#[tokio::test(start_paused = true)]
async fn an_event_goes_through_both_before_the_stop() {
    let store = MemoryStore::new();
    let mut tx = store.begin().await.unwrap();
    store
        .enqueue(&mut tx, NewOutboxEvent::new("order.placed", "orders", &serde_json::json!({"order": 7})))
        .await
        .unwrap();
    store.commit(tx).await.unwrap();

    #[derive(serde::Deserialize)]
    struct Order {
        order: u32,
    }
    let (shipped, is_shipped) = oneshot::channel();
    let shipped = std::sync::Mutex::new(Some(shipped));
    struct Ship(std::sync::Mutex<Option<oneshot::Sender<u32>>>);
    #[async_trait::async_trait]
    impl InboxHandler<MemoryStore> for Ship {
        async fn handle(
            &self,
            cx: InboxContext<'_, MemoryStore>,
        ) -> std::result::Result<omni_box_core::HandlerOutcome, omni_box_core::HandlerError> {
            let order: Order = cx.payload()?;
            if let Some(shipped) = self.0.lock().unwrap().take() {
                let _ = shipped.send(order.order);
            }
            Ok(omni_box_core::HandlerOutcome::Completed)
        }
    }
    let stop = async {
        assert_eq!(is_shipped.await.unwrap(), 7);
    };
    both(&store, Ship(shipped)).run_until(stop).await.unwrap();
}

/// A runner with a handler has messages in memory that workers of the same group would handle from their rows.
#[tokio::test]
async fn a_runner_with_a_handler_beside_workers_of_its_group_is_refused() {
    let (store, broker) = (MemoryStore::new(), MemoryBroker::new());
    broker.create_topic("orders", 1);
    let group = |name: &str| ConsumerGroup::new(name).unwrap();
    let runner =
        |name: &str| InboxConsumerRunner::builder(broker.consumer(&group(name), ["orders"]), store.clone());
    let worker = |name: &str| {
        let worker = InboxWorker::builder(store.clone()).consumer_group(name);
        worker.handler(on("order.placed", ship)).build().unwrap()
    };
    let handling = |name: &str| runner(name).handler(on("order.placed", ship)).build().unwrap();
    for workers in [
        Workers::new().inbox(handling("shipping")).inbox_worker(worker("shipping")),
        Workers::new().inbox_worker(worker("shipping")).inbox(handling("shipping")),
    ] {
        let (workers, drained) = watched(workers);
        let refused = workers.run_until(async {}).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Misconfigured);
        assert!(refused.to_string().contains("shipping"), "{refused}");
        assert!(!drained.load(Ordering::SeqCst), "nothing has run");
    }
    let storing = Workers::new().inbox(runner("shipping").build().unwrap()).inbox_worker(worker("shipping"));
    storing.run_until(async {}).await.unwrap();
    let others = Workers::new().inbox(handling("shipping")).inbox_worker(worker("billing"));
    others.run_until(async {}).await.unwrap();
}
