//! `cargo xtask demo`: the orders example on real servers, while its processes are killed.

mod check;
mod load;
mod program;
mod progress;
mod stage;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Args;
use omni_box_harness::services::{self, Options, Services};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::cargo::cargo;
use stage::Stage;

#[derive(Args)]
pub(crate) struct Command {
    /// Orders to place.
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u64).range(1..))]
    events: u64,
    /// Writes the result to this file too, as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Seconds until it is too late; 120, and one more for every 50 orders, unless set.
    #[arg(long)]
    deadline: Option<u64>,
    /// Keeps the databases and the logs.
    #[arg(long)]
    keep: bool,
}

/// Ctrl-C and SIGTERM: everything that was started is ended before the demo ends.
struct Interrupt {
    interrupt: Signal,
    terminate: Signal,
}

impl Interrupt {
    fn install() -> Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// Runs `work` unless it is interrupted.
    async fn guard<T>(&mut self, work: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::select! {
            outcome = work => outcome,
            _ = self.interrupt.recv() => bail!("interrupted"),
            _ = self.terminate.recv() => bail!("terminated"),
        }
    }
}

/// Leaves the servers as it found them.
pub(crate) async fn run(command: Command) -> Result<ExitCode> {
    let mut interrupt = Interrupt::install()?;
    let options = Options::default();
    let before = services::status(&options).await?;
    // What was started earlier ends with `cargo xtask services down`; both end together.
    let were_up = before.iter().any(|server| server.answers && server.origin != "environment");

    let outcome = match interrupt.guard(services::up(&options)).await {
        Ok(services) => on_servers(&command, &services, &mut interrupt).await,
        Err(error) => Err(error),
    };
    if !were_up {
        services::down(&options).await?;
    }
    outcome
}

async fn on_servers(command: &Command, services: &Services, interrupt: &mut Interrupt) -> Result<ExitCode> {
    interrupt.guard(build()).await?;
    let mut stage = interrupt.guard(Stage::set(services)).await?;
    let outcome = interrupt.guard(stage.play(command.events, command.deadline)).await;
    let ended = stage.end().await;
    let judged = match outcome {
        Ok(played) => interrupt.guard(stage.judge(played)).await.and_then(|outcome| ended.map(|()| outcome)),
        Err(error) => Err(error),
    };

    let is_good = judged.as_ref().is_ok_and(check::Outcome::is_good);
    stage.clear(command.keep, is_good).await?;
    let outcome = judged?;
    println!("{outcome}");
    if let Some(path) = &command.json {
        std::fs::write(path, format!("{:#}\n", outcome.to_json()))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    if is_good {
        println!("Every order took effect exactly once, in its customer's order.");
        return Ok(ExitCode::SUCCESS);
    }
    eprint!("{}", outcome.explanation());
    Ok(ExitCode::FAILURE)
}

async fn build() -> Result<()> {
    eprintln!("building the example");
    let mut cargo = tokio::process::Command::from(cargo(&["build", "--quiet", "--package", "orders"]));
    let status = cargo.kill_on_drop(true).status().await.context("cannot run cargo")?;
    anyhow::ensure!(status.success(), "the example does not build");
    Ok(())
}
