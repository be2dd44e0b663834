//! Events read from the rows of a database that has text, integers and bytes alone.

use std::borrow::Cow;
use std::time::Duration;

use chrono::{DateTime, Utc};
use omni_box_core::store::Count;
use omni_box_core::{Event, EventStatus, InboxEvent, OutboxEvent};
use omni_box_sql::{
    Columns, Dialect, StoredEvent, TableNames, known_message, lane_event, moment, render, sampled_group,
    sampled_outbox,
};
use uuid::Uuid;

use crate::dialect::MySql;

const ID: &str = "018f3c4e-7a10-7cc1-9d2b-3f1e5a6b7c8d";

#[derive(Clone, Copy)]
enum Value {
    Null,
    Text(&'static str),
    Integer(i64),
    Bytes(&'static [u8]),
}

use Value::{Bytes, Integer, Null, Text};

/// Hands out one value after the other.
struct Row(std::vec::IntoIter<Value>);

impl Row {
    /// The values must be as many as the columns that are selected.
    fn new(columns: &str, values: Vec<Value>) -> Self {
        assert_eq!(columns.split(", ").count(), values.len(), "{columns}");
        Self(values.into_iter())
    }

    fn next<T>(&mut self, pick: impl Fn(Value) -> Option<T>) -> sqlx::Result<T> {
        let value = self.0.next().ok_or(sqlx::Error::RowNotFound)?;
        pick(value).ok_or_else(|| sqlx::Error::Decode("another type".into()))
    }

    fn optional<T>(&mut self, pick: impl Fn(Value) -> Option<T>) -> sqlx::Result<Option<T>> {
        self.next(|value| if matches!(value, Null) { Some(None) } else { pick(value).map(Some) })
    }
}

fn text(value: Value) -> Option<Cow<'static, str>> {
    if let Text(text) = value { Some(text.into()) } else { None }
}

fn integer(value: Value) -> Option<i64> {
    if let Integer(integer) = value { Some(integer) } else { None }
}

impl Columns<'static> for Row {
    fn text(&mut self) -> sqlx::Result<Cow<'static, str>> {
        self.next(text)
    }

    fn optional_text(&mut self) -> sqlx::Result<Option<Cow<'static, str>>> {
        self.optional(text)
    }

    fn integer(&mut self) -> sqlx::Result<i64> {
        self.next(integer)
    }

    fn optional_integer(&mut self) -> sqlx::Result<Option<i64>> {
        self.optional(integer)
    }

    fn boolean(&mut self) -> sqlx::Result<bool> {
        Ok(self.integer()? != 0)
    }

    fn uuid(&mut self) -> sqlx::Result<Uuid> {
        self.next(|value| text(value)?.parse().ok())
    }

    fn optional_uuid(&mut self) -> sqlx::Result<Option<Uuid>> {
        self.optional(|value| text(value)?.parse().ok())
    }

    fn time(&mut self) -> sqlx::Result<DateTime<Utc>> {
        Ok(moment(self.integer()?))
    }

    fn optional_time(&mut self) -> sqlx::Result<Option<DateTime<Utc>>> {
        Ok(self.optional_integer()?.map(moment))
    }

    fn optional_bytes(&mut self) -> sqlx::Result<Option<Vec<u8>>> {
        self.optional(|value| if let Bytes(bytes) = value { Some(bytes.to_vec()) } else { None })
    }
}

/// The columns that both tables have, with this status, numbers of attempts, and this worker.
fn shared(status: &'static str, attempts: [i64; 2], locked_by: Value) -> Vec<Value> {
    vec![
        Text(ID),
        Text("order.placed"),
        Text("{\"id\": 7}"),
        Text("{\"tenant\": \"blue\"}"),
        Text("trace"),
        Null,
        Text("cause"),
        Null,
        Text("2"),
        Text(status),
        Integer(attempts[0]),
        Integer(attempts[1]),
        Text("it broke"),
        Integer(1_000_000),
        Null,
        Integer(2_000_000),
        locked_by,
        Integer(3),
        Integer(4),
    ]
}

fn inbox(status: &'static str, position: [Value; 3]) -> Vec<Value> {
    let mut row = shared(status, [1, 6], Null);
    row.extend([Text("m-7"), Text("shipping"), Text("shop"), Null]);
    row.extend(position);
    row.extend([Integer(5_000_000), Bytes(b"digest"), Bytes(b"\xff")]);
    row
}

#[test]
fn an_outbox_event_is_what_its_columns_say() {
    let mut row = shared("pending", [2, 6], Text("worker-1"));
    row.extend([Text("order"), Text(ID), Text("orders"), Text("7")]);
    let event = OutboxEvent::read(&mut Row::new(&OutboxEvent::columns(&MySql::default()), row)).unwrap();
    assert_eq!(event.id().to_string(), ID);
    assert_eq!((event.event_type(), event.payload().as_str()), ("order.placed", "{\"id\": 7}"));
    assert_eq!(event.headers().to_json(), "{\"tenant\":\"blue\"}");
    let content = event.content();
    assert_eq!((content.trace_id.as_deref(), content.correlation_id.as_deref()), (Some("trace"), None));
    assert_eq!((content.causation_id.as_deref(), content.idempotency_key.as_deref()), (Some("cause"), None));
    assert_eq!(content.schema_version.as_deref(), Some("2"));
    assert_eq!((event.aggregate_type(), event.aggregate_id()), (Some("order"), Some(ID.parse().unwrap())));
    assert_eq!((event.topic(), event.partition_key()), ("orders", Some("7")));
    let life = event.lifecycle();
    assert_eq!(life.status(), EventStatus::Pending);
    assert_eq!((life.attempts_made(), life.max_attempts(), life.last_error()), (2, 6, Some("it broke")));
    assert_eq!((life.scheduled_at(), life.completed_at()), (Some(moment(1_000_000)), None));
    let lock = life.lock().unwrap();
    assert_eq!((lock.by.as_str(), lock.at), ("worker-1", moment(2_000_000)));
    assert_eq!((life.created_at(), life.updated_at()), (moment(3), moment(4)));
}

#[test]
fn an_event_of_a_lane_tells_its_place() {
    let mut row = shared("pending", [0, 6], Null);
    row.extend([Null, Null, Text("orders"), Null, Integer(3), Integer(77), Integer(1), Integer(0)]);
    row.push(Integer(9));
    let columns = OutboxEvent::columns(&MySql::default()) + ", e.lane, e.seq, e.head, e.held, now";
    let read = lane_event(&mut Row::new(&columns, row)).unwrap();
    assert_eq!((read.lane.number(), read.seq, read.is_held_head, read.is_behind_head), (3, 77, true, false));
    assert_eq!(read.read_at, moment(9));
}

#[test]
fn a_sample_is_what_its_columns_say() {
    let row = |unowned, due, is_capped: i64, about, age| {
        let values = [unowned, age, Integer(due), Integer(is_capped), Integer(about)];
        let held = [Integer(2), Integer(3), Integer(is_capped), age, Integer(10_001), Null];
        Row(values.into_iter().chain(held).collect::<Vec<_>>().into_iter())
    };
    let sample = sampled_outbox(&mut row(Integer(16), 7, 0, 900, Integer(1_500_000))).unwrap();
    let outbox = sample.outbox;
    assert_eq!(outbox.unowned_lanes, Some(16));
    assert_eq!(outbox.oldest_due_age, Some(Duration::from_millis(1500)));
    assert_eq!(outbox.backlog, Count { count: 7, is_exact: true }, "an estimate is for what was not counted");
    let keys = [outbox.retrying_keys, outbox.parked_keys];
    assert_eq!(keys, [2, 3].map(|count| Count { count, is_exact: true }));
    assert_eq!(outbox.oldest_held_age, Some(Duration::from_millis(1500)));
    assert_eq!(outbox.failed, Count { count: 10_000, is_exact: false });
    assert_eq!(sample.oldest_transaction_age, None);

    let outbox = sampled_outbox(&mut row(Null, 10_001, 1, 20_000, Integer(-5))).unwrap().outbox;
    assert_eq!(
        (outbox.unowned_lanes, outbox.oldest_due_age),
        (None, Some(Duration::ZERO)),
        "no age is below zero"
    );
    assert_eq!(outbox.backlog, Count { count: 20_000, is_exact: false });
    assert_eq!(outbox.parked_keys, Count { count: 3, is_exact: false }, "some were not looked at");

    let mut row = Row(vec![Text("shipping"), Integer(4), Null, Integer(5), Integer(6)].into_iter());
    let group = sampled_group(&mut row).unwrap();
    let counts = [group.pending, group.failed, group.quarantined].map(|count| count.count);
    assert_eq!(
        (group.consumer_group.as_str(), counts, group.oldest_pending_age),
        ("shipping", [4, 5, 6], None)
    );
}

#[test]
fn an_inbox_event_is_what_its_columns_say() {
    let mut row = inbox("pending", [Text("orders"), Integer(3), Integer(41)]);
    row.push(Integer(-5));
    let columns = InboxEvent::columns(&MySql::default()) + ", wait";
    let (event, wait) = known_message(&mut Row::new(&columns, row)).unwrap();
    assert_eq!(
        (event.message_id(), event.consumer_group().as_str(), event.source()),
        ("m-7", "shipping", "shop")
    );
    let position = event.position().unwrap();
    assert_eq!((position.topic.as_str(), position.partition, position.offset), ("orders", 3, 41));
    assert_eq!(event.produced_at(), Some(moment(5_000_000)));
    assert_eq!((event.partition_key(), event.digest()), (None, Some(&b"digest"[..])));
    assert_eq!(event.raw_key(), Some(&b"\xff"[..]));
    assert_eq!(wait, Duration::ZERO, "what is due already does not wait");
}

#[test]
fn what_cannot_be_kept_is_replaced() {
    let mut row = shared("exploded", [-1, i64::MAX], Text("no\nname"));
    row.extend([Null, Null, Text("orders"), Null]);
    let event = OutboxEvent::read(&mut Row::new(&OutboxEvent::columns(&MySql::default()), row)).unwrap();
    let life = event.lifecycle();
    assert_eq!((life.status(), life.attempts_made(), life.max_attempts()), (EventStatus::Failed, 0, 0));
    assert!(life.lock().is_none());

    let columns = InboxEvent::columns(&MySql::default());
    for position in [
        [Text("orders"), Integer(1 << 40), Integer(0)],
        [Null, Integer(1), Integer(0)],
        [Text("orders"), Integer(1), Null],
    ] {
        let event = InboxEvent::read(&mut Row::new(&columns, inbox("pending", position))).unwrap();
        assert!(event.position().is_none());
    }
    assert_eq!((moment(i64::MIN), moment(i64::MAX)), (DateTime::<Utc>::MIN_UTC, DateTime::<Utc>::MAX_UTC));
}

#[test]
fn a_row_of_other_columns_is_an_error() {
    let mut row = shared("pending", [0, 6], Null);
    row[1] = Null;
    row.extend([Null, Null, Text("orders"), Null]);
    let columns = OutboxEvent::columns(&MySql::default());
    let error = OutboxEvent::read(&mut Row::new(&columns, row)).unwrap_err();
    assert!(matches!(error, sqlx::Error::Decode(_)), "{error}");
}

#[test]
fn json_is_selected_as_the_database_gives_it_as_text() {
    struct Cast(TableNames);

    impl Dialect for Cast {
        fn names(&self) -> &TableNames {
            &self.0
        }

        fn expression(&self, _: &str) -> Option<String> {
            None
        }

        fn json_text(&self, column: &str) -> String {
            format!("cast({column} as char)")
        }
    }

    let sql = render(&Cast(TableNames::default()), "{{inbox_columns}}");
    assert!(
        sql.starts_with("e.id, e.event_type, cast(e.payload as char), cast(e.headers as char), e.trace_id, ")
    );
    assert!(sql.ends_with(", e.digest, e.raw_key"));
}
