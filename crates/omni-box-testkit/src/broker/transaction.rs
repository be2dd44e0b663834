//! Records that are seen together or never.

use std::fmt;

use super::log::Ending;
use super::{MemoryBroker, NewMessage};

/// An open transaction of a producer. Dropping it aborts.
///
/// While it is open, consumers of a partition that it wrote to see nothing from its first record on, as `read_committed` consumers of
/// Kafka do.
pub struct MemoryTransaction {
    broker: MemoryBroker,
    id: u64,
    is_open: bool,
}

impl MemoryTransaction {
    pub(super) fn begin(broker: &MemoryBroker) -> Self {
        let id = broker.update(super::state::State::next_id);
        Self { broker: broker.clone(), id, is_open: true }
    }

    /// Appends a message, and returns its offset.
    ///
    /// # Panics
    /// As [`MemoryBroker::send`].
    pub fn send(&self, message: NewMessage) -> i64 {
        self.broker
            .update(|state| state.append(message, Some(self.id)))
            .unwrap_or_else(|error| panic!("{error}"))
            .offset
    }

    /// Shows what was sent to everybody.
    pub fn commit(mut self) {
        self.finish(Ending::Commit);
    }

    /// Shows it to no consumer.
    pub fn abort(mut self) {
        self.finish(Ending::Abort);
    }

    fn finish(&mut self, ending: Ending) {
        if std::mem::replace(&mut self.is_open, false) {
            self.broker.update(|state| state.finish(self.id, ending));
        }
    }
}

impl Drop for MemoryTransaction {
    fn drop(&mut self) {
        self.finish(Ending::Abort);
    }
}

impl fmt::Debug for MemoryTransaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryTransaction").field("id", &self.id).finish_non_exhaustive()
    }
}
