//! Runs workloads against real servers, each beside its floor, and checks what each did.
//!
//! `cargo xtask bench` finds or starts the servers and calls this program in release mode.

mod child;
mod consumer;
mod costs;
mod drain;
mod enqueue;
mod floor;
mod idle;
mod inbox;
mod latency;
mod memory;
mod neighbours;
mod progress;
mod relay;
mod report;
mod roundtrip;
mod run;
mod statements;
mod steps;
mod surroundings;
mod table;

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Parser;
use omni_box_harness::servers;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use drain::Drain;
use inbox::Way;
use latency::Load;
use report::Report;
use run::Run;
use surroundings::Around;

/// Workloads of omni-box, each beside its floor in the same run.
#[derive(Parser)]
struct Args {
    /// Fewer events: tells that a workload works, not how fast it is.
    #[arg(long)]
    quick: bool,
    /// Only these workloads, separated by commas.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Write the results to this file as well.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Write a page with the table and plots over time to this file as well.
    #[arg(long)]
    html: Option<PathBuf>,
    /// Be the relay of a workload until the standard input ends.
    #[arg(long, hide = true)]
    relay: bool,
    /// The relay has metrics, as a process has whose metrics are looked at.
    #[arg(long, hide = true, requires = "relay")]
    metrics: bool,
    /// The relay works on this file of SQLite.
    #[arg(long, hide = true, requires = "relay")]
    sqlite: Option<PathBuf>,
    /// Be the consumer of this topic until the standard input ends.
    #[arg(long, hide = true, requires = "event_type")]
    consumer: Option<String>,
    /// The type of the consumer's events.
    #[arg(long, hide = true)]
    event_type: Option<String>,
}

/// Names of all workloads, in the order they run.
const WORKLOADS: [&str; 24] = [
    "drain_many_keys",
    "drain_hot_keys",
    "drain_one_key",
    "drain_held_key",
    "drain_two_relays",
    "drain_snapshot",
    "drain_closed_topic",
    "drain_deep",
    "drain_metrics",
    "enqueue_one",
    "enqueue_bulk",
    "latency_1k",
    "latency_5k",
    "roundtrip",
    "inbox_inline",
    "inbox_batch",
    "inbox_stored",
    "inbox_duplicates",
    "steps",
    "idle",
    "idle_sqlite",
    "memory_large",
    "memory_small",
    "neighbours",
];

#[tokio::main]
async fn main() -> Result<()> {
    let shown = EnvFilter::try_from_default_env().unwrap_or_else(|_| "error,rdkafka=off".into());
    let args = Args::parse();
    tracing_subscriber::registry()
        .with(tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_filter(shown))
        // a relay tells how many statements it sends
        .with(args.relay.then(|| {
            statements::Counting
                .with_filter(Targets::new().with_target(statements::TARGET, LevelFilter::DEBUG))
        }))
        .init();
    let servers = servers().context("no servers: run it by `cargo xtask bench`")?;
    let (database, brokers) = (&servers.database_url, &servers.kafka_brokers);
    if args.relay {
        return relay::run(database, brokers, args.sqlite, args.metrics).await;
    }
    if let Some((topic, event_type)) = args.consumer.zip(args.event_type) {
        return consumer::run(database, brokers, &topic, &event_type).await;
    }
    if let Some(unknown) = args.only.iter().find(|name| !WORKLOADS.contains(&name.as_str())) {
        bail!("no workload is called {unknown:?}; there are {}", WORKLOADS.join(", "));
    }
    let mut reports: Vec<Report> = Vec::new();
    for name in WORKLOADS {
        if !args.only.is_empty() && !args.only.iter().any(|only| only == name) {
            continue;
        }
        let run = Run::new(&servers, name, args.quick);
        let mut report = workload(&run).await.with_context(|| format!("workload {name}"))?;
        report.rates = run.progress.rates();
        if let Some(many) = reports.first().filter(|first| is_compared(first.name, name)) {
            report.beside(many);
        }
        reports.push(report);
    }
    println!("{}", report::table(&reports));
    if let Some(path) = &args.json {
        write(path, &serde_json::to_string_pretty(&reports)?)?;
    }
    if let Some(path) = &args.html {
        let command: Vec<String> = std::env::args().skip(1).collect();
        write(path, &report::page(&reports, &format!("cargo xtask bench {}", command.join(" ")))?)?;
    }
    if let Some(wrong) = reports.iter().find(|report| !report.is_correct()) {
        bail!("{} lost events or broke their order", wrong.name);
    }
    Ok(())
}

/// Whether drains are told beside that of many keys.
fn is_compared(first: &str, name: &str) -> bool {
    first == WORKLOADS[0] && name.starts_with("drain_")
}

fn write(path: &PathBuf, text: &str) -> Result<()> {
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

async fn workload(run: &Run) -> Result<Report> {
    let scale = |full: usize, quick: usize| run.scale(full, quick);
    let events = scale(100_000, 5_000);
    let many = Drain::new(events, 1_000_000);
    match run.name {
        "drain_many_keys" => drain::run(run, many).await,
        "drain_hot_keys" => drain::run(run, Drain::new(events, 100)).await,
        "drain_one_key" => drain::run(run, Drain::new(events, 1)).await,
        "drain_held_key" => {
            let around = Around::HeldKey(scale(300_000, 5_000));
            drain::run(run, Drain { around, ..many }).await
        }
        "drain_two_relays" => drain::run(run, Drain { relays: 2, ..many }).await,
        "drain_snapshot" => drain::run(run, Drain { around: Around::Sessions, ..many }).await,
        "drain_closed_topic" => {
            let around = Around::ClosedTopic(scale(300_000, 5_000));
            drain::run(run, Drain { around, ..many }).await
        }
        "drain_deep" => {
            let million = scale(1_000_000, 20_000);
            let around = Around::Deep { completed: 5 * million, held: million, later: million };
            drain::run(run, Drain { events: million, around, ..many }).await
        }
        "drain_metrics" => drain::run(run, Drain { has_metrics: true, ..many }).await,
        "enqueue_one" => enqueue::one(run, scale(3_000, 200)).await,
        "enqueue_bulk" => enqueue::bulk(run, scale(100, 5)).await,
        "latency_1k" => latency::run(run, Load::new(1_000, scale(20, 2))).await,
        "latency_5k" => latency::run(run, Load::new(5_000, scale(20, 2))).await,
        "roundtrip" => roundtrip::run(run, Load::new(5_000, scale(20, 2))).await,
        "inbox_inline" => inbox::run(run, scale(50_000, 2_000), Way::Inline).await,
        "inbox_batch" => inbox::run(run, scale(50_000, 2_000), Way::Batch).await,
        "inbox_stored" => inbox::run(run, scale(50_000, 2_000), Way::Stored).await,
        "inbox_duplicates" => inbox::run(run, scale(50_000, 2_000), Way::Duplicates).await,
        "steps" => steps::run(run, scale(60_000, 3_000)).await,
        "idle" => idle::postgres(run, scale(30, 5)).await,
        "idle_sqlite" => idle::sqlite(run, scale(30, 5)).await,
        "memory_large" => memory::large(run, scale(64, 4)).await,
        "memory_small" => memory::small(run, scale(50_000_000, 500_000)).await,
        "neighbours" => neighbours::run(run, scale(60_000, 10_000)).await,
        name => bail!("workload {name} is listed and has no code"),
    }
}
