//! `cargo xtask test`: every test, with the servers they need.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use omni_box_harness::REQUIRE;
use omni_box_harness::services::{self, Options};

use crate::cargo::{cargo, run};

#[derive(Args)]
pub(crate) struct Command {
    /// Further arguments of `cargo test`; with -p/--package only that package is tested.
    #[arg(last = true)]
    arguments: Vec<String>,
}

impl Command {
    /// All tests, nothing added.
    pub(crate) fn all() -> Self {
        Self { arguments: Vec::new() }
    }
}

/// Leaves the servers up for the next call, except on CI.
pub(crate) async fn run_tests(command: Command) -> Result<ExitCode> {
    let options = Options::default();
    let services = services::up(&options).await?;
    let outcome = cargo_test(&command.arguments, &services);
    if services.started && std::env::var("CI").is_ok_and(|ci| ci == "true") {
        services::down(&options).await?;
    }
    outcome
}

fn cargo_test(arguments: &[String], services: &services::Services) -> Result<ExitCode> {
    // Tests start programs of other packages, which `cargo test` alone would not build.
    let built = run(&mut cargo(&["build", "--workspace", "--all-features", "--bins"]))?;
    if !built.success() {
        return Ok(ExitCode::FAILURE);
    }
    let mut test = cargo(&["test", "--all-features"]);
    if !arguments.iter().any(|argument| argument.starts_with("-p") || argument.starts_with("--package")) {
        test.arg("--workspace");
    }
    test.args(arguments).envs(services.env()).env(REQUIRE, "1");
    let code = run(&mut test)?.code().and_then(|code| u8::try_from(code).ok());
    Ok(ExitCode::from(code.unwrap_or(1)))
}
