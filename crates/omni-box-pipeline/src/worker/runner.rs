//! The worker: runs, or takes one batch a call.

use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use omni_box_core::{BatchSize, ConsumerGroup, Error, ErrorKind, InboxRepository, Result};
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::batches::{Batches, Shared};
use crate::batch::BatchProcessingResult;
use crate::copies::Copies;
use crate::deadline::abandon;
use crate::status::InboxStatus;
use crate::watchdog::{Watchdog, Watched};

/// Handles messages whose rows were stored before, in transactions of their own.
///
/// An [`InboxConsumerRunner`](crate::InboxConsumerRunner) without a handler stores messages and acknowledges them as fast as they come.
/// Workers handle them later, as many as are needed, wherever they run.
///
/// - A message takes effect once: its row is locked while its handler runs, and completed in the same transaction.
/// - Messages of a group with one key are handled in order, one at a time. One that waits for its retry holds its key and no other.
/// - A worker claims rows for as long as its lease lives and renews it while it works. The rows of one that died are claimed by another
///   when the lease is over.
/// - A message that ends its process is found. After an unclean end the next messages go one at a time, each with its attempt counted
///   first.
///
/// A group has either a runner with a handler, or workers: what one of them has in memory the other may handle before it. Whichever begins
/// while the other is at work, in whatever process, ends with an error, if the store keeps [members](InboxRepository::members).
///
/// ```
/// use omni_box_core::{BatchSize, ConsumerGroup, InboxContext, Result};
/// use omni_box_pipeline::{InboxConsumerRunner, InboxWorker, on};
/// use omni_box_testkit::{MemoryBroker, MemoryStore, NewMessage};
/// use tokio::time::{Duration, Instant};
///
/// async fn ship(mut cx: InboxContext<'_, MemoryStore>) -> Result<()> {
///     let id = cx.event.message_id().to_owned();
///     cx.conn().insert("shipments", &id, &"shipped").await
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<()> {
/// let (store, broker) = (MemoryStore::new(), MemoryBroker::new());
/// broker.create_topic("orders", 1);
/// broker.send(NewMessage::to("orders").header("event_type", "order.placed").value("{}"));
///
/// let group = ConsumerGroup::new("shipping")?;
/// let mut runner = InboxConsumerRunner::builder(broker.consumer(&group, ["orders"]), store.clone()).build()?;
/// runner.process_one(Instant::now() + Duration::from_secs(1)).await?; // stored, acknowledged
///
/// let worker =
///     InboxWorker::builder(store.clone()).consumer_group("shipping").handler(on("order.placed", ship)).build()?;
/// let result = worker.process_batch(BatchSize::new(50)?).await?; // or `worker.run(stop)`
/// assert_eq!(result.processed_event_ids.len(), 1);
/// assert_eq!(store.scan::<String>("shipments")?.len(), 1);
/// # Ok(())
/// # }
/// ```
pub struct InboxWorker<S: InboxRepository> {
    shared: Arc<Shared<S>>,
    batch_size: BatchSize,
    concurrency_limit: usize,
    drain_deadline: Duration,
    /// The batches of [`process_batch`](Self::process_batch).
    single: Mutex<Batches<S>>,
    abort: CancellationToken,
}

impl<S: InboxRepository> fmt::Debug for InboxWorker<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InboxWorker")
            .field("consumer_group", &self.shared.context.group)
            .field("worker_id", &self.shared.context.worker)
            .finish_non_exhaustive()
    }
}

impl<S: InboxRepository> InboxWorker<S> {
    pub(super) fn new(
        shared: Shared<S>,
        batch_size: BatchSize,
        concurrency_limit: usize,
        drain_deadline: Duration,
    ) -> Self {
        let (shared, abort) = (Arc::new(shared), CancellationToken::new());
        let single = Mutex::new(Batches::new(shared.clone(), abort.clone()));
        Self { shared, batch_size, concurrency_limit, drain_deadline, single, abort }
    }

    /// The group whose messages it handles.
    pub(crate) fn group(&self) -> &ConsumerGroup {
        &self.shared.context.group
    }

    /// A handle to the worker's state, for readiness probes; outlives [`run`](Self::run).
    pub fn status(&self) -> InboxStatus {
        self.shared.context.status.clone()
    }

    /// Claims up to `batch_size` messages that are due, at most one of each key, and takes each to an outcome. An empty result means that
    /// there is nothing to do now. One call runs at a time; another waits.
    ///
    /// # Errors
    /// [`Misconfigured`](ErrorKind::Misconfigured) when a runner gives the group's messages to a handler, in whatever process. When the
    /// database cannot be reached to claim; when it fails later, what has no outcome is in
    /// [`released_event_ids`](BatchProcessingResult::released_event_ids).
    ///
    /// # Cancel safety
    /// The transaction that runs is rolled back when the future is dropped. What it had claimed is given back by the next call.
    pub async fn process_batch(&self, batch_size: BatchSize) -> Result<BatchProcessingResult> {
        self.shared.membership.keep_if_known().await?;
        let result = self.single.lock().await.next(batch_size, &self.abort).await?;
        if let Some(copies) = &self.shared.copies {
            copies.now_and_then(!result.failed_event_ids.is_empty()).await;
        }
        Ok(result)
    }

    /// Notes that the worker ends in good order, after its last [`process_batch`](Self::process_batch). Without it, the next worker of the
    /// group begins with one message at a time.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn close(self) -> Result<()> {
        self.shared.membership.leave().await;
        self.shared.detach().await
    }

    /// Handles what is stored until `shutdown` is cancelled, then ends the groups that are running, and gives back what they did not reach.
    ///
    /// # Errors
    /// [`Misconfigured`](ErrorKind::Misconfigured) when a runner gives the group's messages to a handler, in whatever process. When the store
    /// cannot serve a worker at all. An outage of the database is waited out.
    ///
    /// # Cancel safety
    /// Dropping the future rolls running transactions back; claims expire. Cancel the token instead.
    pub async fn run(self, shutdown: CancellationToken) -> Result<()> {
        let context = &self.shared.context;
        let _running = context.status.running();
        let joining = self.shared.membership.join(&context.database);
        let Some(joined) = shutdown.run_until_cancelled(joining).await else {
            return Ok(());
        };
        joined?;
        let _watchdog = Watchdog::start(Watched {
            worker: context.worker.clone(),
            running: Arc::clone(&context.running),
            process_timeout: context.process_timeout,
            stuck_after: Duration::MAX,
            leave: None,
        })?;
        let stop = shutdown.child_token();
        let _copying = Copies::spawn(self.shared.copies.as_ref(), &stop);
        let mut running = JoinSet::new();
        for _ in 0..self.concurrency_limit {
            let batches = Batches::new(self.shared.clone(), self.abort.clone());
            running.spawn(batches.run(self.batch_size, self.concurrency_limit - 1, stop.clone()));
        }
        let mut ended = Ok(());
        let late = async {
            stop.cancelled().await;
            sleep(self.drain_deadline).await;
        };
        tokio::pin!(late);
        let mut lost = pin!(self.shared.membership.lost());
        loop {
            tokio::select! {
                error = &mut lost, if !stop.is_cancelled() => {
                    ended = Err(error);
                    stop.cancel();
                }
                batches = running.join_next() => {
                    let Some(batches) = batches else { break };
                    ended = ended.and(batches.unwrap_or_else(|failure| Err(broken(failure))));
                    // the first that ends, ends all
                    stop.cancel();
                }
                () = &mut late => {
                    tracing::warn!(
                        worker_id = %self.shared.context.worker, deadline = ?self.drain_deadline, batches = running.len(),
                        "did not drain in time, abandoning what is running",
                    );
                    abandon(&mut running, &self.abort).await;
                    self.shared.membership.leave().await;
                    return ended;
                }
            }
        }
        self.shared.membership.leave().await;
        if let Err(error) = self.shared.detach().await {
            tracing::warn!(
                worker_id = %self.shared.context.worker, kind = ?error.kind(),
                "could not note the end of this worker; the next one will go one message at a time",
            );
        }
        ended
    }
}

fn broken(failure: tokio::task::JoinError) -> Error {
    Error::new(ErrorKind::Internal, "a batch of stored messages panicked").with_source(failure)
}
