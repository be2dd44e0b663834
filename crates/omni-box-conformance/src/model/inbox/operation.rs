//! The steps of a case.

use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::{collection, option, sample};

use crate::model::call::Cut;
use crate::model::failure::Fault;

/// Messages of a case.
pub(super) const MESSAGES: usize = 6;

/// Messages of a case that cannot be understood.
pub(super) const BROKEN: usize = 3;

/// Numbers are taken modulo how many there are.
#[derive(Debug, Clone)]
pub(in crate::model) enum Operation {
    Begin,
    /// In an open transaction, or a new one. Another transaction that keeps it waiting commits, or rolls back.
    Receive {
        tx: usize,
        messages: Vec<Delivery>,
        other_commits: bool,
        cut: Cut,
    },
    /// Of the rows that the transaction has locked, in order.
    Settle {
        tx: usize,
        outcomes: Vec<Outcome>,
    },
    SetSavepoint {
        tx: usize,
    },
    AdvanceSavepoint {
        tx: usize,
    },
    RollBackToSavepoint {
        tx: usize,
    },
    Quarantine {
        tx: usize,
        messages: Vec<usize>,
        other_commits: bool,
        cut: Cut,
    },
    Commit {
        tx: usize,
    },
    /// The answer is lost; the worker looks what became of it.
    CommitUnknown {
        tx: usize,
        cut: Cut,
    },
    Rollback {
        tx: usize,
    },
    Drop {
        tx: usize,
    },
    PendingOf {
        partition: i32,
        after: Option<i64>,
        limit: u32,
    },
    FetchPending,
    Attach {
        partition: i32,
        cut: Cut,
    },
    Detach {
        partition: i32,
        cut: Cut,
    },
    Advance {
        minutes: u8,
    },
}

/// A message as the broker delivers it.
#[derive(Debug, Clone, Copy)]
pub(in crate::model) struct Delivery {
    pub(super) message: usize,
    pub(super) variant: Variant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::model) enum Variant {
    Usual,
    /// Another value under the same id.
    OtherValue,
    OtherSource,
    /// As a foreign writer stores it.
    WithoutDigest,
}

#[derive(Debug, Clone, Copy)]
pub(in crate::model) enum Outcome {
    Completed,
    Failed(Fault),
    Kept,
}

fn delivery() -> impl Strategy<Value = Delivery> {
    let variant = prop_oneof![
        8 => Just(Variant::Usual),
        1 => Just(Variant::OtherValue),
        1 => Just(Variant::OtherSource),
        1 => Just(Variant::WithoutDigest),
    ];
    (0..MESSAGES, variant).prop_map(|(message, variant)| Delivery { message, variant })
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        2 => Just(Outcome::Completed),
        3 => Fault::any().prop_map(Outcome::Failed),
        1 => Just(Outcome::Kept),
    ]
}

pub(super) fn operations() -> impl Strategy<Value = Operation> {
    let tx = || 0..3_usize;
    let partition = || 0..2_i32;
    let cut = Cut::rarely;
    prop_oneof![
        1 => Just(Operation::Begin),
        12 => (tx(), collection::vec(delivery(), 1..4), any::<bool>(), cut()).prop_map(
            |(tx, messages, other_commits, cut)| Operation::Receive { tx, messages, other_commits, cut }
        ),
        10 => (tx(), collection::vec(outcome(), 1..4)).prop_map(|(tx, outcomes)| Operation::Settle { tx, outcomes }),
        3 => tx().prop_map(|tx| Operation::SetSavepoint { tx }),
        2 => tx().prop_map(|tx| Operation::AdvanceSavepoint { tx }),
        2 => tx().prop_map(|tx| Operation::RollBackToSavepoint { tx }),
        2 => (tx(), collection::vec(0..BROKEN, 1..3), any::<bool>(), cut()).prop_map(
            |(tx, messages, other_commits, cut)| Operation::Quarantine { tx, messages, other_commits, cut }
        ),
        8 => tx().prop_map(|tx| Operation::Commit { tx }),
        1 => (tx(), Cut::always()).prop_map(|(tx, cut)| Operation::CommitUnknown { tx, cut }),
        2 => tx().prop_map(|tx| Operation::Rollback { tx }),
        1 => tx().prop_map(|tx| Operation::Drop { tx }),
        3 => (partition(), option::of(-1_i64..MESSAGES as i64), sample::select(vec![1_u32, 2, 100]))
            .prop_map(|(partition, after, limit)| Operation::PendingOf { partition, after, limit }),
        3 => Just(Operation::FetchPending),
        2 => (partition(), cut()).prop_map(|(partition, cut)| Operation::Attach { partition, cut }),
        1 => (partition(), cut()).prop_map(|(partition, cut)| Operation::Detach { partition, cut }),
        3 => (1_u8..4).prop_map(|minutes| Operation::Advance { minutes }),
    ]
}
