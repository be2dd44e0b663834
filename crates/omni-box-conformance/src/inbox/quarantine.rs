//! What cannot be understood is kept as it came.

use bytes::Bytes;
use omni_box_core::{InboundMessage, InboxRepository, QuarantinedMessage};

use super::Inbox;
use crate::InboxFixture;
use crate::specimen::group;
use crate::transaction::{begin, committed, rollback};

/// A message with bytes of all kinds in it.
pub(super) fn kept(offset: i64, value: Option<&'static [u8]>) -> QuarantinedMessage {
    QuarantinedMessage {
        consumer_group: group(),
        message: InboundMessage {
            topic: "orders".into(),
            partition: 3,
            offset,
            key: Some(Bytes::from_static(b"\xff\0k")),
            value: value.map(Bytes::from_static),
            headers: vec![
                ("a".into(), Some(Bytes::from_static(b"\xfe\0"))),
                ("b".into(), None),
                ("a".into(), Some(Bytes::new())),
            ],
            timestamp: chrono::DateTime::from_timestamp_millis(1_700_000_000_123),
        },
        error: "value is not UTF-8 from byte 0".into(),
    }
}

/// `quarantine`: keeps messages as raw bytes with the reason, every one of them.
pub async fn messages_are_kept_as_raw_bytes<F>(fixture: F)
where
    F: InboxFixture<Store: InboxRepository>,
{
    let table = Inbox::open(&fixture).await;
    let messages = [kept(7, Some(b"\xc3(\0")), kept(8, None), kept(9, Some(b""))];
    committed(&table.store, "quarantine messages", async |conn| {
        table.store.quarantine(conn, &messages).await
    })
    .await;
    let mut found = fixture.quarantined().await;
    found.sort_by_key(|found| found.message.offset);
    assert_eq!(found.len(), 3, "each message is kept");
    for (found, given) in found.iter().zip(&messages) {
        assert_eq!(found.consumer_group, given.consumer_group, "consumer group");
        assert_eq!(found.error, given.error, "the reason");
        let [found, given] = [&found.message, &given.message];
        assert_eq!(found.coordinates(), given.coordinates(), "topic, partition and offset");
        assert_eq!(found.key, given.key, "the key's bytes, which need not be text");
        assert_eq!(found.value, given.value, "the value's bytes; none and empty are two things");
        assert_eq!(found.headers, given.headers, "headers in order, repeats, null and raw values included");
        assert_eq!(found.timestamp, given.timestamp, "the broker's timestamp");
    }
    committed(&table.store, "quarantine no messages", async |conn| table.store.quarantine(conn, &[]).await)
        .await;
}

/// `quarantine`: the same message again changes nothing. What makes it the same is its group, its place and its bytes.
pub async fn a_message_is_kept_once<F>(fixture: F)
where
    F: InboxFixture<Store: InboxRepository>,
{
    let table = Inbox::open(&fixture).await;
    let first = kept(7, Some(b"1"));
    let again = QuarantinedMessage { error: "another reason".into(), ..first.clone() };
    for messages in [vec![first], vec![again.clone()], vec![again, kept(8, Some(b"2"))]] {
        committed(&table.store, "quarantine messages", async |conn| {
            table.store.quarantine(conn, &messages).await
        })
        .await;
    }
    let mut found = fixture.quarantined().await;
    found.sort_by_key(|found| found.message.offset);
    assert_eq!(
        found.iter().map(|found| (found.message.offset, found.error.as_str())).collect::<Vec<_>>(),
        [(7, "value is not UTF-8 from byte 0"), (8, "value is not UTF-8 from byte 0")],
        "a message is kept once, as it came first, however often it is delivered; others of its batch are kept all the same"
    );
    let replaced = [kept(7, Some(b"another")), kept(7, Some(b""))];
    for _ in 0..2 {
        committed(&table.store, "quarantine messages", async |conn| {
            table.store.quarantine(conn, &replaced).await
        })
        .await;
    }
    assert_eq!(
        fixture.quarantined().await.len(),
        4,
        "another message at the same place, as after a topic was made again, is kept too: its offset moves on"
    );
    let mut others = [kept(7, None), kept(7, None), kept(7, None)];
    others[0].message.partition = 4;
    others[1].message.topic = "users".into();
    others[2].consumer_group = omni_box_core::ConsumerGroup::new("billing").expect("a valid name");
    committed(&table.store, "quarantine messages", async |conn| table.store.quarantine(conn, &others).await)
        .await;
    assert_eq!(fixture.quarantined().await.len(), 7, "another group, topic or partition is another message");
}

/// `quarantine`: commits and rolls back with its transaction.
pub async fn a_quarantine_is_undone_by_a_rollback<F>(fixture: F)
where
    F: InboxFixture<Store: InboxRepository>,
{
    let table = Inbox::open(&fixture).await;
    let mut tx = begin(&table.store).await;
    table.store.quarantine(&mut tx, &[kept(7, None)]).await.expect("a message is kept");
    rollback(&table.store, tx).await;
    assert!(fixture.quarantined().await.is_empty(), "nothing is kept by a transaction that was rolled back");
}
