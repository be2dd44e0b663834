//! The example as a user runs it.

use omni_box_harness::example::{prints, prints_on_real_servers};

const PROGRAM: &str = env!("CARGO_BIN_EXE_dead-letters");

const OUTPUT: &str = r#"handled      orders 2 and 4 shipped
given up     order-1 after 1 attempt: handler failed: permanent failure: the warehouse in Oslo is closed
given up     order-3 after 1 attempt: handler failed: permanent failure: the warehouse in Oslo is closed
given up     order-5 after 1 attempt: handler failed: permanent failure: the warehouse in Oslo is closed
shown        order-1 carries {"number": 1, "warehouse": "Oslo"}
requeued     order-1 was shipped with the id that it had
replayed     order-3 was shipped as a new message, which names the failed one as its cause
purged       1 dead letter: order-5
quarantined  the message at offset 5, 33 bytes: payload is not valid JSON: EOF while parsing an object at line 1 column 33
shown        {"number": 6, "warehouse": "Rome"
readmitted   order 6 was mended and shipped
purged       0 messages left in quarantine
"#;

#[test]
fn what_was_given_up_is_replayed_with_nothing_installed() {
    prints(PROGRAM, &[], OUTPUT);
}

#[tokio::test]
async fn and_on_real_servers() {
    prints_on_real_servers(PROGRAM, OUTPUT).await;
}
