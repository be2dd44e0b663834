//! The example as a user runs it.

use std::process::Command;

use omni_box_harness::{TestDatabase, servers};

const OUTPUT: &str = "\
published  8 orders, and none of the tenant that is locked
handled    6 orders
dead       order 3: no such customer
waits      order 5, until its tenant is unlocked
counted    completed 6, failed 1, retried 1
unlocked   order 5 is handled
";

/// It ends by itself, within its own deadline.
fn check(args: &[&str]) {
    let ran = Command::new(env!("CARGO_BIN_EXE_processor")).args(args).env_remove("RUST_LOG").output();
    let ran = ran.expect("the built program starts");
    let (stdout, stderr) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success(), "{}\n{stdout}{stderr}", ran.status);
    assert_eq!(stdout, OUTPUT);
}

#[test]
fn each_step_does_its_part_with_nothing_installed() {
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
