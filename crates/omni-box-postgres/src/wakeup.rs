//! Wake-ups: from this process at once, from others by LISTEN.

use std::sync::Arc;

use async_trait::async_trait;
use omni_box_core::{Result, Waiter, Wakeup};

use crate::PgStore;
use crate::notify::Listener;

impl PgStore {
    /// A source of wake-ups; the first one starts to LISTEN.
    pub(crate) fn new_wakeup(&self) -> PgWakeup {
        if self.config.wakes() {
            let options = self.pool().connect_options().as_ref().clone();
            self.listener.start(options, self.config.channel(), &self.wake);
        }
        PgWakeup { calls: self.wake.waiter(), _listener: Arc::clone(&self.listener) }
    }

    /// Wakes the relays of every process: lanes are free.
    pub(crate) async fn notify(&self) -> Result<()> {
        if !self.config.wakes() {
            self.wake.wake();
            return Ok(());
        }
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
