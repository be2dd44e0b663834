//! What the connections of a proxy are told.

use std::collections::BTreeSet;
use std::time::Duration;

/// Connections have numbers in the order in which they were made.
#[derive(Debug, Default)]
pub(super) struct State {
    /// The next connection's number.
    pub(super) next: u64,
    /// Those below are closed.
    pub(super) cut: u64,
    pub(super) open: BTreeSet<u64>,
    /// Those that pass nothing on.
    pub(super) frozen: BTreeSet<u64>,
    pub(super) new: NewConnections,
    pub(super) delay: Duration,
}

impl State {
    /// Takes a connection in; returns its number.
    pub(super) fn begin(&mut self) -> u64 {
        let number = self.next;
        self.next += 1;
        self.open.insert(number);
        if self.new == NewConnections::Freeze {
            self.frozen.insert(number);
        }
        number
    }

    pub(super) fn end(&mut self, number: u64) {
        self.open.remove(&number);
        self.frozen.remove(&number);
    }

    pub(super) fn is_frozen(&self, number: u64) -> bool {
        self.frozen.contains(&number)
    }

    pub(super) fn is_cut(&self, number: u64) -> bool {
        number < self.cut
    }
}

/// What becomes of connections that are made.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum NewConnections {
    #[default]
    Pass,
    Refuse,
    Freeze,
}
