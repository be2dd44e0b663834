//! A worker that handles what a consumer has stored.

use std::time::Duration;

use anyhow::Result;
use clap::Args;
use omni_box::InboxWorker;
use omni_box_testkit::{FaultPlan, Faulty};

use crate::consumer::{Handler, HandlerArgs};
use crate::servers::{Servers, shutdown};

#[derive(Args)]
pub(crate) struct WorkerArgs {
    /// The consumer group.
    #[arg(long)]
    group: String,
    #[command(flatten)]
    handler: HandlerArgs,
    /// Most messages of a claim.
    #[arg(long, default_value_t = 100)]
    batch_size: u32,
    /// How long a claim lives.
    #[arg(long, default_value_t = 12_000)]
    lease_ttl_ms: u64,
}

pub(crate) async fn run(servers: &Servers, args: WorkerArgs) -> Result<()> {
    let shutdown = shutdown()?;
    let worker = InboxWorker::builder(Faulty::new(servers.store(5)?, &FaultPlan::new()))
        .consumer_group(&args.group)
        .worker_id(servers.worker_id()?)
        .retry(args.handler.retry())
        .process_timeout(Duration::from_millis(args.handler.handler_timeout_ms))
        .lease_ttl(Duration::from_millis(args.lease_ttl_ms))
        .batch_size(args.batch_size)
        .handler(Handler::new(&args.handler))
        .build()?;
    println!("ready");
    worker.run(shutdown).await?;
    println!("done");
    Ok(())
}
