//! The store in memory against its contracts, as it is and behind a wrapper with no fault planned.

use std::time::Duration;

use omni_box_conformance::{InboxFixture, StoreFixture};
use omni_box_core::{DeliveryMode, QuarantinedMessage};
use omni_box_testkit::{FaultPlan, Faulty, MemoryStore};

struct Memory(MemoryStore);

impl StoreFixture for Memory {
    type Store = MemoryStore;

    async fn create() -> Option<Self> {
        Some(Self(MemoryStore::new()))
    }

    async fn open(&self) -> MemoryStore {
        self.0.clone()
    }

    async fn set_mode(&self, mode: DeliveryMode) {
        self.0.set_delivery_mode(mode).unwrap();
    }

    async fn advance(&self, by: Duration) {
        self.0.clock().advance(by);
    }
}

impl InboxFixture for Memory {
    async fn quarantined(&self) -> Vec<QuarantinedMessage> {
        self.0.quarantined()
    }
}

mod memory_store {
    use super::Memory;

    omni_box_conformance::outbox_conformance!(Memory, capabilities: [breakers, bulk, dead_letters, inspection, lanes, locking, retention, several_lanes, wakeup]);
    omni_box_conformance::inbox_conformance!(
        Memory,
        capabilities: [breakers, bulk, dead_letters, inspection, locking, members, partitions, quarantine, retention, savepoints, sealed]
    );
    omni_box_conformance::model_conformance!(Memory);
}

/// A wrapped store with nothing planned does what the store inside does, with every capability.
struct Wrapped(MemoryStore);

impl StoreFixture for Wrapped {
    type Store = Faulty<MemoryStore>;

    async fn create() -> Option<Self> {
        Some(Self(MemoryStore::new()))
    }

    async fn open(&self) -> Faulty<MemoryStore> {
        Faulty::new(self.0.clone(), &FaultPlan::new())
    }

    async fn set_mode(&self, mode: DeliveryMode) {
        self.0.set_delivery_mode(mode).unwrap();
    }

    async fn advance(&self, by: Duration) {
        self.0.clock().advance(by);
    }
}

impl InboxFixture for Wrapped {
    async fn quarantined(&self) -> Vec<QuarantinedMessage> {
        self.0.quarantined()
    }
}

mod nothing_planned {
    use super::Wrapped;

    omni_box_conformance::outbox_conformance!(Wrapped, capabilities: [breakers, bulk, dead_letters, inspection, lanes, locking, retention, several_lanes, wakeup]);
    omni_box_conformance::inbox_conformance!(
        Wrapped,
        capabilities: [breakers, bulk, dead_letters, inspection, locking, members, partitions, quarantine, retention, savepoints, sealed]
    );
}
