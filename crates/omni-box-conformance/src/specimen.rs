//! Events for the cases: the same cases for outbox and inbox.

use std::fmt::Debug;
use std::future::{Future, ready};
use std::sync::atomic::{AtomicI64, Ordering};

use omni_box_core::{
    ConsumerGroup, DeliveryMode, Event, EventContent, FetchFilters, Headers, InboxEvent, InboxRecord,
    NewInboxEvent, NewOutboxEvent, OmniBoxDomainService, OutboxEvent, OutboxRecord, Payload, SourcePosition,
};
use uuid::Uuid;

use super::StoreFixture;

/// JSON that changes when it is read and written again.
const AWKWARD: &str = r#"{"z":12345678901234567890,"a":"\u00e9","f":1.10,"z2":[]}"#;

/// The kinds of event, as the cases make them. Events of one key are in order as they are made.
pub trait Specimen: Event + PartialEq + Debug {
    /// An event of a key; with an identity it is stored once (idempotency key or message id).
    fn make(key: &str, identity: Option<&str>, max_attempts: u32) -> Self;

    /// An event with every field set.
    fn full() -> Self;

    /// Checks what only this kind has.
    fn assert_same_fields(given: &Self, stored: &Self);

    /// Checks what an event has from the failed one that it replaces.
    fn assert_replayed(failed: &Self, fresh: &Self);

    /// Another event that has the same id.
    #[must_use]
    fn namesake(&self) -> Self;

    /// Filters, each with an event that it lets through and one that it does not.
    fn filters() -> Vec<(FetchFilters, Self, Self)>;

    /// Filters by what only the other kind has.
    fn foreign_filters() -> Vec<FetchFilters>;

    /// Readies the table for claims of rows.
    fn prepare<F: StoreFixture>(fixture: &F) -> impl Future<Output = ()> + Send;

    /// An event of a key.
    fn of(key: &str) -> Self {
        Self::make(key, None, 6)
    }

    /// An event of a key with an identity.
    fn named(key: &str, identity: &str) -> Self {
        Self::make(key, Some(identity), 6)
    }

    /// Events of keys of their own.
    fn many(count: usize) -> Vec<Self> {
        (0..count).map(|n| Self::of(&format!("key-{n}"))).collect()
    }
}

pub(super) fn outbox(event: NewOutboxEvent) -> OutboxEvent {
    OmniBoxDomainService::default().create_outbox_event(event).expect("the suite's events are valid")
}

pub(super) fn inbox(event: NewInboxEvent) -> InboxEvent {
    OmniBoxDomainService::default().create_inbox_event(event).expect("the suite's events are valid")
}

pub(super) fn group() -> ConsumerGroup {
    ConsumerGroup::new("shipping").expect("a valid name")
}

pub(super) fn content(event_type: &str, json: &str) -> EventContent {
    EventContent::new(event_type, Payload::from_text(json).expect("valid JSON"))
}

pub(super) fn new_outbox(topic: &str) -> NewOutboxEvent {
    NewOutboxEvent::from_json("order.placed", topic, r#"{"order": 7, "text": "canary-in-the-payload"}"#)
}

/// A message at the next offset of partition 0 of `orders`.
fn new_inbox(message_id: &str, source: &str) -> NewInboxEvent {
    static NEXT_OFFSET: AtomicI64 = AtomicI64::new(0);
    let offset = NEXT_OFFSET.fetch_add(1, Ordering::SeqCst);
    NewInboxEvent::new(
        message_id,
        group(),
        source,
        content("order.placed", r#"{"order": 7, "text": "canary-in-the-payload"}"#),
    )
    .position(SourcePosition { topic: "orders".into(), partition: 0, offset })
    .digest(vec![7; 32])
}

impl Specimen for OutboxEvent {
    fn make(key: &str, identity: Option<&str>, max_attempts: u32) -> Self {
        let event = new_outbox("orders").partition_key(key).max_attempts(max_attempts);
        outbox(match identity {
            Some(identity) => event.idempotency_key(identity),
            None => event,
        })
    }

    fn full() -> Self {
        outbox(
            NewOutboxEvent::from_json("order.placed", "orders", AWKWARD)
                .partition_key("key 7 \u{1f511}")
                .aggregate("order", Uuid::now_v7())
                .header("Tenant", "blue \"quoted\"")
                .header("second", "")
                .trace_id("trace")
                .correlation_id("correlation")
                .causation_id("causation")
                .idempotency_key("identity")
                .schema_version("1.2")
                .max_attempts(9),
        )
    }

    fn assert_same_fields(given: &Self, stored: &Self) {
        assert_eq!(given.topic(), stored.topic(), "topic");
        assert_eq!(given.partition_key(), stored.partition_key(), "partition_key");
        assert_eq!(given.aggregate_type(), stored.aggregate_type(), "aggregate_type");
        assert_eq!(given.aggregate_id(), stored.aggregate_id(), "aggregate_id");
    }

    fn assert_replayed(failed: &Self, fresh: &Self) {
        let mut record = OutboxRecord { id: fresh.id(), ..failed.record().clone() };
        record.content.causation_id = Some(failed.id().to_string());
        record.content.idempotency_key = None;
        assert_eq!(fresh.record(), &record, "its content, but for identity and causation");
    }

    fn namesake(&self) -> Self {
        let record = OutboxRecord {
            id: self.id(),
            content: content("order.cancelled", r#"{"other": true}"#),
            aggregate_type: None,
            aggregate_id: None,
            topic: self.topic().to_owned(),
            partition_key: Some("other".into()),
        };
        Self::restore(record, self.lifecycle().clone())
    }

    fn filters() -> Vec<(FetchFilters, Self, Self)> {
        let [one, two] = [Uuid::now_v7(), Uuid::now_v7()];
        let make = |topic: &str, kind: &str, id| outbox(new_outbox(topic).aggregate(kind, id));
        vec![
            (FetchFilters::new().topic("x").topic("y"), make("x", "order", one), make("z", "order", one)),
            (FetchFilters::new().aggregate_type("order"), make("x", "order", one), make("x", "user", one)),
            (FetchFilters::new().aggregate_id(one), make("x", "order", one), make("x", "order", two)),
            (
                FetchFilters::new().topic("x").aggregate_type("order"),
                make("x", "order", one),
                make("x", "user", one),
            ),
        ]
    }

    fn foreign_filters() -> Vec<FetchFilters> {
        vec![FetchFilters::new().source("shop"), FetchFilters::new().consumer_group(group())]
    }

    async fn prepare<F: StoreFixture>(fixture: &F) {
        fixture.set_mode(DeliveryMode::Rows).await;
    }
}

impl Specimen for InboxEvent {
    fn make(key: &str, identity: Option<&str>, max_attempts: u32) -> Self {
        let own = Uuid::now_v7().to_string();
        let event = new_inbox(identity.unwrap_or(&own), "shop");
        inbox(event.partition_key(key).max_attempts(max_attempts))
    }

    fn full() -> Self {
        let mut headers = Headers::new();
        headers.push("Tenant", "blue \"quoted\"");
        headers.push("second", "");
        let content = EventContent {
            headers,
            trace_id: Some("trace".into()),
            correlation_id: Some("correlation".into()),
            causation_id: Some("causation".into()),
            idempotency_key: Some("identity".into()),
            schema_version: Some("1.2".into()),
            ..content("order.placed", AWKWARD)
        };
        inbox(
            NewInboxEvent::new("message", group(), "shop", content)
                .position(SourcePosition { topic: "orders".into(), partition: 3, offset: 1 << 40 })
                .partition_key("key 7 \u{1f511}")
                .produced_at(chrono::DateTime::from_timestamp_millis(1_700_000_000_123).expect("a time"))
                .digest((0..32).collect())
                .max_attempts(9),
        )
    }

    fn assert_same_fields(given: &Self, stored: &Self) {
        assert_eq!(given.message_id(), stored.message_id(), "message_id");
        assert_eq!(given.consumer_group(), stored.consumer_group(), "consumer_group");
        assert_eq!(given.source(), stored.source(), "source");
        assert_eq!(given.partition_key(), stored.partition_key(), "partition_key");
        assert_eq!(given.raw_key(), stored.raw_key(), "raw_key");
        assert_eq!(given.position(), stored.position(), "position");
        assert_eq!(given.produced_at(), stored.produced_at(), "produced_at");
        assert_eq!(given.digest(), stored.digest(), "digest");
    }

    fn assert_replayed(failed: &Self, fresh: &Self) {
        let (id, message_id) = (fresh.id(), fresh.id().to_string());
        let mut record = InboxRecord { id, message_id, ..failed.record().clone() };
        record.content.causation_id = Some(failed.id().to_string());
        assert_eq!(fresh.record(), &record, "its content and its place, but for identity and causation");
    }

    fn namesake(&self) -> Self {
        let other = Self::of("other");
        let record = InboxRecord {
            id: self.id(),
            content: content("order.cancelled", r#"{"other": true}"#),
            message_id: other.message_id().to_owned(),
            consumer_group: group(),
            source: other.source().to_owned(),
            partition_key: other.partition_key().map(str::to_owned),
            raw_key: None,
            position: other.position().cloned(),
            produced_at: None,
            digest: other.digest().map(<[u8]>::to_vec),
        };
        Self::restore(record, self.lifecycle().clone())
    }

    fn filters() -> Vec<(FetchFilters, Self, Self)> {
        let make = |source| inbox(new_inbox(&Uuid::now_v7().to_string(), source).partition_key(source));
        let foreign = |with_place: bool| {
            let id = Uuid::now_v7().to_string();
            let group = ConsumerGroup::new("billing").expect("a valid name");
            let event = NewInboxEvent::new(id, group, "shop", content("order.placed", r#"{"order": 7}"#));
            let place = SourcePosition { topic: "orders".into(), partition: 0, offset: 1 };
            inbox(if with_place { event.position(place) } else { event })
        };
        let ours = || FetchFilters::new().consumer_group(group());
        vec![
            (FetchFilters::new().source("shop").source("bank"), make("shop"), make("club")),
            (ours(), make("shop"), foreign(true)),
            (ours(), make("shop"), foreign(false)),
            (ours().source("shop"), make("shop"), make("club")),
        ]
    }

    fn foreign_filters() -> Vec<FetchFilters> {
        vec![
            FetchFilters::new().topic("orders"),
            FetchFilters::new().aggregate_type("order"),
            FetchFilters::new().aggregate_id(Uuid::now_v7()),
        ]
    }

    fn prepare<F: StoreFixture>(_fixture: &F) -> impl Future<Output = ()> + Send {
        ready(())
    }
}
