//! The end of a relay: what came back is written, the rest is given up, leases are handed back.

use omni_box_core::{OutboxRepository, Result};
use tokio::time::{Instant, timeout};

use super::{Engine, lanes};
use crate::deadline::FAREWELL;

impl<S: OutboxRepository> Engine<S> {
    /// Hands everything back within a deadline. A publisher whose purge stands still keeps only what it still has. Outcomes are written,
    /// and lanes of which nothing is sent are handed back, before the purge.
    pub(super) async fn farewell(mut self) -> Result<()> {
        (self.submitting, self.recovering, self.fetching) = (None, None, None);
        match timeout(FAREWELL, self.hand_back()).await {
            Ok(Ok(())) => {
                tracing::info!(worker_id = %self.settings.worker_id, "relay stopped, leases handed back")
            }
            Ok(Err(error)) => {
                let worker_id = &self.settings.worker_id;
                tracing::warn!(%worker_id, error = %error.chain(), "leases could not be handed back, they will expire")
            }
            Err(_) => {
                let worker_id = &self.settings.worker_id;
                tracing::warn!(%worker_id, "leases could not be handed back in time, they will expire")
            }
        }
        self.outcome
    }

    async fn hand_back(&mut self) -> Result<()> {
        if let Some(settling) = self.settling.take() {
            let written = settling.await;
            self.take_written(written, Instant::now());
        }
        self.settle_rest().await;
        // a lease that is being taken must not outlive the leave
        if let Some(leasing) = self.leasing.take() {
            leasing.await;
        }
        if self.flight.sent() > 0 {
            let idle = self.owned.without(|lane| self.flight.of_lane(lane));
            if let Err(error) = lanes(&self.store).release(self.owner, &idle).await {
                tracing::debug!(error = %error.chain(), "idle lanes are handed back with the others");
            }
            self.publisher.purge().await;
            self.take_last_reports();
            self.flight.reset(self.fetches);
            self.settle_rest().await;
        }
        lanes(&self.store).leave(self.owner).await
    }

    /// Writes every outcome that is known. One that cannot be written is left to the next owner, which publishes the event again.
    async fn settle_rest(&mut self) {
        while let Some((settlement, _)) = self.unwritten.take().or_else(|| {
            let next = self.flight.take_settlement();
            (!next.0.is_empty()).then_some(next)
        }) {
            let settled = lanes(&self.store).settle(self.owner, &self.owned.leases(), &settlement).await;
            if settled.is_err() {
                break;
            }
            self.flight.settled(&settlement, self.fetches);
        }
    }
}
