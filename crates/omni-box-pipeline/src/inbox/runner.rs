//! The runner: start, run, take one, stop.

use std::fmt;
use std::pin::pin;
use std::sync::Arc;

use futures_util::future::select_all;
use omni_box_core::{
    AssignedPartition, ConsumerGroup, Error, ErrorKind, EventConsumer, InboxRepository, Result,
};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tokio_util::sync::CancellationToken;

use super::builder::InboxConsumerRunnerBuilder;
use super::outcome::InboxConsumeResult;
use super::partition::Partition;
use super::shared::Shared;
use crate::copies::Copies;
use crate::deadline::abandon;
use crate::status::InboxStatus;
use crate::watchdog::{BEAT, Watchdog, Watched};

/// Consumes a broker's messages and gives each to a handler, inside a transaction that also writes the message's inbox row.
///
/// - A message takes effect once per `(message_id, consumer_group)`. The handler's writes, the outbox events it adds and the row's
///   completion commit together or not at all.
/// - Messages with one key are handled in order, one that waits for its retry holds its key and no other; partitions run concurrently.
/// - Nothing is lost in silence: what cannot be decoded or handled is stored before its offset is acknowledged.
/// - While the database or the broker is down it waits, and no attempt is spent.
///
/// ```no_run
/// use std::time::Duration;
///
/// use omni_box_core::{EventConsumer, InboxContext, InboxRepository, Result};
/// use omni_box_pipeline::{AckStrategy, InboxConsumerRunner, on};
/// use tokio_util::sync::CancellationToken;
///
/// async fn ship<S: InboxRepository>(cx: InboxContext<'_, S>) {}
///
/// async fn consume<S: InboxRepository>(consumer: impl EventConsumer, store: S, stop: CancellationToken) -> Result<()> {
///     let runner = InboxConsumerRunner::builder(consumer, store)
///         .handler(on("order.placed", ship::<S>))
///         .ack_strategy(AckStrategy::ExactlyOnceInbox)
///         .process_timeout(Duration::from_secs(10))
///         .build()?;
///     runner.run(stop).await // until `stop` is cancelled, and handlers that run have ended
/// }
/// ```
pub struct InboxConsumerRunner<S: InboxRepository> {
    shared: Arc<Shared<S>>,
    consumer: Box<dyn EventConsumer>,
    /// Partitions that [`process_one`](Self::process_one) works on.
    partitions: Vec<Partition<S>>,
    /// What a call that was dropped has done, when its partition has told it.
    untold: Option<InboxConsumeResult>,
    /// Ends work at once.
    abort: CancellationToken,
    /// Watches the handlers, from [`start`](Self::start) on.
    watchdog: Option<Watchdog>,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Ready,
    /// [`run_forever`](InboxConsumerRunner::run_forever) has begun, and gave its partitions away.
    Running,
    Closed,
}

impl<S: InboxRepository> fmt::Debug for InboxConsumerRunner<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InboxConsumerRunner")
            .field("consumer_group", &self.shared.context.group)
            .field("worker_id", &self.shared.context.worker)
            .finish_non_exhaustive()
    }
}

impl<S: InboxRepository> InboxConsumerRunner<S> {
    /// Begins to describe a runner that takes messages from `consumer` and keeps its inbox in `store`.
    pub fn builder(consumer: impl EventConsumer, store: S) -> InboxConsumerRunnerBuilder<S> {
        InboxConsumerRunnerBuilder::new(Box::new(consumer), store)
    }

    /// Its group, if it gives the group's messages to a handler.
    pub(crate) fn handled_group(&self) -> Option<&ConsumerGroup> {
        let context = &self.shared.context;
        context.handler.is_some().then_some(&context.group)
    }

    /// A handle to the runner's state, for readiness probes; outlives [`run`](Self::run).
    pub fn status(&self) -> InboxStatus {
        self.shared.context.status.clone()
    }

    pub(super) fn new(shared: Shared<S>, consumer: Box<dyn EventConsumer>) -> Self {
        Self {
            shared: Arc::new(shared),
            consumer,
            partitions: Vec::new(),
            untold: None,
            abort: CancellationToken::new(),
            watchdog: None,
            state: State::Ready,
        }
    }

    /// Joins the consumer group. The other calls do it themselves; calling it again does nothing.
    ///
    /// # Errors
    /// [`Closed`](ErrorKind::Closed) after the runner has stopped, or [`run_forever`](Self::run_forever) was dropped; otherwise as
    /// [`EventConsumer::start`].
    pub async fn start(&mut self) -> Result<()> {
        let ended = match self.state {
            State::Ready => {
                self.consumer.start().await?;
                return self.watch();
            }
            State::Running => {
                "run_forever was dropped before it returned; stop the runner and build another one"
            }
            State::Closed => "the runner has stopped; build another one",
        };
        Err(Error::new(ErrorKind::Closed, ended))
    }

    fn watch(&mut self) -> Result<()> {
        let Shared { context, stuck_after, .. } = self.shared.as_ref();
        if self.watchdog.is_none() && context.handler.is_some() {
            self.watchdog = Some(Watchdog::start(Watched {
                worker: context.worker.clone(),
                running: Arc::clone(&context.running),
                process_timeout: context.process_timeout,
                stuck_after: *stuck_after,
                leave: self.consumer.leaver(),
            })?);
        }
        Ok(())
    }

    /// Works until `shutdown` is cancelled, as [`OutboxRelay::run`](crate::OutboxRelay::run) does, then drains; see
    /// [`run_forever`](Self::run_forever), which borrows the runner where this takes it.
    ///
    /// # Errors
    /// As [`run_forever`](Self::run_forever).
    ///
    /// # Cancel safety
    /// Dropping the future rolls running transactions back, and the partitions go to other consumers. Cancel the token instead.
    pub async fn run(mut self, shutdown: CancellationToken) -> Result<()> {
        self.run_forever(&shutdown).await
    }

    /// Works until `cancel` is cancelled, then finishes the groups that are running, acknowledges them, and leaves the consumer group. This
    /// takes the drain deadline at most; nothing is waited for when nothing is running.
    ///
    /// # Errors
    /// [`Misconfigured`](ErrorKind::Misconfigured) when workers of stored messages handle the group's messages beside a runner with a handler, in
    /// whatever process. When the consumer cannot go on, or a last commit failed (the messages come again, and are duplicates then). The runner has
    /// stopped in either case.
    ///
    /// # Cancel safety
    /// Dropping the future rolls running transactions back, and the partitions stay with a runner that does nothing until it is
    /// [stopped](Self::stop) or dropped. Every other call says [`Closed`](ErrorKind::Closed). Cancel the token instead.
    pub async fn run_forever(&mut self, cancel: &CancellationToken) -> Result<()> {
        self.start().await?;
        let _running = self.shared.context.status.running();
        self.state = State::Running;
        let joined = match &self.shared.membership {
            Some(membership) => {
                cancel.run_until_cancelled(membership.join(&self.shared.context.database)).await
            }
            None => Some(Ok(())),
        };
        match joined {
            Some(Ok(())) => {}
            None => return self.stop().await,
            Some(Err(refused)) => {
                let _ = self.stop().await;
                return Err(refused);
            }
        }
        let _copying = Copies::spawn(self.shared.copies.as_ref(), cancel);
        let draining = CancellationToken::new();
        let mut workers = JoinSet::new();
        for partition in self.partitions.drain(..) {
            workers.spawn(partition.run(draining.clone()));
        }
        if let Some(watchdog) = &self.watchdog {
            watchdog.beat();
        }
        let mut beat = interval(BEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let shared = self.shared.clone();
        let lost = async {
            match &shared.membership {
                Some(membership) => membership.lost().await,
                None => std::future::pending().await,
            }
        };
        let mut lost = pin!(lost);
        let ended = loop {
            tokio::select! {
                () = cancel.cancelled() => break Ok(()),
                error = &mut lost => break Err(error),
                _ = beat.tick() => if let Some(watchdog) = &self.watchdog {
                    watchdog.beat();
                },
                assigned = self.consumer.next_partition() => match assigned {
                    Ok(Some(assigned)) => {
                        workers.spawn(partition(&self.shared, assigned, &self.abort).run(draining.clone()));
                    }
                    Ok(None) => break Ok(()),
                    Err(error) => break Err(error),
                },
                Some(worker) = workers.join_next() => if let Err(failure) = worker {
                    break Err(broken(failure));
                },
            }
        };
        if let Some(watchdog) = &self.watchdog {
            watchdog.rest();
        }
        draining.cancel();
        let drained = drain(&self.shared, &self.abort, workers).await;
        leave(&self.shared).await;
        self.state = State::Closed;
        let closed = self.consumer.close().await;
        ended.and(drained).and(closed)
    }

    /// Takes one message of any assigned partition to an outcome, with the same promises; `None` when none came before the deadline.
    /// A message that was begun is finished even if the deadline passes.
    ///
    /// Partitions that were taken away are let go of by the next call, for which a rebalance may wait.
    ///
    /// # Errors
    /// [`Misconfigured`](ErrorKind::Misconfigured) when workers of stored messages handle the group's messages beside a runner with a handler. Else
    /// as [`EventConsumer::next_partition`]; what happens to the message is in the result.
    ///
    /// # Cancel safety
    /// No message is lost. One that was begun is rolled back, and the next call begins it again. One that is done by then is told of by the
    /// next call, unless the commit was under way. Then it may turn out to be a [`Duplicate`](crate::Outcome::Duplicate).
    pub async fn process_one(&mut self, deadline: Instant) -> Result<Option<InboxConsumeResult>> {
        if let (Some(membership), State::Ready) = (&self.shared.membership, self.state) {
            membership.keep_if_known().await?;
        }
        self.start().await?;
        if let Some(copies) = &self.shared.copies {
            copies.now_and_then(false).await;
        }
        // one at most: nothing else is begun before it is told
        if let Some(at) = self.partitions.iter().position(Partition::has_result) {
            self.untold = self.one(at).await;
        }
        loop {
            self.let_go().await;
            if let Some(result) = self.untold.take() {
                return Ok(Some(result));
            }
            for at in 0..self.partitions.len() {
                if let Some(result) = self.one(at).await {
                    return Ok(Some(result));
                }
            }
            let idle: Vec<_> =
                self.partitions.iter_mut().map(|partition| Box::pin(partition.idle())).collect();
            let any_idle = async {
                match idle.is_empty() {
                    true => std::future::pending().await,
                    false => drop(select_all(idle).await),
                }
            };
            let assigned = tokio::select! {
                assigned = self.consumer.next_partition() => Some(assigned?),
                () = any_idle => None,
                () = sleep_until(deadline) => return Ok(None),
            };
            match assigned {
                Some(Some(assigned)) => self.partitions.push(partition(&self.shared, assigned, &self.abort)),
                Some(None) => return Ok(None),
                None => {}
            }
        }
    }

    /// One message of the partition at this place. The next call begins with the partition behind it.
    async fn one(&mut self, at: usize) -> Option<InboxConsumeResult> {
        let result = self.partitions[at].one().await?;
        self.partitions.rotate_left(at + 1);
        Some(result)
    }

    /// Lets go of partitions that were taken away.
    async fn let_go(&mut self) {
        while let Some(at) = self.partitions.iter().position(Partition::is_over) {
            self.partitions.swap_remove(at).close().await;
        }
    }

    /// Ends what [`process_one`](Self::process_one) or a [`run_forever`](Self::run_forever) that was dropped began: acknowledges what is done
    /// and leaves the consumer group. Calling it again, or after [`run_forever`](Self::run_forever) has returned, does nothing.
    ///
    /// # Errors
    /// When a last commit failed; the messages come again.
    pub async fn stop(&mut self) -> Result<()> {
        if self.state == State::Closed {
            return Ok(());
        }
        self.state = State::Closed;
        for partition in self.partitions.drain(..) {
            partition.close().await;
        }
        leave(&self.shared).await;
        self.consumer.close().await
    }
}

/// Makes room for those who handle the group's messages in another way.
async fn leave<S: InboxRepository>(shared: &Shared<S>) {
    if let Some(membership) = &shared.membership {
        membership.leave().await;
    }
}

fn partition<S: InboxRepository>(
    shared: &Arc<Shared<S>>,
    assigned: AssignedPartition,
    abort: &CancellationToken,
) -> Partition<S> {
    Partition::new(shared.clone(), assigned, abort.clone())
}

/// Waits for the workers to end, and for no longer than it may take.
async fn drain<S: InboxRepository>(
    shared: &Shared<S>,
    abort: &CancellationToken,
    mut workers: JoinSet<()>,
) -> Result<()> {
    let mut outcome = Ok(());
    let until = Instant::now() + shared.drain_deadline;
    loop {
        tokio::select! {
            worker = workers.join_next() => match worker {
                None => return outcome,
                Some(Ok(())) => {}
                Some(Err(failure)) => outcome = Err(broken(failure)),
            },
            () = sleep_until(until) => break,
        }
    }
    tracing::warn!(
        worker_id = %shared.context.worker, deadline = ?shared.drain_deadline, partitions = workers.len(),
        "did not drain in time, abandoning what is running",
    );
    abandon(&mut workers, abort).await;
    outcome
}

fn broken(failure: tokio::task::JoinError) -> Error {
    Error::new(ErrorKind::Internal, "a partition's worker panicked").with_source(failure)
}
