//! `[inbox_worker]`

use omni_box_core::Result;
use omni_box_pipeline::InboxWorkerConfig;

use super::inbox::as_count;
use crate::Settings;

const WORKER: &str = "inbox_worker";

impl Settings {
    /// `[inbox_worker]`, the group of `[inbox]`, and `[retry]`, for
    /// [`InboxWorkerBuilder::config`](omni_box_pipeline::InboxWorkerBuilder::config), which finds what is out of range.
    ///
    /// # Errors
    /// As [`retry`](Self::retry).
    pub fn inbox_worker(&self) -> Result<InboxWorkerConfig> {
        let usual = InboxWorkerConfig::default();
        let duration = |name, usual| self.duration(WORKER, name).unwrap_or(usual);
        let count = |name, usual| self.number(WORKER, name).map_or(usual, as_count);
        Ok(InboxWorkerConfig {
            consumer_group: self.text("inbox", "consumer_group")?.unwrap_or(usual.consumer_group),
            worker_id: self.text(WORKER, "worker_id")?.unwrap_or(usual.worker_id),
            batch_size: self.number(WORKER, "batch_size").unwrap_or(usual.batch_size),
            lease_ttl: duration("lease_ttl", usual.lease_ttl),
            process_timeout: duration("process_timeout", usual.process_timeout),
            drain_deadline: duration("drain_deadline", usual.drain_deadline),
            concurrency_limit: count("concurrency_limit", usual.concurrency_limit),
            group_size: count("group_size", usual.group_size),
            savepoints: self.savepoints(WORKER)?,
            shortest_poll: duration("shortest_poll", usual.shortest_poll),
            longest_poll: duration("longest_poll", usual.longest_poll),
            retry: self.retry()?,
        })
    }
}
