//! `cargo xtask chaos`: services under faults by chance.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use crate::cargo::{cargo, run};

#[derive(Args)]
pub(crate) struct Command {
    /// Arguments of the storm: --faults N, --seed S, --minutes M, --mode lanes|rows, --plan FILE, --shrink; --help explains them.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// The storm has servers of its own, which end with it.
pub(crate) fn run_storm(command: &Command) -> Result<ExitCode> {
    // the features of the tests, so that nothing is built again
    const FEATURES: [&str; 4] = ["--package", "omni-box-chaos", "--all-features", "--quiet"];
    let built = run(cargo(&["build", "--bins"]).args(FEATURES))?;
    anyhow::ensure!(built.success(), "the programs do not build");
    let storm = cargo(&["run", "--bin", "omni-box-storm"])
        .args(FEATURES)
        .arg("--")
        .args(&command.arguments)
        .status()?;
    Ok(if storm.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
