//! A broker in memory, with a log per partition: it is stopped, revoked and read by tests at will.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use omni_box_core::{
    AckHandle, AssignedPartition, Error, ErrorKind, EventConsumer, InboundMessage, Result, TopicPartition,
};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

pub(crate) const TOPIC: &str = "orders";

#[derive(Default)]
struct Log {
    messages: Vec<InboundMessage>,
    committed: i64,
}

/// Partitions with their messages and the group's committed offsets.
#[derive(Clone)]
pub(crate) struct Broker {
    logs: Arc<Mutex<BTreeMap<i32, Log>>>,
    appended: watch::Sender<()>,
    fails_commits: Arc<AtomicBool>,
}

impl Broker {
    pub(crate) fn new(partitions: i32) -> Self {
        let logs = (0..partitions).map(|partition| (partition, Log::default())).collect();
        Self {
            logs: Arc::new(Mutex::new(logs)),
            appended: watch::Sender::new(()),
            fails_commits: Arc::default(),
        }
    }

    /// Appends a message with an id, a key and a body.
    pub(crate) fn send(&self, partition: i32, id: &str, key: &str, body: serde_json::Value) {
        let value = Some(body.to_string().into_bytes());
        self.send_raw(
            partition,
            Some(key.as_bytes()),
            value,
            &[("event_id", id), ("event_type", "order.placed")],
        );
    }

    pub(crate) fn send_raw(
        &self,
        partition: i32,
        key: Option<&[u8]>,
        value: Option<Vec<u8>>,
        headers: &[(&str, &str)],
    ) {
        let mut logs = self.logs.lock().unwrap();
        let log = logs.get_mut(&partition).unwrap();
        // offsets have gaps, as transaction markers leave them
        let offset = log.messages.len() as i64 * 2;
        log.messages.push(InboundMessage {
            topic: TOPIC.to_owned(),
            partition,
            offset,
            key: key.map(|key| key.to_vec().into()),
            value: value.map(Into::into),
            headers: headers
                .iter()
                .map(|(name, value)| ((*name).to_owned(), Some(value.as_bytes().to_vec().into())))
                .collect(),
            timestamp: None,
        });
        drop(logs);
        self.appended.send_replace(());
    }

    /// How many of a partition's messages the group has committed.
    pub(crate) fn committed(&self, partition: i32) -> usize {
        let logs = self.logs.lock().unwrap();
        let log = &logs[&partition];
        log.messages.iter().filter(|message| message.offset < log.committed).count()
    }

    /// Whether everything is committed.
    pub(crate) fn is_drained(&self) -> bool {
        let logs = self.logs.lock().unwrap();
        logs.values().all(|log| log.messages.last().is_none_or(|last| last.offset < log.committed))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.logs.lock().unwrap().values().all(|log| log.messages.is_empty())
    }

    /// Sets the group back to the beginning: everything is delivered again.
    pub(crate) fn rewind(&self) {
        self.logs.lock().unwrap().values_mut().for_each(|log| log.committed = 0);
    }

    pub(crate) fn fail_commits(&self, fail: bool) {
        self.fails_commits.store(fail, Ordering::SeqCst);
    }

    /// A consumer that is assigned every partition.
    pub(crate) fn consumer(&self) -> (Consumer, Assignment) {
        let assignment = Assignment { revoked: CancellationToken::new(), lost: CancellationToken::new() };
        let partitions = self.logs.lock().unwrap().keys().copied().collect();
        let consumer = Consumer { broker: self.clone(), waiting: partitions, assignment: assignment.clone() };
        (consumer, assignment)
    }
}

/// Takes a consumer's partitions away.
#[derive(Clone, Debug)]
pub(crate) struct Assignment {
    pub(crate) revoked: CancellationToken,
    pub(crate) lost: CancellationToken,
}

pub(crate) struct Consumer {
    broker: Broker,
    waiting: BTreeSet<i32>,
    assignment: Assignment,
}

#[async_trait]
impl EventConsumer for Consumer {
    async fn start(&mut self) -> Result<()> {
        Ok(())
    }

    async fn next_partition(&mut self) -> Result<Option<AssignedPartition>> {
        if self.assignment.revoked.is_cancelled() {
            return std::future::pending().await;
        }
        let Some(partition) = self.waiting.pop_first() else { return std::future::pending().await };
        let (sender, messages) = mpsc::channel(100);
        tokio::spawn(feed(self.broker.clone(), partition, sender, self.assignment.revoked.clone()));
        let ack = Ack {
            broker: self.broker.clone(),
            partition,
            done: Mutex::default(),
            assignment: self.assignment.clone(),
        };
        let partition = TopicPartition { topic: TOPIC.to_owned(), partition };
        Ok(Some(AssignedPartition { partition, messages, ack: Box::new(ack) }))
    }

    async fn close(&mut self) -> Result<()> {
        self.assignment.revoked.cancel();
        Ok(())
    }
}

async fn feed(
    broker: Broker,
    partition: i32,
    sender: mpsc::Sender<InboundMessage>,
    revoked: CancellationToken,
) {
    let mut appended = broker.appended.subscribe();
    let mut next = broker.logs.lock().unwrap()[&partition].committed;
    loop {
        let message = {
            let logs = broker.logs.lock().unwrap();
            logs[&partition].messages.iter().find(|message| message.offset >= next).cloned()
        };
        let Some(message) = message else {
            tokio::select! {
                changed = appended.changed() => if changed.is_err() { return },
                () = revoked.cancelled() => return,
                () = sender.closed() => return,
            }
            continue;
        };
        next = message.offset + 1;
        tokio::select! {
            sent = sender.send(message) => if sent.is_err() { return },
            () = revoked.cancelled() => return,
        }
    }
}

struct Ack {
    broker: Broker,
    partition: i32,
    done: Mutex<BTreeSet<i64>>,
    assignment: Assignment,
}

impl std::fmt::Debug for Ack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ack")
    }
}

#[async_trait]
impl AckHandle for Ack {
    async fn commit(&self, offsets: &[i64]) -> Result<()> {
        if self.assignment.lost.is_cancelled() {
            return Err(Error::new(ErrorKind::Closed, "lost"));
        }
        let mut done = self.done.lock().unwrap();
        done.extend(offsets);
        if self.broker.fails_commits.load(Ordering::SeqCst) {
            return Err(Error::new(ErrorKind::Unavailable, "the broker takes no commits"));
        }
        let mut logs = self.broker.logs.lock().unwrap();
        let log = logs.get_mut(&self.partition).unwrap();
        for message in &log.messages {
            if message.offset >= log.committed {
                if !done.contains(&message.offset) {
                    break;
                }
                log.committed = message.offset + 1;
            }
        }
        Ok(())
    }

    async fn rewind(&self) -> Result<mpsc::Receiver<InboundMessage>> {
        Err(Error::new(ErrorKind::Unsupported, "not needed here"))
    }

    fn is_revoked(&self) -> bool {
        self.assignment.revoked.is_cancelled() || self.assignment.lost.is_cancelled()
    }

    async fn lost(&self) {
        self.assignment.lost.cancelled().await;
    }
}
