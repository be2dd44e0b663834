//! Acknowledges offsets behind the database's commits, so that the next group need not wait for the broker.

use std::sync::Arc;

use omni_box_core::{AckHandle, ErrorKind, FailureClass, InboxMetrics, RetryPolicy};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::gate::Gate;
use crate::status::InboxStatus;
use crate::transact::Observer;

/// The name of an acker's gate.
pub(super) const OFFSET_COMMIT: &str = "offset commit";

enum Command {
    Done(Vec<i64>),
    Flush(oneshot::Sender<bool>),
}

/// Takes offsets that are done and commits them one batch after the other. A commit that fails is tried again until it succeeds, the
/// partition is gone, or the acker is finished.
#[derive(Debug)]
pub(super) struct Acker {
    commands: mpsc::UnboundedSender<Command>,
    task: JoinHandle<()>,
}

impl Acker {
    pub(super) fn spawn(
        ack: Arc<dyn AckHandle>,
        metrics: Arc<dyn InboxMetrics>,
        status: InboxStatus,
        retry: RetryPolicy,
    ) -> Self {
        let (commands, receiver) = mpsc::unbounded_channel();
        let gate = Gate::new(OFFSET_COMMIT, retry).shown_by(status.lamp(OFFSET_COMMIT));
        Self { commands, task: tokio::spawn(run(ack, metrics, status, gate, receiver)) }
    }

    /// Hands over offsets of messages that are done.
    pub(super) fn done(&self, offsets: Vec<i64>) {
        // an acker that is gone has lost its partition: the messages come again to its next owner
        let _ = self.commands.send(Command::Done(offsets));
    }

    /// Waits until the broker was asked to take everything handed over so far; `false` when it did not, though it may be asked again.
    pub(super) async fn flush(&self) -> bool {
        let (answer, answered) = oneshot::channel();
        let _ = self.commands.send(Command::Flush(answer));
        answered.await.unwrap_or(false)
    }

    /// Commits what is left and ends. Dropped, the acker ends too.
    pub(super) async fn finish(self) {
        drop(self.commands);
        // the task ends by itself; a panic in an ack handle costs redelivery, not more
        let _ = self.task.await;
    }
}

/// What was handed over and not tried yet.
#[derive(Default)]
struct Untried {
    offsets: Vec<i64>,
    waiting: Vec<oneshot::Sender<bool>>,
}

impl Untried {
    fn take(&mut self, command: Command) {
        match command {
            Command::Done(done) => self.offsets.extend(done),
            Command::Flush(answer) => self.waiting.push(answer),
        }
    }
}

async fn run(
    ack: Arc<dyn AckHandle>,
    metrics: Arc<dyn InboxMetrics>,
    status: InboxStatus,
    mut gate: Gate,
    mut commands: mpsc::UnboundedReceiver<Command>,
) {
    while let Some(command) = commands.recv().await {
        commit(ack.as_ref(), Observer::new(&metrics, &status), command, &mut gate, &mut commands).await;
    }
}

/// Commits what `command` and those behind it hand over, until the broker has all of it or never will.
async fn commit(
    ack: &dyn AckHandle,
    observer: Observer<'_>,
    command: Command,
    gate: &mut Gate,
    commands: &mut mpsc::UnboundedReceiver<Command>,
) {
    let mut untried = Untried::default();
    untried.take(command);
    let mut messages = 0;
    loop {
        while let Ok(command) = commands.try_recv() {
            untried.take(command);
        }
        // the handle keeps the marks of a commit that failed, so each offset is given to it once
        let Untried { offsets, waiting } = std::mem::take(&mut untried);
        messages += offsets.len();
        let committed = ack.commit(&offsets).await;
        for answer in waiting {
            // the asker may have stopped waiting
            let _ = answer.send(committed.is_ok());
        }
        let Err(error) = committed else {
            gate.open();
            observer.acknowledged(messages);
            return;
        };
        if error.kind() == ErrorKind::Closed {
            return;
        }
        observer.not_acknowledged();
        let delay = gate.close(&error);
        if commands.is_closed() || error.class() == FailureClass::Permanent {
            return;
        }
        tokio::time::sleep(delay).await;
    }
}
