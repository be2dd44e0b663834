//! A connection that LISTENs for the commits of other processes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use omni_box_core::Wake;
use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use sqlx::{AssertSqlSafe, Executor};
use tokio::task::AbortHandle;
use tokio::time::timeout;

/// Longest pause between two attempts to LISTEN.
const MAX_PAUSE: Duration = Duration::from_secs(10);

/// How long nothing is notified before the connection is asked for a sign of life.
const QUIET: Duration = Duration::from_secs(10);

/// How long the server has to answer.
const ANSWER: Duration = Duration::from_secs(5);

/// The task that listens, if one was started. It ends with the last reference.
#[derive(Debug, Default)]
pub(crate) struct Listener {
    task: OnceLock<ListenerTask>,
    hears: Arc<AtomicBool>,
}

#[derive(Debug)]
struct ListenerTask(AbortHandle);

impl Listener {
    /// Starts to LISTEN, if it does not yet.
    pub(crate) fn start(&self, options: PgConnectOptions, channel: String, wake: &Wake) {
        self.task.get_or_init(|| {
            let listening = listen(options, channel, wake.clone(), Arc::clone(&self.hears));
            ListenerTask(tokio::spawn(listening).abort_handle())
        });
    }

    /// Whether commits of other processes are heard, as far as is known.
    pub(crate) fn hears(&self) -> bool {
        self.hears.load(Ordering::SeqCst)
    }
}

impl Drop for ListenerTask {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Listens without end. After a time without a connection it wakes once, for what was notified meanwhile.
async fn listen(options: PgConnectOptions, channel: String, wake: Wake, hears: Arc<AtomicBool>) {
    let mut pause = Duration::ZERO;
    loop {
        tokio::time::sleep(pause).await;
        let error = match listen_once(options.clone(), &channel, &wake, &hears, &mut pause).await {
            Ok(never) => match never {},
            Err(error) => error,
        };
        hears.store(false, Ordering::SeqCst);
        if pause.is_zero() {
            tracing::warn!(kind = ?crate::error::kind(&error), "lost the connection that listens for wake-ups; polling meanwhile");
        }
        let base = (pause * 2).clamp(Duration::from_millis(100), MAX_PAUSE);
        pause = base.mul_f64(0.5 + fastrand::f64() / 2.0);
    }
}

/// Listens on one connection until it breaks, or its server does not answer any more: a host that vanished sends no word.
async fn listen_once(
    options: PgConnectOptions,
    channel: &str,
    wake: &Wake,
    hears: &AtomicBool,
    pause: &mut Duration,
) -> Result<std::convert::Infallible, sqlx::Error> {
    // A pool of its own: a relay on a small pool must not lose a connection to this. And one for each connection, as sqlx keeps one that
    // does not answer until it has said that it listens no more.
    let pool = PgPoolOptions::new().max_connections(1).connect_lazy_with(options);
    let mut listener = PgListener::connect_with(&pool).await?;
    // our own loop reconnects, with a pause
    listener.eager_reconnect(false);
    answered(listener.listen(channel)).await?;
    // said again it changes nothing, and shows what the connection is for
    let sign_of_life = format!("LISTEN \"{}\"", channel.replace('"', "\"\""));
    if !pause.is_zero() {
        tracing::info!("listens for wake-ups again");
        *pause = Duration::ZERO;
    }
    // before the wake-up: what was committed until now is found by the fetch that follows
    hears.store(true, Ordering::SeqCst);
    wake.wake();
    loop {
        match timeout(QUIET, listener.try_recv()).await {
            Ok(Ok(Some(_))) => wake.wake(),
            Ok(Ok(None)) => return Err(sqlx::Error::WorkerCrashed),
            Ok(Err(error)) => return Err(error),
            Err(_) => {
                answered(listener.execute(sqlx::raw_sql(AssertSqlSafe(sign_of_life.clone())))).await?;
            }
        }
    }
}

async fn answered<T>(call: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
    let silent = |_| sqlx::Error::Io(std::io::ErrorKind::TimedOut.into());
    timeout(ANSWER, call).await.map_err(silent)?
}
