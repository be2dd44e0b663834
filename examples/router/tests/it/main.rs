//! The example as a user runs it.

use std::process::Command;

use omni_box_harness::{TestDatabase, servers};

const OUTPUT: &str = "\
cancelled  order 1: a surprise for ada
shipped    order 1: a surprise for ada (order.placed of version 1.0.0)
shipped    order 2: a lamp for bob (order.placed of version 2)
told       ada: order 1 is on its way, caused by an order
told       bob: order 2 is on its way, caused by an order
skipped    order.audited, which has no handler here
";

/// It ends by itself, within its own deadline.
fn check(args: &[&str]) {
    let ran = Command::new(env!("CARGO_BIN_EXE_router")).args(args).env_remove("RUST_LOG").output();
    let ran = ran.expect("the built program starts");
    let (stdout, stderr) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success(), "{}\n{stdout}{stderr}", ran.status);
    assert_eq!(stdout, OUTPUT);
}

#[test]
fn each_event_reaches_its_own_handler_with_nothing_installed() {
    check(&[]);
}

#[tokio::test]
async fn and_on_real_servers() {
    let Some(servers) = servers() else { return };
    let database = TestDatabase::create().await.expect("a database");
    let url = database.url();
    let program = move || check(&["--database-url", &url, "--brokers", &servers.kafka_brokers]);
    tokio::task::spawn_blocking(program).await.expect("it passes");
    database.close().await.expect("the database is dropped");
}
