//! Worker programs that the chaos tests start, freeze and kill, and the judge that reads what they left behind.
//!
//! Every program prints `ready` when it works and `done` when it ends in order; its log goes to standard error.

mod consumer;
mod file;
mod judge;
mod letters;
mod prepare;
mod publisher;
mod relay;
mod replayer;
mod servers;
mod stand;
mod stored;
mod writer;

use anyhow::Result;
use clap::{Parser, Subcommand};
use servers::Servers;

#[derive(Parser)]
#[command(about)]
struct Cli {
    #[command(flatten)]
    servers: Servers,
    #[command(subcommand)]
    program: Program,
}

#[derive(Subcommand)]
enum Program {
    /// Creates omni-box's tables and the journal.
    Prepare,
    /// Changes how the outbox is delivered.
    Mode(prepare::ModeArgs),
    /// Writes events in concurrent transactions and journals them.
    Writer(writer::WriterArgs),
    /// Publishes the outbox until SIGTERM.
    Relay(relay::RelayArgs),
    /// Publishes the outbox until SIGTERM, batch by batch, in a loop of its own.
    Publisher(publisher::PublisherArgs),
    /// Writes events to an SQLite file until SIGTERM, and journals them there.
    FileWriter(file::WriterArgs),
    /// Publishes the outbox of an SQLite file until SIGTERM.
    FileRelay(file::RelayArgs),
    /// Consumes topics until SIGTERM; its handler journals an effect and may add an event.
    Consumer(consumer::ConsumerArgs),
    /// Handles what consumers have stored until SIGTERM.
    Worker(stored::WorkerArgs),
    /// Replays what a group has given up, to the last.
    Replayer(replayer::ReplayerArgs),
    /// Judges the database and its topics, and an inbox; prints the verdict as JSON and fails if it is not clean.
    Judge(judge::JudgeArgs),
}

#[tokio::main]
async fn main() -> Result<()> {
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into()),
        )
        .with_writer(std::io::stderr)
        .init();
    let Cli { servers, program } = Cli::parse();
    match program {
        Program::Prepare => prepare::run(&servers).await,
        Program::Mode(args) => prepare::set_mode(&servers, args).await,
        Program::Writer(args) => writer::run(&servers, args).await,
        Program::Relay(args) => relay::run(&servers, args).await,
        Program::Publisher(args) => publisher::run(&servers, args).await,
        Program::FileWriter(args) => file::write(args).await,
        Program::FileRelay(args) => file::relay(&servers, args).await,
        Program::Consumer(args) => consumer::run(&servers, args).await,
        Program::Worker(args) => stored::run(&servers, args).await,
        Program::Replayer(args) => replayer::run(&servers, args).await,
        Program::Judge(args) => judge::run(&servers, args).await,
    }
}
