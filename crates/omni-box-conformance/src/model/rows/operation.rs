//! The steps of a case.

use proptest::prelude::{Just, Strategy, prop_oneof};
use proptest::{collection, option, sample};

use crate::model::call::Cut;
use crate::model::failure::Fault;

/// Keys that cases use.
pub(super) const KEYS: usize = 3;

/// Workers that claim events.
pub(super) const WORKERS: usize = 3;

/// Numbers are taken modulo how many there are.
#[derive(Debug, Clone)]
pub(in crate::model) enum Operation {
    /// One transaction, of which the answer may be lost.
    Create {
        events: Vec<New>,
        cut: Cut,
    },
    FetchPending {
        limit: u32,
    },
    /// Takes over what was claimed longer than so many minutes and a half ago.
    Claim {
        worker: usize,
        limit: u32,
        ttl: u8,
        cut: Cut,
    },
    MarkProcessing {
        worker: usize,
        event: Target,
        cut: Cut,
    },
    MarkCompleted {
        worker: usize,
        event: Target,
        cut: Cut,
    },
    MarkFailed {
        worker: usize,
        event: Target,
        fault: Fault,
        cut: Cut,
    },
    /// Everything that the worker has claimed and something more.
    CompleteMany {
        worker: usize,
        more: usize,
        cut: Cut,
    },
    Refresh {
        worker: usize,
        skip: usize,
        cut: Cut,
    },
    Release {
        worker: usize,
        skip: usize,
        cut: Cut,
    },
    ReleaseStale {
        minutes: u8,
        cut: Cut,
    },
    CleanUp {
        minutes: u8,
        batch: u32,
        iterations: u32,
    },
    /// Forgets its claims and begins anew, with another token.
    Crash {
        worker: usize,
    },
    Advance {
        minutes: u8,
    },
}

#[derive(Debug, Clone)]
pub(in crate::model) struct New {
    pub(super) key: Option<usize>,
    /// In so many minutes and a half.
    pub(super) scheduled: Option<u8>,
    pub(super) identity: Option<u8>,
    pub(super) max_attempts: u32,
}

/// Which event.
#[derive(Debug, Clone, Copy)]
pub(in crate::model) enum Target {
    /// One that the worker has claimed.
    Own(usize),
    Any(usize),
}

fn new() -> impl Strategy<Value = New> {
    let key = prop_oneof![6 => Just(Some(0)), 6 => (0..KEYS).prop_map(Some), 1 => Just(None)];
    (key, option::weighted(0.2, 0_u8..3), option::weighted(0.2, 0_u8..3), 1_u32..4)
        .prop_map(|(key, scheduled, identity, max_attempts)| New { key, scheduled, identity, max_attempts })
}

fn target() -> impl Strategy<Value = Target> {
    prop_oneof![4 => (0..4_usize).prop_map(Target::Own), 1 => (0..8_usize).prop_map(Target::Any)]
}

pub(super) fn operations() -> impl Strategy<Value = Operation> {
    let worker = || prop_oneof![2 => Just(0), 1 => 0..WORKERS];
    let limit = || sample::select(vec![1_u32, 2, 1000]);
    let cut = Cut::rarely;
    prop_oneof![
        8 => (collection::vec(new(), 1..4), cut()).prop_map(|(events, cut)| Operation::Create { events, cut }),
        3 => limit().prop_map(|limit| Operation::FetchPending { limit }),
        10 => (worker(), limit(), 0_u8..3, cut())
            .prop_map(|(worker, limit, ttl, cut)| Operation::Claim { worker, limit, ttl, cut }),
        3 => (worker(), target(), cut())
            .prop_map(|(worker, event, cut)| Operation::MarkProcessing { worker, event, cut }),
        4 => (worker(), target(), cut())
            .prop_map(|(worker, event, cut)| Operation::MarkCompleted { worker, event, cut }),
        8 => (worker(), target(), Fault::any(), cut())
            .prop_map(|(worker, event, fault, cut)| Operation::MarkFailed { worker, event, fault, cut }),
        2 => (worker(), 0..8_usize, cut())
            .prop_map(|(worker, more, cut)| Operation::CompleteMany { worker, more, cut }),
        2 => (worker(), 0..3_usize, cut()).prop_map(|(worker, skip, cut)| Operation::Refresh { worker, skip, cut }),
        2 => (worker(), 0..3_usize, cut()).prop_map(|(worker, skip, cut)| Operation::Release { worker, skip, cut }),
        1 => (0_u8..4, cut()).prop_map(|(minutes, cut)| Operation::ReleaseStale { minutes, cut }),
        2 => (0_u8..3, 1_u32..3, 0_u32..3)
            .prop_map(|(minutes, batch, iterations)| Operation::CleanUp { minutes, batch, iterations }),
        1 => worker().prop_map(|worker| Operation::Crash { worker }),
        6 => (1_u8..5).prop_map(|minutes| Operation::Advance { minutes }),
    ]
}
