//! The file: one process at a time, and its handlers' failures are told apart.

use custom_storage::RedbStore;
use omni_box_core::{
    ErrorKind, Event as _, EventRepository, NewOutboxEvent, OmniBoxDomainService, OutboxEvent, Store,
};
use redb::{StorageError, TableError};

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_open_elsewhere_is_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("shop.redb");
    let first = RedbStore::open(&path).await.unwrap();
    let event = NewOutboxEvent::from_json("order.placed", "orders", r#"{"order":7}"#);
    let event = OmniBoxDomainService::default().create_outbox_event(event).unwrap();
    let mut tx = first.begin().await.unwrap();
    first.create(&mut tx, &event).await.unwrap();
    first.commit(tx).await.unwrap();

    let refused = RedbStore::open(&path).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unavailable, "{refused:?}");
    drop(first);
    let second = RedbStore::open(&path).await.unwrap();
    let mut tx = second.begin().await.unwrap();
    let read: Option<OutboxEvent> = second.get_by_id(&mut tx, event.id()).await.unwrap();
    assert_eq!(read.unwrap().content(), event.content(), "what was committed is there");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_something_else_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notes.txt");
    std::fs::write(&path, "buy milk".repeat(1000)).unwrap();
    let refused = RedbStore::open(&path).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Misconfigured, "{refused:?}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "buy milk".repeat(1000), "and left as it is");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_not_charged_to_a_message() {
    let directory = tempfile::tempdir().unwrap();
    let store = RedbStore::open(directory.path().join("shop.redb")).await.unwrap();
    let full = || StorageError::Io(std::io::ErrorKind::StorageFull.into());
    assert_eq!(store.classify(&full()), Some(ErrorKind::Unavailable));
    assert_eq!(store.classify(&TableError::Storage(full())), Some(ErrorKind::Unavailable));
    assert_eq!(store.classify(&TableError::TableDoesNotExist("orders".into())), None, "the handler's own");
}
