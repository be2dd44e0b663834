//! `cargo xtask test`: every test with the servers it needs, then each crate and feature alone.

mod build;
mod output;
mod run;
mod summary;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Args;
use omni_box_harness::services::{self, Options};
use omni_box_harness::{DATABASE_URL, KAFKA_BROKERS, PYTHON, REQUIRE, SKIPPED};

use crate::cargo::root;
use crate::{features, languages};
use run::{Job, Report};

/// Where the tests beside the Python library are.
const INTEROP: [&str; 6] = ["-p", "omni-box", "--test", "it", "--", "interop::"];
const TEST_THREADS: &str = "RUST_TEST_THREADS";

#[derive(Args)]
pub(crate) struct Command {
    /// Leaves out what needs a server, and says what that was
    #[arg(long)]
    no_servers: bool,
    /// Only the tests beside the Python library omni-box, which is installed below the target folder
    #[arg(long, conflicts_with = "no_servers")]
    interop: bool,
    /// Further arguments of `cargo test`; with -p/--package only that package is tested.
    #[arg(last = true)]
    arguments: Vec<String>,
}

impl Command {
    /// All tests, nothing added.
    pub(crate) fn all() -> Self {
        Self { no_servers: false, interop: false, arguments: Vec::new() }
    }
}

/// Leaves the servers up for the next call, except on CI.
pub(crate) async fn run_tests(command: Command) -> Result<ExitCode> {
    let Command { no_servers, interop, mut arguments } = command;
    if no_servers {
        return without_servers(&arguments);
    }
    let start = Instant::now();
    // what is missing is said before anything is built
    let variables = if interop {
        arguments.extend(INTEROP.map(str::to_owned));
        vec![(PYTHON, languages::python().context("the tests beside the Python library cannot run")?)]
    } else {
        languages::variables()
    };
    let Some(mut jobs) = build::build(&selection(&arguments), &arguments)? else {
        return Ok(ExitCode::FAILURE);
    };
    let options = Options::default();
    let services = services::up(&options).await?;
    for job in &mut jobs {
        job.command.envs(services.env()).envs(variables.iter().cloned()).env(REQUIRE, "1");
    }
    let reports = run::one_by_one(jobs, &mut std::io::stdout());
    if services.started && std::env::var("CI").is_ok_and(|ci| ci == "true") {
        services::down(&options).await?;
    }
    let reports = reports?;
    // Takes long and seldom fails: after the tests, and also when one of them has failed.
    let alone = if arguments.is_empty() { features::check_alone()? } else { Vec::new() };
    Ok(closed(&reports, start, &alone))
}

fn without_servers(arguments: &[String]) -> Result<ExitCode> {
    let start = Instant::now();
    let skipped = root().join("target/skipped-tests.txt");
    std::fs::write(&skipped, "").with_context(|| format!("cannot write {}", skipped.display()))?;
    let Some(mut jobs) = build::build(&selection(arguments), arguments)? else {
        return Ok(ExitCode::FAILURE);
    };
    for Job { command, .. } in &mut jobs {
        command.env_remove(DATABASE_URL).env_remove(KAFKA_BROKERS).env_remove(REQUIRE);
        command.env(SKIPPED, &skipped);
        // many of these tests wait: a first consume from the mock cluster takes three seconds
        if std::env::var_os(TEST_THREADS).is_none() {
            command.env(TEST_THREADS, "16");
        }
    }
    // the doctests take longest
    jobs.reverse();
    let reports = run::side_by_side(jobs, &mut std::io::stdout())?;
    print!("\n{}", left_out(&std::fs::read_to_string(&skipped)?));
    Ok(closed(&reports, start, &[]))
}

/// Prints what failed, all of it: tests, and what does not compile `alone`.
fn closed(reports: &[Report], start: Instant, alone: &[String]) -> ExitCode {
    let (passed, text) = summary::summary(reports, start.elapsed());
    print!("\n{text}");
    for arguments in alone {
        println!("error: does not compile: cargo {arguments}");
    }
    if passed && alone.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
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

/// `2 min 07 s`.
fn minutes(time: Duration) -> String {
    format!("{} min {:02} s", time.as_secs() / 60, time.as_secs() % 60)
}

/// All features of all packages, or of those that the arguments name.
fn selection(arguments: &[String]) -> Vec<&'static str> {
    let named =
        arguments.iter().any(|argument| argument.starts_with("-p") || argument.starts_with("--package"));
    let whole = (!named).then_some("--workspace");
    ["test", "--all-features"].into_iter().chain(whole).collect()
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
