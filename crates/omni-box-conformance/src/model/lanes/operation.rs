//! The steps of a case.

use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::{collection, option, sample};

use crate::model::call::Cut;
use crate::model::failure::Fault;

/// Keys that cases use; the first two are of one lane where the store's lanes are few enough.
pub(super) const KEYS: usize = 4;

/// Relays at work.
pub(super) const RELAYS: usize = 3;

/// Numbers are taken modulo how many there are.
#[derive(Debug, Clone)]
pub(in crate::model) enum Operation {
    Begin,
    /// In an open transaction, or a new one; which is then committed or not.
    Create {
        tx: usize,
        events: Vec<New>,
        commits: bool,
        cut: Cut,
    },
    Commit {
        tx: usize,
    },
    /// The answer is lost; the writer looks what became of it.
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
    Lease {
        relay: usize,
        cut: Cut,
    },
    Fetch {
        relay: usize,
        limit: u32,
        is_small: bool,
    },
    /// Reads before, if it has nothing in flight.
    Settle {
        relay: usize,
        outcomes: Vec<Outcome>,
        releases: bool,
        cut: Cut,
        /// Writes it once more, as if the answer had been lost.
        again: bool,
    },
    /// Gives all lanes back and takes them anew: what it had read of them is lost.
    Return {
        relay: usize,
    },
    /// Writes its last settlement again.
    Repeat {
        relay: usize,
    },
    /// Settles what it had read of lanes that it has lost, or what it had read before it crashed: it was only frozen.
    SettleLost {
        relay: usize,
        outcomes: Vec<Outcome>,
        releases: bool,
    },
    /// Gives lanes back, but for the first few.
    GiveBack {
        relay: usize,
        keep: usize,
        cut: Cut,
    },
    Announce {
        relay: usize,
        is_idle: bool,
    },
    Leave {
        relay: usize,
        cut: Cut,
    },
    /// Begins anew under another name.
    Crash {
        relay: usize,
    },
    Advance {
        minutes: u8,
    },
}

/// An event to create.
#[derive(Debug, Clone)]
pub(in crate::model) struct New {
    pub(super) key: Option<usize>,
    pub(super) schedule: Schedule,
    pub(super) identity: Option<u8>,
    pub(super) max_attempts: u32,
    /// Another transaction that has its identity commits, or rolls back.
    pub(super) other_commits: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::model) enum Schedule {
    Now,
    Past,
    /// In so many minutes and a half.
    In(u8),
}

/// What becomes of an event that is in flight.
#[derive(Debug, Clone, Copy)]
pub(in crate::model) enum Outcome {
    Completed,
    Held(Fault),
    /// It is sent again later: nothing is written.
    Kept,
    Follows,
}

fn new() -> impl Strategy<Value = New> {
    let schedule = prop_oneof![6 => Just(Schedule::Now), 1 => Just(Schedule::Past), 2 => (0_u8..3).prop_map(Schedule::In)];
    let key = prop_oneof![6 => Just(Some(0)), 6 => (0..KEYS).prop_map(Some), 1 => Just(None)];
    (key, schedule, option::weighted(0.2, 0_u8..3), 1_u32..4, any::<bool>()).prop_map(
        |(key, schedule, identity, max_attempts, other_commits)| {
            // the lane of an event without a key is known once it is read
            let schedule = if key.is_none() { Schedule::Now } else { schedule };
            New { key, schedule, identity, max_attempts, other_commits }
        },
    )
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        3 => Just(Outcome::Completed),
        3 => Fault::any().prop_map(Outcome::Held),
        1 => Just(Outcome::Follows),
        2 => Just(Outcome::Kept),
    ]
}

pub(super) fn operations() -> impl Strategy<Value = Operation> {
    let tx = || 0..3_usize;
    // most of the work by one relay, so that it gets somewhere
    let relay = || prop_oneof![3 => Just(0), 1 => 0..RELAYS];
    let outcomes = || collection::vec(outcome(), 1..6);
    let releases = || proptest::bool::weighted(0.9);
    prop_oneof![
        1 => Just(Operation::Begin),
        12 => (tx(), collection::vec(new(), 1..5), proptest::bool::weighted(0.6), Cut::rarely())
            .prop_map(|(tx, events, commits, cut)| Operation::Create { tx, events, commits, cut }),
        4 => tx().prop_map(|tx| Operation::Commit { tx }),
        1 => (tx(), Cut::always()).prop_map(|(tx, cut)| Operation::CommitUnknown { tx, cut }),
        1 => tx().prop_map(|tx| Operation::Rollback { tx }),
        1 => tx().prop_map(|tx| Operation::Drop { tx }),
        5 => (relay(), Cut::rarely()).prop_map(|(relay, cut)| Operation::Lease { relay, cut }),
        6 => (relay(), sample::select(vec![1_u32, 2, 1000, 1000]), proptest::bool::weighted(0.1))
            .prop_map(|(relay, limit, is_small)| Operation::Fetch { relay, limit, is_small }),
        12 => (relay(), outcomes(), releases(), Cut::rarely(), proptest::bool::weighted(0.3)).prop_map(
            |(relay, outcomes, releases, cut, again)| Operation::Settle { relay, outcomes, releases, cut, again }
        ),
        3 => relay().prop_map(|relay| Operation::Repeat { relay }),
        2 => relay().prop_map(|relay| Operation::Return { relay }),
        5 => (relay(), outcomes(), releases())
            .prop_map(|(relay, outcomes, releases)| Operation::SettleLost { relay, outcomes, releases }),
        1 => (relay(), 0..4_usize, Cut::rarely())
            .prop_map(|(relay, keep, cut)| Operation::GiveBack { relay, keep, cut }),
        1 => (relay(), any::<bool>()).prop_map(|(relay, is_idle)| Operation::Announce { relay, is_idle }),
        1 => (relay(), Cut::rarely()).prop_map(|(relay, cut)| Operation::Leave { relay, cut }),
        2 => relay().prop_map(|relay| Operation::Crash { relay }),
        5 => (1_u8..5).prop_map(|minutes| Operation::Advance { minutes }),
    ]
}
