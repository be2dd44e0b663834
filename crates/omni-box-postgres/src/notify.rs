//! Wake-ups: from this process at once, from others by LISTEN.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use omni_box_core::{Result, Wakeup};
use sqlx::PgPool;
use sqlx::postgres::{PgListener, PgPoolOptions};
use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::error::failed;
use crate::{Listen, PgStore};

/// Longest pause between two attempts to LISTEN.
const MAX_PAUSE: Duration = Duration::from_secs(10);

/// What is rung when there may be something to publish. Every waiter hears each ring, or several as one.
#[derive(Debug)]
pub(crate) struct Bell {
    rings: watch::Sender<()>,
    listener: OnceLock<ListenerTask>,
}

#[derive(Debug)]
struct ListenerTask(AbortHandle);

impl Drop for ListenerTask {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Bell {
    pub(crate) fn new() -> Self {
        Self { rings: watch::Sender::new(()), listener: OnceLock::new() }
    }

    pub(crate) fn ring(&self) {
        self.rings.send_replace(());
    }
}

impl PgStore {
    /// A source of wake-ups; the first one starts to LISTEN.
    pub(crate) fn new_wakeup(&self) -> PgWakeup {
        if self.config.listen == Listen::Dedicated {
            self.bell.listener.get_or_init(|| {
                let options = self.pool.connect_options().as_ref().clone();
                // a pool of its own: a relay on a small pool must not lose a connection to this
                let pool = PgPoolOptions::new().max_connections(1).connect_lazy_with(options);
                let task = tokio::spawn(listen(pool, self.config.channel(), self.bell.rings.clone()));
                ListenerTask(task.abort_handle())
            });
        }
        PgWakeup { rings: self.bell.rings.subscribe(), _bell: Arc::clone(&self.bell) }
    }
}

impl PgStore {
    /// Rings in every process: lanes are free.
    pub(crate) async fn notify(&self) -> Result<()> {
        let mut session = self.session().await?;
        sqlx::query("select pg_notify($1, '')")
            .bind(self.config.channel())
            .execute(&mut *session)
            .await
            .map_err(failed("notify relays"))?;
        session.finish().await?;
        self.bell.ring();
        Ok(())
    }
}

/// Waits for the bell.
#[derive(Debug)]
pub(crate) struct PgWakeup {
    rings: watch::Receiver<()>,
    /// Keeps the listener alive.
    _bell: Arc<Bell>,
}

#[async_trait]
impl Wakeup for PgWakeup {
    async fn wait(&mut self) {
        // the sender lives in the bell that is held here
        let _ = self.rings.changed().await;
    }
}

/// Listens for ever. Whatever was notified while there was no connection is made up for by one ring.
async fn listen(pool: PgPool, channel: String, rings: watch::Sender<()>) {
    let mut pause = Duration::ZERO;
    loop {
        tokio::time::sleep(pause).await;
        let error = match listen_once(&pool, &channel, &rings, &mut pause).await {
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
    rings: &watch::Sender<()>,
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
    rings.send_replace(());
    loop {
        if listener.try_recv().await?.is_none() {
            return Err(sqlx::Error::WorkerCrashed);
        }
        rings.send_replace(());
    }
}
