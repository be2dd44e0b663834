//! The contracts of the traits, as the test kit has them.

use std::time::Duration;

use custom_storage::RedbStore;
use omni_box_conformance::{InboxFixture, StoreFixture};
use omni_box_core::{DeliveryMode, QuarantinedMessage, Store as _};
use omni_box_testkit::TestClock;
use tempfile::TempDir;

struct File {
    store: RedbStore,
    clock: TestClock,
    // removed when the case has ended
    _directory: TempDir,
}

impl StoreFixture for File {
    type Store = RedbStore;

    const SINGLE_WRITER: bool = true;

    async fn create() -> Option<Self> {
        let (directory, clock) = (TempDir::new().unwrap(), TestClock::new());
        let store = RedbStore::open(directory.path().join("shop.redb")).await.unwrap().clock(clock.clone());
        Some(Self { store, clock, _directory: directory })
    }

    /// A redb file is that of one process, whose parts share its handle.
    async fn open(&self) -> RedbStore {
        self.store.clone()
    }

    async fn set_mode(&self, mode: DeliveryMode) {
        assert_eq!(mode, DeliveryMode::Rows, "the only mode of this store");
    }

    async fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }

    /// A call that has its turn goes on in its thread when its future is dropped; while a transaction is open, no other has.
    async fn quiet(&self, open_transactions: usize) {
        if open_transactions == 0 {
            drop(self.store.begin().await.unwrap());
        }
    }
}

impl InboxFixture for File {
    async fn quarantined(&self) -> Vec<QuarantinedMessage> {
        self.store.quarantined().await.unwrap()
    }
}

omni_box_conformance::outbox_conformance!(File, capabilities: [bulk, locking, wakeup]);
omni_box_conformance::inbox_conformance!(File, capabilities: [bulk, locking, partitions]);
omni_box_conformance::model_conformance!(File, of: [rows, inbox]);
