//! The memory store and broker against their contracts.

use std::time::Duration;

use omni_box_core::{DeliveryMode, QuarantinedMessage};
use omni_box_testkit::MemoryStore;
use omni_box_testkit::conformance::{InboxFixture, StoreFixture};

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

    omni_box_testkit::outbox_conformance!(Memory, capabilities: [bulk, lanes, locking, retention, several_lanes, wakeup]);
    omni_box_testkit::inbox_conformance!(
        Memory,
        capabilities: [bulk, locking, partitions, retention, savepoints]
    );
    omni_box_testkit::model_conformance!(Memory);
}
