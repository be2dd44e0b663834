//! `[inbox]`

use omni_box_core::Result;
use omni_box_pipeline::{AckStrategy, CommitOffsetPolicy, InboxConfig, OnFailed, SavepointPolicy};

use crate::Settings;

const INBOX: &str = "inbox";

impl Settings {
    /// `[inbox]` and `[retry]`, for [`InboxConsumerRunnerBuilder::config`](omni_box_pipeline::InboxConsumerRunnerBuilder::config), which
    /// finds what is out of range.
    ///
    /// # Errors
    /// As [`retry`](Self::retry).
    pub fn inbox(&self) -> Result<InboxConfig> {
        let usual = InboxConfig::default();
        let count = |name, usual| self.number(INBOX, name).map_or(usual, as_count);
        let ack_strategy = match self.text(INBOX, "ack_strategy")?.as_deref() {
            Some("at_most_once") => AckStrategy::AtMostOnce,
            Some("at_least_once") => AckStrategy::AtLeastOnce,
            _ => AckStrategy::ExactlyOnceInbox,
        };
        let commit_offset_policy = match self.text(INBOX, "commit_offset_policy")?.as_deref() {
            Some("on_persist") => CommitOffsetPolicy::OnPersist,
            _ => CommitOffsetPolicy::OnSuccess,
        };
        let on_failed = match self.text(INBOX, "on_failed")?.as_deref() {
            Some("hold") => OnFailed::Hold,
            _ => OnFailed::Commit,
        };
        Ok(InboxConfig {
            consumer_group: self.text(INBOX, "consumer_group")?,
            worker_id: self.text(INBOX, "worker_id")?.unwrap_or(usual.worker_id),
            ack_strategy,
            commit_offset_policy,
            on_failed,
            process_timeout: self.duration(INBOX, "process_timeout").unwrap_or(usual.process_timeout),
            stuck_after: self.duration(INBOX, "stuck_after").unwrap_or(usual.stuck_after),
            drain_deadline: self.duration(INBOX, "drain_deadline"),
            concurrency_limit: count("concurrency_limit", usual.concurrency_limit),
            group_size: count("group_size", usual.group_size),
            savepoints: self.savepoints(INBOX)?,
            window: count("window", usual.window),
            retry: self.retry()?,
        })
    }
}

impl Settings {
    /// Whether each message of a group has a savepoint.
    pub(super) fn savepoints(&self, section: &'static str) -> Result<SavepointPolicy> {
        Ok(match self.text(section, "savepoints")?.as_deref() {
            Some("every_message") => SavepointPolicy::EveryMessage,
            _ => SavepointPolicy::AfterFailure,
        })
    }
}

/// A number of the settings as a count in memory.
pub(super) fn as_count(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
