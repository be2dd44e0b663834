//! [`Quarantine`](omni_box_core::store::Quarantine): what is kept as raw bytes is listed, shown, taken out, decoded again and deleted.

use bytes::Bytes;
use omni_box_core::store::{Quarantine, QuarantineEntry, Readmission};
use omni_box_core::{
    ConsumerGroup, DecodeError, DefaultMessageDecoder, Event, EventStatus, InboundMessage, InboxExt,
    InboxRepository, MessageDecoder, QuarantinedMessage, decoder_fn,
};
use uuid::Uuid;

use super::{Inbox, quarantine};
use crate::StoreFixture;
use crate::specimen::group;
use crate::table::{DAY, HOUR, size};
use crate::transaction::{at_once, begin, commit, committed, retried, rollback};

impl<S: InboxRepository> Inbox<S> {
    fn kept(&self) -> &dyn Quarantine<S::Conn> {
        self.store.in_quarantine().expect("a store that is tested for its quarantine has it")
    }

    async fn keep(&self, messages: &[QuarantinedMessage]) {
        committed(&self.store, "quarantine messages", async |conn| {
            self.store.quarantine(conn, messages).await
        })
        .await;
    }

    async fn entries(
        &self,
        group: &ConsumerGroup,
        after: Option<&QuarantineEntry>,
        limit: u32,
    ) -> Vec<QuarantineEntry> {
        retried("list the quarantine", async || self.kept().list(group, after, size(limit)).await).await
    }

    async fn all_entries(&self) -> Vec<QuarantineEntry> {
        self.entries(&group(), None, 100).await
    }

    async fn show(&self, id: Uuid) -> Option<QuarantinedMessage> {
        retried("look into the quarantine", async || self.kept().show(id).await).await
    }

    async fn remove(&self, ids: &[Uuid]) -> Vec<Uuid> {
        committed(&self.store, "take messages out of quarantine", async |conn| {
            self.kept().remove(conn, ids).await
        })
        .await
    }

    async fn purge_kept(&self, older_than: std::time::Duration, limit: u32) -> u64 {
        let purge = async || self.kept().purge(&group(), older_than, size(limit)).await;
        retried("clean the quarantine up", purge).await
    }

    async fn readmit(&self, ids: &[Uuid], decoder: &dyn MessageDecoder) -> Vec<Readmission> {
        retried("decode messages again", async || self.store.readmit(ids, decoder).await).await
    }
}

/// A message whose key is text, so that it can be decoded with another value.
fn kept(offset: i64, value: &'static [u8]) -> QuarantinedMessage {
    let mut kept = quarantine::kept(offset, Some(value));
    kept.message.key = Some(Bytes::from_static(b"key"));
    kept.error = "value is not JSON".into();
    kept
}

fn other_group() -> ConsumerGroup {
    ConsumerGroup::new("billing").expect("a valid name")
}

fn offsets(entries: &[QuarantineEntry]) -> Vec<i64> {
    entries.iter().map(|entry| entry.position.offset).collect()
}

/// `list`: what a group has, in the order in which it came, page by page.
pub async fn a_quarantine_is_listed_as_it_came<F>(fixture: F)
where
    F: StoreFixture<Store: InboxRepository>,
{
    let table = Inbox::open(&fixture).await;
    table.keep(&[kept(9, b"{"), kept(2, b"[1")]).await;
    table.keep(&[QuarantinedMessage { consumer_group: other_group(), ..kept(1, b"{") }]).await;
    fixture.advance(HOUR).await;
    let mut tombstone = kept(5, b"");
    tombstone.message.value = None;
    table.keep(&[tombstone, kept(4, b"")]).await;
    let all = table.all_entries().await;
    assert_eq!(offsets(&all), [9, 2, 5, 4], "those of the group, in the order in which they came");
    let first = table.entries(&group(), None, 3).await;
    assert_eq!(first, all[..3], "a page has its limit");
    let second = table.entries(&group(), first.last(), 3).await;
    assert_eq!(second, all[3..], "the next page begins behind the last one of the page before");
    assert!(table.entries(&group(), second.last(), 3).await.is_empty(), "nothing is behind the last");
    assert_eq!(offsets(&table.entries(&other_group(), None, 3).await), [1], "another group has its own");
    let entry = &all[1];
    let message = kept(2, b"[1").message;
    assert_eq!(entry.consumer_group, group(), "consumer group");
    assert_eq!(entry.position, message.position(), "topic, partition and offset");
    assert_eq!(entry.produced_at, message.timestamp, "the broker's timestamp");
    assert_eq!(entry.error, "value is not JSON", "the reason");
    assert_eq!(
        all.iter().map(|entry| entry.value_bytes).collect::<Vec<_>>(),
        [Some(1), Some(2), None, Some(0)],
        "the length of the value; none and empty are two things"
    );
    assert!(
        all[2].kept_at - all[1].kept_at >= chrono::TimeDelta::hours(1),
        "when it came, by the store's clock"
    );
}

/// `show`: the message as it came; what is not there is `None`.
pub async fn a_message_is_shown_as_it_came<F>(fixture: F)
where
    F: StoreFixture<Store: InboxRepository>,
{
    let table = Inbox::open(&fixture).await;
    let given = kept(7, b"\xc3(\0");
    table.keep(&[given.clone(), kept(8, b"{")]).await;
    let entry = table.all_entries().await.remove(0);
    let shown = table.show(entry.id).await.expect("what is listed is there");
    assert_eq!(shown.consumer_group, given.consumer_group, "consumer group");
    assert_eq!(shown.error, given.error, "the reason");
    let [shown, given] = [&shown.message, &given.message];
    assert_eq!(shown.coordinates(), given.coordinates(), "topic, partition and offset");
    assert_eq!(shown.key, given.key, "the key's bytes");
    assert_eq!(shown.value, given.value, "the value's bytes");
    assert_eq!(shown.headers, given.headers, "headers in order, repeats, null and raw values included");
    assert_eq!(shown.timestamp, given.timestamp, "the broker's timestamp");
    assert!(table.show(Uuid::now_v7()).await.is_none(), "an unknown id is none");
}

/// `remove`: in the caller's transaction, by one of two, and only what is named.
pub async fn a_message_is_taken_out_once<F>(fixture: F)
where
    F: StoreFixture<Store: InboxRepository>,
{
    let table = Inbox::open(&fixture).await;
    table.keep(&[kept(1, b"{"), kept(2, b"{"), kept(3, b"{")]).await;
    let ids: Vec<Uuid> = table.all_entries().await.iter().map(|entry| entry.id).collect();
    let mut tx = begin(&table.store).await;
    let removed = table.kept().remove(&mut tx, &ids[..1]).await.expect("a message can be taken out");
    assert_eq!(removed, ids[..1], "what was there is told");
    rollback(&table.store, tx).await;
    assert_eq!(table.all_entries().await.len(), 3, "a rollback leaves it where it was");

    let mut tx = begin(&table.store).await;
    table.kept().remove(&mut tx, &ids[..1]).await.expect("a message can be taken out");
    let second = Inbox::open(&fixture).await;
    {
        let mut waits = std::pin::pin!(second.remove(&ids[..2]));
        assert!(at_once(waits.as_mut()).await.is_none(), "who wants the same message waits for the first");
        commit(&table.store, tx).await;
        assert_eq!(waits.await, ids[1..2], "and finds it no more; the rest of its messages is its own");
    }
    assert_eq!(offsets(&table.all_entries().await), [3], "others stay");
    assert!(table.remove(&ids[..2]).await.is_empty(), "a call that is repeated takes nothing out twice");
    assert!(table.show(ids[0]).await.is_none(), "what was taken out is not shown");
    table.keep(&[kept(1, b"{")]).await;
    assert_eq!(offsets(&table.all_entries().await), [3, 1], "what is delivered once more is kept once more");
}

/// [`InboxExt::readmit`]: a message leaves the quarantine as it comes into the inbox; what cannot, stays.
pub async fn a_message_is_decoded_again_into_the_inbox<F>(fixture: F)
where
    F: StoreFixture<Store: InboxRepository>,
{
    let table = Inbox::open(&fixture).await;
    let messages = [kept(1, b"{\"order\": 1"), kept(2, b"nothing"), kept(3, b"{\"order\": 3")];
    table.keep(&messages).await;
    let ids: Vec<Uuid> = table.all_entries().await.iter().map(|entry| entry.id).collect();
    // mends what a producer has cut off
    let mending = decoder_fn(|message, group| {
        let value = message.value.as_deref().unwrap_or_default();
        if !value.starts_with(b"{") {
            return Err(DecodeError::new("no object"));
        }
        let value = Some(Bytes::from([value, b"}"].concat()));
        DefaultMessageDecoder::new().decode(&InboundMessage { value, ..message.clone() }, group)
    });
    let missing = Uuid::now_v7();
    let became = table.readmit(&[ids[0], ids[1], missing], &mending).await;
    let [Readmission::Stored(event), Readmission::Refused(reason), Readmission::Missing] = &became[..] else {
        panic!("stored, refused and missing were expected: {became:?}");
    };
    assert_eq!(reason.to_string(), "no object", "the decoder's reason");
    let row = table.get(*event).await.expect("the message is in the inbox");
    assert_eq!(row.status(), EventStatus::Pending, "it is pending");
    assert_eq!(row.payload().as_str(), "{\"order\": 1}", "as it was decoded");
    assert_eq!(row.position(), Some(&messages[0].message.position()), "at its place");
    assert_eq!(offsets(&table.all_entries().await), [2, 3], "it has left the quarantine, and no other has");
    assert_eq!(
        table.readmit(&ids[..1], &mending).await,
        [Readmission::Missing],
        "a repeat stores nothing twice"
    );

    table.settle_completed(&row).await;
    table.keep(&messages[..1]).await;
    let again = table.all_entries().await.pop().expect("it is kept once more").id;
    assert_eq!(
        table.readmit(&[again], &mending).await,
        [Readmission::Known(*event)],
        "a message that took effect is known, and leaves the quarantine"
    );
    assert_eq!(table.row(&row).await.status(), EventStatus::Completed, "it is not handled again");

    let of_another = decoder_fn({
        let message_id = row.message_id().to_owned();
        move |message, group| {
            let message_id = message_id.clone();
            let decoder = DefaultMessageDecoder::new().message_id(move |_| Some(message_id.clone()));
            let value = Some(Bytes::from_static(b"{\"another\": true}"));
            decoder.decode(&InboundMessage { value, ..message.clone() }, group)
        }
    });
    assert_eq!(
        table.readmit(&ids[2..], &of_another).await,
        [Readmission::Conflict],
        "an id that belongs to another message is a conflict"
    );
    assert_eq!(offsets(&table.all_entries().await), [2, 3], "what cannot come in stays");
}

/// `purge`: what is old enough, at most so many, the oldest first; of the group alone.
pub async fn an_old_quarantine_is_deleted_in_bounds<F>(fixture: F)
where
    F: StoreFixture<Store: InboxRepository>,
{
    let table = Inbox::open(&fixture).await;
    table.keep(&[QuarantinedMessage { consumer_group: other_group(), ..kept(1, b"{") }]).await;
    table.keep(&[kept(2, b"{")]).await;
    fixture.advance(HOUR).await;
    table.keep(&[kept(3, b"{"), kept(4, b"{")]).await;
    fixture.advance(10 * DAY).await;
    table.keep(&[kept(5, b"{")]).await;
    fixture.advance(HOUR).await;
    assert_eq!(table.purge_kept(DAY, 1).await, 1, "at most the limit");
    assert_eq!(offsets(&table.all_entries().await), [3, 4, 5], "the oldest first");
    assert_eq!(table.purge_kept(DAY, 10).await, 2, "two more are old enough");
    assert_eq!(offsets(&table.all_entries().await), [5], "what came just now stays");
    assert_eq!(offsets(&table.entries(&other_group(), None, 3).await), [1], "another group's stays");
}
