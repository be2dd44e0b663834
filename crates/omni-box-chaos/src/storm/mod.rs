//! Faults by chance: servers and programs that a plan does harm to, and the judge at the end.
//!
//! A storm has rounds. Each has databases, topics and programs of its own and a plan drawn from the storm's seed and the round's number;
//! servers are shared. When a round breaks a promise its plan is saved, and shrunk on request: faults are dropped while what is left fails.

mod cast;
mod fault;
mod plan;
mod play;
mod shrink;
mod stage;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use omni_box_harness::services::default_dir;

pub use fault::{Fault, Hostility, Server, Table};
pub use plan::{Plan, Step};
pub use play::Outcome;
use play::Play;
use stage::Stage;

/// Faults of a round: a judge at their end finds what broke a promise among few.
const ROUND: usize = 25;

/// What a storm is to be.
#[derive(Clone, Debug)]
pub struct Options {
    /// The number that all plans are drawn from.
    pub seed: u64,
    /// How many faults there are.
    pub faults: usize,
    /// No round begins later.
    pub at_most: Option<Duration>,
    /// This plan is played, and none is drawn.
    pub plan: Option<Plan>,
    /// Delivery mode of the outboxes: `lanes` or `rows`.
    pub mode: String,
    /// Whether a plan that breaks a promise is shrunk; it is played again up to some dozens of times.
    pub shrinks: bool,
}

/// What happened in a storm that broke no promise.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// How many faults there were of each kind.
    pub faults: BTreeMap<String, usize>,
    /// What each round's judge found.
    pub rounds: Vec<Outcome>,
}

/// Plays the storm on servers that it starts, and ends them.
///
/// # Errors
/// When a round breaks a promise: the text says which, and where its plan and the programs' logs are.
pub async fn run(options: &Options) -> Result<Report> {
    let begun = Instant::now();
    let dir = tempfile::tempdir()?;
    let mut stage = Stage::set(dir.path()).await?;
    let mut report = Report::default();
    let mut left = options.faults;
    let mut round = 0;
    let is_late = |round: usize| round > 0 && options.at_most.is_some_and(|most| begun.elapsed() > most);
    while left > 0 && !is_late(round) {
        let seed = options.seed.wrapping_add(round as u64);
        let plan = options.plan.clone().unwrap_or_else(|| Plan::draw(seed, left.min(ROUND)));
        let name = format!("storm-{}-{}", options.mode, plan.seed);
        eprintln!(
            "round {round}: seed {}, {} faults, logs in {}",
            plan.seed,
            plan.faults(),
            logs(&name).display()
        );
        match play(&mut stage, &name, &options.mode, &plan).await {
            Ok(outcome) => {
                eprintln!("caught up after {:.1} s; {}", outcome.caught_up.as_secs_f64(), outcome.verdict);
                report.rounds.push(outcome);
            }
            Err(error) => return Err(explain(&mut stage, options, &name, &plan, error).await),
        }
        for fault in plan.steps.iter().flat_map(|step| &step.faults) {
            *report.faults.entry(fault.to_string()).or_default() += 1;
        }
        left = if options.plan.is_some() { 0 } else { left - plan.faults() };
        round += 1;
    }
    Ok(report)
}

async fn play(stage: &mut Stage, name: &str, mode: &str, plan: &Plan) -> Result<Outcome> {
    Play::begin(stage, name, mode).await.context("the programs do not come to work")?.run(plan).await
}

/// Saves the plan that failed, shrunk if that is wanted.
async fn explain(
    stage: &mut Stage,
    options: &Options,
    name: &str,
    plan: &Plan,
    error: anyhow::Error,
) -> anyhow::Error {
    let mut fewest = plan.clone();
    if options.shrinks {
        eprintln!("{error:#}");
        let name = format!("{name}-shrunk");
        let mode = &options.mode;
        fewest = shrink::shrink(fewest, async |plan: &Plan| {
            eprintln!("with {} faults only:", plan.faults());
            let outcome = play(stage, &name, mode, plan).await;
            if let Err(error) = &outcome {
                eprintln!("{error:#}");
            }
            outcome.is_err()
        })
        .await;
    }
    let path = logs(name).join("plan.json");
    let saved = match fewest.save(&path) {
        Ok(()) => format!("play it again by --plan {}", path.display()),
        Err(error) => format!("{error:#}"),
    };
    error.context(format!("seed {} broke a promise with {} faults; {saved}", plan.seed, fewest.faults()))
}

fn logs(name: &str) -> PathBuf {
    default_dir().with_file_name("chaos").join(name)
}
