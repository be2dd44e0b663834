//! What the metrics of the inbox are told.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use omni_box_core::{
    BatchSize, ErrorKind, HandlerError, HandlerOutcome, InboxMetrics, Result, TopicPartition, TransientError,
};
use omni_box_harness::eventually;
use omni_box_pipeline::{AckStrategy, CommitOffsetPolicy, InboxWorker};
use omni_box_testkit::Operation;
use serde_json::json;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::memory::{Handler, Memory};
use super::service::{GROUP, LONG, Running, broken};

/// Writes down what it is told; gauges have a sum.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Lines>>);

#[derive(Default)]
struct Lines {
    counted: Vec<String>,
    partitions: i64,
    messages: i64,
    watermark: Option<(String, String, Option<Instant>)>,
}

impl Told {
    fn with<T>(&self, act: impl FnOnce(&mut Lines) -> T) -> T {
        act(&mut self.0.lock().unwrap())
    }

    fn note(&self, line: impl Into<String>) {
        self.with(|lines| lines.counted.push(line.into()));
    }

    /// Sorted: the broker is told beside the database.
    fn counted(&self) -> Vec<String> {
        let mut counted = self.with(|lines| lines.counted.clone());
        counted.sort();
        counted
    }
}

impl InboxMetrics for Told {
    fn message_consumed(&self) {
        self.note("consumed");
    }

    fn message_duplicate(&self) {
        self.note("duplicate");
    }

    fn event_processed(&self, event_type: &str, status: &'static str) {
        self.note(format!("{event_type} {status}"));
    }

    fn message_quarantined(&self, reason: &'static str) {
        self.note(format!("quarantined: {reason}"));
    }

    fn messages_committed(&self, messages: usize) {
        // together or one by one, as it happens
        (0..messages).for_each(|_| self.note("committed"));
    }

    fn commit_failed(&self) {
        self.note("commit failed");
    }

    fn handler_duration(&self, event_type: &str, elapsed: Duration) {
        assert!(elapsed < LONG);
        self.note(format!("{event_type} handled"));
    }

    fn delivery_delay(&self, topic: &str, elapsed: Duration) {
        assert!(elapsed < LONG);
        self.note(format!("{topic} delivered"));
    }

    fn group_committed(&self, messages: usize) {
        self.note(format!("group of {messages}"));
    }

    fn assigned_partitions(&self, by: i64) {
        self.with(|lines| lines.partitions += by);
    }

    fn messages_in_flight(&self, by: i64) {
        self.with(|lines| lines.messages += by);
    }

    fn watermark(&self, consumer_group: &str, partition: &TopicPartition, since: Option<Instant>) {
        let watermark = (consumer_group.to_owned(), partition.to_string(), since);
        self.with(|lines| lines.watermark = Some(watermark));
    }
}

/// What happens to a message.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Case {
    Completed,
    Skipped,
    Stale,
    RetriedOnce,
    SetBackOnce,
    Failed,
    Panicked,
    Duplicate,
    Undecodable,
    Conflict,
    Invalid,
    CommitFails,
    StoredFirst,
    StoredOnly,
    AtMostOnceFailed,
}

impl Case {
    fn act(self, call: u32) -> Result<HandlerOutcome, HandlerError> {
        match self {
            Self::Skipped => Ok(HandlerOutcome::Skipped),
            Self::Stale => Ok(HandlerOutcome::Stale),
            Self::RetriedOnce if call == 1 => Err(broken()),
            Self::SetBackOnce if call == 1 => Err(TransientError::new("another service is down").into()),
            Self::Failed => Err(HandlerError::permanent("never")),
            Self::AtMostOnceFailed => Err(broken()),
            Self::Panicked if call == 1 => panic!("as the case wants it"),
            _ => Ok(HandlerOutcome::Completed),
        }
    }

    fn send(self, memory: &Memory) {
        let send = |body| memory.broker.send(0, "m", "key", json!({ "body": body }));
        match self {
            // this header is not of an event
            Self::Undecodable => memory.broker.send_raw(0, Some(b"key"), Some(b"{".to_vec()), &[]),
            Self::Duplicate => (0..2).for_each(|_| send(1)),
            Self::Conflict => (1..3).for_each(send),
            _ => send(1),
        }
    }

    async fn run(self) -> Vec<String> {
        let (memory, told) = (Memory::new(), Told::default());
        let handler = Handler::new(move |_, call| async move { self.act(call) });
        let builder = match self {
            Self::StoredOnly => memory.storing(),
            Self::StoredFirst => memory.builder(&handler).commit_offset_policy(CommitOffsetPolicy::OnPersist),
            Self::AtMostOnceFailed => memory.builder(&handler).ack_strategy(AckStrategy::AtMostOnce),
            _ => memory.builder(&handler),
        };
        match self {
            Self::CommitFails => memory.broker.refuse_commits(),
            Self::Invalid => memory.plan.on(Operation::Receive).fail_before(ErrorKind::Invalid),
            _ => {}
        }
        self.send(&memory);
        let running = Running::new(builder.metrics(told.clone()).group_size(1));
        if self == Self::CommitFails {
            eventually(LONG, async || told.counted().iter().any(|line| line == "commit failed")).await;
            memory.broker.accept_commits();
        }
        memory.drained().await;
        eventually(LONG, async || told.with(|lines| lines.messages) == 0).await;
        running.stop().await;
        let mut counted = told.counted();
        if self == Self::CommitFails {
            // how often depends on the time it took
            counted.dedup();
        }
        counted
    }
}

#[tokio::test]
async fn are_told_what_became_of_each_message() {
    const HANDLED: &str = "order.placed handled";
    let done =
        |status: &'static str| ["consumed", HANDLED, "group of 1", status, "orders delivered", "committed"];
    let completed = done("order.placed completed");
    let again = [HANDLED, "group of 1", "order.placed retried"];
    let second = ["consumed", "group of 1", "committed"];
    let cases: [(Case, &[&[&str]]); 15] = [
        (Case::Completed, &[&completed]),
        (Case::Skipped, &[&done("order.placed skipped")]),
        (Case::Stale, &[&done("order.placed stale")]),
        (Case::RetriedOnce, &[&again, &completed]),
        (Case::SetBackOnce, &[&again, &completed]),
        (Case::Failed, &[&["consumed", HANDLED, "group of 1", "order.placed failed", "committed"]]),
        (Case::Panicked, &[&again, &completed]),
        (Case::Duplicate, &[&completed, &second, &["duplicate"]]),
        (Case::Undecodable, &[&["consumed", "group of 1", "quarantined: decode", "committed"]]),
        (Case::Conflict, &[&completed, &second, &["quarantined: conflict"]]),
        (Case::Invalid, &[&["consumed", "group of 1", "quarantined: invalid", "committed"]]),
        (Case::CommitFails, &[&completed, &["commit failed"]]),
        (Case::StoredFirst, &[&completed, &["group of 1"]]),
        (Case::StoredOnly, &[&["consumed", "group of 1", "committed"]]),
        (Case::AtMostOnceFailed, &[&["consumed", HANDLED, "group of 1", "order.placed failed", "committed"]]),
    ];
    for (case, parts) in cases {
        let mut expected: Vec<&str> = parts.iter().copied().flatten().copied().collect();
        expected.sort_unstable();
        assert_eq!(case.run().await, expected, "{case:?}");
    }
}

/// A worker of stored messages tells the same of its handlers, and nothing of a broker.
#[tokio::test]
async fn a_worker_of_stored_messages_tells_them_too() {
    let (memory, told) = (Memory::new(), Told::default());
    (0..2).for_each(|n| memory.broker.send(0, &format!("m{n}"), &format!("k{n}"), json!({ "n": n })));
    let storing = Running::new(memory.storing());
    memory.drained().await;
    storing.stop().await;
    let (seen, most) = (told.clone(), Arc::new(Mutex::new(0)));
    let in_memory = most.clone();
    let handler = Handler::new(move |_, _| {
        let mut most = in_memory.lock().unwrap();
        *most = seen.with(|lines| lines.messages).max(*most);
        async { Ok(HandlerOutcome::Completed) }
    });
    let worker = InboxWorker::builder(memory.store.clone()).consumer_group(GROUP).handler(handler);
    let worker = worker.metrics(told.clone()).build().unwrap();
    worker.process_batch(BatchSize::new(10).unwrap()).await.unwrap();
    assert_eq!(
        told.counted(),
        [
            "group of 2",
            "order.placed completed",
            "order.placed completed",
            "order.placed handled",
            "order.placed handled"
        ]
    );
    assert_eq!((*most.lock().unwrap(), told.with(|lines| lines.messages)), (2, 0), "in memory meanwhile");
    assert_eq!(told.with(|lines| lines.partitions), 0);
    worker.close().await.unwrap();
}

#[tokio::test]
async fn gauges_follow_a_partition_and_end_with_it() {
    for is_killed in [false, true] {
        let (memory, told, go_on) = (Memory::new(), Told::default(), Arc::new(Notify::new()));
        let (begun, gate) = (Arc::new(Notify::new()), go_on.clone());
        let enters = begun.clone();
        let handler = Handler::new(move |id, _| {
            let (enters, gate) = (enters.clone(), gate.clone());
            async move {
                if id == "second" {
                    enters.notify_one();
                    gate.notified().await;
                }
                Ok(HandlerOutcome::Completed)
            }
        });
        for id in ["first", "second", "third"] {
            memory.broker.send(0, id, "key", json!({}));
        }
        let before = Instant::now();
        let running = Running::new(memory.builder(&handler).group_size(1).metrics(told.clone()));
        begun.notified().await;
        eventually(LONG, async || told.with(|lines| lines.messages) == 2).await;
        let (partitions, watermark) = told.with(|lines| (lines.partitions, lines.watermark.clone()));
        let (group, partition, since) = watermark.unwrap();
        assert_eq!((partitions, group.as_str(), partition.as_str()), (1, GROUP, "orders/0"));
        assert!(since.is_some_and(|since| since >= before), "the second holds the offset back");
        if is_killed {
            running.crash().await;
        } else {
            go_on.notify_one();
            memory.drained().await;
            eventually(LONG, async || told.with(|lines| lines.messages) == 0).await;
            let watermark = told.with(|lines| lines.watermark.clone()).unwrap();
            assert_eq!(watermark.2, None, "nothing is behind it");
            running.stop().await;
        }
        eventually(LONG, async || told.with(|lines| lines.partitions) == 0).await;
        let (messages, watermark) = told.with(|lines| (lines.messages, lines.watermark.clone().unwrap().2));
        assert_eq!((messages, watermark), (0, None), "what it added is taken back");
    }
}
