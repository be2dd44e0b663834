//! A database that refuses everything, with an error that no list knows.

use omni_box_harness::eventually;
use omni_box_testkit::Operation;
use serde_json::json;

use super::faults::received;
use super::service::{Effects, LONG, Service};

const MESSAGES: i64 = 200;
/// As often as a message alone may be refused before its bytes are kept instead, and some more.
const REFUSALS: u64 = 18;

/// Runs into a trigger that refuses each row, and past it.
async fn refused_for_a_while(service: &Service, trigger: &str, bytes: i64) {
    service
        .execute(&format!(
            "create function refuse() returns trigger language plpgsql as
                 $$ begin raise exception 'too complex' using errcode = '54000'; end $$;
             create {trigger} for each row execute function refuse()"
        ))
        .await;
    for n in 0..bytes {
        service.broker.send_raw(0, None, Some(format!("{{\"half\": {n}").into_bytes()), &[]);
    }
    for n in 0..MESSAGES {
        service.broker.send(0, &format!("m{n}"), &format!("k{}", n % 50), json!({"n": n}));
    }
    let running = service.run(&Effects::plain());
    // bytes that come alone are refused without a message beside them
    let kept = || service.store.plan().calls(Operation::Quarantine);
    eventually(LONG, async || received(&service.store) + kept() >= REFUSALS).await;
    service.execute("drop function refuse cascade").await;
    service.drained().await;
    running.stop().await;
    assert_eq!(service.count("select count(distinct message_id) from effects").await, MESSAGES);
    assert_eq!(service.count("select count(*) from effects").await, MESSAGES);
    assert_eq!(service.count("select count(*) from inbox_events where status = 'completed'").await, MESSAGES);
    assert_eq!(service.quarantined().await, bytes, "no good message is kept as bytes");
}

#[tokio::test]
async fn messages_that_cannot_be_stored_for_a_while_are_not_given_up() {
    let Some(service) = Service::new(1).await else { return };
    refused_for_a_while(&service, "trigger refuse before insert on inbox_events", 0).await;
    service.database.close().await.unwrap();
}

#[tokio::test]
async fn messages_that_cannot_be_settled_for_a_while_are_not_given_up() {
    let Some(service) = Service::new(1).await else { return };
    refused_for_a_while(&service, "trigger refuse before update on inbox_events", 0).await;
    service.database.close().await.unwrap();
}

#[tokio::test]
async fn messages_that_cannot_be_committed_for_a_while_are_not_given_up() {
    let Some(service) = Service::new(1).await else { return };
    let trigger =
        "constraint trigger refuse after insert or update on inbox_events deferrable initially deferred";
    refused_for_a_while(&service, trigger, 0).await;
    service.database.close().await.unwrap();
}

#[tokio::test]
async fn messages_are_handled_while_bytes_cannot_be_kept() {
    let Some(service) = Service::new(1).await else { return };
    refused_for_a_while(&service, "trigger refuse before insert on inbox_quarantine", 3).await;
    service.database.close().await.unwrap();
}
