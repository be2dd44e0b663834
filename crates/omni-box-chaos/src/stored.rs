//! A worker that handles what a consumer has stored.

use std::time::Duration;

use anyhow::Result;
use clap::Args;
use omni_box::InboxWorker;
use omni_box::pipeline::DlqStep;
use omni_box_testkit::{FaultPlan, Faulty};

use crate::consumer::{Handler, HandlerArgs};
use crate::letters::{Copies, LetterArgs};
use crate::servers::{Servers, shutdown};
use crate::stand::{Stand, StandArgs};

#[derive(Args)]
pub(crate) struct WorkerArgs {
    /// The consumer group.
    #[arg(long)]
    group: String,
    #[command(flatten)]
    handler: HandlerArgs,
    #[command(flatten)]
    letters: LetterArgs,
    #[command(flatten)]
    stand: StandArgs,
    /// Most messages of a claim.
    #[arg(long, default_value_t = 100)]
    batch_size: u32,
    /// How long a claim lives.
    #[arg(long, default_value_t = 12_000)]
    lease_ttl_ms: u64,
}

pub(crate) async fn run(servers: &Servers, args: WorkerArgs) -> Result<()> {
    let shutdown = shutdown()?;
    let plan = FaultPlan::new();
    let stand = Stand::new(&args.stand, &plan);
    let mut worker = InboxWorker::builder(Faulty::new(servers.store(5)?, &plan))
        .consumer_group(&args.group)
        .worker_id(servers.worker_id()?)
        .retry(args.handler.retry())
        .process_timeout(Duration::from_millis(args.handler.handler_timeout_ms))
        .lease_ttl(Duration::from_millis(args.lease_ttl_ms))
        .batch_size(args.batch_size)
        .handler(Handler::new(&args.handler, stand.clone()));
    if let Some(topic) = args.letters.letter_topic {
        worker = worker.dead_letter_topic(topic);
    }
    if args.letters.copy_letters {
        worker = worker.step(DlqStep::new(Copies { pool: servers.pool(2)?, stand }));
    }
    let worker = worker.build()?;
    println!("ready");
    worker.run(shutdown).await?;
    println!("done");
    Ok(())
}
