//! Several workers in one process: they start together, and end together.

use std::collections::BTreeSet;
use std::error::Error as StdError;
use std::fmt;
use std::future::Future;
use std::panic::AssertUnwindSafe;

use futures_util::future::{BoxFuture, FutureExt};
use omni_box_core::{ConsumerGroup, Error, ErrorKind, InboxRepository, OutboxRepository, Result};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::settings::misconfigured;
use crate::{
    InboxConsumerRunner, InboxStatus, InboxWorker, OmniBoxMaintenanceService, OutboxRelay, RelayStatus,
};

type BoxError = Box<dyn StdError + Send + Sync>;
type Start = Box<dyn FnOnce(CancellationToken) -> BoxFuture<'static, Result<(), BoxError>> + Send>;

/// Runs relays, inboxes and tasks of an application in one process, until it is stopped or one of them fails.
///
/// - The first failure stops all others; they drain as they would at a shutdown, and the worker that failed is named.
/// - A task that ends without a failure stops nothing.
///
/// ```
/// use omni_box_core::{ConsumerGroup, EnvelopeEventConverter, InboxContext};
/// use omni_box_pipeline::{InboxConsumerRunner, OmniBoxMaintenanceService, OutboxRelay, Workers, on};
/// use omni_box_testkit::{MemoryBroker, MemoryStore};
///
/// async fn ship(_cx: InboxContext<'_, MemoryStore>) {}
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> omni_box_core::Result<()> {
/// let (store, broker) = (MemoryStore::new(), MemoryBroker::new());
/// let relay = OutboxRelay::builder(store.clone(), broker.publisher(EnvelopeEventConverter)).build()?;
/// let consumer = broker.consumer(&ConsumerGroup::new("shipping")?, ["orders"]);
/// let shipping =
///     InboxConsumerRunner::builder(consumer, store.clone()).handler(on("order.placed", ship)).build()?;
///
/// Workers::new()
///     .relay(relay)
///     .inbox(shipping)
///     .maintenance(OmniBoxMaintenanceService::new().outbox(store.clone()).inbox(store))
///     .task("http", |stop| async move {
///         stop.cancelled().await; // serve until then
///         Ok::<_, std::io::Error>(())
///     })
///     .run_until(async {}) // `shutdown_signal()` in a program
///     .await
/// # }
/// ```
#[must_use = "nothing runs before `run_until`"]
#[derive(Default)]
pub struct Workers {
    tasks: Vec<(String, Start)>,
    /// Groups whose messages a runner gives to a handler.
    handled: BTreeSet<ConsumerGroup>,
    /// Groups whose messages are handled from their rows.
    stored: BTreeSet<ConsumerGroup>,
    status: WorkersStatus,
}

impl Workers {
    /// No workers.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a relay, named `relay`.
    pub fn relay<S: OutboxRepository>(mut self, relay: OutboxRelay<S>) -> Self {
        self.status.relays.push(relay.status());
        self.task("relay", |stop| relay.run(stop))
    }

    /// Adds an inbox, named `inbox`.
    pub fn inbox<S: InboxRepository>(mut self, runner: InboxConsumerRunner<S>) -> Self {
        self.handled.extend(runner.handled_group().cloned());
        self.status.inboxes.push(runner.status());
        self.task("inbox", |stop| runner.run(stop))
    }

    /// Adds a worker of stored messages, named `inbox-worker`.
    pub fn inbox_worker<S: InboxRepository>(mut self, worker: InboxWorker<S>) -> Self {
        self.stored.insert(worker.group().clone());
        self.status.inboxes.push(worker.status());
        self.task("inbox-worker", |stop| worker.run(stop))
    }

    /// Adds upkeep of the tables, named `maintenance`.
    pub fn maintenance(self, maintenance: OmniBoxMaintenanceService) -> Self {
        self.task("maintenance", |stop| maintenance.run(stop))
    }

    /// Adds a task of the application. It ends soon after its token is cancelled; nothing else ends it.
    pub fn task<F, Fut, E>(mut self, name: impl Into<String>, start: F) -> Self
    where
        F: FnOnce(CancellationToken) -> Fut + Send + 'static,
        Fut: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<BoxError>,
    {
        self.tasks
            .push((name.into(), Box::new(|stop| start(stop).map(|ended| ended.map_err(Into::into)).boxed())));
        self
    }

    /// Handles to the state of the relays and inboxes that were added so far, for the probes of a task that is added next.
    pub fn status(&self) -> WorkersStatus {
        self.status.clone()
    }

    /// Runs all of them until `stop` resolves, all have ended, or one has failed, and then until all have drained.
    ///
    /// # Errors
    /// [`Misconfigured`](ErrorKind::Misconfigured), before anything runs, when a group has a runner with a handler and workers of stored
    /// messages. What one of them has in memory the other may handle before it. In other processes of the group nothing looks for that.
    ///
    /// The first failure, with the worker's name and the failure as its source. A worker's later failure is logged. The kind is
    /// that of an omni-box error, else [`Internal`](ErrorKind::Internal).
    ///
    /// # Cancel safety
    /// Dropping the future ends every worker at once, without draining.
    pub async fn run_until(self, stop: impl Future<Output = ()>) -> Result<()> {
        if let Some(group) = self.handled.intersection(&self.stored).next() {
            return Err(misconfigured(format!(
                "consumer group {group:?} has a runner with a handler and a worker of stored messages: take the handler off the runner, \
                 or the worker away"
            )));
        }
        let token = CancellationToken::new();
        let mut running = JoinSet::new();
        for (name, start) in self.tasks {
            let stop = token.clone();
            let worker = AssertUnwindSafe(async { start(stop).await }).catch_unwind();
            running.spawn(async move { (name, worker.await) });
        }
        let mut first = Ok(());
        let mut stop = std::pin::pin!(stop.fuse());
        loop {
            tokio::select! {
                ended = running.join_next() => match ended {
                    None => return first,
                    Some(Ok((name, ended))) => if let Err(error) = outcome(&name, ended) {
                        token.cancel();
                        match first {
                            Ok(()) => first = Err(error),
                            Err(_) => tracing::warn!(worker = name, error = error.chain(), "another worker failed"),
                        }
                    },
                    // a worker's panic is caught, and no worker is aborted
                    Some(Err(failure)) => return Err(Error::new(ErrorKind::Internal, "a worker is gone").with_source(failure)),
                },
                () = &mut stop => token.cancel(),
            }
        }
    }
}

impl fmt::Debug for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.tasks.iter().map(|(name, _)| name)).finish()
    }
}

/// Handles to the state of all relays and inboxes of [`Workers`]. A clone is cheap, and a look waits for nothing.
///
/// ```
/// use omni_box_core::RawEventConverter;
/// use omni_box_pipeline::{OutboxRelay, Workers};
/// use omni_box_testkit::{MemoryBroker, MemoryStore};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> omni_box_core::Result<()> {
/// let publisher = MemoryBroker::new().publisher(RawEventConverter);
/// let workers = Workers::new().relay(OutboxRelay::builder(MemoryStore::new(), publisher).build()?);
/// let status = workers.status();
/// workers
///     .task("http", |stop| async move {
///         while !status.is_ready() {
///             tokio::task::yield_now().await; // `/ready` answers 503, `/live` looks at `is_running`
///         }
///         assert_eq!(status.relays()[0].now().lanes.len(), 16);
///         stop.cancelled().await;
///         Ok::<_, std::io::Error>(())
///     })
///     .run_until(tokio::time::sleep(std::time::Duration::from_millis(50)))
///     .await
/// # }
/// ```
#[derive(Debug, Clone, Default)]
pub struct WorkersStatus {
    relays: Vec<RelayStatus>,
    inboxes: Vec<InboxStatus>,
}

impl WorkersStatus {
    /// The relays, in the order in which they were added.
    pub fn relays(&self) -> &[RelayStatus] {
        &self.relays
    }

    /// The inboxes and the workers of stored messages, in the order in which they were added.
    pub fn inboxes(&self) -> &[InboxStatus] {
        &self.inboxes
    }

    /// Whether all are ready: [`RelaySnapshot::is_ready`](crate::RelaySnapshot::is_ready),
    /// [`InboxSnapshot::is_ready`](crate::InboxSnapshot::is_ready).
    pub fn is_ready(&self) -> bool {
        self.relays.iter().all(|relay| relay.now().is_ready())
            && self.inboxes.iter().all(|inbox| inbox.now().is_ready())
    }

    /// Whether all run.
    pub fn is_running(&self) -> bool {
        self.relays.iter().all(|relay| relay.now().is_running)
            && self.inboxes.iter().all(|inbox| inbox.now().is_running)
    }
}

/// A panic has been printed where it happened; its text may hold anything, and is not repeated.
fn outcome(name: &str, ended: std::thread::Result<Result<(), BoxError>>) -> Result<()> {
    let source = match ended {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(error)) => error,
        Err(_panic) => return Err(Error::new(ErrorKind::Internal, format!("worker {name:?} panicked"))),
    };
    let kind = source.downcast_ref().map_or(ErrorKind::Internal, Error::kind);
    Err(Error::new(kind, format!("worker {name:?} failed")).with_source(source))
}

/// Resolves at SIGTERM or Ctrl-C (elsewhere than on Unix, at Ctrl-C).
///
/// ```no_run
/// # use omni_box_pipeline::{Workers, shutdown_signal};
/// # async fn run(workers: Workers) -> omni_box_core::Result<()> {
/// workers.run_until(shutdown_signal()).await
/// # }
/// ```
///
/// # Panics
/// When the process cannot listen to signals.
pub async fn shutdown_signal() {
    #[cfg(unix)]
    {
        let kind = tokio::signal::unix::SignalKind::terminate();
        let mut terminate = tokio::signal::unix::signal(kind).expect("SIGTERM can be listened to");
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
    }
    #[cfg(not(unix))]
    {
        let _ = tokio::signal::ctrl_c().await;
    }
}
