//! The example as a user runs it.

use omni_box_harness::example::{prints, prints_on_real_servers};

const PROGRAM: &str = env!("CARGO_BIN_EXE_router");

const OUTPUT: &str = "\
cancelled  order 1: a surprise for ada
shipped    order 1: a surprise for ada (order.placed of version 1.0.0)
shipped    order 2: a lamp for bob (order.placed of version 2)
told       ada: order 1 is on its way, caused by an order
told       bob: order 2 is on its way, caused by an order
skipped    order.audited, which has no handler here
";

#[test]
fn each_event_reaches_its_own_handler_with_nothing_installed() {
    prints(PROGRAM, &[], OUTPUT);
}

#[tokio::test]
async fn and_on_real_servers() {
    prints_on_real_servers(PROGRAM, OUTPUT).await;
}
