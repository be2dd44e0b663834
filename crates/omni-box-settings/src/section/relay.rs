//! `[outbox_processor]`

use omni_box_core::Result;
use omni_box_pipeline::{RejectionPolicy, RelayConfig};

use crate::Settings;

const RELAY: &str = "outbox_processor";

impl Settings {
    /// `[outbox_processor]` and `[retry]`, for [`OutboxRelayBuilder::config`](omni_box_pipeline::OutboxRelayBuilder::config), which finds
    /// what is out of range.
    ///
    /// # Errors
    /// As [`retry`](Self::retry), also for `outage_retry_base` and `outage_retry_max`.
    pub fn relay(&self) -> Result<RelayConfig> {
        let usual = RelayConfig::default();
        let duration = |name| self.duration(RELAY, name);
        let rejection_policy = match self.text(RELAY, "rejection_policy")?.as_deref() {
            Some("hold_key") => RejectionPolicy::HoldKey,
            _ => RejectionPolicy::SkipEvent,
        };
        Ok(RelayConfig {
            worker_id: self.text(RELAY, "worker_id")?.unwrap_or(usual.worker_id),
            batch_size: self.number(RELAY, "batch_size").unwrap_or(usual.batch_size),
            max_batch_bytes: self.size(RELAY, "max_batch_bytes").unwrap_or(usual.max_batch_bytes),
            lease_ttl: duration("lease_ttl").unwrap_or(usual.lease_ttl),
            shortest_poll: duration("shortest_poll").unwrap_or(usual.shortest_poll),
            longest_poll: duration("longest_poll").unwrap_or(usual.longest_poll),
            drain_deadline: duration("drain_deadline").unwrap_or(usual.drain_deadline),
            retry: self.retry()?,
            outage_retry: self.policy(
                RELAY,
                "outage_retry_base",
                "outage_retry_max",
                "outage_retry_jitter",
            )?,
            rejection_policy,
        })
    }
}
