//! `cargo xtask bench`: the workloads in release mode, with the servers they need.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use omni_box_harness::REQUIRE;
use omni_box_harness::services::{self, Options};

use crate::cargo::{cargo, run};

#[derive(Args)]
pub(crate) struct Command {
    /// Arguments of the workloads: --quick, --only NAME,.., --json FILE, --html PAGE.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// Leaves the servers up for the next call.
pub(crate) async fn run_workloads(command: Command) -> Result<ExitCode> {
    let services = services::up(&Options::default()).await?;
    let mut bench = cargo(&["run", "--quiet", "--release", "--package", "omni-box-bench", "--"]);
    let status = run(bench.args(&command.arguments).envs(services.env()).env(REQUIRE, "1"))?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
