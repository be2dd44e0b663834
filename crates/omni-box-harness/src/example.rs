//! Examples as a user runs them.

use std::process::Command;

use crate::{TestDatabase, servers};

/// Runs an example, which ends by itself, and compares what it prints.
///
/// # Panics
/// When it does not start, fails, or prints anything else.
#[track_caller]
pub fn prints(program: &str, args: &[&str], output: &str) {
    let ran = Command::new(program).args(args).env_remove("RUST_LOG").output();
    let ran = ran.expect("the built program starts");
    let (stdout, stderr) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success(), "{}\n{stdout}{stderr}", ran.status);
    assert_eq!(stdout, output);
}

/// The same by `--database-url` and `--brokers`, on a database of its own; does nothing where there are no servers.
///
/// # Panics
/// As [`prints`], and when the database cannot be made or dropped.
pub async fn prints_on_real_servers(program: &'static str, output: &'static str) {
    let Some(servers) = servers() else { return };
    let database = TestDatabase::create().await.expect("a database");
    let url = database.url();
    let run = move || prints(program, &["--database-url", &url, "--brokers", &servers.kafka_brokers], output);
    tokio::task::spawn_blocking(run).await.expect("it passes");
    database.close().await.expect("the database is dropped");
}
