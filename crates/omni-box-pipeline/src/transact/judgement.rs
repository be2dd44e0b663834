//! What a failure costs, decided under the row's lock.

use std::time::Duration;

use omni_box_core::{Attempt, Event, Failure, InboxEvent, InboxRepository, Retry};

use super::context::Context;
use super::message::Item;
use crate::outcome::Outcome;

/// A held or far message is looked at again at least this often, so that an operator's requeue is seen.
pub(crate) const LOOK_AGAIN: Duration = Duration::from_secs(60);
const FIRST_LOOK: Duration = Duration::from_millis(500);

/// Whom a failure is charged to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cost {
    /// The message: one attempt.
    Counted,
    /// No message is charged.
    Free,
    /// The message: all attempts.
    Permanent,
}

/// How a handler's run ended when it did not succeed.
#[derive(Debug, Clone)]
pub(crate) struct Charge {
    pub(crate) error: String,
    pub(crate) cost: Cost,
    /// When the handler wants to see it again.
    pub(crate) after: Option<Duration>,
    /// The handler ran behind others in its transaction, which may be why it failed: it is charged once it failed alone as well.
    pub(crate) is_in_company: bool,
    /// The handler's time was over and the database did not answer, which may be what it waited for. It is charged once that happened alone as well.
    pub(crate) is_silent: bool,
}

impl Charge {
    pub(crate) fn counted(error: impl Into<String>) -> Self {
        Self { error: error.into(), cost: Cost::Counted, after: None, is_in_company: false, is_silent: false }
    }

    /// The handler ended the transaction that it shares with the engine. `failure` is what it said afterwards, if that was no success.
    pub(crate) fn ended(failure: Option<&str>) -> Self {
        let ended = "the handler ended its transaction: COMMIT, ROLLBACK and BEGIN are the engine's";
        let error = match failure {
            Some(failure) => format!("{ended} (and then: {failure})"),
            None => ended.to_owned(),
        };
        Self { cost: Cost::Permanent, ..Self::counted(error) }
    }

    pub(crate) fn in_company(self, is_in_company: bool) -> Self {
        Self { is_in_company, ..self }
    }
}

/// Why a message stays in the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stay {
    /// Its row is scheduled for later.
    Scheduled,
    /// An attempt was counted.
    Counted,
    /// It was set back at no cost.
    Free,
    /// It is failed, and its offset is held back.
    Held,
}

/// What becomes of a message of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It leaves the window.
    Done(Outcome),
    /// It stays, and its key waits this long.
    Wait(Duration, Stay),
    /// It failed behind others, which may be why: it stays, at no cost, and is handled again in a transaction of its own.
    Alone,
    /// Its row is stored.
    Stored,
    /// Its attempt is counted: it may be handled.
    Started,
    /// That is taken back: a step has stopped everything before its handler. It is for a later group.
    Unstarted,
    /// Nothing; it is for a later group.
    Later,
}

/// The failure to write down for a row, and what becomes of its message.
pub(crate) fn judge<S: InboxRepository>(
    context: &Context<S>,
    item: &Item,
    row: &InboxEvent,
    charge: &Charge,
) -> (Failure, Fate) {
    let life = row.lifecycle();
    // an attempt that was counted before it started is not counted again
    let (counted, failures) = match item.is_started {
        true => (Attempt::Free, life.attempts_made()),
        false => (Attempt::Counted, life.attempts_made() + 1),
    };
    let is_last = failures >= life.max_attempts() || charge.cost == Cost::Permanent || context.acks_first();
    let (attempt, retry, fate) = match charge.cost {
        Cost::Counted | Cost::Permanent if is_last => (counted, Retry::Never, given_up(context, item)),
        Cost::Free if context.acks_first() => (counted, Retry::Never, given_up(context, item)),
        Cost::Counted | Cost::Permanent => {
            let delay = charge.after.unwrap_or_else(|| context.retry.delay(failures));
            (counted, Retry::After(delay), Fate::Wait(delay.min(LOOK_AGAIN), Stay::Counted))
        }
        Cost::Free => {
            let attempt = if item.is_started { Attempt::Refunded } else { Attempt::Free };
            let delay = charge.after.unwrap_or_else(|| context.retry.delay(item.tries.free + 1));
            (attempt, Retry::After(delay), Fate::Wait(delay.min(LOOK_AGAIN), Stay::Free))
        }
    };
    (Failure::new(&charge.error, attempt, retry), fate)
}

/// A pending row whose attempts are used up: the process that spent the last one ended before it could record that.
pub(crate) fn exhausted<S: InboxRepository>(
    context: &Context<S>,
    item: &Item,
    row: &InboxEvent,
) -> (Failure, Fate) {
    let error = row.lifecycle().last_error().unwrap_or("no attempts are left");
    (Failure::new(error, Attempt::Free, Retry::Never), given_up(context, item))
}

/// What becomes of a message whose row has failed for good.
pub(crate) fn given_up<S: InboxRepository>(context: &Context<S>, item: &Item) -> Fate {
    // only an offset that is not acknowledged yet can be held back
    if context.holds_failed() && item.offset.is_some() {
        let delay = FIRST_LOOK.saturating_mul(1 << item.tries.held.min(7)).min(LOOK_AGAIN);
        return Fate::Wait(delay, Stay::Held);
    }
    Fate::Done(Outcome::Failed)
}
