//! Messages that a runner has stored, and workers that handle them later.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use omni_box_core::{
    BatchSize, ConsumerGroup, ErrorKind, Event, EventStatus, FetchFilters, HandlerError, HandlerOutcome,
    InboxExt, Jitter, Result, RetryPolicy,
};
use omni_box_harness::eventually;
use omni_box_pipeline::{InboxConsumerRunner, InboxWorker, InboxWorkerBuilder, OmniBoxMaintenanceService};
use omni_box_testkit::Operation;
use serde_json::json;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::inbox::broker::Broker;
use crate::inbox::faults::{FaultyStore, sealed_transactions};
use crate::inbox::memory::{Handler, Memory};
use crate::inbox::service::{Effects, GROUP, LONG, Running, Service, broken};

const SECOND: Duration = Duration::from_secs(1);

/// Stores what the broker has, for the group of the tests.
async fn store_all(service: &Service) {
    let running = Running::new(service.builder());
    service.drained().await;
    running.stop().await;
}

/// A worker with short delays.
fn worker(service: &Service, handler: &Effects) -> InboxWorkerBuilder<FaultyStore> {
    InboxWorker::builder(service.store.clone())
        .consumer_group(GROUP)
        .handler(handler.clone())
        .retry(short())
        .poll(Duration::from_millis(5), Duration::from_millis(50))
}

fn short() -> RetryPolicy {
    RetryPolicy::new(Duration::from_millis(5), Duration::from_millis(50), Jitter::Equal).unwrap()
}

/// A worker at work.
struct Working {
    stop: CancellationToken,
    task: JoinHandle<Result<()>>,
}

impl Working {
    fn new(builder: InboxWorkerBuilder<FaultyStore>) -> Self {
        let (worker, stop) = (builder.build().unwrap(), CancellationToken::new());
        Self { task: tokio::spawn(worker.run(stop.clone())), stop }
    }

    async fn stop(self) {
        self.stop.cancel();
        tokio::time::timeout(LONG, self.task).await.expect("stops in time").unwrap().unwrap();
    }

    /// Ends it as a killed process ends: claims stay, nothing is detached.
    async fn crash(self) {
        self.task.abort();
        assert!(self.task.await.unwrap_err().is_cancelled());
    }
}

async fn completed(service: &Service, messages: i64) {
    let completed = "select count(*) from inbox_events where status = 'completed'";
    eventually(LONG, async || service.count(completed).await == messages).await;
}

async fn assert_in_order(service: &Service) {
    let displaced = "select count(*) from (select substr(message_id, 2)::int n,
        lag(substr(message_id, 2)::int) over (partition by key order by seq) b from effects) e where n < b";
    assert_eq!(service.count(displaced).await, 0, "the order of each key");
}

#[tokio::test]
async fn several_workers_handle_each_message_once_and_a_key_in_order() {
    let Some(service) = Service::new(4).await else { return };
    for n in 0..300 {
        let key = n % 20;
        service.broker.send(key % 4, &format!("m{n}"), &format!("k{key}"), json!({"n": n}));
    }
    store_all(&service).await;
    let failed = Arc::new(Mutex::new(HashSet::new()));
    let handler = Effects::new(move |id, _, _| {
        let fails = id.ends_with('5') && failed.lock().unwrap().insert(id.to_owned());
        Box::pin(async move { if fails { Err(broken()) } else { Ok(HandlerOutcome::Completed) } })
    });
    let workers: Vec<Working> =
        (0..3).map(|_| Working::new(worker(&service, &handler).concurrency_limit(2))).collect();
    completed(&service, 300).await;
    for worker in workers {
        worker.stop().await;
    }
    assert_eq!(service.count("select count(*) from effects").await, 300);
    assert_in_order(&service).await;
    let claimed = "select count(*) from inbox_events where locked_by is not null";
    assert_eq!(service.count(claimed).await, 0, "no claim is left");
    service.database.close().await.unwrap();
}

#[tokio::test]
async fn messages_of_another_group_are_left_alone() {
    let Some(service) = Service::new(1).await else { return };
    service.broker.send(0, "m0", "k", json!({"n": 0}));
    store_all(&service).await;
    let handler = Effects::plain();
    let other = worker(&service, &handler).consumer_group("billing").build().unwrap();
    let batch = BatchSize::new(10).unwrap();
    assert!(other.process_batch(batch).await.unwrap().is_empty());
    let ours = worker(&service, &handler).build().unwrap();
    assert_eq!(ours.process_batch(batch).await.unwrap().processed_event_ids.len(), 1);
    service.database.close().await.unwrap();
}

#[tokio::test]
async fn a_batch_says_what_became_of_each_message() {
    let Some(service) = Service::new(1).await else { return };
    for (n, id) in ["done", "skipped", "fails", "rejected"].iter().enumerate() {
        service.broker.send(0, id, &format!("k{n}"), json!({"n": n}));
    }
    store_all(&service).await;
    let handler = Effects::new(|id, _, _| {
        Box::pin(async move {
            match id {
                "skipped" => Ok(HandlerOutcome::Skipped),
                "fails" => Err(broken()),
                "rejected" => Err(HandlerError::from(omni_box_core::Error::new(ErrorKind::Rejected, "no"))),
                _ => Ok(HandlerOutcome::Completed),
            }
        })
    });
    // alone, so that no failure is put down to company
    let worker = worker(&service, &handler).group_size(1).retry(RetryPolicy::default()).build().unwrap();
    let result = worker.process_batch(BatchSize::new(10).unwrap()).await.unwrap();
    assert_eq!(result.processed_event_ids.len(), 2);
    assert_eq!(result.retried_event_ids.len(), 1);
    assert_eq!(result.failed_event_ids.len(), 1);
    assert_eq!(result.released_event_ids, []);
    assert_eq!(service.row("fails").await, Some(("pending".to_owned(), 1)));
    assert_eq!(service.status("rejected").await.as_deref(), Some("failed"));
    assert!(worker.process_batch(BatchSize::new(10).unwrap()).await.unwrap().is_empty(), "nothing is due");
    worker.close().await.unwrap();
    service.database.close().await.unwrap();
}

#[tokio::test]
async fn the_messages_of_a_worker_that_died_are_handled_by_the_next() {
    let Some(service) = Service::new(1).await else { return };
    for n in 0..20 {
        service.broker.send(0, &format!("m{n}"), &format!("k{n}"), json!({"n": n}));
    }
    store_all(&service).await;
    let reached = Arc::new(Notify::new());
    let notify = reached.clone();
    let stuck = Effects::new(move |_, _, _| {
        let notify = notify.clone();
        Box::pin(async move {
            notify.notify_one();
            std::future::pending().await
        })
    });
    let lease = |builder: InboxWorkerBuilder<FaultyStore>| {
        builder.lease_ttl(2 * SECOND).process_timeout(Duration::from_millis(900)).drain_deadline(2 * SECOND)
    };
    let dying = Working::new(lease(worker(&service, &stuck)).concurrency_limit(1));
    tokio::time::timeout(LONG, reached.notified()).await.expect("the handler is reached");
    dying.crash().await;
    let claimed = "select count(*) from inbox_events where locked_by is not null";
    assert_eq!(service.count(claimed).await, 20);

    let handler = Effects::plain();
    let next = Working::new(lease(worker(&service, &handler)));
    completed(&service, 20).await;
    next.stop().await;
    assert_eq!(service.count("select count(*) from effects").await, 20);
    service.database.close().await.unwrap();
}

#[tokio::test]
async fn a_stored_message_that_ends_the_process_is_given_up_after_its_attempts() {
    let Some(service) = Service::new(1).await else { return };
    for n in 0..5 {
        let id = if n == 2 { "m".to_owned() } else { format!("n{n}") };
        service.broker.send(0, &id, &format!("k{n}"), json!({"n": n}));
    }
    store_all(&service).await;
    let reached = Arc::new(Notify::new());
    let notify = reached.clone();
    let handler = Effects::new(move |id, _, _| {
        let notify = notify.clone();
        Box::pin(async move {
            if id == "m" {
                // here the process would abort
                notify.notify_one();
                std::future::pending::<()>().await;
            }
            Ok(HandlerOutcome::Completed)
        })
    });
    let lease = |builder: InboxWorkerBuilder<FaultyStore>| {
        let timeout = Duration::from_millis(900);
        builder.lease_ttl(2 * SECOND).process_timeout(timeout).drain_deadline(2 * SECOND).concurrency_limit(1)
    };
    let mut deaths = 0;
    while service.status("m").await.as_deref() != Some("failed") {
        let working = Working::new(lease(worker(&service, &handler)));
        let is_failed = async || service.status("m").await.as_deref() == Some("failed");
        tokio::select! {
            () = reached.notified() => deaths += 1,
            () = eventually(LONG, is_failed) => {}
        }
        working.crash().await;
        assert!(deaths < 20, "the message is not found");
    }
    // the first death is not known to be a handler's doing; each of those that follow is counted
    assert_eq!((service.row("m").await, deaths), (Some(("failed".to_owned(), 6)), 7));
    let working = Working::new(lease(worker(&service, &handler)));
    completed(&service, 4).await;
    working.stop().await;
    assert_eq!(service.count("select count(*) from effects").await, 4);
    service.database.close().await.unwrap();
}

/// The rows were there before, so that nothing of a transaction tells whether it was committed.
#[tokio::test]
async fn a_handler_that_ends_its_transaction_neither_loses_nor_doubles_stored_neighbours() {
    let Some(service) = Service::new(1).await else { return };
    for end in ["commit", "rollback", "commit; begin", "rollback; begin", "commit and chain"] {
        for (size, place) in [(2, 1), (10, 5), (10, 9), (10, 0)] {
            let case = format!("{end:?} as {place} of {size}");
            service.execute("truncate effects, inbox_events").await;
            let broker = Broker::new(1);
            for n in 0..size {
                let id = if n == place { "m".to_owned() } else { format!("n{n}") };
                broker.send(0, &id, &format!("k{n}"), json!({"n": n}));
            }
            let group = ConsumerGroup::new(GROUP).unwrap();
            let storing = Running::new(service.builder_on(broker.consumer(), group));
            eventually(LONG, async || broker.is_drained()).await;
            storing.stop().await;
            let ends = Effects::new(move |id, _, conn| {
                Box::pin(async move {
                    if id == "m" {
                        sqlx::raw_sql(end).execute(&mut *conn).await?;
                    }
                    Ok(HandlerOutcome::Completed)
                })
            });
            let sealed = sealed_transactions(&service.store);
            let working = Working::new(worker(&service, &ends).concurrency_limit(1));
            completed(&service, size - 1).await;
            eventually(LONG, async || service.status("m").await.as_deref() == Some("failed")).await;
            working.stop().await;
            for (what, expected) in [
                ("effects where message_id like 'n%'", size - 1),
                ("(select distinct message_id from effects where message_id like 'n%') e", size - 1),
                ("inbox_events where message_id like 'n%' and attempts_made = 0", size - 1),
                ("inbox_events where message_id = 'm' and last_error like '%ended its transaction%'", 1),
            ] {
                let sql = format!("select count(*) from {what}");
                assert_eq!(service.count(&sql).await, expected, "{case}: {what}");
            }
            assert_eq!(
                sealed_transactions(&service.store),
                sealed,
                "{case}: the first group of a worker is not sealed"
            );
        }
    }
    service.database.close().await.unwrap();
}

#[tokio::test]
async fn a_claim_is_renewed_while_its_batch_lasts() {
    let Some(service) = Service::new(1).await else { return };
    for n in 0..6 {
        service.broker.send(0, &format!("m{n}"), &format!("k{n}"), json!({"n": n}));
    }
    store_all(&service).await;
    let handler = Effects::new(|_, _, _| {
        Box::pin(async {
            tokio::time::sleep(Duration::from_millis(600)).await;
            Ok(HandlerOutcome::Completed)
        })
    });
    let lease = |builder: InboxWorkerBuilder<FaultyStore>| {
        let timeout = Duration::from_millis(900);
        builder.lease_ttl(2 * SECOND).process_timeout(timeout).drain_deadline(2 * SECOND).group_size(1)
    };
    let busy = lease(worker(&service, &handler)).worker_id("busy").build().unwrap();
    let batch = tokio::spawn(async move { busy.process_batch(BatchSize::new(10).unwrap()).await });
    let claimed = "select count(*) from inbox_events where locked_by is not null";
    eventually(LONG, async || service.count(claimed).await > 0).await;
    let other = Working::new(lease(worker(&service, &handler)));
    let result = batch.await.unwrap().unwrap();
    other.stop().await;
    assert_eq!(result.processed_event_ids.len(), 6);
    let effects = "select count(*) from effects where worker = 'busy'";
    assert_eq!(service.count(effects).await, 6, "another worker took some over");
    service.database.close().await.unwrap();
}

#[tokio::test]
async fn what_a_worker_does_not_reach_is_given_back_at_a_stop() {
    let Some(service) = Service::new(1).await else { return };
    for n in 0..30 {
        service.broker.send(0, &format!("m{n}"), &format!("k{n}"), json!({"n": n}));
    }
    store_all(&service).await;
    let (reached, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (notify, wait) = (reached.clone(), go_on.clone());
    let handler = Effects::new(move |_, _, _| {
        let (notify, wait) = (notify.clone(), wait.clone());
        Box::pin(async move {
            notify.notify_one();
            wait.notified().await;
            Ok(HandlerOutcome::Completed)
        })
    });
    let working = Working::new(worker(&service, &handler).concurrency_limit(1).group_size(1));
    tokio::time::timeout(LONG, reached.notified()).await.expect("the handler is reached");
    working.stop.cancel();
    go_on.notify_one();
    working.stop().await;
    assert_eq!(service.count("select count(*) from inbox_events where status = 'completed'").await, 1);
    let left = "select count(*) from inbox_events where status = 'pending' and locked_by is null and attempts_made = 0";
    assert_eq!(service.count(left).await, 29, "claims are given back at no cost");
    let clean = "select count(*) from inbox_partitions where topic = 'stored rows' and clean";
    assert_eq!(service.count(clean).await, 1);
    service.database.close().await.unwrap();
}

/// A message that was given up, requeued, and handled while nothing of its topic is read again.
#[tokio::test]
async fn a_dead_letter_is_listed_requeued_and_handled_once() {
    let Some(service) = Service::new(1).await else { return };
    for n in 0..3 {
        service.broker.send(0, &format!("m{n}"), &format!("k{n}"), json!({"n": n}));
    }
    store_all(&service).await;
    let is_well = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let well = is_well.clone();
    let handler = Effects::new(move |id, _, _| {
        let fails = id == "m1" && !well.load(std::sync::atomic::Ordering::SeqCst);
        Box::pin(async move {
            match fails {
                true => Err(HandlerError::permanent("no such order")),
                false => Ok(HandlerOutcome::Completed),
            }
        })
    });
    let worker = worker(&service, &handler).group_size(1).build().unwrap();
    let batch = BatchSize::new(10).unwrap();
    assert_eq!(worker.process_batch(batch).await.unwrap().failed_event_ids.len(), 1);

    let inbox = service.store.inner().inbox();
    let letters = inbox.dead_letters().unwrap();
    let ours = FetchFilters::new().consumer_group(ConsumerGroup::new(GROUP).unwrap());
    let listed = letters.list(&ours, None, batch).await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].message_id(), "m1");
    assert!(listed[0].lifecycle().last_error().unwrap().contains("no such order"));
    assert!(worker.process_batch(batch).await.unwrap().is_empty(), "nothing is tried again by itself");

    is_well.store(true, std::sync::atomic::Ordering::SeqCst);
    let upkeep = OmniBoxMaintenanceService::new().inbox(service.store.inner().clone());
    assert_eq!(upkeep.requeue_failed(batch).await.unwrap(), 1);
    assert_eq!(upkeep.requeue_failed(batch).await.unwrap(), 0, "once");
    assert_eq!(worker.process_batch(batch).await.unwrap().processed_event_ids.len(), 1);
    assert_eq!(service.effects("m1").await, 1);
    assert_eq!(service.count("select count(*) from effects").await, 3);
    service.database.close().await.unwrap();
}

#[tokio::test]
async fn an_outage_while_claiming_is_waited_out() {
    let memory = Memory::new();
    let nothing = Handler::new(|_, _| async { Ok(HandlerOutcome::Completed) });
    memory.broker.send(0, "m0", "k", json!({"n": 0}));
    let group = ConsumerGroup::new(GROUP).unwrap();
    let consumer = memory.broker.consumer();
    let runner = InboxConsumerRunner::builder(consumer, memory.store.clone()).consumer_group(group);
    let running = Running::new(runner);
    memory.drained().await;
    running.stop().await;
    memory.plan.on(Operation::Claim).times(3).fail_before(ErrorKind::Unavailable);
    let worker = InboxWorker::builder(memory.store.clone())
        .consumer_group(GROUP)
        .handler(nothing.clone())
        .concurrency_limit(1)
        .build()
        .unwrap();
    let stop = CancellationToken::new();
    let working = tokio::spawn(worker.run(stop.clone()));
    eventually(LONG, async || memory.row("m0") == Some((EventStatus::Completed, 0))).await;
    stop.cancel();
    working.await.unwrap().unwrap();
    assert_eq!(nothing.calls("m0"), 1);
    assert!(memory.plan.calls(Operation::Claim) >= 4);
}

#[tokio::test]
async fn a_batch_that_is_dropped_is_given_back_by_the_next_call() {
    let Some(service) = Service::new(1).await else { return };
    for n in 0..3 {
        service.broker.send(0, &format!("m{n}"), &format!("k{n}"), json!({"n": n}));
    }
    store_all(&service).await;
    let handler = Effects::new(|_, call, _| {
        Box::pin(async move {
            if call == 1 {
                std::future::pending::<()>().await;
            }
            Ok(HandlerOutcome::Completed)
        })
    });
    let worker = worker(&service, &handler).group_size(1).build().unwrap();
    let batch = BatchSize::new(10).unwrap();
    let is_reached = eventually(LONG, async || handler.calls("m0") == 1);
    tokio::select! {
        _ = worker.process_batch(batch) => unreachable!("the handler does not return"),
        () = is_reached => {}
    }
    // given back and claimed again at once, long before the lease is over; each of the others is dropped once too
    let result = tokio::select! {
        result = worker.process_batch(batch) => result.unwrap(),
        () = eventually(LONG, async || handler.calls("m1") == 1) => Default::default(),
    };
    assert!(result.is_empty(), "m0 was handled, and m1 does not return at first");
    assert_eq!(service.status("m0").await.as_deref(), Some("completed"));
    service.database.close().await.unwrap();
}
