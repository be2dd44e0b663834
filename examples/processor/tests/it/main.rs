//! The example as a user runs it.

use omni_box_harness::example::{prints, prints_on_real_servers};

const PROGRAM: &str = env!("CARGO_BIN_EXE_processor");

const OUTPUT: &str = "\
published  8 orders, and none of the tenant that is locked
handled    6 orders
dead       order 3: no such customer
waits      order 5, until its tenant is unlocked
counted    completed 6, failed 1, retried 1
unlocked   order 5 is handled
";

#[test]
fn each_step_does_its_part_with_nothing_installed() {
    prints(PROGRAM, &[], OUTPUT);
}

#[tokio::test]
async fn and_on_real_servers() {
    prints_on_real_servers(PROGRAM, OUTPUT).await;
}
