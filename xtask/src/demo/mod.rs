//! `cargo xtask demo`: the orders example on real servers, while its processes are killed.

mod check;
mod load;
mod program;
mod progress;
mod stage;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

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
    /// Gives up when nothing has moved for so many seconds.
    #[arg(long, default_value_t = 60)]
    patience: u64,
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
    let left = if were_up { Ok(()) } else { services::down(&options).await.map(drop) };
    outcome.and_then(|code| left.map(|()| code))
}

async fn on_servers(command: &Command, services: &Services, interrupt: &mut Interrupt) -> Result<ExitCode> {
    interrupt.guard(build()).await?;
    let mut stage = interrupt.guard(Stage::set(services)).await?;
    let outcome = perform(command, &mut stage, interrupt).await;
    let is_good = matches!(outcome, Ok(code) if code == ExitCode::SUCCESS);
    let cleared = stage.clear(command.keep, is_good).await;
    outcome.and_then(|code| cleared.map(|()| code))
}

async fn perform(command: &Command, stage: &mut Stage, interrupt: &mut Interrupt) -> Result<ExitCode> {
    let played = interrupt.guard(stage.play(command.events, Duration::from_secs(command.patience))).await;
    // Whatever happened, nothing runs on; and what is judged does not move any more.
    let ended = stage.end().await;
    let played = played?;
    let outcome = interrupt.guard(stage.judge(&played)).await?;
    println!("{outcome}");
    if let Some(path) = &command.json {
        std::fs::write(path, format!("{:#}\n", outcome.to_json()))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    if let Some(why) = &played.given_up {
        eprintln!("given up: {why}");
    }
    eprint!("{}", outcome.explanation());
    ended?;
    if played.given_up.is_some() || !outcome.is_good() {
        return Ok(ExitCode::FAILURE);
    }
    println!("Every order took effect exactly once, in its customer's order.");
    Ok(ExitCode::SUCCESS)
}

async fn build() -> Result<()> {
    eprintln!("building the example");
    let mut cargo = tokio::process::Command::from(cargo(&["build", "--quiet", "--package", "orders"]));
    let status = cargo.kill_on_drop(true).status().await.context("cannot run cargo")?;
    anyhow::ensure!(status.success(), "the example does not build");
    Ok(())
}
