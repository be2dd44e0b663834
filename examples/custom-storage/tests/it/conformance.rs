//! The contracts of the traits, as the test kit has them.

use std::time::Duration;

use custom_storage::RedbStore;
use omni_box_core::{DeliveryMode, QuarantinedMessage};
use omni_box_testkit::TestClock;
use omni_box_testkit::conformance::{InboxFixture, StoreFixture};
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
}

impl InboxFixture for File {
    async fn quarantined(&self) -> Vec<QuarantinedMessage> {
        self.store.quarantined().await.unwrap()
    }
}

omni_box_testkit::outbox_conformance!(File, capabilities: [bulk, locking, wakeup]);
omni_box_testkit::inbox_conformance!(File, capabilities: [bulk, locking, partitions]);
