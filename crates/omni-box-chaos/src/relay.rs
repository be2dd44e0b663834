//! A relay that runs until it is told to stop.

use std::time::Duration;

use anyhow::Result;
use clap::Args;
use omni_box::OutboxRelay;

use crate::servers::{Servers, shutdown};

#[derive(Args)]
pub(crate) struct RelayArgs {
    /// How long its leases live.
    #[arg(long, default_value_t = 3_000)]
    lease_ttl_ms: u64,
    /// How long it may drain after SIGTERM.
    #[arg(long, default_value_t = 10_000)]
    drain_deadline_ms: u64,
    /// Events a batch.
    #[arg(long, default_value_t = 500)]
    batch_size: u32,
}

pub(crate) async fn run(servers: &Servers, args: RelayArgs) -> Result<()> {
    let shutdown = shutdown()?;
    let lease_ttl = Duration::from_millis(args.lease_ttl_ms);
    let relay = OutboxRelay::builder(servers.store(5)?, servers.publisher()?)
        .worker_id(servers.worker_id()?)
        .lease_ttl(lease_ttl)
        .poll_interval(Duration::from_millis(5), Duration::from_secs(1).min(lease_ttl / 4))
        .drain_deadline(Duration::from_millis(args.drain_deadline_ms))
        .batch_size(args.batch_size)
        .build()?;
    println!("ready");
    relay.run(shutdown).await?;
    println!("done");
    Ok(())
}
