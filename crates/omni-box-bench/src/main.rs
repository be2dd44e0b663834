//! Runs workloads against real servers, each beside its floor, and checks what each did.
//!
//! `cargo xtask bench` finds or starts the servers and calls this program in release mode.

mod drain;
mod enqueue;
mod floor;
mod inbox;
mod latency;
mod relay;
mod report;
mod table;

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Parser;
use omni_box_harness::servers;

use report::Report;

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
    /// Be the relay of a workload until the standard input ends.
    #[arg(long, hide = true)]
    relay: bool,
}

/// Names of all workloads, in the order they run.
const WORKLOADS: [&str; 6] =
    ["drain_many_keys", "drain_hot_keys", "drain_one_key", "enqueue_one", "latency_1k", "inbox_inline"];

#[tokio::main]
async fn main() -> Result<()> {
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_default_env()
                .unwrap_or_else(|_| "error,rdkafka=off".into()),
        )
        .with_writer(std::io::stderr)
        .init();
    let args = Args::parse();
    let servers = servers().context("no servers: run it by `cargo xtask bench`")?;
    if args.relay {
        return relay::run(&servers.database_url, &servers.kafka_brokers).await;
    }
    if let Some(unknown) = args.only.iter().find(|name| !WORKLOADS.contains(&name.as_str())) {
        bail!("no workload is called {unknown:?}; there are {}", WORKLOADS.join(", "));
    }
    let scale = |full: usize, quick: usize| if args.quick { quick } else { full };
    let mut reports: Vec<Report> = Vec::new();
    for name in WORKLOADS {
        if !args.only.is_empty() && !args.only.iter().any(|only| only == name) {
            continue;
        }
        eprintln!("running {name} ...");
        reports.push(match name {
            "drain_many_keys" => drain::run(&servers, name, scale(100_000, 5_000), 1_000_000).await?,
            "drain_hot_keys" => drain::run(&servers, name, scale(100_000, 5_000), 100).await?,
            "drain_one_key" => drain::run(&servers, name, scale(100_000, 5_000), 1).await?,
            "enqueue_one" => enqueue::one(&servers, scale(3_000, 200)).await?,
            "latency_1k" => latency::run(&servers, 1_000, scale(20, 2)).await?,
            _ => inbox::inline(&servers, scale(50_000, 2_000)).await?,
        });
    }
    println!("{}", report::table(&reports));
    if let Some(path) = &args.json {
        std::fs::write(path, serde_json::to_string_pretty(&reports)?)
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    if let Some(wrong) = reports.iter().find(|report| !report.is_correct()) {
        bail!("{} lost events or broke their order", wrong.name);
    }
    Ok(())
}
