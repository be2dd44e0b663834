//! The relay's settings, as an operator gives them.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use omni_box_harness::process::Child;
use omni_box_harness::{TestDatabase, servers};
use tokio::process::Command;

const SOON: Duration = Duration::from_secs(60);
const WORKER: &str = "OMNI_OUTBOX_PROCESSOR__WORKER_ID";

fn relay(directory: &Path, url: &str, flags: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_order-relay"));
    command.current_dir(directory).env("ORDERS_DATABASE_URL", url).args(flags);
    command
}

/// As whom it relays.
async fn name(mut command: Command, directory: &Path, variables: &[(&str, &str)]) -> String {
    command.envs(variables.iter().copied());
    let mut relay = Child::spawn(command, &directory.join("log")).expect("the built program starts");
    let line = relay.line(SOON, |line| line.starts_with("relaying as ")).await.expect("it begins");
    relay.sigterm().expect("it runs");
    assert!(relay.wait(SOON).await.expect("it ends").success());
    line.trim_start_matches("relaying as ").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flag_has_the_last_word_then_the_environment_then_the_file() {
    let Some(servers) = servers() else { return };
    let database = TestDatabase::create().await.expect("a database");
    let directory = tempfile::tempdir().expect("a directory");
    let of = |worker: &str| {
        let brokers = &servers.kafka_brokers;
        format!("[kafka]\nbrokers = [\"{brokers}\"]\n[outbox_processor]\nworker_id = \"{worker}\"\n")
    };
    for (file, worker) in [("omni-box.toml", "of-the-file"), ("other.toml", "of-the-other-file")] {
        std::fs::write(directory.path().join(file), of(worker)).expect("a file");
    }
    let set = ["--set", "outbox_processor.worker_id=of-the-flag"];
    let variable = [(WORKER, "of-the-environment")];
    for (flags, variables, expected) in [
        (&[][..], &[][..], "of-the-file"),
        (&["--config", "other.toml"], &[], "of-the-other-file"),
        (&["--config", "other.toml"], &variable, "of-the-environment"),
        (&set, &variable, "of-the-flag"),
    ] {
        let command = relay(directory.path(), &database.url(), flags);
        assert_eq!(name(command, directory.path(), variables).await, expected);
    }
    database.close().await.expect("the database is dropped");
}

#[tokio::test]
async fn a_flag_that_is_misspelt_ends_it_with_the_one_that_was_meant() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut command =
        relay(directory.path(), "postgres://nowhere/none", &["--set", "outbox_processor.leas_ttl=10s"]);
    command.stdin(Stdio::null()).kill_on_drop(true);
    let ended = tokio::time::timeout(SOON, command.output()).await.expect("it ends in time");
    let ended = ended.expect("the built program starts");
    assert!(!ended.status.success());
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(said.contains("--set outbox_processor.leas_ttl: did you mean lease_ttl?"), "{said}");
}
