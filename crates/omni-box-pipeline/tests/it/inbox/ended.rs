//! A handler that ends the transaction it shares: its neighbours are neither lost nor doubled, and its message is given up.

use omni_box_core::HandlerOutcome;
use serde_json::json;
use sqlx::AssertSqlSafe;

use super::faults::sealed_transactions;
use super::service::{Effects, Running, Service, broken};

const ENDS: [&str; 7] = [
    "rollback",
    "commit",
    "begin; commit",
    "commit; begin",
    "rollback; begin",
    "commit and chain",
    "rollback and chain",
];

/// What the handler does when its statement has ended the transaction.
#[derive(Debug, Clone, Copy)]
enum Then {
    Succeeds,
    Fails,
    Panics,
    WritesMore,
}

/// So many messages at once, of which `m` at this place ends the transaction; where it is sealed, as many come before them.
async fn check(service: &Service, end: &'static str, then: Then, size: usize, place: usize, is_sealed: bool) {
    let case = format!("{end:?}, then {then:?}, as {place} of {size}, sealed {is_sealed}");
    let sealed = sealed_transactions(&service.store);
    let act = Effects::new(move |id, _, conn| {
        Box::pin(async move {
            if id != "m" {
                return Ok(HandlerOutcome::Completed);
            }
            sqlx::raw_sql(AssertSqlSafe(end)).execute(&mut *conn).await?;
            match then {
                Then::Succeeds => {}
                Then::Fails => return Err(broken()),
                Then::Panics => panic!("as the test wants it"),
                Then::WritesMore => {
                    sqlx::query("insert into effects (message_id) values ('more')").execute(conn).await?;
                }
            }
            Ok(HandlerOutcome::Completed)
        })
    });
    let broker = super::broker::Broker::new(1);
    for n in 0..if is_sealed { size } else { 0 } {
        broker.send(0, &format!("warm {n}"), "k", json!({"n": n}));
    }
    for n in 0..size {
        let id = if n == place { "m".to_owned() } else { format!("n{n}") };
        broker.send(0, &id, &format!("k{n}"), json!({"n": n}));
    }
    service.execute("truncate effects, inbox_events").await;
    let group = omni_box_core::ConsumerGroup::new(super::service::GROUP).unwrap();
    let builder = service.builder_on(broker.consumer(), group).handler(act);
    let running = Running::new(if is_sealed { builder.group_size(size) } else { builder });
    omni_box_harness::eventually(super::service::LONG, async || broker.is_drained()).await;
    running.stop().await;

    let neighbours = i64::try_from(size - 1).unwrap();
    let counts = [
        ("effects where message_id like 'n%'", neighbours),
        ("(select distinct message_id from effects where message_id like 'n%') e", neighbours),
        (
            "inbox_events where message_id like 'n%' and status = 'completed' and attempts_made = 0",
            neighbours,
        ),
    ];
    for (what, expected) in counts {
        assert_eq!(service.count(&format!("select count(*) from {what}")).await, expected, "{case}: {what}");
    }
    assert_eq!(service.status("m").await.as_deref(), Some("failed"), "{case}");
    if !matches!(then, Then::Panics) {
        let why = "inbox_events where message_id = 'm' and last_error like '%ended its transaction%'";
        assert_eq!(service.count(&format!("select count(*) from {why}")).await, 1, "{case}: it says why");
    }
    assert_eq!(service.quarantined().await, 0, "{case}");
    assert_eq!(sealed_transactions(&service.store) > sealed, is_sealed, "{case}");
}

#[tokio::test]
async fn a_handler_that_ends_its_transaction_neither_loses_nor_doubles_its_neighbours() {
    let Some(service) = Service::new(1).await else { return };
    for end in ENDS {
        for (size, place) in [(2, 1), (10, 1), (10, 5), (10, 9), (2, 0), (1, 0)] {
            check(&service, end, Then::Succeeds, size, place, false).await;
        }
    }
    service.database.close().await.unwrap();
}

#[tokio::test]
async fn whatever_a_handler_does_after_it_ended_its_transaction() {
    let Some(service) = Service::new(1).await else { return };
    for end in ENDS {
        for then in [Then::Fails, Then::Panics, Then::WritesMore] {
            check(&service, end, then, 4, 2, false).await;
        }
    }
    service.database.close().await.unwrap();
}

#[tokio::test]
async fn a_sealed_transaction_that_a_handler_ends_leaves_nothing_of_anyone() {
    let Some(service) = Service::new(1).await else { return };
    for end in ENDS {
        for place in [0, 2, 4] {
            check(&service, end, Then::Succeeds, 5, place, true).await;
        }
        for then in [Then::Fails, Then::Panics, Then::WritesMore] {
            check(&service, end, then, 4, 2, true).await;
        }
    }
    service.database.close().await.unwrap();
}
