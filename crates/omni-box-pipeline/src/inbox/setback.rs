//! What a partition's worker does when a group's transaction failed as a whole.

use std::time::Duration;

use omni_box_core::{Error, InboxRepository};
use tokio::time::Instant;

use super::partition::Partition;
use crate::transact::{Blame, Body, Cause, Charge, Doing, Evidence, Item, Patience, blame};

impl<S: InboxRepository> Partition<S> {
    /// Does what [`blame`] decides. Returns the message's place in the window and its charge if a failure is to be recorded.
    pub(super) async fn set_back(
        &mut self,
        group: &[usize],
        cause: Cause,
        doing: Doing,
    ) -> Option<(usize, Charge)> {
        let items: Vec<&Item> = group.iter().map(|&at| self.window.get(at)).collect();
        match blame(cause, &items, doing, Patience::default()) {
            Blame::Stop => self.is_stopped = true,
            Blame::NoMessage => {}
            Blame::Unreachable(error) => self.pause(&error),
            Blame::Outage { error, is_suspicious } => {
                if is_suspicious {
                    self.group_size.one_by_one(group.len());
                }
                self.count_outage(group, &error);
            }
            Blame::Split => self.group_size.split(group.len()),
            Blame::Message { position, charge, evidence } => {
                let at = *group.get(position)?;
                return self.is_proven(at, evidence).await.then_some((at, charge));
            }
            Blame::Contention { failures } => {
                let delay = self.shared.context.outage_retry.delay(failures);
                let item = self.first_of(group)?;
                item.tries.contention = failures;
                put_off(item, delay);
            }
            Blame::Unstored { failures, error } => self.put_off_unstored(group, failures, &error)?,
            Blame::Raw { reason } => {
                let item = self.first_of(group)?;
                item.tries.persist += 1;
                item.body = Body::Refused(reason);
            }
        }
        None
    }

    fn first_of(&mut self, group: &[usize]) -> Option<&mut Item> {
        group.first().map(|&at| self.window.get_mut(at))
    }

    /// Whether a message is charged on this evidence; it starts afresh then.
    async fn is_proven(&mut self, at: usize, evidence: Evidence) -> bool {
        match evidence {
            Evidence::Itself => tracing::debug!(
                message_id = self.window.get(at).message_id(), partition = %self.partition,
                worker_id = %self.shared.context.worker, "message ended its transaction, recording its failure",
            ),
            Evidence::Contention => self.window.get_mut(at).tries.contention = 0,
            Evidence::Infrastructure(_) if self.database_answers().await => {
                self.window.get_mut(at).tries.infrastructure = 0;
            }
            Evidence::Infrastructure(error) => {
                self.count_outage(&[at], &error);
                return false;
            }
        }
        true
    }

    fn count_outage(&mut self, group: &[usize], error: &Error) {
        for &at in group {
            self.window.get_mut(at).tries.infrastructure += 1;
        }
        self.pause(error);
    }

    /// Whether the database works for others than the message at hand.
    async fn database_answers(&self) -> bool {
        let store = &self.shared.context.store;
        match store.begin().await {
            Ok(tx) => store.rollback(tx).await.is_ok(),
            Err(_) => false,
        }
    }

    fn put_off_unstored(&mut self, group: &[usize], failures: u32, error: &Error) -> Option<()> {
        let delay = self.shared.context.retry.delay(failures);
        let item = self.first_of(group)?;
        item.tries.persist = failures;
        put_off(item, delay);
        tracing::warn!(
            message_id = item.message_id(), partition = %self.partition,
            worker_id = %self.shared.context.worker, kind = ?error.kind(), "message could not be stored, trying again",
        );
        Some(())
    }
}

fn put_off(item: &mut Item, delay: Duration) {
    item.due = Some(Instant::now() + delay);
}
