//! What omni-box does, step by step: `cargo run -p quickstart`.
//!
//! Read [`shop`] first (what an application writes), then [`services`] (what it runs); [`story`] tells and checks.

mod database;
mod kafka;
mod screen;
mod services;
mod shop;
mod story;

use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use uuid::Uuid;

use crate::database::Database;
use crate::kafka::Kafka;
use crate::services::Services;
use crate::shop::Shop;
use crate::story::Story;

/// Shows what omni-box does, and checks what it shows: a SQLite file and a Kafka broker inside this process, nothing to install.
#[derive(Parser)]
struct Args {
    /// How many orders are placed.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    events: u32,
    /// Keeps the database (and on real servers the topic), and says where.
    #[arg(long)]
    keep: bool,
    /// A real database: postgres://.. (gets a schema of its own), or the path of a SQLite file to be made.
    #[arg(long, value_name = "URL")]
    database_url: Option<String>,
    /// A real Kafka, as host:port, several by commas (gets a topic of its own).
    #[arg(long, value_name = "LIST")]
    brokers: Option<String>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    // silent unless asked: RUST_LOG=omni_box=debug
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_writer(anstream::stderr)
        .init();
    match run(args).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            screen::error(&error);
            ExitCode::FAILURE
        }
    }
}

async fn run(args: Args) -> anyhow::Result<()> {
    let started = Instant::now();
    // the names of this run alone, so that it can be run again, and twice at a time
    let run = format!("quickstart_{}", &Uuid::new_v4().simple().to_string()[..12]);
    let database = Database::open(args.database_url.as_deref(), &run).await?;
    let told = tokio::select! {
        told = tell(&database, &args, &run) => told,
        _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted")),
    };
    // whatever was told, nothing is left behind that was not asked for
    let kept = database.close(args.keep).await;
    let kept = [told?, kept?];

    screen::note(&format!("All of it was checked, in {:.1} s.", started.elapsed().as_secs_f64()));
    kept.iter().flatten().for_each(|place| screen::note(&format!("Kept: {place}")));
    screen::title("Next", "README.md has the same in three pieces of code.");
    screen::note(
        "examples/orders is an order service, its relay and a shipping service, each a process of its own.",
    );
    screen::note("This program runs on real servers with --database-url postgres://.. --brokers host:port.");
    Ok(())
}

/// Returns what is kept of Kafka.
async fn tell(database: &Database, args: &Args, run: &str) -> anyhow::Result<Option<String>> {
    let kafka = Kafka::open(args.brokers.as_deref(), run).await?;
    screen::title("omni-box quickstart", &format!("{}; {}", database.place(), kafka.place()));
    let told = match database {
        Database::Sqlite { store, .. } => tell_on(store.clone(), &kafka, args.events).await,
        Database::Postgres { store } => tell_on(store.clone(), &kafka, args.events).await,
    };
    let kept = kafka.close(args.keep).await;
    told?;
    kept
}

/// The same text for every store.
async fn tell_on<S: Shop>(store: S, kafka: &Kafka, events: u32) -> anyhow::Result<()> {
    let mut services = Services::new(store.clone(), kafka)?;
    let outcome = Story::new(store, kafka, events)?.tell(&mut services).await;
    // a service that ended by itself is the better reason
    services.stop().await.and(outcome)
}
