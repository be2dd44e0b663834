//! Faults happen where and when they are planned, and nowhere else.

use std::time::Duration;

use omni_box_core::{
    ConsumerGroup, Error, ErrorKind, Event, EventConsumer, EventPublisher, EventRepository, InboxExt,
    OutboxEvent, OutboxExt, OutboxRepository, RawEventConverter, Reporter, Result, Store,
};
use omni_box_testkit::{
    FaultPlan, Faulty, FaultyConsumer, FaultyPublisher, MemoryBroker, MemoryStore, NewMessage, Operation,
};
use tokio::time::{Instant, timeout};

use super::events::{event, ids_of};

fn store() -> (Faulty<MemoryStore>, FaultPlan) {
    let plan = FaultPlan::new();
    (Faulty::new(MemoryStore::new(), &plan), plan)
}

async fn create(store: &Faulty<MemoryStore>) -> Result<OutboxEvent> {
    let event = event("orders", None);
    let mut tx = store.begin().await?;
    store.create(&mut tx, &*event).await?;
    store.commit(tx).await?;
    Ok((*event).clone())
}

fn stored(store: &Faulty<MemoryStore>) -> usize {
    store.inner().outbox_events().len()
}

#[tokio::test(start_paused = true)]
async fn the_nth_call_fails_before_or_after_it_took_effect() {
    let (store, plan) = store();
    plan.on(Operation::Commit).nth(2).fail_before(ErrorKind::Contention);
    plan.on(Operation::Commit).nth(4).fail_after(ErrorKind::Unavailable);
    let mut kinds = Vec::new();
    for _ in 0..5 {
        kinds.push(create(&store).await.map_err(|error| error.kind()).err());
    }
    assert_eq!(kinds, [None, Some(ErrorKind::Contention), None, Some(ErrorKind::Unavailable), None]);
    assert_eq!(stored(&store), 4, "only what failed before the commit is missing");
    assert_eq!((plan.calls(Operation::Commit), plan.calls(Operation::Begin)), (5, 5));

    plan.on(Operation::Create).times(2).fail_before(ErrorKind::Timeout);
    plan.on(Operation::Create).nth(3).always().fail_before(ErrorKind::Internal);
    for kind in [ErrorKind::Timeout, ErrorKind::Timeout, ErrorKind::Internal, ErrorKind::Internal] {
        assert_eq!(create(&store).await.unwrap_err().kind(), kind);
    }
    plan.clear();
    create(&store).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_call_is_delayed_in_tokios_time() {
    let (store, plan) = store();
    plan.on(Operation::Begin).delay(Duration::from_secs(7));
    let begun = Instant::now();
    create(&store).await.unwrap();
    assert_eq!(begun.elapsed(), Duration::from_secs(7));
}

#[tokio::test(start_paused = true)]
async fn a_frozen_commit_has_taken_effect_or_not() {
    for (is_after, expected) in [(false, 0), (true, 1)] {
        let (store, plan) = store();
        let trigger = plan.on(Operation::Commit);
        if is_after {
            trigger.freeze_after()
        } else {
            trigger.freeze_before()
        }
        let frozen = tokio::spawn({
            let store = store.clone();
            async move { create(&store).await }
        });
        plan.until_frozen().await;
        assert_eq!(stored(&store), expected);
        // others go on
        create(&store).await.unwrap();
        plan.release();
        frozen.await.unwrap().unwrap();
        assert_eq!(stored(&store), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_frozen_process_that_ends_leaves_nothing() {
    let (store, plan) = store();
    plan.on(Operation::Commit).freeze_before();
    let frozen = tokio::spawn({
        let store = store.clone();
        async move { create(&store).await }
    });
    plan.until_frozen().await;
    frozen.abort();
    assert!(frozen.await.unwrap_err().is_cancelled());
    assert_eq!(stored(&store), 0);
}

#[tokio::test(start_paused = true)]
async fn everything_stands_still_or_is_cut_off() {
    let (store, plan) = store();
    plan.freeze();
    timeout(Duration::from_secs(1), store.begin()).await.map(drop).expect_err("it stands still");
    plan.release();
    let mut tx = store.begin().await.unwrap();
    let event = event("orders", None);
    store.create(&mut tx, &*event).await.unwrap();
    plan.cut();
    assert_eq!(store.commit(tx).await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(store.begin().await.map(drop).unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(store.delivery_mode().await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(
        store.lanes().unwrap().leave(omni_box_core::OwnerId::generate()).await.unwrap_err().kind(),
        ErrorKind::Unavailable
    );
    plan.restore();
    assert_eq!(stored(&store), 0, "a transaction that could not commit is rolled back");
    create(&store).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn of_a_call_that_is_cut_off_halfway_the_answer_is_lost() {
    let (store, plan) = store();
    plan.on(Operation::Commit).freeze_after();
    let commit = tokio::spawn({
        let store = store.clone();
        async move { create(&store).await }
    });
    plan.until_frozen().await;
    plan.cut();
    plan.release();
    assert_eq!(commit.await.unwrap().unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(stored(&store), 1, "it took effect");
}

#[tokio::test]
async fn a_store_with_two_kinds_of_events_counts_both() {
    let (store, plan) = store();
    store
        .outbox()
        .fetch_pending(omni_box_core::BatchSize::new(1).unwrap(), &Default::default())
        .await
        .unwrap();
    store
        .inbox()
        .fetch_pending(omni_box_core::BatchSize::new(1).unwrap(), &Default::default())
        .await
        .unwrap();
    assert_eq!(plan.calls(Operation::FetchPending), 2);
}

struct Sender {
    publisher: FaultyPublisher<omni_box_testkit::MemoryPublisher>,
    broker: MemoryBroker,
    plan: FaultPlan,
}

impl Sender {
    fn new() -> Self {
        let broker = MemoryBroker::new().topics_on_first_use(1);
        let plan = FaultPlan::new();
        let publisher = FaultyPublisher::new(broker.publisher(RawEventConverter), &plan);
        Self { publisher, broker, plan }
    }

    /// Submits so many events, and returns the kinds of their failures, and those that arrived of them.
    async fn send(&self, count: usize) -> (Vec<Option<ErrorKind>>, Vec<usize>) {
        let (reporter, mut reports) = Reporter::channel();
        let events: Vec<_> = (0..count).map(|_| event("orders", Some("key"))).collect();
        self.publisher.submit(events.clone(), &reporter).await;
        let mut kinds = vec![None; count];
        for _ in 0..count {
            let report = reports.recv().await.unwrap();
            let at = events.iter().position(|event| event.id() == report.id).unwrap();
            kinds[at] = report.result.err().map(|error| error.kind());
        }
        let arrived = ids_of(&self.broker.records("orders"));
        (kinds, (0..count).filter(|at| arrived.contains(&events[*at].id())).collect())
    }
}

const LOST: Option<ErrorKind> = Some(ErrorKind::Unavailable);
const BAD: Option<ErrorKind> = Some(ErrorKind::Rejected);

#[tokio::test(start_paused = true)]
async fn an_events_own_failure_is_its_own() {
    let sender = Sender::new();
    sender.plan.on(Operation::Deliver).nth(2).fail_before(ErrorKind::Rejected);
    sender.plan.on(Operation::Deliver).nth(3).fail_after(ErrorKind::Rejected);
    assert_eq!(sender.send(4).await, (vec![None, BAD, BAD, None], vec![0, 2, 3]));
    assert_eq!(sender.send(1).await.0, [None]);
}

#[tokio::test(start_paused = true)]
async fn a_failure_of_the_broker_fails_what_is_behind_it() {
    let sender = Sender::new();
    sender.plan.on(Operation::Deliver).nth(3).fail_before(ErrorKind::Unavailable);
    assert_eq!(sender.send(4).await, (vec![None, None, LOST, LOST], vec![0, 1]));
    assert_eq!(sender.send(2).await, (vec![LOST, LOST], vec![]));
    sender.publisher.check().await.unwrap();
    assert_eq!(sender.send(1).await, (vec![None], vec![0]));

    sender.plan.on(Operation::Deliver).nth(2).fail_after(ErrorKind::Unavailable);
    assert_eq!(sender.send(3).await, (vec![None, LOST, LOST], vec![0, 1, 2]), "the answers were lost");
    sender.publisher.purge().await;
    sender.plan.on(Operation::Submit).fail_before(ErrorKind::Unavailable);
    assert_eq!(sender.send(2).await, (vec![LOST, LOST], vec![]));
    sender.publisher.purge().await;
    sender.plan.on(Operation::Submit).fail_after(ErrorKind::Unavailable);
    assert_eq!(sender.send(2).await, (vec![LOST, LOST], vec![0, 1]));
    sender.publisher.purge().await;
    sender.plan.cut();
    assert_eq!(sender.send(2).await, (vec![LOST, LOST], vec![]));
    assert_eq!(sender.publisher.check().await.unwrap_err().kind(), ErrorKind::Unavailable);
    sender.plan.restore();
    sender.publisher.check().await.unwrap();
    assert_eq!(sender.send(1).await.0, [None]);
}

#[tokio::test(start_paused = true)]
async fn a_report_that_stands_still_is_given_up_by_a_purge() {
    let sender = Sender::new();
    let (reporter, mut reports) = Reporter::channel();
    for is_released in [true, false] {
        sender.plan.on(Operation::Deliver).freeze_after();
        sender.publisher.submit(vec![event("orders", None)], &reporter).await;
        sender.plan.until_frozen().await;
        assert!(reports.try_recv().is_err());
        if is_released {
            sender.plan.release();
            reports.recv().await.unwrap().result.unwrap();
        } else {
            sender.publisher.purge().await;
            let report = reports.try_recv().expect("it is reported when purge returns");
            assert_eq!(report.result.unwrap_err().kind(), ErrorKind::Unavailable);
        }
    }
    assert_eq!(sender.broker.records("orders").len(), 2);
}

#[tokio::test(start_paused = true)]
async fn acknowledgements_and_partitions_fail_as_planned() {
    let broker = MemoryBroker::new();
    broker.create_topic("orders", 1);
    broker.send(NewMessage::to("orders").value("0"));
    broker.send(NewMessage::to("orders").value("1"));
    let (group, plan) = (ConsumerGroup::new("shipping").unwrap(), FaultPlan::new());
    let mut consumer = FaultyConsumer::new(broker.consumer(&group, ["orders"]), &plan);
    consumer.start().await.unwrap();
    plan.on(Operation::NextPartition).fail_after(ErrorKind::Unauthorized);
    assert_eq!(consumer.next_partition().await.map(drop).unwrap_err().kind(), ErrorKind::Unauthorized);
    plan.cut();
    timeout(Duration::from_secs(1), consumer.next_partition())
        .await
        .expect_err("a broker that is away is waited for");
    plan.restore();
    let mut assigned = consumer.next_partition().await.unwrap().unwrap();
    assigned.messages.recv().await.unwrap();
    plan.on(Operation::Acknowledge).fail_before(ErrorKind::Unavailable);
    assigned.ack.commit(&[0]).await.unwrap_err();
    assert_eq!(broker.committed(&group, "orders", 0), None);
    assigned.ack.commit(&[]).await.unwrap();
    assert_eq!(broker.committed(&group, "orders", 0), Some(1), "the mark stayed");
    assigned.messages.recv().await.unwrap();
    plan.on(Operation::Acknowledge).fail_after(ErrorKind::Unavailable);
    assigned.ack.commit(&[1]).await.unwrap_err();
    assert_eq!(broker.committed(&group, "orders", 0), Some(2), "only the answer was lost");
    plan.on(Operation::Rewind).fail_before(ErrorKind::Unavailable);
    assigned.ack.rewind().await.unwrap_err();
    assigned.ack.rewind().await.unwrap();
    drop(assigned);
    consumer.close().await.unwrap();
}

#[test]
fn a_wrapped_consumer_has_the_group_and_the_drain_deadline_of_the_one_inside() {
    let (group, deadline) = (ConsumerGroup::new("shipping").unwrap(), Duration::from_secs(7));
    let inner = MemoryBroker::new().consumer(&group, ["orders"]).drain_deadline(deadline);
    let consumer = FaultyConsumer::new(inner, &FaultPlan::new());
    assert_eq!(consumer.consumer_group(), Some(&group));
    assert_eq!(consumer.drain_deadline(), Some(deadline));
}

#[tokio::test(start_paused = true)]
async fn a_store_answers_with_any_error_at_any_operation() {
    let (store, plan) = store();
    plan.on(Operation::Create).answer_before(|| Error::new(ErrorKind::Internal, "SQLSTATE 54000"));
    let error = create(&store).await.unwrap_err();
    assert_eq!((error.kind(), error.to_string()), (ErrorKind::Internal, "SQLSTATE 54000".to_owned()));
    plan.on(Operation::Commit).answer_after(|| Error::new(ErrorKind::Contention, "SQLSTATE 40001"));
    assert_eq!(create(&store).await.unwrap_err().to_string(), "SQLSTATE 40001");
    assert_eq!(stored(&store), 1, "the answer alone was lost");
}

#[tokio::test(start_paused = true)]
async fn a_broker_answers_for_a_topic_a_key_or_one_event() {
    let (broker, plan) = (MemoryBroker::new(), FaultPlan::new());
    broker.create_topic("orders", 1);
    broker.create_topic("stock", 1);
    let publisher = FaultyPublisher::new(broker.publisher(RawEventConverter), &plan);
    let events: Vec<_> = ["a", "b", "c"]
        .map(|key| event("orders", Some(key)))
        .into_iter()
        .chain([event("stock", Some("a"))])
        .collect();
    let one = events[2].id();
    let answer = |text: &'static str| move || Error::new(ErrorKind::TopicUnavailable, text);
    plan.on(Operation::Deliver)
        .events(|event| event.topic() == "stock")
        .always()
        .answer_before(answer("topic"));
    plan.on(Operation::Deliver)
        .events(|event| event.partition_key() == Some("b"))
        .always()
        .answer_before(answer("key"));
    plan.on(Operation::Deliver).events(move |event| event.id() == one).answer_before(answer("event"));
    for expected in
        [[None, Some("key"), Some("event"), Some("topic")], [None, Some("key"), None, Some("topic")]]
    {
        let (reporter, mut reports) = Reporter::channel();
        publisher.submit(events.clone(), &reporter).await;
        let mut answers = std::collections::HashMap::new();
        for _ in &events {
            let report = reports.recv().await.unwrap();
            answers.insert(report.id, report.result.err().map(|error| error.to_string()));
        }
        let answers: Vec<_> = events.iter().map(|event| answers[&event.id()].as_deref()).collect();
        assert_eq!(answers, expected);
    }
}
