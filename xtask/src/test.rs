//! `cargo xtask test`: each crate and feature alone, and every test with the servers it needs.

mod side_by_side;

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Args;
use omni_box_harness::services::{self, Options};
use omni_box_harness::{DATABASE_URL, KAFKA_BROKERS, REQUIRE, SKIPPED};

use crate::cargo::{cargo, root, run};
use crate::features;

const TEST_THREADS: &str = "RUST_TEST_THREADS";

#[derive(Args)]
pub(crate) struct Command {
    /// Leaves out what needs a server, and says what that was
    #[arg(long)]
    no_servers: bool,
    /// Further arguments of `cargo test`; with -p/--package only that package is tested.
    #[arg(last = true)]
    arguments: Vec<String>,
}

impl Command {
    /// All tests, nothing added.
    pub(crate) fn all() -> Self {
        Self { no_servers: false, arguments: Vec::new() }
    }
}

/// Leaves the servers up for the next call, except on CI.
pub(crate) async fn run_tests(command: Command) -> Result<ExitCode> {
    if command.no_servers {
        return without_servers(&command.arguments);
    }
    if command.arguments.is_empty() && features::check_alone()? != ExitCode::SUCCESS {
        return Ok(ExitCode::FAILURE);
    }
    let options = Options::default();
    let services = services::up(&options).await?;
    let outcome = cargo_test(&command.arguments, |test| {
        test.envs(services.env()).env(REQUIRE, "1");
    });
    if services.started && std::env::var("CI").is_ok_and(|ci| ci == "true") {
        services::down(&options).await?;
    }
    outcome
}

fn without_servers(arguments: &[String]) -> Result<ExitCode> {
    let skipped = root().join("target/skipped-tests.txt");
    std::fs::write(&skipped, "").with_context(|| format!("cannot write {}", skipped.display()))?;
    if !build_programs()? {
        return Ok(ExitCode::FAILURE);
    }
    let outcome = side_by_side::run(&selection(arguments), arguments, |test| {
        test.env_remove(DATABASE_URL).env_remove(KAFKA_BROKERS).env_remove(REQUIRE).env(SKIPPED, &skipped);
        // many of these tests wait: a first consume from the mock cluster takes three seconds
        if std::env::var_os(TEST_THREADS).is_none() {
            test.env(TEST_THREADS, "16");
        }
    });
    print!("{}", left_out(&std::fs::read_to_string(&skipped)?));
    outcome
}

/// Tests per package and module, from lines of a package and a test's path.
fn left_out(skipped: &str) -> String {
    let mut modules: BTreeMap<String, usize> = BTreeMap::new();
    for line in skipped.lines() {
        let module = line.rsplit_once("::").map_or(line, |(module, _)| module);
        *modules.entry(module.to_owned()).or_default() += 1;
    }
    let total: usize = modules.values().sum();
    let mut text =
        format!("left out, as they need PostgreSQL or Kafka: {total} tests (cargo xtask test runs them)\n");
    for (module, count) in modules {
        text += &format!("{count:>6}  {module}\n");
    }
    text
}

/// Tests start programs of other packages, which `cargo test` alone would not build.
fn build_programs() -> Result<bool> {
    Ok(run(&mut cargo(&["build", "--workspace", "--all-features", "--bins"]))?.success())
}

/// All features of all packages, or of those that the arguments name.
fn selection(arguments: &[String]) -> Vec<&'static str> {
    let named =
        arguments.iter().any(|argument| argument.starts_with("-p") || argument.starts_with("--package"));
    let whole = (!named).then_some("--workspace");
    ["test", "--all-features"].into_iter().chain(whole).collect()
}

fn cargo_test(arguments: &[String], prepare: impl FnOnce(&mut std::process::Command)) -> Result<ExitCode> {
    if !build_programs()? {
        return Ok(ExitCode::FAILURE);
    }
    let mut test = cargo(&selection(arguments));
    test.args(arguments);
    prepare(&mut test);
    let code = run(&mut test)?.code().and_then(|code| u8::try_from(code).ok());
    Ok(ExitCode::from(code.unwrap_or(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_left_out_is_counted_by_module() {
        let skipped = "omni-box-kafka consume::a\nomni-box-kafka consume::b\nomni-box-chaos relay::c\n";
        assert_eq!(
            left_out(skipped),
            "left out, as they need PostgreSQL or Kafka: 3 tests (cargo xtask test runs them)\n     1  omni-box-chaos relay\n     2  omni-box-kafka consume\n"
        );
    }
}
