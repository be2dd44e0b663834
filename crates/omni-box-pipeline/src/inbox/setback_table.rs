//! Whom a group's failure is charged to: cause by cause, for groups of one and of several, while working and while recording.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use omni_box_core::ErrorKind::{
    self, Closed, Conflict, Contention, Internal, Invalid, Misconfigured, NoTransaction, Timeout,
    Unavailable, Unsupported,
};
use omni_box_core::{
    AssignedPartition, ConsumerGroup, DefaultMessageDecoder, Error, EventContent, InboundMessage, InboxEvent,
    NewInboxEvent, NoMetrics, NullAckHandle, OmniBoxDomainService, Payload, RetryPolicy, TopicPartition,
    WorkerId,
};
use omni_box_testkit::{FaultPlan, Faulty, MemoryStore};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use super::partition::Partition;
use super::setback::While::{self, Recording, Working};
use super::shared::Shared;
use super::window::Window;
use crate::gate::Gate;
use crate::transact::Stage::{Effect, Store};
use crate::transact::{
    AckStrategy, Body, Cause, Charge as Failed, CommitOffsetPolicy, Context, Item, OnFailed, Stage, Tries,
};

/// What the table says of a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Blame {
    /// Work ends.
    Stop,
    /// Nothing is tried for a while.
    Pause,
    /// The same, and afterwards messages go one at a time.
    PauseOneByOne,
    /// The next groups are half as large.
    Split,
    /// The message at this place is charged.
    Charge(usize),
    /// The message waits, having met contention so often.
    Contended(u32),
    /// The message waits, having been refused by its table so often.
    Unstored(u32),
    /// The message is kept as raw bytes.
    Raw,
    /// The group is formed anew.
    Nothing,
}
use Blame::{Charge, Contended, Nothing, Pause, PauseOneByOne, Raw, Split, Stop, Unstored};

/// A group of the table.
#[derive(Debug, Clone, Copy)]
enum Of {
    /// One message that is an event.
    One(Tried),
    /// One message that could not be decoded.
    Refused(Tried),
    /// One row that was stored before.
    Row(Tried),
    /// Three messages; the second was tried before.
    Three(Tried),
}
use Of::{One, Refused, Row, Three};

#[derive(Debug, Clone, Copy)]
enum Tried {
    /// Never before.
    Fresh,
    /// Met contention so often.
    Contentions(u32),
    /// Met infrastructure failures so often.
    Outages(u32),
    /// Could not be stored so often.
    Stores(u32),
}
use Tried::{Contentions, Fresh, Outages, Stores};

fn refused(kind: ErrorKind, stage: Stage) -> Cause {
    Cause::refused(Error::new(kind, "refused"), stage)
}

fn culprit(position: usize) -> Cause {
    Cause::culprit(position, Failed::counted("timed out"))
}

#[tokio::test]
async fn each_failure_is_charged_as_the_table_says() {
    let unreachable = || Cause::Unreachable(Error::new(Unavailable, "unreachable"));
    for doing in [Working, Recording] {
        // the partition is lost, or there is no database: no message is charged
        check(|| Cause::Stopped, One(Fresh), doing, Stop).await;
        check(|| Cause::Stopped, Three(Fresh), doing, Stop).await;
        check(unreachable, One(Outages(9)), doing, Pause).await;
        check(unreachable, Three(Outages(9)), doing, Pause).await;
        // a message that ended its transaction is named
        check(|| culprit(0), One(Fresh), doing, Charge(0)).await;
        check(|| culprit(2), Three(Fresh), doing, Charge(2)).await;
        check(|| culprit(3), Three(Fresh), doing, Nothing).await;
        // contention, and a row whose lock was not got in time
        for (kind, stage) in [(Contention, Store), (Contention, Effect), (Timeout, Store)] {
            check(|| refused(kind, stage), Three(Contentions(99)), doing, Split).await;
            check(|| refused(kind, stage), One(Fresh), doing, Contended(1)).await;
            check(|| refused(kind, stage), One(Contentions(19)), doing, Contended(20)).await;
            check(|| refused(kind, stage), Refused(Contentions(20)), doing, Contended(21)).await;
        }
        // the database or the deployment
        for kind in [Unavailable, Closed, Misconfigured, NoTransaction, Unsupported] {
            for stage in [Store, Effect] {
                check(|| refused(kind, stage), One(Fresh), doing, Pause).await;
                check(|| refused(kind, stage), One(Outages(3)), doing, Pause).await;
                check(|| refused(kind, stage), Refused(Outages(9)), doing, Pause).await;
                check(|| refused(kind, stage), Three(Fresh), doing, Pause).await;
                check(|| refused(kind, stage), Three(Outages(1)), doing, PauseOneByOne).await;
            }
        }
        // what the database refuses of a message
        for kind in [Conflict, Internal, Invalid] {
            check(|| refused(kind, Store), Three(Fresh), doing, Split).await;
            check(|| refused(kind, Effect), Three(Fresh), doing, Split).await;
        }
        for kind in [Conflict, Internal] {
            check(|| refused(kind, Store), One(Fresh), doing, Unstored(1)).await;
            check(|| refused(kind, Store), One(Stores(4)), doing, Unstored(5)).await;
            check(|| refused(kind, Store), One(Stores(5)), doing, Raw).await;
            check(|| refused(kind, Store), Row(Stores(5)), doing, Unstored(6)).await;
            check(|| refused(kind, Store), Refused(Stores(5)), doing, Unstored(6)).await;
        }
        check(|| refused(Invalid, Store), One(Fresh), doing, Raw).await;
        check(|| refused(Invalid, Store), Row(Fresh), doing, Unstored(1)).await;
        check(|| refused(Invalid, Store), Refused(Fresh), doing, Unstored(1)).await;
    }
    for (kind, stage) in [(Contention, Store), (Contention, Effect), (Timeout, Store)] {
        check(|| refused(kind, stage), One(Contentions(20)), Working, Charge(0)).await;
        check(|| refused(kind, stage), Row(Contentions(20)), Working, Charge(0)).await;
        check(|| refused(kind, stage), One(Contentions(20)), Recording, Contended(21)).await;
    }
    for kind in [Unavailable, Closed, Misconfigured, NoTransaction, Unsupported] {
        check(|| refused(kind, Effect), One(Outages(4)), Working, Charge(0)).await;
        check(|| refused(kind, Effect), Row(Outages(4)), Working, Charge(0)).await;
        check(|| refused(kind, Effect), One(Outages(4)), Recording, Pause).await;
    }
    for kind in [Conflict, Internal, Timeout, Invalid] {
        check(|| refused(kind, Effect), One(Fresh), Working, Charge(0)).await;
        check(|| refused(kind, Effect), Row(Fresh), Working, Charge(0)).await;
    }
    // a failure that cannot be recorded either is the row's own
    for kind in [Conflict, Internal, Timeout] {
        check(|| refused(kind, Effect), One(Fresh), Recording, Unstored(1)).await;
        check(|| refused(kind, Effect), One(Stores(5)), Recording, Raw).await;
        check(|| refused(kind, Effect), Refused(Fresh), Working, Unstored(1)).await;
    }
    check(|| refused(Invalid, Effect), One(Fresh), Recording, Raw).await;
}

#[tokio::test]
async fn a_message_is_no_suspect_while_the_database_answers_no_other() {
    let setback = refused(Unavailable, Effect);
    let (_, mut partition, plan) = partition_of(One(Outages(4)));
    plan.cut();
    assert!(partition.set_back(&[0], setback, Working).await.is_none());
    assert!(partition.paused_until.is_some());
}

async fn check(setback: impl Fn() -> Cause, of: Of, doing: While, expected: Blame) {
    let (size, mut partition, _plan) = partition_of(of);
    let group: Vec<usize> = (0..size).collect();
    let was_event = partition.window.get(0).event().is_some();
    let charge = partition.set_back(&group, setback(), doing).await;
    let item = partition.window.get(0);
    let blame = match charge {
        Some(charge) => Charge(charge.at),
        None if partition.is_stopped => Stop,
        None if partition.paused_until.is_some() && partition.group_size.limit() == 1 => PauseOneByOne,
        None if partition.paused_until.is_some() => Pause,
        None if partition.group_size.limit() < 60 => Split,
        None if item.due.is_some() && item.tries.contention > 0 => Contended(item.tries.contention),
        None if item.due.is_some() => Unstored(item.tries.persist),
        None if was_event && item.event().is_none() => Raw,
        None => Nothing,
    };
    assert_eq!(blame, expected, "{:?} of {of:?} while {doing:?}", setback());
}

fn partition_of(of: Of) -> (usize, Partition<Faulty<MemoryStore>>, FaultPlan) {
    let plan = FaultPlan::new();
    let mut partition = Partition::new(Arc::new(shared(&plan)), assigned(), CancellationToken::new());
    partition.window = Window::new(1000);
    let (size, tried) = match of {
        One(tried) | Refused(tried) | Row(tried) => (1, tried),
        Three(tried) => (3, tried),
    };
    for number in 0..size {
        let mut item = match of {
            Row(_) => Item::stored(event(number)),
            Refused(_) => Item::received(Body::Refused("no json".into()), message(number)),
            One(_) | Three(_) => Item::received(Body::Event(Box::new(event(number))), message(number)),
        };
        if size == 1 || number == 1 {
            item.tries = match tried {
                Fresh => Tries::default(),
                Contentions(contention) => Tries { contention, ..Tries::default() },
                Outages(infrastructure) => Tries { infrastructure, ..Tries::default() },
                Stores(persist) => Tries { persist, ..Tries::default() },
            };
        }
        partition.window.push(item);
    }
    (size, partition, plan)
}

fn shared(plan: &FaultPlan) -> Shared<Faulty<MemoryStore>> {
    let retry = RetryPolicy::default();
    let context = Context {
        store: Faulty::new(MemoryStore::new(), plan),
        handler: None,
        group: ConsumerGroup::new("shipping").unwrap(),
        worker: WorkerId::new("worker").unwrap(),
        strategy: AckStrategy::default(),
        policy: CommitOffsetPolicy::default(),
        on_failed: OnFailed::default(),
        process_timeout: Duration::from_secs(30),
        group_size: 60,
        retry,
        outage_retry: retry,
        metrics: Arc::new(NoMetrics),
        database: Mutex::new(Gate::new("database", retry)),
    };
    Shared {
        context,
        decoder: Arc::new(DefaultMessageDecoder::new()),
        drain_deadline: Duration::from_secs(45),
        window: 1000,
        permits: Semaphore::new(1),
    }
}

fn assigned() -> AssignedPartition {
    let (_, messages) = mpsc::channel(1);
    let partition = TopicPartition { topic: "orders".into(), partition: 0 };
    AssignedPartition { partition, messages, ack: Box::new(NullAckHandle) }
}

fn event(number: usize) -> InboxEvent {
    let content = EventContent::new("order.placed", Payload::from_text("{}").unwrap());
    let group = ConsumerGroup::new("shipping").unwrap();
    let new = NewInboxEvent::new(format!("m{number}"), group, "shop", content);
    OmniBoxDomainService::default().create_inbox_event(new).unwrap()
}

fn message(number: usize) -> InboundMessage {
    InboundMessage {
        topic: "orders".into(),
        partition: 0,
        offset: i64::try_from(number).unwrap(),
        key: None,
        value: None,
        headers: Vec::new(),
        timestamp: None,
    }
}
