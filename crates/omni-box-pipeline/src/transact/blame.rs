//! Whom a group's failure is charged to: a pure decision, which the worker applies.

use omni_box_core::{Error, FailureClass};

use super::cause::{Cause, Stage, is_contention, is_environment};
use super::judgement::Charge;
use super::left::Left;
use super::message::Item;

/// How often a message may be in the way before the failure counts as its own.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// Infrastructure failures in a row after which a group's messages go one at a time, to find the one that causes them.
    pub(crate) suspicious: u32,
    /// Infrastructure failures in a row that may follow a message before they count as its own.
    pub(crate) infrastructure: u32,
    /// How often a message that is alone in its transaction may meet contention for free.
    pub(crate) contention: u32,
    /// How often a message may fail to be stored before it is kept as raw bytes instead.
    pub(crate) store: u32,
}

impl Default for Patience {
    /// The delays of 20 times contention add up to about a minute.
    fn default() -> Self {
        Self { suspicious: 2, infrastructure: 5, contention: 20, store: 6 }
    }
}

/// What the transaction that failed was for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Doing {
    /// To take the group further.
    Working,
    /// To record the failure of the group's last message.
    Recording,
}

/// What shows that a message caused a failure.
#[derive(Debug)]
pub(crate) enum Evidence {
    /// The transaction ended because of it, and may have left this behind.
    Itself(Left),
    /// It met contention too often while it was alone.
    Contention,
    /// Infrastructure failures followed it too often. It is charged only if the database answers another transaction; otherwise this
    /// is an outage.
    Infrastructure(Error),
}

/// What follows from a failure.
#[derive(Debug)]
pub(crate) enum Blame {
    /// Nothing, and no other message is taken: the partition is lost.
    Stop,
    /// No message is charged; the group is formed anew.
    NoMessage,
    /// No transaction can be opened, or the database does not answer: the worker pauses.
    Unreachable(Error),
    /// The database or the deployment fails: the worker pauses, and each message of the group counts it.
    Outage {
        error: Error,
        /// Whether the group's messages go one at a time afterwards.
        is_suspicious: bool,
    },
    /// One of several: the next groups are half as large.
    Split,
    /// The message at this place of the group: its failure is recorded in a transaction of its own.
    Message { position: usize, charge: Charge, evidence: Evidence },
    /// Others: the only message waits, having met contention so often now.
    Contention { failures: u32 },
    /// The only message, refused by its table so often now: it waits.
    Unstored { failures: u32, error: Error, proof: Proof },
    /// The only message, which its table does not take: it is kept as raw bytes.
    Raw { reason: String, error: Error, proof: Proof },
}

/// What shows that the database refuses a message and not every message. Without it a failure counts for nothing: the database has more
/// ways to fail than are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Proof {
    /// None is needed: nothing but time is lost.
    Needless,
    /// Another message can be stored and settled.
    AnotherIsStored,
    /// Another message was kept since this one was refused: what fails at the commit is not seen before.
    AnotherWasKept,
}

/// Decides whom the failure of a group's transaction is charged to. All others are tried again.
pub(crate) fn blame(cause: Cause, group: &[&Item], doing: Doing, patience: Patience) -> Blame {
    match cause {
        Cause::Stopped => Blame::Stop,
        Cause::Unmarked { .. } => Blame::NoMessage,
        Cause::Unreachable(error) | Cause::Unanswered(error) => Blame::Unreachable(error),
        Cause::Culprit { position, .. } if position >= group.len() => Blame::NoMessage,
        Cause::Culprit { position, charge, left } => {
            Blame::Message { position, charge, evidence: Evidence::Itself(left) }
        }
        Cause::Refused { error, stage } if is_contention(&error, stage) => {
            contention(&error, group, doing, patience)
        }
        Cause::Refused { error, .. } if is_environment(&error) => outage(error, group, doing, patience),
        Cause::Refused { error, stage } => match group {
            // recorded in a transaction of its own, which is proof enough
            [item] if stage != Stage::Store && can_be_charged(item, doing) => {
                alone(&error, Evidence::Itself(Left::default()))
            }
            [item] => unstored(error, stage, item, patience),
            _ => Blame::Split,
        },
    }
}

fn contention(error: &Error, group: &[&Item], doing: Doing, patience: Patience) -> Blame {
    let [item] = group else { return Blame::Split };
    let failures = item.tries.contention + 1;
    if failures > patience.contention && can_be_charged(item, doing) {
        return alone(error, Evidence::Contention);
    }
    Blame::Contention { failures }
}

fn outage(error: Error, group: &[&Item], doing: Doing, patience: Patience) -> Blame {
    let failures = group.iter().map(|item| item.tries.infrastructure + 1).max().unwrap_or(0);
    match group {
        [item] if failures >= patience.infrastructure && can_be_charged(item, doing) => {
            let charge = Charge::counted(error.chain());
            Blame::Message { position: 0, charge, evidence: Evidence::Infrastructure(error) }
        }
        _ => Blame::Outage { error, is_suspicious: group.len() > 1 && failures >= patience.suspicious },
    }
}

/// A message that cannot be stored as an event is kept as raw bytes: at once if it never can, after some tries otherwise.
fn unstored(error: Error, stage: Stage, item: &Item, patience: Patience) -> Blame {
    let failures = item.tries.persist + 1;
    let proof = match stage {
        _ if item.event().is_none() => Proof::Needless,
        Stage::Store | Stage::Effect => Proof::AnotherIsStored,
        Stage::Commit => Proof::AnotherWasKept,
    };
    let is_final = error.class() == FailureClass::Permanent || failures >= patience.store;
    if is_final && item.message.is_some() && item.event().is_some() {
        return Blame::Raw { reason: format!("could not be stored: {}", error.chain()), error, proof };
    }
    Blame::Unstored { failures, error, proof }
}

/// What fails while a failure is recorded is not charged again.
fn can_be_charged(item: &Item, doing: Doing) -> bool {
    doing == Doing::Working && item.event().is_some()
}

fn alone(error: &Error, evidence: Evidence) -> Blame {
    Blame::Message { position: 0, charge: Charge::counted(error.chain()), evidence }
}
