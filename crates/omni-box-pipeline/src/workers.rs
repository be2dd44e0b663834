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
use crate::{InboxConsumerRunner, InboxWorker, OmniBoxMaintenanceService, OutboxRelay};

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
}

impl Workers {
    /// No workers.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a relay, named `relay`.
    pub fn relay<S: OutboxRepository>(self, relay: OutboxRelay<S>) -> Self {
        self.task("relay", |stop| relay.run(stop))
    }

    /// Adds an inbox, named `inbox`.
    pub fn inbox<S: InboxRepository>(mut self, runner: InboxConsumerRunner<S>) -> Self {
        self.handled.extend(runner.handled_group().cloned());
        self.task("inbox", |stop| runner.run(stop))
    }

    /// Adds a worker of stored messages, named `inbox-worker`.
    pub fn inbox_worker<S: InboxRepository>(mut self, worker: InboxWorker<S>) -> Self {
        self.stored.insert(worker.group().clone());
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

    /// Runs all of them until `stop` resolves, all have ended, or one has failed, and then until all have drained.
    ///
    /// # Errors
    /// [`Misconfigured`](ErrorKind::Misconfigured), before anything runs, when a group has a runner with a handler and workers of stored
    /// messages: what one of them has in memory the other may handle before it. In other processes of the group nothing looks for that.
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
