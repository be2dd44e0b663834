//! What stores without columns are built from: rows, marks, and the choice of what is due.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use omni_box_core::event::{Identity, Mark};
use omni_box_core::store::{Due, EventRow};
use omni_box_core::*;

use crate::{create, group, new_event, new_inbox};

fn token() -> ClaimToken {
    ClaimToken::new(&WorkerId::new("worker").unwrap(), OwnerId::generate())
}

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000, 0).unwrap()
}

fn outbox_row(key: Option<&str>, seq: i64) -> EventRow<OutboxEvent> {
    let new = key.iter().fold(new_event(), |new, key| new.partition_key(*key));
    EventRow::new(&create(new).unwrap(), seq, now())
}

fn at(offset: i64) -> SourcePosition {
    SourcePosition { topic: "orders".to_owned(), partition: 3, offset }
}

fn inbox_row(id: &str, key: Option<&str>, offset: i64, seq: i64) -> EventRow<InboxEvent> {
    EventRow::new(&message(id, key, Some(at(offset))), seq, now())
}

fn message(id: &str, key: Option<&str>, position: Option<SourcePosition>) -> InboxEvent {
    let content = EventContent::new("order.placed", Payload::from_text(r#"{"order":7}"#).unwrap());
    let mut new = NewInboxEvent::new(id, group(), "shop", content);
    new = key.iter().fold(new, |new, key| new.partition_key(*key));
    new = position.into_iter().fold(new, NewInboxEvent::position);
    OmniBoxDomainService::default().create_inbox_event(new).unwrap()
}

/// Numbers of the rows that a fetch or claim at `now` returns.
fn due<E: Event>(rows: &[EventRow<E>], ttl: Option<Duration>, limit: u32) -> Vec<i64> {
    let (limit, filters) = (BatchSize::new(limit).unwrap(), FetchFilters::new());
    let due = Due::new(limit, &filters, now()).unwrap();
    let mut due = ttl.into_iter().fold(due, Due::taking_over);
    rows.iter().for_each(|row| due.claimed(row));
    let mut line: Vec<_> = rows.iter().filter(|row| row.is_pending()).collect();
    line.sort_by_key(|row| row.place());
    for row in line {
        let key = row.event().order_key();
        if !due.offer(row.place(), key.as_bytes(), || Ok(Some(row.clone()))).unwrap() {
            break;
        }
    }
    let seq_of = |event: &E| rows.iter().find(|row| row.event().id() == event.id()).unwrap().seq();
    due.into_events().iter().map(seq_of).collect()
}

fn fail<E: Event>(row: &mut EventRow<E>, retry: Retry) {
    assert!(row.settle(Some(&Failure::new("refused", Attempt::Counted, retry)), now()));
}

#[test]
fn marks_apply_to_pending_events_of_their_token() {
    let (mine, other) = (token(), token());
    let failed = || Mark::Fail(Failure::new("refused", Attempt::Counted, Retry::Never));
    let marks = || [Mark::Claim, Mark::Refresh, Mark::Release, Mark::Complete, failed()];
    let applies = |row: &EventRow<OutboxEvent>, token| {
        let before = row.life().clone();
        marks().map(|mark| {
            let mut row = row.clone();
            let is_changed = row.mark(&mark, token, now() + TimeDelta::seconds(1));
            assert_eq!(is_changed, *row.life() != before, "{mark:?} says whether it changed the row");
            is_changed
        })
    };
    let mut row = outbox_row(None, 1);
    assert_eq!(applies(&row, &mine), [true, false, false, false, false], "free");
    assert!(row.mark(&Mark::Claim, &mine, now()));
    assert_eq!(applies(&row, &mine), [true; 5], "its own");
    assert_eq!(applies(&row, &other), [false; 5], "another's");
    for end in [Mark::Complete, failed()] {
        let mut ended = row.clone();
        assert!(ended.mark(&end, &mine, now()));
        assert_eq!(applies(&ended, &mine), [false; 5], "{end:?} is the end");
    }
}

#[test]
fn an_outcome_ends_any_claim_and_changes_pending_rows_only() {
    let mut row = inbox_row("m-1", None, 1, 1);
    assert!(row.mark(&Mark::Claim, &token(), now()));
    assert!(row.settle(None, now()));
    assert_eq!((row.life().status, &row.life().lock), (EventStatus::Completed, &None));
    assert!(!row.settle(Some(&Failure::new("late", Attempt::Counted, Retry::Never)), now()));
    assert_eq!(row.life().last_error, None);
}

#[test]
fn of_each_key_its_head_is_due() {
    let rows = [
        outbox_row(Some("ada"), 1),
        outbox_row(Some("ada"), 2),
        outbox_row(Some("grace"), 3),
        outbox_row(None, 4),
        outbox_row(None, 5),
    ];
    assert_eq!(due(&rows, None, 10), [1, 3, 4, 5]);
    assert_eq!(due(&rows, None, 2), [1, 3]);
}

#[test]
fn messages_have_the_order_of_their_offsets() {
    let rows = [
        inbox_row("m-1", Some("ada"), 9, 1),
        inbox_row("m-2", Some("ada"), 8, 2),
        inbox_row("m-3", None, 7, 3),
        inbox_row("m-4", None, 6, 4),
    ];
    assert_eq!(due(&rows, None, 10), [4, 2], "what has no key shares its partition's");
    let nowhere = ["m-5", "m-6"].map(|id| EventRow::new(&message(id, None, None), 5, now()));
    assert_ne!(nowhere[0].event().order_key(), nowhere[1].event().order_key(), "no partition to share");
}

#[test]
fn a_key_at_work_is_left_alone_until_its_claim_is_old() {
    let mut rows = [outbox_row(Some("ada"), 1), outbox_row(Some("ada"), 2), outbox_row(Some("grace"), 3)];
    let minute = Duration::from_secs(60);
    for (age, taken) in [(minute, vec![3]), (minute + Duration::from_secs(1), vec![1, 3])] {
        // behind its head, as one whose transaction committed late
        rows[1].change(|life| life.claim(&token(), now() - age));
        assert_eq!(due(&rows, None, 10), [3], "a fetch counts every claim");
        assert_eq!(due(&rows, Some(minute), 10), taken, "claimed {age:?} ago");
    }
}

#[test]
fn a_retry_holds_its_key_and_a_schedule_does_not() {
    let later = |seq| {
        let at = now() + TimeDelta::minutes(5);
        let event = create(new_event().partition_key("ada")).unwrap();
        let life =
            LifecycleRecord { scheduled_at: Some(at), ..LifecycleRecord::stored(event.lifecycle(), now()) };
        EventRow::new(&OutboxEvent::restore(event.record().clone(), life.into()), seq, now())
    };
    let mut rows = [later(1), outbox_row(Some("ada"), 2)];
    assert_eq!(due(&rows, None, 10), [2], "what is scheduled holds nothing");
    rows[0].change(|life| life.claim(&token(), now()));
    rows[0].change(|life| life.release(now()));
    assert_eq!(due(&rows, None, 10), [2], "nor after a claim that was given back");
    fail(&mut rows[0], Retry::After(Duration::from_secs(60)));
    assert_eq!(due(&rows, None, 10), [0; 0], "a retry holds it");
}

#[test]
fn a_row_that_cannot_be_read_now_holds_its_key() {
    let (filters, limit) = (FetchFilters::new(), BatchSize::new(10).unwrap());
    let mut due = Due::new(limit, &filters, now()).unwrap();
    for (row, is_free) in [(outbox_row(Some("ada"), 1), false), (outbox_row(Some("ada"), 2), true)] {
        let read = || Ok(is_free.then(|| row.clone()));
        assert!(due.offer(row.place(), row.event().order_key().as_bytes(), read).unwrap());
    }
    assert_eq!(due.into_events(), []);
}

#[test]
fn what_is_chosen_passes_the_filters() {
    let limit = BatchSize::new(10).unwrap();
    let filters = FetchFilters::new().topic("elsewhere");
    let mut due = Due::new(limit, &filters, now()).unwrap();
    let row = outbox_row(None, 1);
    assert!(due.offer(row.place(), row.event().order_key().as_bytes(), || Ok(Some(row.clone()))).unwrap());
    assert_eq!(due.into_events(), []);
    let refused = Due::<InboxEvent>::new(limit, &filters, now()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Invalid);
}

#[test]
fn a_message_that_was_given_up_is_reopened_where_it_is_sent_again() {
    let mut row = inbox_row("m-1", None, 1, 1);
    let again = message("m-1", None, Some(at(9)));
    fail(&mut row, Retry::Never);
    let same = row.event();
    assert!(matches!(row.receive(&same, now()), Received::Failed(_)), "the same place again");
    let received = row.receive(&again, now());
    assert!(
        matches!(received, Received::Pending { ref event, wait: Duration::ZERO } if event.position() == Some(&at(9)))
    );
    assert_eq!(row.place(), (false, 9, 1));
    assert!(row.is_of(&group(), &TopicPartition { topic: "orders".to_owned(), partition: 3 }));
    assert!(!row.is_of(&group(), &TopicPartition { topic: "orders".to_owned(), partition: 4 }));
}

#[test]
fn a_row_comes_back_from_its_json() {
    let mut row = inbox_row("m-1", Some("ada"), 7, 3);
    fail(&mut row, Retry::OnRequest);
    let read: EventRow<InboxEvent> = EventRow::from_json(&row.to_json().unwrap()).unwrap();
    assert_eq!((read.event(), read.place()), (row.event(), row.place()));
    let error = EventRow::<InboxEvent>::from_json(br#"{"record":"ada"}"#).unwrap_err();
    assert_eq!((error.kind(), error.chain().contains("ada")), (ErrorKind::Decode, false));
    let error = QuarantinedMessage::from_json(br#"{"group":"ada"}"#).unwrap_err();
    assert_eq!((error.kind(), error.chain().contains("ada")), (ErrorKind::Decode, false));
}

#[test]
fn identities_and_keys_are_told_apart_by_their_bytes() {
    let group = |name: &str| ConsumerGroup::new(name).unwrap();
    assert_ne!(Identity::of_message(&group("ab"), "c"), Identity::of_message(&group("a"), "bc"));
    let key = |topic: &str, key: &str| {
        create(NewOutboxEvent::from_json("t", topic, r#"{"a":1}"#).partition_key(key))
    };
    assert_ne!(key("ab", "c").unwrap().order_key(), key("a", "bc").unwrap().order_key());
    let event = new_inbox(r#"{"order":7}"#);
    let event = OmniBoxDomainService::default().create_inbox_event(event).unwrap();
    assert_eq!(event.identity(), Some(Identity::of_message(event.consumer_group(), event.message_id())));
}
