//! A connection that LISTENs for the commits of other processes.

use std::sync::OnceLock;
use std::time::Duration;

use omni_box_core::Wake;
use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use tokio::task::AbortHandle;

/// Longest pause between two attempts to LISTEN.
const MAX_PAUSE: Duration = Duration::from_secs(10);

/// The task that listens, if one was started. It ends with the last reference.
#[derive(Debug, Default)]
pub(crate) struct Listener(OnceLock<ListenerTask>);

#[derive(Debug)]
struct ListenerTask(AbortHandle);

impl Listener {
    /// Starts to LISTEN, if it does not yet.
    pub(crate) fn start(&self, options: PgConnectOptions, channel: String, wake: &Wake) {
        self.0.get_or_init(|| {
            // a pool of its own: a relay on a small pool must not lose a connection to this
            let pool = PgPoolOptions::new().max_connections(1).connect_lazy_with(options);
            ListenerTask(tokio::spawn(listen(pool, channel, wake.clone())).abort_handle())
        });
    }
}

impl Drop for ListenerTask {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Listens without end. After a time without a connection it wakes once, for what was notified meanwhile.
async fn listen(pool: PgPool, channel: String, wake: Wake) {
    let mut pause = Duration::ZERO;
    loop {
        tokio::time::sleep(pause).await;
        let error = match listen_once(&pool, &channel, &wake, &mut pause).await {
            Ok(never) => match never {},
            Err(error) => error,
        };
        if pause.is_zero() {
            tracing::warn!(kind = ?crate::error::kind(&error), "lost the connection that listens for wake-ups; polling meanwhile");
        }
        let base = (pause * 2).clamp(Duration::from_millis(100), MAX_PAUSE);
        pause = base.mul_f64(0.5 + fastrand::f64() / 2.0);
    }
}

async fn listen_once(
    pool: &PgPool,
    channel: &str,
    wake: &Wake,
    pause: &mut Duration,
) -> Result<std::convert::Infallible, sqlx::Error> {
    let mut listener = PgListener::connect_with(pool).await?;
    // our own loop reconnects, with a pause
    listener.eager_reconnect(false);
    listener.listen(channel).await?;
    if !pause.is_zero() {
        tracing::info!("listens for wake-ups again");
        *pause = Duration::ZERO;
    }
    wake.wake();
    loop {
        if listener.try_recv().await?.is_none() {
            return Err(sqlx::Error::WorkerCrashed);
        }
        wake.wake();
    }
}
