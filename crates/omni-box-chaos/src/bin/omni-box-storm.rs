//! Random faults while services work; `cargo xtask chaos` calls this.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Parser;
use omni_box_chaos::storm::{self, Options, Plan, Report};
use tokio::signal::unix::{SignalKind, signal};

/// Does harm to services by chance, and has judged what became of their events.
#[derive(Parser)]
#[command(name = "cargo xtask chaos", bin_name = "cargo xtask chaos")]
struct Args {
    /// Faults to do.
    #[arg(long, default_value_t = 50)]
    faults: usize,
    /// Draws the same faults as an earlier run with this number.
    #[arg(long)]
    seed: Option<u64>,
    /// Begins no round of faults after so many minutes.
    #[arg(long)]
    minutes: Option<u64>,
    /// Plays a plan that an earlier run has saved.
    #[arg(long, conflicts_with_all = ["faults", "seed", "minutes"])]
    plan: Option<PathBuf>,
    /// How events leave the outbox.
    #[arg(long, default_value = "lanes", value_parser = ["lanes", "rows"])]
    mode: String,
    /// Drops faults of a plan that breaks a promise while what is left breaks one too.
    #[arg(long)]
    shrink: bool,
}

#[tokio::main]
async fn main() -> Result<()> {
    let args = Args::parse();
    let plan = args.plan.map(|path| Plan::read(&path)).transpose()?;
    let options = Options {
        seed: args.seed.unwrap_or_else(|| fastrand::u64(..1_000_000)),
        faults: args.faults,
        at_most: args.minutes.map(|minutes| Duration::from_secs(minutes * 60)),
        plan,
        mode: args.mode,
        shrinks: args.shrink,
    };
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::select! {
        report = storm::run(&options) => print(&report?),
        // servers and programs end with what started them
        _ = interrupt.recv() => bail!("interrupted"),
        _ = terminate.recv() => bail!("terminated"),
    }
    Ok(())
}

fn print(report: &Report) {
    for (fault, count) in &report.faults {
        println!("{count:>5}  {fault}");
    }
    let sum = |of: fn(&storm::Outcome) -> u64| report.rounds.iter().map(of).sum::<u64>();
    let slowest = report.rounds.iter().map(|round| round.caught_up).max().unwrap_or_default();
    println!(
        "{} faults in {} rounds: {} events committed, {} effects, {} repeats on the topics; caught up within {:.1} s; no promise broken",
        sum(|round| round.faults as u64),
        report.rounds.len(),
        sum(|round| round.verdict.committed),
        sum(|round| round.verdict.effects),
        sum(|round| round.verdict.duplicates),
        slowest.as_secs_f64()
    );
}
