//! What follows when a group's transaction failed as a whole.

use std::time::Duration;

use omni_box_core::{Error, FailureClass, InboxRepository};
use tokio::time::Instant;

use super::partition::Partition;
use crate::transact::{Body, Cause, Charge, Item, Stage, is_contention, is_environment};

/// Infrastructure failures in a row that may follow one message around before they count as its own.
const INFRASTRUCTURE_FAILURES: u32 = 5;
/// After this many, a group's messages go one at a time, to find out which of them it is.
const SUSPICIOUS_FAILURES: u32 = 2;
/// How often a message that is alone in its transaction may meet contention for free; their delays sum up to about a minute.
const CONTENTION_FAILURES: u32 = 20;
/// How often a message may fail to be stored before it is kept as raw bytes instead.
const STORE_FAILURES: u32 = 6;

/// A failure to be recorded in a transaction of its own.
pub(super) struct Charged {
    /// The message's place in the window.
    pub(super) at: usize,
    pub(super) charge: Charge,
}

/// Whether the transaction that failed was to record a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum While {
    Working,
    Recording,
}

impl<S: InboxRepository> Partition<S> {
    /// Decides whom a setback is charged to. Everybody else is tried again.
    pub(super) async fn set_back(&mut self, group: &[usize], cause: Cause, doing: While) -> Option<Charged> {
        match cause {
            Cause::Stopped => {
                self.is_stopped = true;
                None
            }
            Cause::Unreachable(error) => {
                self.pause(&error);
                None
            }
            Cause::Culprit { position, charge } => {
                let at = *group.get(position)?;
                tracing::debug!(
                    message_id = self.window.get(at).message_id(), partition = %self.partition,
                    worker_id = %self.shared.context.worker, "message ended its transaction, recording its failure",
                );
                Some(Charged { at, charge })
            }
            Cause::Refused { error, stage } if is_contention(&error, stage) => {
                self.contention(group, &error, doing)
            }
            Cause::Refused { error, .. } if is_environment(&error) => {
                self.infrastructure(group, &error, doing).await
            }
            Cause::Refused { .. } if group.len() > 1 => {
                self.group_size.split(group.len());
                None
            }
            Cause::Refused { error, stage } => {
                let at = *group.first()?;
                if stage == Stage::Effect && doing == While::Working && self.window.get(at).event().is_some()
                {
                    return Some(Charged { at, charge: Charge::counted(error.chain()) });
                }
                self.store_failed(at, &error);
                None
            }
        }
    }

    fn contention(&mut self, group: &[usize], error: &Error, doing: While) -> Option<Charged> {
        let &[at] = group else {
            self.group_size.split(group.len());
            return None;
        };
        let item = self.window.get_mut(at);
        item.tries.contention += 1;
        if item.tries.contention > CONTENTION_FAILURES && doing == While::Working && item.event().is_some() {
            item.tries.contention = 0;
            return Some(Charged { at, charge: Charge::counted(error.chain()) });
        }
        let delay = self.shared.context.outage_retry.delay(item.tries.contention);
        put_off(item, delay);
        None
    }

    async fn infrastructure(&mut self, group: &[usize], error: &Error, doing: While) -> Option<Charged> {
        let mut worst = 0;
        for &at in group {
            let tries = &mut self.window.get_mut(at).tries;
            tries.infrastructure += 1;
            worst = worst.max(tries.infrastructure);
        }
        if worst >= SUSPICIOUS_FAILURES && group.len() > 1 {
            self.group_size.one_by_one(group.len());
        }
        if let &[at] = group
            && worst >= INFRASTRUCTURE_FAILURES
            && doing == While::Working
            && self.window.get(at).event().is_some()
            && self.database_answers().await
        {
            self.window.get_mut(at).tries.infrastructure = 0;
            return Some(Charged { at, charge: Charge::counted(error.chain()) });
        }
        self.pause(error);
        None
    }

    /// Whether the database works for others than the message at hand.
    async fn database_answers(&self) -> bool {
        match self.shared.context.store.begin().await {
            Ok(tx) => self.shared.context.store.rollback(tx).await.is_ok(),
            Err(_) => false,
        }
    }

    /// A message that cannot be stored as an event is kept as raw bytes: at once if it never can, after some tries otherwise.
    fn store_failed(&mut self, at: usize, error: &Error) {
        let policy = self.shared.context.retry;
        let item = self.window.get_mut(at);
        item.tries.persist += 1;
        let is_final = error.class() == FailureClass::Permanent || item.tries.persist >= STORE_FAILURES;
        if is_final && item.message.is_some() && item.event().is_some() {
            item.body = Body::Refused(format!("could not be stored: {}", error.chain()));
            return;
        }
        let delay = policy.delay(item.tries.persist);
        put_off(item, delay);
        tracing::warn!(
            message_id = self.window.get(at).message_id(), partition = %self.partition,
            worker_id = %self.shared.context.worker, kind = ?error.kind(), "message could not be stored, trying again",
        );
    }
}

fn put_off(item: &mut Item, delay: Duration) {
    item.due = Some(Instant::now() + delay);
}
