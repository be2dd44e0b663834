//! What a worker does when a group's transaction failed as a whole.

use std::time::Duration;

use omni_box_core::{Error, InboxRepository};
use tokio::time::Instant;

use super::messages::Messages;
use crate::transact::{
    Blame, Cause, Doing, Evidence, Item, LOOK_AGAIN, Left, Patience, Proof, Recorded, blame,
};

impl<S: InboxRepository> Messages<S> {
    /// Does what [`blame`] decides. If a failure is to be recorded, returns it with the group for its transaction, the message at the end.
    pub(super) async fn set_back(
        &mut self,
        group: &[usize],
        cause: Cause,
        doing: Doing,
    ) -> Option<(Vec<usize>, Recorded)> {
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
                let left = self.proven(*group.get(position)?, evidence).await?;
                let key = &self.window.get(group[position]).key;
                let precedes = |at| at < position && self.window.get(group[at]).key == *key;
                let (group, left) = left.for_record(group, position, precedes);
                return Some((group, Recorded { charge, left }));
            }
            Blame::Contention { failures } => {
                let delay = self.context.outage_retry.delay(failures);
                let item = self.first_of(group)?;
                item.tries.contention = failures;
                put_off(item, delay);
            }
            Blame::Unstored { failures, error, proof } => {
                if self.is_own(*group.first()?, proof, &error).await {
                    self.put_off_unstored(group, failures, &error)?;
                }
            }
            Blame::Raw { reason, error, proof } => {
                if self.is_own(*group.first()?, proof, &error).await {
                    let item = self.first_of(group)?;
                    item.tries.persist += 1;
                    item.refuse(reason);
                }
            }
        }
        None
    }

    fn first_of(&mut self, group: &[usize]) -> Option<&mut Item> {
        group.first().map(|&at| self.window.get_mut(at))
    }

    /// What the transaction may have left behind, if a message is charged on this evidence; the message starts afresh then.
    async fn proven(&mut self, at: usize, evidence: Evidence) -> Option<Left> {
        match evidence {
            Evidence::Itself(left) => {
                tracing::debug!(
                    message_id = self.window.get(at).message_id(), origin = %self.origin,
                    worker_id = %self.context.worker, "message ended its transaction, recording its failure",
                );
                return Some(left);
            }
            Evidence::Contention => self.window.get_mut(at).tries.contention = 0,
            Evidence::Infrastructure(_) if self.database_answers().await => {
                self.window.get_mut(at).tries.infrastructure = 0;
            }
            Evidence::Infrastructure(error) => {
                self.count_outage(&[at], &error);
                return None;
            }
        }
        Some(Left::default())
    }

    fn count_outage(&mut self, group: &[usize], error: &Error) {
        for &at in group {
            self.window.get_mut(at).tries.infrastructure += 1;
        }
        self.pause(error);
    }

    /// Whether the database refuses this message while it takes others. If not, nothing is counted, and it is tried again as in an outage.
    async fn is_own(&mut self, at: usize, proof: Proof, error: &Error) -> bool {
        let context = &self.context;
        match proof {
            Proof::Needless => true,
            Proof::AnotherIsStored => {
                let is_own = context.database.stores_another(&context.group).await;
                if !is_own {
                    self.pause(error);
                }
                is_own
            }
            Proof::AnotherWasKept => {
                let kept = context.database.kept();
                let delay = context.outage_retry.delay(u32::MAX);
                let item = self.window.get_mut(at);
                let is_own = item.tries.kept_by_then.replace(kept).is_some_and(|by_then| kept > by_then);
                if !is_own {
                    // others have their turn meanwhile
                    put_off(item, delay);
                }
                is_own
            }
        }
    }

    /// Whether the database works for others than the message at hand.
    async fn database_answers(&self) -> bool {
        let database = &self.context.database;
        match database.begin_brief().await {
            Ok(tx) => database.rollback(tx).await.is_ok(),
            Err(_) => false,
        }
    }

    fn put_off_unstored(&mut self, group: &[usize], failures: u32, error: &Error) -> Option<()> {
        let delay = self.context.retry.delay(failures).min(LOOK_AGAIN);
        let item = self.first_of(group)?;
        item.tries.persist = failures;
        item.accept();
        put_off(item, delay);
        tracing::warn!(
            message_id = item.message_id(), origin = %self.origin,
            worker_id = %self.context.worker, kind = ?error.kind(), "message could not be stored, trying again",
        );
        Some(())
    }
}

fn put_off(item: &mut Item, delay: Duration) {
    item.due = Some(Instant::now() + delay);
}
