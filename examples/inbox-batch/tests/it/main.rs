//! The example as a user runs it.

use omni_box_harness::example::{prints, prints_on_real_servers};

const PROGRAM: &str = env!("CARGO_BIN_EXE_inbox-batch");

const OUTPUT: &str = "\
stored     20 orders and acknowledged them; none is handled yet
one batch  5 orders: the first of each customer
worker     20 orders shipped, each once, each customer's in order
";

#[test]
fn what_was_stored_is_handled_later_with_nothing_installed() {
    prints(PROGRAM, &[], OUTPUT);
}

#[tokio::test]
async fn and_on_real_servers() {
    prints_on_real_servers(PROGRAM, OUTPUT).await;
}
