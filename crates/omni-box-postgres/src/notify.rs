//! Wake-ups: from this process at once, from others by LISTEN.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use omni_box_core::{Result, Waiter, Wake, Wakeup};
use sqlx::PgPool;
use sqlx::postgres::{PgListener, PgPoolOptions};
use tokio::task::AbortHandle;

use crate::{Listen, PgStore};

/// Longest pause between two attempts to LISTEN.
const MAX_PAUSE: Duration = Duration::from_secs(10);

/// The task that listens, if one was started. It ends with the last reference.
#[derive(Debug, Default)]
pub(crate) struct Listener(OnceLock<ListenerTask>);

#[derive(Debug)]
struct ListenerTask(AbortHandle);

impl Drop for ListenerTask {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl PgStore {
    /// A source of wake-ups; the first one starts to LISTEN.
    pub(crate) fn new_wakeup(&self) -> PgWakeup {
        if self.config.listen == Listen::Dedicated {
            self.listener.0.get_or_init(|| {
                let options = self.pool().connect_options().as_ref().clone();
                // a pool of its own: a relay on a small pool must not lose a connection to this
                let pool = PgPoolOptions::new().max_connections(1).connect_lazy_with(options);
                let task = tokio::spawn(listen(pool, self.config.channel(), self.wake.clone()));
                ListenerTask(task.abort_handle())
            });
        }
        PgWakeup { calls: self.wake.waiter(), _listener: Arc::clone(&self.listener) }
    }
}

impl PgStore {
    /// Wakes the relays of every process: lanes are free.
    pub(crate) async fn notify(&self) -> Result<()> {
        let mut session = self.session().await?;
        sqlx::query("select pg_notify($1, '')")
            .bind(self.config.channel())
            .execute(&mut *session)
            .await
            .map_err(self.failed("notify relays"))?;
        session.finish().await?;
        self.wake.wake();
        Ok(())
    }
}

/// Waits for a commit of any process.
#[derive(Debug)]
pub(crate) struct PgWakeup {
    calls: Waiter,
    /// Keeps the listener alive.
    _listener: Arc<Listener>,
}

#[async_trait]
impl Wakeup for PgWakeup {
    async fn wait(&mut self) {
        self.calls.wait().await;
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
