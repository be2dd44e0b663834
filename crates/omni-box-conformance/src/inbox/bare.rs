//! Connections without a transaction: what is received, settled or quarantined through one would be kept although the handler's write
//! beside it failed.

use omni_box_core::{
    Attempt, ErrorKind, Event, InboundMessage, InboxRepository, InboxSettlement, QuarantinedMessage, Result,
    Retry,
};

use super::{Inbox, message};
use crate::specimen::group;
use crate::table::failure;
use crate::{BareConnections, InboxFixture};

fn assert_refused<T>(call: &str, result: Result<T>) {
    let Err(error) = result else {
        panic!("{call} through a connection that commits each statement by itself is refused");
    };
    assert_eq!(error.kind(), ErrorKind::NoTransaction, "kind of the error of {call}: {error:?}");
}

/// `receive`: `NoTransaction` when `conn` has no open transaction; nothing is stored.
pub async fn a_receive_outside_a_transaction_is_refused<F>(fixture: F)
where
    F: BareConnections<Store: InboxRepository>,
{
    let table = Inbox::open(&fixture).await;
    let events = [message("m1", 1, "1"), message("m2", 2, "1")];
    {
        let mut conn = fixture.bare().await;
        // twice: the refusal leaves the connection as it was
        for _ in 0..2 {
            assert_refused("receive", table.store.receive(&mut conn, &events).await);
        }
    }
    assert_eq!(table.pending().await, [], "what was refused is not stored");
    assert_eq!(table.receive(&events).await.len(), 2, "inside a transaction the same messages are received");
}

/// `settle`: `NoTransaction` when `conn` has no open transaction; nothing is changed.
pub async fn a_settlement_outside_a_transaction_is_refused<F>(fixture: F)
where
    F: BareConnections<Store: InboxRepository>,
{
    let table = Inbox::open(&fixture).await;
    let events = [message("m1", 1, "1"), message("m2", 2, "1")];
    table.receive(&events).await;
    let before = [table.row(&events[0]).await, table.row(&events[1]).await];
    let [completed, failed] = [&events[0], &events[1]].map(Event::id);
    let failures = vec![(failed, failure(Attempt::Counted, Retry::Never))];
    {
        let mut conn = fixture.bare().await;
        for settlement in [
            InboxSettlement { completed: vec![completed], failures: Vec::new() },
            InboxSettlement { completed: Vec::new(), failures },
        ] {
            let settled = InboxRepository::settle(&table.store, &mut conn, &settlement).await;
            assert_refused("settle", settled);
        }
    }
    let after = [table.row(&events[0]).await, table.row(&events[1]).await];
    for (before, after) in before.iter().zip(&after) {
        assert_eq!(after.lifecycle(), before.lifecycle(), "what was refused changes nothing");
    }
    table.settle_completed(&events[0]).await;
}

/// `quarantine`: `NoTransaction` when `conn` has no open transaction; nothing is kept.
pub async fn a_quarantine_outside_a_transaction_is_refused<F>(fixture: F)
where
    F: BareConnections<Store: InboxRepository> + InboxFixture,
{
    let store = fixture.open().await;
    let kept = QuarantinedMessage {
        consumer_group: group(),
        message: InboundMessage {
            topic: "orders".into(),
            partition: 0,
            offset: 7,
            key: None,
            value: None,
            headers: Vec::new(),
            timestamp: None,
        },
        error: "no value".into(),
    };
    {
        let mut conn = fixture.bare().await;
        assert_refused("quarantine", store.quarantine(&mut conn, std::slice::from_ref(&kept)).await);
    }
    assert!(fixture.quarantined().await.is_empty(), "what was refused is not kept");
}
